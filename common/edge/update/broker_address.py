"""The broker's address, as the signed connection document of the update repository has it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from common.connection import CONNECTION_LIMIT_BYTES, CONNECTION_TARGET, Address, decode_connection
from common.edge.update.bundle_download import check_length
from common.edge.update.tuf_client import TrustedRepository
from common.errors import UpdateRefused

log = logging.getLogger(__name__)


class BrokerAddress:
    """Follows the broker from the ``enrolled`` address; ``moved`` is called with each new one."""

    def __init__(self, folder: Path, enrolled: Address, moved: Callable[[Address], None]) -> None:
        self._folder = folder
        self._broker = self._enrolled = enrolled
        self._moved = moved

    def refresh(self, repository: TrustedRepository) -> None:
        """Take over a new address of the broker; an error here does not hold updates up."""
        try:
            target = repository.target(CONNECTION_TARGET)
            if target is not None:
                check_length(target, CONNECTION_LIMIT_BYTES)
                repository.fetch(target, self._folder / CONNECTION_TARGET)
                self._follow()
        except UpdateRefused as error:
            log.warning("the broker's address cannot be read (%s): %s", error.reason, error)

    def restore(self) -> None:
        """Take over the address that was verified when it was fetched."""
        try:
            self._follow()
        except FileNotFoundError:
            return
        except (OSError, UpdateRefused) as error:
            log.warning("the kept address of the broker is not readable: %s", error)

    def _follow(self) -> None:
        document = decode_connection((self._folder / CONNECTION_TARGET).read_bytes())
        broker = document.follow(self._enrolled)
        if broker != self._broker:
            log.info("the broker is at %s:%d now", broker.host, broker.port)
            self._broker = broker
            self._moved(broker)
