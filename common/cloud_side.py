"""What the cloud's side of an app may offer beside what every `common.app.CloudApp` does.

An app that has one of these is asked for it; others need not know of it.

=================  ==========================================================================
`LabelProjection`  tables that also come from labels
`RootMounts`       routes at the cloud's root, with errors of their own form (FHIR)
`CloudChores`      work in the background, and settings for it
=================  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from common.app import Label


@runtime_checkable
class LabelProjection(Protocol):
    """A `common.app.CloudApp` whose tables also come from labels."""

    def project_labels(self, session: Any, labels: Sequence[Label]) -> None:
        """Bring the tables up to date. Idempotent; what it cannot read of a label it leaves.

        Called in the transaction that adds a label through the API, and with all labels, oldest first, after
        a rebuild. An app calls it itself for labels that its own routes add.
        """
        ...


@dataclass(frozen=True, slots=True)
class Mount:
    """Routes beside ``/v1``, with an error format of their own.

    ``router`` is a FastAPI router. ``error`` makes of a status and a text the status, the media type and the
    body that are answered instead of a problem document, whoever refused (also the guard). ``open_paths``,
    below the mount's, can be read by everybody.
    """

    router: Any
    error: Callable[[int, str], tuple[int, str, bytes]]
    open_paths: frozenset[str] = frozenset()


@runtime_checkable
class RootMounts(Protocol):
    """A `common.app.CloudApp` that speaks a standard whose paths are at the cloud's root."""

    def mounts(self, deps: Any) -> Mapping[str, Mount]:
        """Mounts by path (``/fhir``), behind the same access as all routes.

        ``deps`` as for ``router``; its ``settings`` are those of all apps (``apps.<app>``), not checked yet.
        """
        ...


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do every ``every_s`` seconds; while it fails, ever more rarely, up to a minute."""

    name: str
    every_s: float
    do: Callable[[], object]


@dataclass(frozen=True, slots=True)
class CloudContext:
    """What an app's chores get.

    ``session(read_only=False)`` opens a SQLModel session on the store (True: it takes no lock); ``settings``
    is the app's part of the cloud's settings (``apps.<app>``), not checked yet; ``clock`` gives UTC
    nanoseconds.
    """

    session: Callable[..., AbstractContextManager[Any]]
    settings: Mapping[str, Any]
    clock: Callable[[], int]


@runtime_checkable
class CloudChores(Protocol):
    """A `common.app.CloudApp` with work to do in the background. Only such an app has settings there."""

    def chores(self, context: CloudContext) -> Sequence[Chore]:
        """Chores for a thread of the app's own, done while the cloud serves. Raises `ConfigError`."""
        ...
