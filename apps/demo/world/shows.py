"""The shows: subjects, virtual source and script of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from apps.demo.world.processes import ShowError

if TYPE_CHECKING:
    from apps.demo.world.snapshot import SnapshotView


@dataclass(frozen=True, slots=True)
class Show:
    """The show of one app; ``script`` and ``snapshot_view`` are ``"module:attribute"``, imported on use.

    ``script`` builds story and manual actions of a stage (`apps.demo.story.show.load_script`);
    ``snapshot_view`` is a `apps.demo.world.snapshot.SnapshotView`.
    """

    app: str
    title: str
    subject_kind: str
    """In the plural: "virtual engines"."""
    site: str
    source_kind: str
    """Kind of the virtual source."""
    subjects: tuple[str, ...]
    """Each has a node of the same name."""
    speed: int
    """Of the virtual source."""
    speed_label: str
    script: str
    snapshot_view: str
    parameters: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Additional source parameters, by subject."""
    recording_lead_s: float = 0.0
    """Time from the start of the recordings to the start of the stage; 0 for sources without a start time."""
    node_settings: Mapping[str, Any] = field(default_factory=dict)

    def load_snapshot_view(self) -> SnapshotView:
        return resolve_name(self.snapshot_view)


ENGINES = Show(
    app="industrial",
    title="Engines",
    subject_kind="virtual engines",
    site="virtual-plant",
    source_kind="turbofan",
    subjects=("engine-1", "engine-2", "engine-3"),
    speed=60,
    speed_label="60 cycles per second",
    script="apps.demo.story.engines.manual_actions:script_of",
    snapshot_view="apps.demo.story.engines.snapshot_view:view_engines",
)
PATIENTS = Show(
    app="ecg",
    title="Patients",
    subject_kind="virtual patients",
    site="virtual-ward",
    source_kind="patient",
    subjects=("bed-1", "bed-2", "bed-3"),
    speed=30,
    speed_label="30 times real time",
    script="apps.demo.story.patients.manual_actions:script_of",
    snapshot_view="apps.demo.story.patients.snapshot_view:view_patients",
    parameters={
        "bed-1": {"name": "Ada-Berg"},
        "bed-2": {"name": "Ben-Cole"},
        "bed-3": {"name": "Cleo-Dahl"},
    },
    recording_lead_s=8 * 3600.0,  # A quarter of an hour on the stage is 7.5 h for the patients.
    node_settings={"settings": {"consent": "learning"}},
)
SHOWS = {show.app: show for show in (ENGINES, PATIENTS)}


def find_show(app: str) -> Show:
    """The show of an app. Raises `ShowError` for an app without a show."""
    if app not in SHOWS:
        raise ShowError(f"no show for {app!r}; available: {', '.join(SHOWS)}")
    return SHOWS[app]
