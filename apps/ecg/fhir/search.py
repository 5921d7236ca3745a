"""Search as FHIR R4 defines it: parameters, dates with prefixes, pages.

Understood are ``_id``, ``_count``, ``patient`` and ``subject``, ``code``, ``date``, ``identifier`` and
``target``, each where its type has it. What is not understood is left out, as R4 asks, and told in the bundle
(its ``self`` link has what was used), or refused where the client prefers ``handling=strict``. A value that
cannot be read is always refused.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

import msgspec
from fastapi import HTTPException

from apps.ecg.event_data import PATIENT
from apps.ecg.fhir.asked import LATEST_NS, Dates, Kind
from apps.ecg.fhir.ids import SYSTEM

COUNT, COUNT_LIMIT = 50, 200
IDS_LIMIT = 100
PARAMETERS = {
    "Patient": ("_id", "identifier"),
    "Device": ("_id", "identifier"),
    "Observation": ("_id", "identifier", "patient", "subject", "code", "date"),
    "DiagnosticReport": ("_id", "identifier", "patient", "subject", "code", "date"),
    "Provenance": ("_id", "patient", "target"),
}
"""Search parameters by type; each also has ``_count``."""
ALWAYS = ("_count", "_page")
IGNORED = ("_format", "_pretty")
"""Not about what is found, so nothing is told of them."""
_PREFIXES = ("eq", "ge", "le", "gt", "lt", "sa", "eb")
_DATE = re.compile(
    r"(?P<year>\d{4})(-(?P<month>\d\d)(-(?P<day>\d\d)(T(?P<hour>\d\d):(?P<minute>\d\d)(:(?P<second>\d\d)"
    r"(?P<fraction>\.\d{1,9})?)?(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?"
)


@dataclass(frozen=True, slots=True)
class Search:
    """A search of one type; None and empty are anything."""

    type: str
    count: int = COUNT
    ids: tuple[str, ...] | None = None
    patients: tuple[str, ...] | None = None
    codes: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    dates: Dates = field(default_factory=Dates)
    after: tuple[str, int, str] | None = None
    used: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()


def parse(type_: str, given: Iterable[tuple[str, str]], *, strict: bool) -> Search:
    """A search from the parameters of a request. Raises a 400 for what cannot be read."""
    known = PARAMETERS[type_]
    found: dict[str, list[str]] = {}
    used: list[tuple[str, str]] = []
    ignored: list[str] = []
    for name, value in given:
        plain = name.partition(":")[0]
        if name in known or name in ALWAYS:
            if value:  # an empty parameter is none
                found.setdefault(name, []).append(value)
                used += [(name, value)] if name != "_page" else []
        elif plain in known and name.startswith(f"{plain}:"):
            raise HTTPException(400, f"no modifier is understood here: {name[:80]!r}")
        elif name not in IGNORED:
            ignored.append(name[:80])
    if ignored and strict:
        raise HTTPException(400, f"not understood: {', '.join(ignored)}; here are {', '.join(known)}")
    once = ("_count", "_page")
    for name in once:
        if len(found.get(name, ())) > 1:
            raise HTTPException(400, f"{name} is given twice")
    return Search(
        type=type_,
        count=_count(found.get("_count", [str(COUNT)])[0]),
        ids=_both(_listed(found.get("_id")), _identifiers(found.get("identifier"))),
        patients=_both(_patients(found.get("patient")), _patients(found.get("subject"))),
        codes=_listed(found.get("code")),
        targets=_listed(found.get("target")),
        dates=_dates(found.get("date", ())),
        after=_after(found["_page"][0]) if "_page" in found else None,
        used=tuple(used),
        ignored=tuple(ignored),
    )


def wanted(kinds: Sequence[Kind], tokens: tuple[str, ...] | None) -> list[Kind]:
    """The kinds that have one of the codes: ``code``, ``system|code``, ``|code`` or ``system|``."""
    if tokens is None:
        return list(kinds)
    return [kind for kind in kinds if any(_has(kind, token) for token in tokens)]


def _has(kind: Kind, token: str) -> bool:
    system, bar, code = token.rpartition("|")
    return any(
        (not code or coding["code"] == code) and (not bar or coding.get("system", "") == system)
        for concept in kind.codings
        for coding in concept.get("coding", ())
    )


def page_of(key: tuple[str, int, str]) -> str:
    """The opaque form of where a page goes on."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def _after(text: str) -> tuple[str, int, str]:
    try:
        return msgspec.json.decode(
            base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=tuple[str, int, str]
        )
    except (ValueError, msgspec.MsgspecError):
        raise HTTPException(400, "_page is not one that this server gave: start without it") from None


