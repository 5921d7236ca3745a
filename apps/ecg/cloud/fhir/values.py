"""Values of search parameters: lists, tokens and references, with the escapes of FHIR.

In a value ``\\,`` ``\\|`` ``\\$`` and ``\\\\`` stand for the characters themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import HTTPException

VALUES_LIMIT = 100
"""Limit of comma-separated values."""
_ESCAPED = re.compile(r"\\([\\,|$])")
_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Token:
    """``code``, ``system|code``, ``|code`` (of no system) or ``system|`` (any of a system).

    ``system`` None matches any system, an empty ``code`` any code.
    """

    system: str | None
    code: str


def listed(value: str) -> list[str]:
    """Comma-separated values, still escaped. Raises a 400 above `VALUES_LIMIT`."""
    parts = [part.strip() for part in _split(value, ",")]
    parts = [part for part in parts if part]
    if len(parts) > VALUES_LIMIT:
        raise HTTPException(400, f"a parameter may have at most {VALUES_LIMIT} values")
    return parts


def plain(text: str) -> str:
    """A value, unescaped."""
    return _ESCAPED.sub(r"\1", text)


def tokens(value: str) -> tuple[Token, ...]:
    """The tokens of a parameter. Raises a 400 for a malformed one."""
    found = []
    for text in listed(value):
        parts = [plain(part) for part in _split(text, "|")]
        if len(parts) > 2 or not any(parts):
            raise HTTPException(400, f"{text[:80]!r} is not a token: code, system|code, |code or system|")
        found.append(Token(parts[0], parts[1]) if len(parts) == 2 else Token(None, parts[0]))
    return tuple(found)


def relative(text: str, base: str) -> str | None:
    """A reference as ``Type/id`` or ``id``; None for a reference to a server other than ``base``."""
    if "://" not in text and not text.startswith("urn:"):
        return text
    own, path = _server(base), _server(text)
    return path.removeprefix(f"{own}/") if path.startswith(f"{own}/") else None


def in_all(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Values in every list, in the order of the first."""
    first, *others = [list(dict.fromkeys(each)) for each in lists]
    return tuple(each for each in first if all(each in other for other in others))


def _server(url: str) -> str:
    """A URL with scheme and host normalized."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.query or parts.fragment:
        return ""
    scheme = parts.scheme.lower()
    host = parts.netloc.lower().removesuffix(_PORTS.get(scheme, ""))
    return f"{scheme}://{host}{parts.path.rstrip('/')}"


def _split(text: str, mark: str) -> list[str]:
    """Parts between unescaped marks."""
    parts, begin, at = [], 0, 0
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        if text[at] == mark:
            parts.append(text[begin:at])
            begin = at + 1
        at += 1
    return [*parts, text[begin:]]
