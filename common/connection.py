"""Address of the broker for nodes: a document that the top-level targets role of the update repository signs.

A node has the broker's address from its enrolment. When the broker moves, the document names its new address
and the earlier ones. A node whose address is an earlier one takes the new one; any other keeps its own: it
reaches the broker by a tunnel, a proxy or a name that the cloud does not know.
"""

from __future__ import annotations

import msgspec

from common.errors import UpdateRefused

CONNECTION_TARGET = "connection.json"
CONNECTION_LIMIT_BYTES = 16 * 1024
EARLIER_LIMIT = 32
"""Maximum number of earlier addresses; the oldest are dropped."""


class Address(msgspec.Struct, frozen=True):
    """A host and a port."""

    host: str
    port: int


class Connection(msgspec.Struct, frozen=True):
    """Contents of ``connection.json``."""

    broker: Address
    earlier: list[Address] = []

    def follow(self, address: Address) -> Address:
        """Present address of the broker for a node that has ``address``."""
        return self.broker if address in self.earlier else address


def moved(before: Connection | None, host: str, port: int) -> Connection:
    """The document for a broker that is at ``host:port`` now."""
    broker = Address(host, port)
    if before is None:
        return Connection(broker)
    if before.broker == broker:
        return before
    earlier = [each for each in before.earlier if each != broker and each != before.broker]
    return Connection(broker, [*earlier, before.broker][-EARLIER_LIMIT:])


def decode_connection(content: bytes) -> Connection:
    """Parse a document. Raises `UpdateRefused` (``malformed``)."""
    try:
        found = msgspec.json.decode(content, type=Connection)
    except msgspec.MsgspecError as error:
        raise UpdateRefused("malformed", f"{CONNECTION_TARGET} is not readable: {error}") from error
    if not found.broker.host or not 0 < found.broker.port < 65536:
        raise UpdateRefused("malformed", f"{CONNECTION_TARGET} names no address")
    return found
