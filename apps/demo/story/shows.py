"""Which shows there are: who is on the stage of each, and where its script is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from apps.demo.world.processes import ShowError

if TYPE_CHECKING:
    from apps.demo.world.snapshot import Look


@dataclass(frozen=True, slots=True)
class Show:
    """The show of one app; ``script`` and ``look`` are named as ``"module:attribute"``, imported when used.

    ``script`` makes what is played on a stage (`stage.Stage.script`); ``look`` asks the cloud for a picture
    of each node's subject.
    """

    app: str
    title: str
    who: str
    """Who is on the stage, in the plural: "virtual engines"."""
    site: str
    kind: str
    """Kind of the virtual source."""
    subjects: tuple[str, ...]
    """Each has a node of the same name."""
    speed: int
    """Of the virtual source."""
    pace: str
    """What that speed is, in words."""
    script: str
    look: str
    parameters: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """More parameters of a subject's source."""
    begins_before_s: float = 0.0
    """So long before the stage is set its recordings begin; 0 for sources that need no time of their own."""
    node_settings: Mapping[str, Any] = field(default_factory=dict)

    def load_look(self) -> Look:
        return resolve_name(self.look)


ENGINES = Show(
    app="industrial",
    title="Engines",
    who="virtual engines",
    site="virtual-plant",
    kind="turbofan",
    subjects=("engine-1", "engine-2", "engine-3"),
    speed=60,
    pace="60 cycles a second",  # A flight an hour would be 1/3600.
    script="apps.demo.story.engines.manual_actions:script_of",
    look="apps.demo.story.engines.snapshot_view:look",
)
PATIENTS = Show(
    app="ecg",
    title="Patients",
    who="virtual patients",
    site="virtual-ward",
    kind="patient",
    subjects=("bed-1", "bed-2", "bed-3"),
    speed=30,
    pace="30 times as fast as life",
    script="apps.demo.story.patients.manual_actions:script_of",
    look="apps.demo.story.patients.snapshot_view:look",
    parameters={
        "bed-1": {"name": "Ada-Berg"},
        "bed-2": {"name": "Ben-Cole"},
        "bed-3": {"name": "Cleo-Dahl"},
    },
    begins_before_s=8 * 3600.0,  # A quarter of an hour on the stage is as long for the patients.
    node_settings={"settings": {"consent": "learning"}},
)
SHOWS = {show.app: show for show in (ENGINES, PATIENTS)}


def find_show(app: str) -> Show:
    """The show of an app. Raises `ShowError` where there is none."""
    if app not in SHOWS:
        raise ShowError(f"no show for {app}; there are shows for {', '.join(SHOWS)}")
    return SHOWS[app]
