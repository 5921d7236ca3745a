"""An outbox in the test's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.edge.delivery.outbox import Outbox
from tests.builders import FIRST_NS


@pytest.fixture
def open_outbox(tmp_path: Path) -> Iterator[Callable[..., Outbox]]:
    opened: list[Outbox] = []

    def open_(budget: int = 10**8, *, source: str = "/s/n", stream: str = "") -> Outbox:
        outbox = Outbox(tmp_path / "outbox.sqlite", source, budget, lambda: FIRST_NS, stream=stream)
        opened.append(outbox)
        return outbox

    yield open_
    for outbox in opened:
        outbox.close()
