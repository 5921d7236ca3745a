"""Gap rows: placeholders in the stream for events that the outbox dropped. No I/O.

A gap row is kept small (who was lost, why, since when); its wire form is made when it is sent, so that many
gaps between alarms that stay cost little of the budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from common.messages import GAP_TYPE, Event, Gap, Priority, encode_event

GAP = -1
"""Stands for a gap where a row has its priority."""


class _Body(msgspec.Struct, frozen=True, array_like=True):
    reason: str
    counts: dict[str, int]
    time_ns: int


_decoder = msgspec.json.Decoder(_Body)


class Run(NamedTuple):
    """Neighbouring events that are dropped, with their counts by priority."""

    seq: int
    last: int
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class GapRow:
    """``seq .. last`` were dropped for ``reason``; ``counts`` by priority, ``time_ns`` of the last loss."""

    seq: int
    last: int
    reason: str
    counts: dict[str, int]
    time_ns: int

    @classmethod
    def of(cls, seq: int, last: int, body: bytes) -> GapRow:
        """A stored row."""
        stored = _decoder.decode(body)
        return cls(seq, last, stored.reason, stored.counts, stored.time_ns)

    def body(self) -> bytes:
        """Its stored form."""
        return msgspec.json.encode(_Body(self.reason, self.counts, self.time_ns))


def encode_gap(gap: GapRow, *, source: str, epoch: str) -> bytes:
    """A gap as it travels."""
    event = Event(
        GAP_TYPE,
        "",
        gap.time_ns,
        Priority.EVENT,
        msgspec.structs.asdict(Gap(gap.last, gap.reason, gap.counts)),
    )
    return encode_event(event, source=source, epoch=epoch, seq=gap.seq)


def cut(gap: GapRow, after_seq: int) -> GapRow:
    """The part of a gap above ``after_seq``. Its counts add up; which priorities they name is a guess."""
    if gap.seq > after_seq:
        return gap
    surplus = sum(gap.counts.values()) - (gap.last - after_seq)
    counts: dict[str, int] = {}
    for name, count in sorted(gap.counts.items(), key=lambda item: item[1]):
        taken = min(count, max(0, surplus))
        surplus -= taken
        if count > taken:
            counts[name] = count - taken
    return GapRow(after_seq + 1, gap.last, gap.reason, counts, gap.time_ns)


def merge(
    runs: Iterable[Run], gaps: Sequence[GapRow], *, reason: str, time_ns: int
) -> Iterator[tuple[GapRow, list[GapRow]]]:
    """Gap rows for ``runs``, each with the old ``gaps`` that it takes in. Untouched gaps are not given."""
    pieces: list[Run | GapRow] = sorted([*runs, *gaps], key=lambda piece: piece.seq)
    group: list[Run | GapRow] = []
    for piece in pieces:
        if group and group[-1].last + 1 != piece.seq:
            yield from _joined(group, reason, time_ns)
            group = []
        group.append(piece)
    yield from _joined(group, reason, time_ns)


def _joined(
    group: Sequence[Run | GapRow], reason: str, time_ns: int
) -> Iterator[tuple[GapRow, list[GapRow]]]:
    replaced = [piece for piece in group if isinstance(piece, GapRow)]
    if len(replaced) == len(group):
        return
    reasons = sorted({reason, *(word for gap in replaced for word in gap.reason.split("+"))})
    counts: dict[str, int] = {}
    for piece in group:
        _add(counts, piece.counts)
    yield GapRow(group[0].seq, group[-1].last, "+".join(reasons), counts, time_ns), replaced


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count
