"""Messages of the cloud to a node: acks and hints, each accepted only for the session that it names.

A message counts only with the seal of the cloud (`common.sealing`). An ack goes to the stream, which checks
its session and turn. A hint counts once: for this session, and with a number above that of the last one. Any
other sealed hint, and a message without the seal, is counted in `Traffic.rejected` and changes nothing; a
sealed one that is not readable is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from common.edge.delivery.cloud_notices import CloudNotices
from common.edge.delivery.stream_sender import StreamSender
from common.errors import MessageError, OutboxError, SealError
from common.messages import Ack, Hint, decode
from common.sealing import Seal

log = logging.getLogger(__name__)


class CloudMessages:
    """Receives for one session; everything here belongs to the uplink thread.

    ``check_now`` is called when there may be another model, ``hint`` with any other hint.
    """

    def __init__(
        self,
        seal: Seal,
        session: str,
        ack_topic: str,
        sender: StreamSender,
        notices: CloudNotices,
        *,
        check_now: Callable[[], None],
        hint: Callable[[Hint], None],
    ) -> None:
        self._seal = seal
        self._session = session
        self._ack_topic = ack_topic
        self._sender = sender
        self._notices = notices
        self._check_now = check_now
        self._hint = hint
        self._hint_number = 0

    def receive(self, topic: str, payload: bytes) -> None:
        """Act on a message. One that does not count is reported; an outbox that fails pauses the stream."""
        try:
            body = self._seal.open(topic, payload)
            if topic == self._ack_topic:
                self._sender.handle_ack(decode(body, Ack))
            else:
                self._handle_hint(decode(body, Hint))
        except SealError as error:
            self._sender.traffic.rejected += 1
            self._notices.count("rejected", f"{error}; it was ignored")
        except MessageError as error:
            log.warning("a message on %s is not readable: %s", topic, error)
        except OutboxError as error:
            log.error("%s", error)
            self._sender.pause(1.0)

    def _handle_hint(self, hint: Hint) -> None:
        if hint.session != self._session or hint.number <= self._hint_number:
            self._sender.traffic.rejected += 1
            return
        self._hint_number = hint.number
        if hint.action == "deployment":
            self._check_now()
        else:
            self._hint(hint)