def _count(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text[:9]) < 1:
        raise HTTPException(400, f"_count is a number from 1 on, not {text[:20]!r}")
    return min(int(text[:9]), COUNT_LIMIT)


def _listed(values: list[str] | None) -> tuple[str, ...] | None:
    """Values between commas; of several parameters, those in all."""
    if values is None:
        return None
    lists = [[part.strip() for part in value.split(",") if part.strip()] for value in values]
    if any(len(parts) > IDS_LIMIT for parts in lists):
        raise HTTPException(400, f"a parameter holds {IDS_LIMIT} values at most")
    return tuple(part for part in dict.fromkeys(lists[0]) if all(part in other for other in lists[1:]))


def _identifiers(values: list[str] | None) -> tuple[str, ...] | None:
    listed = _listed(values)
    if listed is None:
        return None
    return tuple(
        value
        for system, bar, value in (each.rpartition("|") for each in listed)
        if not bar or system == SYSTEM
    )


def _patients(values: list[str] | None) -> tuple[str, ...] | None:
    listed = _listed(values)
    if listed is None:
        return None
    names = tuple(each.rpartition("/")[2] for each in listed)
    for each, name in zip(listed, names, strict=True):
        wrong_type = "/" in each and not each.removesuffix(f"/{name}").endswith("Patient")
        if wrong_type or not PATIENT.fullmatch(name):
            raise HTTPException(
                400, f"{each[:80]!r} is not a reference to a patient: Patient/<id>, or its id"
            )
    return names


def _both(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if one is None or other is None:
        return one if other is None else other
    return tuple(each for each in one if each in other)


# ------------------------------------------------------------------------------------------- dates


def _dates(values: Iterable[str]) -> Dates:
    dates = Dates()
    for value in values:
        if "," in value:
            raise HTTPException(400, "one date a parameter: several parameters must all hold")
        prefix, text = (value[:2], value[2:]) if value[:2] in _PREFIXES else ("eq", value)
        first, after = _range(text)
        meant = {
            "eq": Dates(began_from=first, ended_by=after),
            "ge": Dates(ended_after=first),
            "gt": Dates(ended_after=after),
            "le": Dates(began_before=after),
            "lt": Dates(began_before=first),
            "sa": Dates(began_from=after),
            "eb": Dates(ended_by=first),
        }
        dates = dates.both(meant[prefix])
    return dates


def _range(text: str) -> tuple[int, int]:
    """The first nanosecond that a date may mean, and the first after the last one."""
    match = _DATE.fullmatch(text)
    if match is None:
        known = ", ".join(_PREFIXES)
        raise HTTPException(
            400,
            f"{text[:40]!r} is not a date such as ge2026-11-16 or 2026-11-16T08:00:00Z; prefixes: {known}",
        )
    part = {name: int(value) for name, value in match.groupdict().items() if value and value.isdecimal()}
    try:
        begin = datetime(
            part["year"],
            part.get("month", 1),
            part.get("day", 1),
            part.get("hour", 0),
            part.get("minute", 0),
            part.get("second", 0),
            tzinfo=_zone(match["zone"]),
        )
        if "day" not in part:
            months = 1 if "month" in part else 12
            ordinal = begin.year * 12 + begin.month - 1 + months
            after = begin.replace(year=ordinal // 12, month=ordinal % 12 + 1)
            length_ns = _ns(after) - _ns(begin)
        else:
            finest = "second" if "second" in part else "minute" if "minute" in part else "day"
            length_ns = {"second": 1, "minute": 60, "day": 86400}[finest] * 10**9
    except (ValueError, OverflowError):
        raise HTTPException(400, f"{text[:40]!r} is not a day or time that there is") from None
    begin_ns = _ns(begin)
    if fraction := match["fraction"]:
        begin_ns += int(fraction[1:].ljust(9, "0"))
        length_ns = 10 ** (9 - len(fraction[1:]))
    return (min(max(begin_ns, -1), LATEST_NS), min(max(begin_ns + length_ns, 0), LATEST_NS))


def _zone(text: str | None) -> timezone:
    if not text or text == "Z":
        return UTC
    sign = -1 if text[0] == "-" else 1
    return timezone(sign * timedelta(hours=int(text[1:3]), minutes=int(text[4:6])))


def _ns(time: datetime) -> int:
    return int(time.timestamp()) * 10**9
