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
    source_kinds: Mapping[str, str] = field(default_factory=dict)
    """Of subjects whose virtual source is of another kind."""
    sites: Mapping[str, str] = field(default_factory=dict)
    """Of subjects at another site."""
    recording_lead_s: float = 0.0
    """Time from the start of the recordings to the start of the stage; 0 for sources without a start time."""
    node_settings: Mapping[str, Any] = field(default_factory=dict)

    def source_kind_of(self, subject: str) -> str:
        return self.source_kinds.get(subject, self.source_kind)

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
CAMERA = {"fps": "5", "size": "416x312", "people": "busy"}
STORES = Show(
    app="retail",
    title="Stores",
    subject_kind="virtual cameras",
    site="store-north",
    source_kind="entrance",
    subjects=("north-door", "north-gate", "south-aisle"),
    speed=1,
    speed_label="5 pictures per second",
    script="apps.demo.story.stores.manual_actions:script_of",
    snapshot_view="apps.demo.story.stores.snapshot_view:view_cameras",
    parameters={"north-door": CAMERA, "north-gate": CAMERA, "south-aisle": CAMERA},
    source_kinds={"south-aisle": "aisle"},
    sites={"south-aisle": "store-south"},
    recording_lead_s=1.0,  # So that the time of a picture is a function of its number.
    node_settings={"settings": {"samples": True, "sample_interval_s": 1.0}},
)
SHOWS = {show.app: show for show in (ENGINES, PATIENTS, STORES)}


def find_show(app: str) -> Show:
    """The show of an app. Raises `ShowError` for an app without a show."""
    if app not in SHOWS:
        raise ShowError(f"no show for {app!r}; available: {', '.join(SHOWS)}")
    return SHOWS[app]
