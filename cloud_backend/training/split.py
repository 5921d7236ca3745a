"""Groups that are held out for judging: the same answer on every machine, in every round.

A group lies on one side by the hash of its name. Where all labelled groups would fall on one side,
the one nearest to the border is moved over, so that there is something to learn from and something
to judge by; once more groups are there, the hash alone decides again. A group that the production model or an
ancestor of it was trained on is never held out. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

HELD_OUT_SHARE = 0.3


def place_of(app: str, group: str) -> float:
    """Position of a group in [0, 1)."""
    hashed = hashlib.sha256(f"{app}\n{group}".encode()).digest()
    return int.from_bytes(hashed[:8], "big") / 2**64


def held_out(
    app: str, labelled: Collection[str], others: Collection[str] = (), trained_on: Collection[str] = ()
) -> set[str]:
    """The groups of ``labelled`` and ``others`` that are for judging only; none of ``trained_on`` is.

    Of two or more ``labelled`` groups at least one is not held out, and at least one is unless all were
    trained on.
    """
    seen = set(trained_on)
    places = sorted((place_of(app, group), group) for group in set(labelled))
    free = [(place, group) for place, group in places if group not in seen]
    chosen = {group for place, group in free if place < HELD_OUT_SHARE}
    if len(places) >= 2:
        if free and not chosen:
            chosen.add(free[0][1])
        elif len(chosen) == len(places):
            chosen.discard(places[-1][1])
    unlabelled = set(others) - set(labelled) - seen
    return chosen | {group for group in unlabelled if place_of(app, group) < HELD_OUT_SHARE}
