"""Search parameters of FHIR R4: criteria, dates with prefixes, sorting, totals, includes, paging.

Supported are ``_id``, ``patient`` and ``subject`` (also as ``subject:Patient``), ``code``, ``date``,
``identifier`` and ``target``, for the types in `PARAMETERS`; ``_count``, ``_total`` and ``_summary=count``;
`SORTS`, `INCLUDES` and `REVINCLUDES`, other values of which are refused. Unsupported parameters are ignored
and listed in the bundle, as R4 specifies (the ``self`` link has the parameters used), or refused with
``Prefer: handling=strict``. Malformed values, chains (``patient.name``), ``_has`` and other modifiers are
always refused: ignoring them would widen the result. A reference to another server matches nothing.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
from fastapi import HTTPException

from apps.ecg.cloud.fhir.criteria import BEFORE_ALL_NS, Dates, Kind
from apps.ecg.cloud.fhir.dates import dates_of
from apps.ecg.cloud.fhir.ids import SYSTEM
from apps.ecg.cloud.fhir.values import Token, in_all, listed, plain, relative, tokens
from apps.ecg.events import LATEST_NS, PATIENT

COUNT, COUNT_LIMIT = 50, 200
PARAMETERS = {
    "Patient": ("_id", "identifier"),
    "Device": ("_id", "identifier"),
    "Observation": ("_id", "identifier", "patient", "subject", "code", "date"),
    "DiagnosticReport": ("_id", "identifier", "patient", "subject", "code", "date"),
    "Provenance": ("_id", "patient", "target"),
}
"""Search parameters by type; each also has `RESULTS`."""
SORTS = {
    "Patient": ("_id",),
    "Device": ("_id",),
    "Observation": ("_id", "date"),
    "DiagnosticReport": ("_id", "date"),
    "Provenance": ("_id",),
}
"""Sort keys of each type, one at a time; descending with the prefix ``-``."""
INCLUDES: dict[str, dict[str, tuple[str, ...]]] = {
    "Observation": {"subject": ("Patient",), "patient": ("Patient",), "device": ("Device",)},
    "DiagnosticReport": {"subject": ("Patient",), "patient": ("Patient",), "result": ("Observation",)},
    "Provenance": {"target": ("Observation", "DiagnosticReport"), "agent": ("Device",)},
}
"""References of a type for ``_include``, and their target types."""
REVINCLUDES = {"Observation": ("Provenance:target",), "DiagnosticReport": ("Provenance:target",)}
"""References to a type for ``_revinclude``."""
RESULTS = {"_count": "number", "_total": "token", "_sort": "string", "_summary": "token"}
"""Result parameters of every search, and their types."""
_PATIENTS = ("patient", "subject")
_FOLLOWED = ("_include", "_revinclude")
_ONCE = (*RESULTS, "_page")
IGNORED = ("_format", "_pretty")
"""Parameters without effect on the matches, ignored without a warning."""

Cursor = tuple[str, int, str]
"""Last key of a page: patient, begin and kind; begin `BEFORE_ALL_NS` marks the end of a patient."""


@dataclass(frozen=True, slots=True)
class Order:
    """Sort order of matches.

    ``""`` is the default: by patient, newest first. ``date`` is by begin over all patients; ``_id`` by the
    parts of the id, its time as a number. Ids break ties of dates.
    """

    by: str = ""
    ascending: bool = True


@dataclass(frozen=True, slots=True)
class Search:
    """Criteria of a search of one type; None and empty match everything."""

    type: str
    count: int = COUNT
    ids: tuple[str, ...] | None = None
    identifiers: tuple[str, ...] | None = None
    """Identifier values of devices; those of other types are their ids."""
    patients: tuple[str, ...] | None = None
    codes: tuple[tuple[Token, ...], ...] = ()
    """One of each group must match."""
    targets: tuple[str, ...] | None = None
    dates: Dates = field(default_factory=Dates)
    order: Order = field(default_factory=Order)
    total: bool | None = None
    """Whether a total is requested; None for the default."""
    count_only: bool = False
    follow: tuple[tuple[str, str], ...] = ()
    """References to include, by parameter and target type."""
    with_provenance: bool = False
    after: Cursor | None = None
    used: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()


def parse(type_: str, query: Iterable[tuple[str, str]], *, base: str, now_ns: int, strict: bool) -> Search:
    """The search of a request's parameters to the server at ``base``.

    Raises a 400 for a malformed one.
    """
    known = PARAMETERS[type_]
    found: dict[str, list[str]] = {}
    used: list[tuple[str, str]] = []
    ignored: list[str] = []
    for name, value in query:
        plain_name = re.split("[:.]", name, maxsplit=1)[0]
        if plain_name in _PATIENTS and plain_name in known:
            name = name.removesuffix(":Patient")
        if name in known or name in _ONCE or name in _FOLLOWED:
            if name == "_summary" and value not in ("count", "false", ""):
                ignored.append(f"{name}={value[:40]}")
            elif value:  # an empty parameter is ignored
                found.setdefault(name, []).append(value)
                used += [(name, value)] if name != "_page" else []
        elif plain_name in known or plain_name in _FOLLOWED or plain_name == "_has":
            raise HTTPException(400, f"chains and modifiers are not supported: {name[:80]!r}")
        elif name not in IGNORED:
            ignored.append(name[:80])
    if ignored and strict:
        raise HTTPException(400, f"not supported: {', '.join(ignored)}; parameters are {', '.join(known)}")
    for name in _ONCE:
        if len(found.get(name, ())) > 1:
            raise HTTPException(400, f"{name} is repeated")
    once = {name: found[name][0] for name in _ONCE if name in found}
    count = _count(once.get("_count", str(COUNT)))
    ids, identifiers = _listed(found.get("_id")), _identifiers(found.get("identifier"))
    if type_ != "Device":
        ids, identifiers = _both(ids, identifiers), None
    return Search(
        type=type_,
        count=count,
        ids=ids,
        identifiers=identifiers,
        patients=_both(_patients(found.get("patient"), base), _patients(found.get("subject"), base)),
        codes=tuple(tokens(value) for value in found.get("code", ())),
        targets=_references(found.get("target"), base),
        dates=dates_of(found.get("date", ()), now_ns),
        order=_order(type_, once["_sort"]) if "_sort" in once else Order(),
        total=_total(once.get("_total")),
        count_only=once.get("_summary") == "count" or count == 0,
        follow=_follow(type_, found.get("_include", ())),
        with_provenance=_revinclude(type_, found.get("_revinclude", ())),
        after=_decode_cursor(once["_page"]) if "_page" in once else None,
        used=tuple(used),
        ignored=tuple(ignored),
    )


def wanted(kinds: Sequence[Kind], codes: tuple[tuple[Token, ...], ...]) -> list[Kind]:
    """The kinds that match one code of each group."""
    return [kind for kind in kinds if all(any(_has(kind, token) for token in one_of) for one_of in codes)]


def _has(kind: Kind, token: Token) -> bool:
    return any(
        (not token.code or coding["code"] == token.code)
        and (token.system is None or coding.get("system", "") == token.system)
        for concept in kind.codings
        for coding in concept.get("coding", ())
    )


def encode_cursor(cursor: Cursor) -> str:
    """The opaque text of a cursor."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def _decode_cursor(text: str) -> Cursor:
    try:
        cursor = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=Cursor)
    except (ValueError, msgspec.MsgspecError):
        cursor = ("", LATEST_NS, "")
    if not BEFORE_ALL_NS <= cursor[1] < LATEST_NS:
        raise HTTPException(400, "_page is not a cursor of this server: start without it")
    return cursor


