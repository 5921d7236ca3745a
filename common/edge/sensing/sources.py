"""Sources of readings by URI.

``virtual:KIND?key=value`` is the app's virtual sensor; any other scheme is looked up under the
entry point group ``edgeloop.sources`` (``open_source(uri: SourceUri, speed) -> Source``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import parse_qsl

from common.app.edge import Source
from common.app.spec import AppSpec
from common.errors import SourceError, SourceFormatError

GROUP = "edgeloop.sources"
VIRTUAL = "virtual"
RETRY_FIRST_S, RETRY_LAST_S = 1.0, 60.0
"""First and longest delay before a source that failed is opened again."""


@dataclass(frozen=True, slots=True)
class SourceUri:
    """A source's URI in its parts: ``scheme:target?key=value``.

    An address of a network, ``scheme://host/path?query#key=value``, has its query for itself; ``target`` is
    then all of it behind the scheme.

    ``folder`` is where a source may keep what it must know after a restart; None is nowhere.
    """

    text: str
    scheme: str
    target: str
    parameters: dict[str, str]
    folder: Path | None = None


OpenSource = Callable[[SourceUri, float], Source]


def parse_uri(text: str) -> SourceUri:
    """The parts of a source's URI. Raises `SourceError`."""
    scheme, colon, rest = text.partition(":")
    target, _, query = rest.partition("#" if rest.startswith("//") else "?")
    if not colon or not scheme or not target:
        raise SourceError(f"{text!r} is not a source; give scheme:target, such as virtual:turbofan?seed=7")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise SourceError(f"{text!r}: its parameters are not key=value&key=value: {error}") from None
    return SourceUri(text, scheme.lower(), target, dict(pairs))


def without_password(text: str) -> str:
    """A source's URI as it may be shown: without the user and password of an address such as a camera's."""
    return re.sub(r"//[^/@?#]*(?:@[^/@?#]*)*@", "//", text)


def open_source(text: str, spec: AppSpec, speed: float, folder: Path | None = None) -> Source:
    """Open the source with this URI; ``folder`` is the node's. Raises `SourceError` or `ConfigError`."""
    uri = replace(parse_uri(text), folder=folder)
    if uri.scheme == VIRTUAL:
        return spec.load_virtual()(uri.target, uri.parameters, speed)
    for entry in entry_points(group=GROUP, name=uri.scheme):
        opener: OpenSource = entry.load()
        source = opener(uri, speed)
        _check_channels(source, spec)
        _check_rate(source, spec, text)
        return source
    known = ", ".join(sorted([VIRTUAL, *(entry.name for entry in entry_points(group=GROUP))]))
    raise SourceError(f"no source has the scheme {uri.scheme!r}; there are: {known}")


def _check_rate(source: Source, spec: AppSpec, text: str) -> None:
    """Refuse a recording at a sampling rate that the app does not take. Raises `SourceFormatError`."""
    rate_hz: float | None = getattr(source, "rate_hz", None)
    if rate_hz is None or spec.rates_hz is None:
        return
    lowest, highest = spec.rates_hz
    if not lowest <= rate_hz <= highest:
        source.close()
        raise SourceFormatError(
            f"{text} is sampled at {rate_hz:g} Hz; the app {spec.name!r} takes {lowest:g} to {highest:g} Hz: "
            "resample it, or give another recording"
        )


def _check_channels(source: Source, spec: AppSpec) -> None:
    """Refuse a source that lacks channels of the app. Raises `SourceFormatError`."""
    channels: tuple[str, ...] = getattr(source, "channels", ())
    lacking = [name for name in spec.channels if name not in channels]
    if channels and lacking:
        source.close()
        raise SourceFormatError(
            f"the source lacks {', '.join(lacking)}, which the app {spec.name!r} needs; it has "
            f"{', '.join(channels)[:500]}"
        )
