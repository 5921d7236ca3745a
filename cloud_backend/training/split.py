"""Which groups are held out for judging: the same answer on every machine, in every round.

A group lies on one side by the hash of its name. Where all labelled groups would fall on one side,
the one nearest to the border is moved over, so that there is something to learn from and something
to judge by; once more groups are there, the hash alone decides again. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

HELD_OUT_SHARE = 0.3


def place_of(app: str, group: str) -> float:
    """Where a group lies in [0, 1)."""
    hashed = hashlib.sha256(f"{app}\n{group}".encode()).digest()
    return int.from_bytes(hashed[:8], "big") / 2**64


def held_out(app: str, labelled: Collection[str], others: Collection[str] = ()) -> set[str]:
    """The groups of ``labelled`` and ``others`` that are for judging only.

    Of two or more ``labelled`` groups at least one is held out and at least one is not.
    """
    places = sorted((place_of(app, group), group) for group in set(labelled))
    chosen = {group for place, group in places if place < HELD_OUT_SHARE}
    if len(places) >= 2:
        if not chosen:
            chosen.add(places[0][1])
        elif len(chosen) == len(places):
            chosen.discard(places[-1][1])
    return chosen | {g for g in others if g not in set(labelled) and place_of(app, g) < HELD_OUT_SHARE}