def _count(text: str) -> int:
    if not text.isdecimal() or not text.isascii():
        raise HTTPException(400, f"_count must be a whole number from 0, not {text[:20]!r}")
    return min(int(text[:9]), COUNT_LIMIT)


def _total(text: str | None) -> bool | None:
    if text not in (None, "none", "accurate", "estimate"):
        raise HTTPException(400, f"_total must be none, accurate or estimate, not {text[:20]!r}")
    return None if text is None else text != "none"


def _order(type_: str, text: str) -> Order:
    by = text.removeprefix("-")
    if by not in SORTS[type_]:
        possible = ", ".join(f"{each}, -{each}" for each in SORTS[type_])
        raise HTTPException(
            400, f"{type_} cannot be sorted by {text[:80]!r}; _sort must be one of {possible}"
        )
    return Order(by, ascending=by == text)


def _follow(type_: str, values: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """References by parameter and type, of ``Observation:device``, ``Observation:device:Device`` or ``*``."""
    known = INCLUDES.get(type_, {})
    found = []
    for value in values:
        source, _, rest = value.partition(":")
        name, _, target = rest.partition(":")
        chosen = [
            (each, type_to)
            for each, types in known.items()
            for type_to in types
            if value == "*" or (source == type_ and name in (each, "*") and target in ("", type_to))
        ]
        if not chosen:
            possible = ", ".join(include_names(type_)) or "none"
            raise HTTPException(400, f"_include={value[:80]} is not supported; values are {possible}")
        found += chosen
    return tuple(dict.fromkeys(found))


def include_names(type_: str) -> list[str]:
    """Values of ``_include`` for a type."""
    return [f"{type_}:{name}" for name in INCLUDES.get(type_, ())]


def _revinclude(type_: str, values: Sequence[str]) -> bool:
    possible = REVINCLUDES.get(type_, ())
    for value in values:
        if value not in possible:
            known = ", ".join(possible) or "none"
            raise HTTPException(400, f"_revinclude={value[:80]} is not supported; values are {known}")
    return bool(values)


def _listed(values: list[str] | None) -> tuple[str, ...] | None:
    """Comma-separated values; of repeated parameters, those in all."""
    return None if values is None else in_all([plain(each) for each in listed(value)] for value in values)


def _identifiers(values: list[str] | None) -> tuple[str, ...] | None:
    """Values of identifiers of our system; None for all of them."""
    parsed = [tokens(value) for value in values or ()]
    ours = [
        [token.code for token in each if token.system in (None, SYSTEM)]
        for each in parsed
        if Token(SYSTEM, "") not in each
    ]
    return in_all(ours) if ours else None


def _references(values: list[str] | None, base: str) -> tuple[str, ...] | None:
    """References to resources of this server."""
    named = _listed(values)
    if named is None:
        return None
    return tuple(each for each in (relative(name, base) for name in named) if each is not None)


def _patients(values: list[str] | None, base: str) -> tuple[str, ...] | None:
    named = _references(values, base)
    if named is None:
        return None
    ids = tuple(each.removeprefix("Patient/") for each in named)
    for each, id_ in zip(named, ids, strict=True):
        if not PATIENT.fullmatch(id_):
            raise HTTPException(
                400, f"{each[:80]!r} is not a reference to a patient: use Patient/<id> or <id>"
            )
    return ids


def _both(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if one is None or other is None:
        return one if other is None else other
    return tuple(each for each in one if each in other)
