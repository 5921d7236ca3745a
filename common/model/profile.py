"""Hardware profile: runtimes, ONNX Runtime providers, threads and precision of a device.

A profile is one file under the entry point group ``edgeloop.profiles``. `find_profile` inspects the device:
of the profiles that recognise it and whose provider the installed ONNX Runtime has, the most specific wins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from common.bundle import ONNX_RUNTIME
from common.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of device.

    ``providers`` are ONNX Runtime's execution providers in order of preference; those that are not
    installed are skipped. ``precision`` is the fastest on the device (``int8``, ``float16``,
    ``float32``): of a bundle's variants for one of ``runtimes``, the one of that precision is used.
    ``detect`` returns whether this is such a device; ``rank`` orders the detected profiles, highest first.
    """

    name: str
    providers: tuple[str, ...]
    intra_op_threads: int
    precision: str
    detect: Callable[[], bool]
    rank: int = 0
    tags: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = (ONNX_RUNTIME,)
    provider_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])


def find_profile(name: str = "") -> Profile:
    """The profile called ``name``, or the one that fits this device.

    Raises `ConfigError` for an unknown name, naming those that there are.
    """
    entries = {entry.name: entry for entry in entry_points(group="edgeloop.profiles")}
    if name:
        if name not in entries:
            known = ", ".join(sorted(entries)) or "none"
            raise ConfigError(f"no hardware profile is called {name!r}; installed: {known}")
        return entries[name].load()
    profiles: list[Profile] = [entry.load() for entry in entries.values()]
    fitting = [profile for profile in profiles if profile.detect()]
    if not fitting:
        raise ConfigError("no hardware profile fits this device: name one with --profile")
    return max(fitting, key=lambda profile: (profile.rank, profile.name))


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_model() -> str:
    """Model name of the board in the device tree (``Raspberry Pi 5 Model B Rev 1.0``); empty if nothing."""
    try:
        return Path("/proc/device-tree/model").read_bytes().rstrip(b"\0").decode("utf-8", "replace")
    except OSError:
        return ""
