"""Search as FHIR R4 defines it: parameters, dates with prefixes, order, totals, what comes along, pages.

Understood are ``_id``, ``patient`` and ``subject`` (also as ``subject:Patient``), ``code``, ``date``,
``identifier`` and ``target``, each where its type has it; ``_count``, ``_total`` and ``_summary=count``;
`SORTS`, `INCLUDES` and `REVINCLUDES`, where another value is refused. What is not understood is left out, as
R4 asks, and told in the bundle (its ``self`` link has what was used), or refused where the client prefers
``handling=strict``. A value that cannot be read is always refused, and so are chains (``patient.name``),
``_has`` and other modifiers: a search without them would find more than was asked for. A reference to another
server matches nothing.
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
"""What a type can be sorted by, one at a time; ``-`` in front turns it round."""
INCLUDES: dict[str, dict[str, tuple[str, ...]]] = {
    "Observation": {"subject": ("Patient",), "patient": ("Patient",), "device": ("Device",)},
    "DiagnosticReport": {"subject": ("Patient",), "patient": ("Patient",), "result": ("Observation",)},
    "Provenance": {"target": ("Observation", "DiagnosticReport"), "agent": ("Device",)},
}
"""References of a type that can be followed, and to which types they lead."""
REVINCLUDES = {"Observation": ("Provenance:target",), "DiagnosticReport": ("Provenance:target",)}
"""References to a type that can be followed backwards."""
RESULTS = {"_count": "number", "_total": "token", "_sort": "string", "_summary": "token"}
"""Parameters of every search about its result, and their types."""
_PATIENTS = ("patient", "subject")
_FOLLOWED = ("_include", "_revinclude")
_ONCE = (*RESULTS, "_page")
IGNORED = ("_format", "_pretty")
"""Not about what is found, so nothing is told of them."""

Key = tuple[str, int, str]
"""Where a page ends: a patient, a begin and what else is in the id; a begin below 0 is the patient's end."""


@dataclass(frozen=True, slots=True)
class Order:
    """By what resources are sorted.

    ``""`` is our own order: by patient, then the newest first. ``date`` is the begin, of all patients;
    ``_id`` goes by the parts of an id, its time as a number. Ids tell apart what has the same date.
    """

    by: str = ""
    ascending: bool = True


@dataclass(frozen=True, slots=True)
class Search:
    """A search of one type; None and empty are anything."""

    type: str
    count: int = COUNT
    ids: tuple[str, ...] | None = None
    identifiers: tuple[str, ...] | None = None
    """Values of identifiers of devices; those of other types are their ids."""
    patients: tuple[str, ...] | None = None
    codes: tuple[tuple[Token, ...], ...] = ()
    """One of each must be there."""
    targets: tuple[str, ...] | None = None
    dates: Dates = field(default_factory=Dates)
    order: Order = field(default_factory=Order)
    total: bool | None = None
    """Whether a total is asked for; None is up to us."""
    count_only: bool = False
    follow: tuple[tuple[str, str], ...] = ()
    """References that are followed, by parameter and type."""
    with_provenance: bool = False
    after: Key | None = None
    used: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()


def parse(type_: str, given: Iterable[tuple[str, str]], *, base: str, now_ns: int, strict: bool) -> Search:
    """A search from the parameters of a request to the server at ``base``.

    Raises a 400 for what cannot be read.
    """
    known = PARAMETERS[type_]
    found: dict[str, list[str]] = {}
    used: list[tuple[str, str]] = []
    ignored: list[str] = []
    for name, value in given:
        plain_name = re.split("[:.]", name, maxsplit=1)[0]
        if plain_name in _PATIENTS and plain_name in known:
            name = name.removesuffix(":Patient")
        if name in known or name in _ONCE or name in _FOLLOWED:
            if name == "_summary" and value not in ("count", "false", ""):
                ignored.append(f"{name}={value[:40]}")
            elif value:  # an empty parameter is none
                found.setdefault(name, []).append(value)
                used += [(name, value)] if name != "_page" else []
        elif plain_name in known or plain_name in _FOLLOWED or plain_name == "_has":
            raise HTTPException(400, f"no chain and no modifier is understood here: {name[:80]!r}")
        elif name not in IGNORED:
            ignored.append(name[:80])
    if ignored and strict:
        raise HTTPException(400, f"not understood: {', '.join(ignored)}; here are {', '.join(known)}")
    for name in _ONCE:
        if len(found.get(name, ())) > 1:
            raise HTTPException(400, f"{name} is given twice")
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
        after=_after(once["_page"]) if "_page" in once else None,
        used=tuple(used),
        ignored=tuple(ignored),
    )


