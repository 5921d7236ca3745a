"""Common parts of camera sources: OpenCV, parameters, the camera's name, and clear errors."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import ModuleType

from common.edge.sensing.sources import SourceUri, without_password
from common.errors import ConfigError, ReadingError, SourceError

NAME_LIMIT = 64


def opencv() -> ModuleType:
    """The module ``cv2``, without its messages on standard error. Raises `ConfigError` where it is absent."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2  # pyright: ignore[reportMissingImports]: the extra [vision]
    except ImportError as error:
        raise ConfigError(
            f"camera sources need OpenCV, which cannot be imported ({error}): pip install 'edgeloop[vision]'"
        ) from error
    return cv2


def check_parameters(uri: SourceUri, known: Mapping[str, str]) -> None:
    """Raises `SourceError` for a parameter that a source does not have, with those that it has."""
    unknown = sorted(set(uri.parameters) - set(known))
    if unknown:
        listed = "; ".join(f"{name}: {meaning}" for name, meaning in known.items())
        raise SourceError(
            f"{without_password(uri.text)} has no parameter {', '.join(unknown)}; there are {listed}"
        )


def number(uri: SourceUri, name: str, default: float, *, lowest: float = 0.0) -> float:
    """A parameter above ``lowest``. Raises `SourceError`."""
    text = uri.parameters.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not lowest < value < float("inf"):
        raise SourceError(f"{without_password(uri.text)}: {name}={text!r} is no number above {lowest:g}")
    return value


def camera_name(uri: SourceUri, default: str) -> str:
    """The parameter ``name``, else ``default`` in the characters of a name."""
    name = uri.parameters.get("name", "") or re.sub(r"[^A-Za-z0-9._-]+", "-", default).strip("-")
    if not 0 < len(name) <= NAME_LIMIT:
        raise SourceError(f"{without_password(uri.text)}: a camera's name has 1 to {NAME_LIMIT} characters")
    return name


def resized(what: str, before: tuple[int, ...], now: tuple[int, ...]) -> ReadingError:
    """The report of frames that have another shape than before."""
    sizes = f"{before[1]} by {before[0]} to {now[1]} by {now[0]} pixels"
    return ReadingError(f"{what} have changed from {sizes}", kind="changed")


def no_camera(uri: SourceUri, reason: str) -> SourceError:
    return SourceError(f"{without_password(uri.text)} {reason}")
