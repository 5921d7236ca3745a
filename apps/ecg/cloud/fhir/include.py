"""What comes along with the matches of a page: what they refer to, and the Provenances that refer to them.

A page ends early, after one match at least, so that what comes along stays within `INCLUDED_A_PAGE`: nothing
that belongs to a match is left out. A match alone may bring more: a report has `kinds.RESULT_LIMIT` results
of a kind at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlmodel import Session

from apps.ecg.cloud.fhir.codes import Json
from apps.ecg.cloud.fhir.ids import parse
from apps.ecg.cloud.fhir.lookup import read_all
from apps.ecg.cloud.fhir.resource_kinds import makers_of
from apps.ecg.cloud.fhir.search import Search

INCLUDED_A_PAGE = 500


def that_fit(search: Search, matches: Sequence[Json]) -> int:
    """How many of the matches fit on a page together with what they bring."""
    brought: set[str] = set()
    for index, match in enumerate(matches):
        brought.update(_brought(search, match))
        if index and len(brought) > INCLUDED_A_PAGE:
            return index
    return len(matches)


def included(session: Session, search: Search, matches: Sequence[Json], now_ns: int) -> list[Json]:
    """What the matches bring, each once."""
    own = {f"{match['resourceType']}/{match['id']}" for match in matches}
    brought = (each for match in matches for each in _brought(search, match))
    return [
        each
        for each in read_all(session, brought, now_ns)
        if search.type == "Provenance" or each["resourceType"] != "Provenance" or own & targets_of(each)
    ]


def targets_of(provenance: Json) -> set[str]:
    """References to what a Provenance is about."""
    return {each["reference"] for each in provenance["target"]}


def _brought(search: Search, match: Json) -> Iterator[str]:
    for name, type_ in search.follow:
        for reference in _referred(match, name):
            if reference.startswith(f"{type_}/"):
                yield reference
    place = parse(match["id"]) if search.with_provenance else None
    if place is not None:
        yield from (f"Provenance/{maker}" for maker in makers_of(search.type, place))


def _referred(match: Json, name: str) -> Iterator[str]:
    element: Any = match.get("subject" if name == "patient" else name)
    for each in element if isinstance(element, list) else [element]:
        reference = (each or {}).get("who", each)  # an agent has one inside
        if reference and "reference" in reference:
            yield reference["reference"]
