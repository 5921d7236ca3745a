"""The source thread: readings from the source to the queue, under pseudonyms where the app has them.

A source that fails is opened again, behind its last reading. When it has ended, all readings are decided on
and that is reported; a node that runs only ``once`` ends when everything is delivered.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from pathlib import Path

from common.app.edge import Reading, Source
from common.backoff import Backoff
from common.edge.processing.processing import Processing
from common.edge.processing.reading_queue import ReadingQueue
from common.edge.sensing.pseudonyms import pseudonym
from common.edge.sensing.recording import record
from common.edge.sensing.sources import RETRY_FIRST_S, RETRY_LAST_S
from common.errors import ReadingError, SourceError

log = logging.getLogger(__name__)

END_POLL_S = 0.2


class SourceState(Enum):
    """State of the source, as health events report it."""

    WAITING = "waiting"
    """No reading yet."""
    READING = "reading"
    FAILED = "failed"
    """It is opened again until it works."""
    ENDED = "ended"


class SourceReader:
    """Reads the source of one node.

    ``secret`` is that of the pseudonyms; None leaves subjects as they are. ``record_to`` is a folder to write
    readings to. ``delivered`` is whether nothing waits for the cloud; with ``once`` the reader then sets
    ``ended``.
    """

    def __init__(
        self,
        source: Source,
        queue: ReadingQueue,
        processing: Processing,
        stopping: threading.Event,
        ended: threading.Event,
        *,
        node: str,
        secret: bytes | None,
        record_to: Path | None,
        once: bool,
        delivered: Callable[[], bool],
    ) -> None:
        self._source = source
        self._queue = queue
        self._processing = processing
        self._stopping = stopping
        self._ended = ended
        self._node = node
        self._secret = secret
        self._record_to = record_to
        self._once = once
        self._delivered = delivered
        self._taken = 0
        self.state = SourceState.WAITING
        self.detail = ""
        """Reason of its failure, or kind of its end."""
        self.useless = ""
        """Reason of an unusable source; empty unless it ran ``once``."""

    def run(self, after: int | None) -> None:
        """Read until the source ends or the node stops, from behind the position ``after``."""
        begun = after is not None
        backoff = Backoff(RETRY_FIRST_S, RETRY_LAST_S)
        while not self._stopping.is_set():
            try:
                for item in self._source.readings(after):
                    if isinstance(item, Reading):
                        after = item.position
                        backoff.reset()
                        self.state, self.detail = SourceState.READING, ""
                        if self._record_to is not None:
                            record(self._record_to, item)
                    self._taken += 1
                    if not self._queue.put(self._under_pseudonym(item)):
                        return
                break
            except (SourceError, OSError) as error:
                self.state, self.detail = SourceState.FAILED, self._without_names(error)
                self._processing.platform.problems.add("source", self.detail, self._node)
                self._stopping.wait(backoff.next_s())
        if not self._stopping.is_set():
            self._finish(after, begun=begun)

    def _under_pseudonym(self, item: Reading | ReadingError) -> Reading | ReadingError:
        if self._secret is None:
            return item
        if isinstance(item, Reading):
            return replace(item, subject=pseudonym(self._secret, item.subject))
        return ReadingError(self._without_names(item), item.kind, item.count)

    def _without_names(self, error: Exception) -> str:
        """The text of an error of the source that may leave the node; the original may name a person."""
        if self._secret is None:
            return str(error)
        log.warning("the source: %s", error)
        return "the source delivered something unusable; it may name a person, so only this node's log has it"

    def _finish(self, position: int | None, *, begun: bool) -> None:
        """Report the end of the source once all is decided; with ``once``, end the node when it is delivered.

        ``begun``: an earlier run of the node had readings of this source.
        """
        processing = self._processing
        while processing.handled + self._queue.dropped < self._taken:
            processing.flush()
            if self._stopping.wait(END_POLL_S):
                return
        refused = self._taken - self._queue.dropped - processing.decisions.usable
        ended = f"{processing.decisions.usable} readings were usable"
        if refused:
            ended += f", {refused} reports and refused readings"
        log.info("the source has ended: %s", ended)
        self.state, self.detail = SourceState.ENDED, ended
        processing.platform.problems.add("ended", f"the source has ended: {ended}", self._node)
        processing.platform.report_health()
        if not self._once:
            return
        if not processing.decisions.usable and (refused or not begun):
            self.useless = "the source gave nothing usable: " + (
                f"{refused} readings were refused, see above" if refused else "it has no reading"
            )
        elif not processing.decisions.usable:
            log.info("nothing is new behind position %s", position)
        while not self._stopping.wait(END_POLL_S):
            if self._delivered():
                self._ended.set()
                return
