"""The app contract on the node: readings in, events and samples out.

::

    source ── Reading ──> EdgeApp.process ── Event ──> outbox
                               │  └───────── Sample ─> curation
                               └ Model.run (ONNX Runtime, from the bundle in the live slot)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from common.arrays import Arrays
from common.errors import ReadingError
from common.messages import Event

if TYPE_CHECKING:
    from common.bundle import Manifest


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a source.

    ``values`` is the measurement: one row of sensor values ``(channels,)``, a chunk of a signal
    ``(samples, channels)``, a frame ``(height, width, 3)`` in BGR. ``subject`` names the observed
    thing or person. ``position`` increases within a source; after a restart the node continues after the
    last position whose events it has committed. ``attributes`` carry values other than arrays. ``recorded``
    marks a capture time from a recording instead of this device's clock.
    """

    subject: str
    captured_ns: int
    position: int
    values: NDArray[Any]
    channels: tuple[str, ...] = ()
    rate_hz: float | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    recorded: bool = False


class Source(Protocol):
    """Source of readings. ``live`` sources may drop all but the newest; others lose nothing.

    ``virtual`` marks simulated readings; it is shown wherever the data is shown.
    """

    live: bool
    virtual: bool

    def readings(self, after: int | None) -> Iterator[Reading | ReadingError]:
        """Readings with ``position > after`` (all, where None). Raises `SourceError`.

        An unreadable item (a malformed row, a torn file) is yielded as a `ReadingError` with its place; the
        next one follows. A source in real time sleeps between readings; ``close`` ends the iteration from
        another thread.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Sample:
    """A candidate for learning, offered by an app to the node's curation.

    ``reasons`` are scores in [0, 1] by name (``novelty``, ``low_margin``, ``disagreement``,
    ``drift``, ``feedback``); the highest one ranks it. ``group`` keeps related samples on one side
    of a split (a machine's run, a patient, a clip). ``arrays`` is the content, ``attributes`` JSON values
    about it.
    """

    subject: str
    group: str
    captured_ns: int
    reasons: Mapping[str, float]
    arrays: Arrays
    attributes: Mapping[str, Any]


class Model(Protocol):
    """A loaded bundle: ONNX Runtime behind one call."""

    @property
    def manifest(self) -> Manifest: ...

    def run(self, inputs: Arrays) -> Arrays:
        """Outputs by name. Raises `InferenceError` for a failed run or for NaN or infinity in an output.

        An app lets it through (`EdgeApp.process`).
        """
        ...


@dataclass(frozen=True, slots=True)
class EdgeContext:
    """Settings and model of a new app instance."""

    settings: Any
    model: Model


State = Mapping[str, Any]
"""An app's state as JSON values, bytes and numpy arrays, nested in mappings and lists."""


class EdgeApp(Protocol):
    """The decisions of one app on one node, created as ``spec.load_edge()(EdgeContext(...))``.

    Pure over its state: the same readings give the same events, live or replayed. State is bounded.
    """

    def process(self, reading: Reading, now_ns: int) -> Iterable[Event | Sample]:
        """Decide on one reading. Raises `ReadingError` for an unusable one; the state is then unchanged.

        Any other exception, `InferenceError` among them, counts against the model: the reading has no
        results, the position moves past it, and the 1st, 2nd, 4th, 8th ... is reported as
        ``edgeloop.inference``. In a soak the previous model's results for that reading are used instead; a
        model on trial that fails too often (``ota.failure_share``) is reverted. The node goes on with the
        next reading, so the state must be usable after an exception: change it after the model has run.
        """
        ...

    def snapshot(self) -> State:
        """The state; after `restore` on a new instance the events are the same as without a restart."""
        ...

    def restore(self, state: State) -> None:
        """Restore a state, possibly of an instance with another model version."""
        ...


@runtime_checkable
class TimedEdgeApp(Protocol):
    """An `EdgeApp` that also decides where no reading comes, such as on a camera that is gone."""

    def pass_time(self, now_ns: int) -> Iterable[Event]:
        """Decide on silence. Called about once a second with the node's time, between two readings.

        What changes in the state without an event may be lost at a crash.

        The readings of a recording stand for themselves: time that passes on the node is no silence of it.
        """
        ...
