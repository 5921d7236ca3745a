"""Holders of epochs: the session that continued an epoch last, and how far others agree with what is stored.

What is remembered between transactions only spares comparisons; it is bounded by `HOLDERS_LIMIT`. The changes
of a transaction are gathered in `Claims`, and count once it has committed.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from cloud_backend.ingest.event_table import StreamKey

HOLDERS_LIMIT = 20_000
"""Limit of remembered streams; of any other, what is sent again is compared once more."""
Claim = tuple[str, str, str, str]
"""Site, node, epoch and session."""


class EpochHolders:
    """Holders and proven marks of committed transactions."""

    def __init__(self) -> None:
        self.holders: OrderedDict[StreamKey, str] = OrderedDict()
        self.proven: OrderedDict[Claim, int] = OrderedDict()

    def keep(self, claims: Claims) -> None:
        """Take over the changes of a committed transaction."""
        self.holders |= claims.new_holders
        self.proven |= claims.new_proven
        for remembered in (self.holders, self.proven):
            while len(remembered) > HOLDERS_LIMIT:
                remembered.popitem(last=False)


@dataclass(slots=True)
class Claims:
    """Holders and proven marks as one transaction sees and changes them."""

    before: EpochHolders
    new_holders: dict[StreamKey, str] = field(default_factory=dict)
    new_proven: dict[Claim, int] = field(default_factory=dict)

    def holder(self, key: StreamKey) -> str | None:
        """The session that holds an epoch; None where none is known."""
        return self.new_holders.get(key, self.before.holders.get(key))

    def proven(self, claim: Claim) -> int:
        """The last seq up to which a session is known to agree with what is stored."""
        return self.new_proven.get(claim, self.before.proven.get(claim, 0))

    def hold(self, claim: Claim, last: int) -> None:
        """Make a session the holder of its epoch, in which it agrees up to ``last``."""
        self.new_holders[claim[:3]] = claim[3]
        self.new_proven[claim] = last
