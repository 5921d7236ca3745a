"""``_include`` and ``_revinclude``: resources that matches refer to, and Provenances that refer to matches.

A page is shortened, to one match at least, so that its included resources stay within `INCLUDED_A_PAGE`;
those of a match are always complete. A single match may exceed it: a report has up to
`resource_kinds.RESULT_LIMIT` results of each kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlmodel import Session

from apps.ecg.cloud.fhir.codes import Json
from apps.ecg.cloud.fhir.ids import parse
from apps.ecg.cloud.fhir.lookup import read_resources
from apps.ecg.cloud.fhir.resource_kinds import makers_of
from apps.ecg.cloud.fhir.search import Search

INCLUDED_A_PAGE = 500


def matches_that_fit(search: Search, matches: Sequence[Json]) -> int:
    """Number of matches that fit on a page with their included resources."""
    references: set[str] = set()
    for index, match in enumerate(matches):
        references.update(_references_of(search, match))
        if index and len(references) > INCLUDED_A_PAGE:
            return index
    return len(matches)


def included_resources(session: Session, search: Search, matches: Sequence[Json], now_ns: int) -> list[Json]:
    """The included resources of the matches, each once."""
    own = {f"{match['resourceType']}/{match['id']}" for match in matches}
    references = (each for match in matches for each in _references_of(search, match))
    return [
        each
        for each in read_resources(session, references, now_ns)
        if search.type == "Provenance" or each["resourceType"] != "Provenance" or own & targets_of(each)
    ]


def targets_of(provenance: Json) -> set[str]:
    """References to the targets of a Provenance."""
    return {each["reference"] for each in provenance["target"]}


def _references_of(search: Search, match: Json) -> Iterator[str]:
    for name, type_ in search.follow:
        for reference in _referred(match, name):
            if reference.startswith(f"{type_}/"):
                yield reference
    key = parse(match["id"]) if search.with_provenance else None
    if key is not None:
        yield from (f"Provenance/{maker}" for maker in makers_of(search.type, key))


def _referred(match: Json, name: str) -> Iterator[str]:
    element: Any = match.get("subject" if name == "patient" else name)
    for each in element if isinstance(element, list) else [element]:
        reference = (each or {}).get("who", each)  # an agent has one inside
        if reference and "reference" in reference:
            yield reference["reference"]