def wanted(kinds: Sequence[Kind], codes: tuple[tuple[Token, ...], ...]) -> list[Kind]:
    """The kinds that have one of each of the codes."""
    return [kind for kind in kinds if all(any(_has(kind, token) for token in one_of) for one_of in codes)]


def _has(kind: Kind, token: Token) -> bool:
    return any(
        (not token.code or coding["code"] == token.code)
        and (token.system is None or coding.get("system", "") == token.system)
        for concept in kind.codings
        for coding in concept.get("coding", ())
    )


def page_of(key: Key) -> str:
    """The opaque form of where a page goes on."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def _after(text: str) -> Key:
    try:
        key = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=Key)
    except (ValueError, msgspec.MsgspecError):
        key = ("", LATEST_NS, "")
    if not BEFORE_ALL_NS <= key[1] < LATEST_NS:
        raise HTTPException(400, "_page is not one that this server gave: start without it")
    return key


def _count(text: str) -> int:
    if not text.isdecimal() or not text.isascii():
        raise HTTPException(400, f"_count is a number from 0 on, not {text[:20]!r}")
    return min(int(text[:9]), COUNT_LIMIT)


def _total(text: str | None) -> bool | None:
    if text not in (None, "none", "accurate", "estimate"):
        raise HTTPException(400, f"_total is none, accurate or estimate, not {text[:20]!r}")
    return None if text is None else text != "none"


def _order(type_: str, text: str) -> Order:
    by = text.removeprefix("-")
    if by not in SORTS[type_]:
        possible = ", ".join(f"{each}, -{each}" for each in SORTS[type_])
        raise HTTPException(400, f"a {type_} cannot be sorted by {text[:80]!r}; _sort is one of {possible}")
    return Order(by, ascending=by == text)


def _follow(type_: str, values: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """References by parameter and type, of ``Observation:device``, ``Observation:device:Device`` or ``*``."""
    known = INCLUDES.get(type_, {})
    found = []
    for value in values:
        source, _, rest = value.partition(":")
        name, _, target = rest.partition(":")
        meant = [
            (each, type_to)
            for each, types in known.items()
            for type_to in types
            if value == "*" or (source == type_ and name in (each, "*") and target in ("", type_to))
        ]
        if not meant:
            possible = ", ".join(include_names(type_)) or "none"
            raise HTTPException(400, f"no reference to include is {value[:80]!r}; possible are {possible}")
        found += meant
    return tuple(dict.fromkeys(found))


def include_names(type_: str) -> list[str]:
    """Values of ``_include`` for a type."""
    return [f"{type_}:{name}" for name in INCLUDES.get(type_, ())]


def _revinclude(type_: str, values: Sequence[str]) -> bool:
    possible = REVINCLUDES.get(type_, ())
    for value in values:
        if value not in possible:
            told = ", ".join(possible) or "none"
            raise HTTPException(400, f"no _revinclude here is {value[:80]!r}; possible are {told}")
    return bool(values)


def _listed(values: list[str] | None) -> tuple[str, ...] | None:
    """Values between commas; of several parameters, those in all."""
    return None if values is None else in_all([plain(each) for each in listed(value)] for value in values)


def _identifiers(values: list[str] | None) -> tuple[str, ...] | None:
    """Values of our identifiers; None where all of our system are meant."""
    meant = [tokens(value) for value in values or ()]
    ours = [
        [token.code for token in each if token.system in (None, SYSTEM)]
        for each in meant
        if Token(SYSTEM, "") not in each
    ]
    return in_all(ours) if ours else None


def _references(values: list[str] | None, base: str) -> tuple[str, ...] | None:
    """References to what is on this server."""
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
                400, f"{each[:80]!r} is not a reference to a patient: Patient/<id>, or its id"
            )
    return ids


def _both(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if one is None or other is None:
        return one if other is None else other
    return tuple(each for each in one if each in other)
