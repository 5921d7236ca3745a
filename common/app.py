"""The app contract: what the four apps give, and all that edge and cloud know of them.

An app is an `AppSpec` under the entry point group ``edgeloop.apps``. Its parts are named as
``"module:attribute"`` and imported when first used, so that a node never imports what only the cloud
or training needs.

On the node::

    source ── Reading ──> EdgeApp.process ── Event ──> outbox
                               │  └───────── Sample ─> curation
                               └ Model.run (ONNX Runtime, from the bundle in the live slot)

In the cloud, `CloudApp.project` sees each event once, in order per node, inside the transaction that
commits it; `Training` makes, evaluates and judges models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from numpy.typing import NDArray

from common.errors import ConfigError, ReadingError
from common.messages import Event, Priority

if TYPE_CHECKING:
    from common.bundle import Bundle, Manifest

Arrays = Mapping[str, NDArray[Any]]
"""Named arrays, as a model takes and gives them."""


# ---------------------------------------------------------------------------------------- at the edge


@dataclass(frozen=True, slots=True)
class Reading:
    """One thing that a source gave.

    ``values`` is what was sensed: one row of sensor values ``(channels,)``, a chunk of a signal
    ``(samples, channels)``, a frame ``(height, width, 3)`` in BGR. ``subject`` names what was observed.
    ``position`` counts up within a source; after a restart the node asks for what comes after the last
    position whose events it has committed. ``attributes`` carry what is not a number in an array.
    ``recorded`` marks a capture time that a recording has, not one by this device's clock.
    """

    subject: str
    captured_ns: int
    position: int
    values: NDArray[Any]
    channels: tuple[str, ...] = ()
    rate_hz: float | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    recorded: bool = False


class Source(Protocol):
    """Gives readings. ``live`` sources may drop all but the newest; others lose nothing.

    ``virtual`` is True where the readings are simulated; it is said wherever the data is shown.
    """

    live: bool
    virtual: bool

    def readings(self, after: int | None) -> Iterator[Reading | ReadingError]:
        """Readings with ``position > after`` (all, where None). Raises `SourceError`.

        What cannot be read (a malformed row, a torn file) is given as a `ReadingError` that says where; the
        next one follows. A source in real time sleeps between readings; ``close`` ends the iteration from
        another thread.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Sample:
    """Something that may be worth learning from, offered by an app to the node's curation.

    ``reasons`` tells why, as scores in [0, 1] by name (``novelty``, ``low_margin``, ``disagreement``,
    ``drift``, ``feedback``); the highest one ranks it. ``group`` keeps what belongs together on one side
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

    manifest: Manifest

    def run(self, inputs: Arrays) -> Arrays:
        """Outputs by name. Raises `InferenceError` for a failed run or for NaN or infinity in an output."""
        ...


@dataclass(frozen=True, slots=True)
class EdgeContext:
    """What a node gives an app when it creates it."""

    settings: Any
    model: Model


State = Mapping[str, Any]
"""An app's state as JSON values, bytes and numpy arrays, nested in mappings and lists."""


class EdgeApp(Protocol):
    """The decisions of one app on one node, created as ``spec.load_edge()(EdgeContext(...))``.

    Pure over its state: the same readings give the same events, live or replayed. State is bounded.
    """

    def process(self, reading: Reading, now_ns: int) -> Iterable[Event | Sample]:
        """Decide on one reading. Raises `ReadingError` for an unusable one; the state is then unchanged."""
        ...

    def snapshot(self) -> State:
        """The state, such that `restore` on a new instance goes on as if nothing had happened."""
        ...

    def restore(self, state: State) -> None:
        """Take over a state, possibly of an instance with another model version."""
        ...


# --------------------------------------------------------------------------------------- in the cloud


class ReceivedEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A committed event as the cloud's side of an app sees it; ``data`` is decoded on first use.

    Where the node's clock was wrong, ``time_ns`` and the times in ``body`` are corrected alike.
    """

    site: str
    node: str
    epoch: str
    seq: int
    type: str
    subject: str
    time_ns: int
    priority: Priority
    body: bytes
    time_quality: str = ""
    """`common.messages.TimeQuality` of the times."""

    @property
    def data(self) -> dict[str, Any]:
        """The event's data. Raises ``msgspec.DecodeError`` if it is not a JSON object."""
        return msgspec.json.decode(self.body, type=dict[str, Any])


class CloudApp(Protocol):
    """The cloud's side of an app. ``session`` is a SQLModel session.

    What it may offer besides is in `common.cloud_side`.

    Its tables are projections: they can be dropped and made again from the events and labels, so they
    need no migrations; raise ``schema_version`` when they change and the cloud rebuilds them.
    """

    schema_version: int

    def tables(self) -> Sequence[Any]:
        """SQLModel table classes, each named ``<app>_...``."""
        ...

    def project(self, session: Any, events: Sequence[ReceivedEvent]) -> None:
        """Bring the tables up to date. Idempotent; runs in the transaction that commits ``events``."""
        ...

    def router(self, deps: Any) -> Any:
        """A FastAPI router with the app's routes, mounted under ``/v1/apps/<app>``.

        ``deps`` offers ``session`` and ``admin`` dependencies, ``add_label(session, Label)``, and
        ``labels(session, app, subject=, group=, kinds=, before=, limit=)``: labels with their ids, newest
        first, those with an id below ``before``.
        """
        ...


@dataclass(frozen=True, slots=True)
class Label:
    """What turned out to be true about ``subject`` in ``group``: from a person, an outcome or a teacher."""

    app: str
    subject: str
    group: str
    kind: str
    body: Mapping[str, Any]
    source: str
    created_ns: int


@dataclass(frozen=True, slots=True)
class LabelledSample:
    """A stored sample with the labels of its group. ``held_out`` ones are for judging only."""

    digest: str
    sample: Sample
    labels: Sequence[Label]
    held_out: bool


@dataclass(frozen=True, slots=True)
class TrainContext:
    """What a training job gets. ``samples`` holds only what is not held out.

    ``parent`` is the production bundle (None for a first model); ``output`` an empty folder for the new
    one; ``progress(fraction, message)`` reports and raises `TrainingError` once the job is cancelled.
    """

    version: str
    parent: Bundle | None
    samples: Sequence[LabelledSample]
    output: Path
    data_path: Path | None
    seed: int
    parameters: Mapping[str, Any]
    progress: Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number with its interval (95 % unless said otherwise) and the count behind it.

    ``recorded``: not measured now, but repeated from the bundle's manifest; the gate does not look at it.
    ``virtual``: measured on virtual data alone.
    """

    value: float
    lower: float | None = None
    upper: float | None = None
    count: int | None = None
    unit: str = ""
    recorded: bool = False
    virtual: bool = False


@dataclass(frozen=True, slots=True)
class Metrics:
    """What an evaluation found: ``figures`` overall, ``slices`` of the gate's metric by slice name.

    ``data`` says which set on disk was measured, whether it is the published one, and where it lies; empty if
    none was. ``evidence`` counts the held-out cases from the field behind the gate's figure, by what they are
    (``"runs"``); None where the app leaves the counting to the training job, which then counts the labelled
    samples that it held out.
    """

    figures: Mapping[str, Figure]
    slices: Mapping[str, Figure] = field(default_factory=dict)
    data: str = ""
    evidence: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class GateRule:
    """How candidates are judged: ``figure`` decides, every slice is guarded.

    A candidate passes if ``figure`` improves by at least ``least_gain`` (relative), no slice that
    production was measured on gets worse by more than ``slice_tolerance`` (relative), and it was judged on at
    least ``min_evidence`` held-out cases from the field (`Metrics.evidence`).
    """

    figure: str
    higher_is_better: bool
    least_gain: float = 0.0
    slice_tolerance: float = 0.05
    min_evidence: int = 1


class Training(Protocol):
    """The learning side of an app, imported only in training jobs and by ``edgeloop model``."""

    gate: GateRule

    def train(self, context: TrainContext) -> Bundle:
        """Make a bundle in ``context.output``. Raises `TrainingError` or `DatasetError`."""
        ...

    def evaluate(self, bundle: Bundle, samples: Sequence[LabelledSample], data_path: Path | None) -> Metrics:
        """Measure ``bundle`` on what no training job saw: held-out ``samples`` and the app's fixed sets.

        Raises `DatasetError` for a ``data_path`` without the app's set: it is never replaced by another.
        """
        ...


# --------------------------------------------------------------------------------------------- the app


@dataclass(frozen=True, slots=True)
class AppSpec:
    """An app, as found by its entry point. The strings are ``"module:attribute"``, imported on use.

    ``edge``     callable ``(EdgeContext) -> EdgeApp``
    ``cloud``    callable ``() -> CloudApp``
    ``train``    a `Training` (a module with ``gate``, ``train`` and ``evaluate`` is one)
    ``virtual``  callable ``(kind, parameters: dict[str, str], speed: float) -> Source``;
                 its kinds are ``virtual_kinds``
    ``pages``    callable that adds the app's pages to the dashboard
    ``settings`` the app's typed settings; ``starter`` the folder of the bundle that the app comes with
    ``channels`` those without which a row of sensor values cannot be used; a source that lacks one is refused
    ``rates_hz`` sampling rates that it takes, lowest and highest; a recording at another one is refused
    ``alarm_ends`` types of events of a lower priority that end an alarm
    ``pseudonyms`` whether subjects are persons: the app sees them, and the cloud hears of them, only by
                 pseudonyms that the node makes (`common.edge.pseudonyms`)
    ``capacity`` the setting that bounds how many subjects are followed at a time (`common.subjects`); beside
                 it stands one ``forget_..._after_hours`` or ``_days``
    ``ranges`` what each channel can read, ``{channel: (lowest, highest)}``, of an app that checks its
                 sensors: a value outside of it is reported, is not used, and clears no alarm
    """

    name: str
    title: str
    settings: type[msgspec.Struct]
    starter: Path
    edge: str
    cloud: str
    train: str
    virtual: str
    virtual_kinds: tuple[str, ...]
    pages: str | None = None
    pseudonyms: bool = False
    capacity: str = ""
    ranges: str = ""
    channels: tuple[str, ...] = ()
    rates_hz: tuple[float, float] | None = None
    alarm_ends: tuple[str, ...] = ()

    def load_edge(self) -> Callable[[EdgeContext], EdgeApp]:
        """Raises `ConfigError` where a library that the app needs is not installed."""
        try:
            return resolve_name(self.edge)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"the app {self.name!r} needs {error.name}, which is not installed: "
                f"pip install 'edgeloop[edge,{self.name}]'"
            ) from error

    def load_cloud(self) -> CloudApp:
        return resolve_name(self.cloud)()

    def load_train(self) -> Training:
        return resolve_name(self.train)

    def load_virtual(self) -> Callable[[str, dict[str, str], float], Source]:
        return resolve_name(self.virtual)


def installed_apps() -> dict[str, AppSpec]:
    """Every app of this installation by name."""
    return {entry.name: entry.load() for entry in entry_points(group="edgeloop.apps")}


def find_app(name: str) -> AppSpec:
    """The app with this name, or at ``"module:attribute"`` for one that is not installed (yet).

    A name with a colon imports code: it must come from the operator, never from the network.
    Raises `ConfigError` naming those that are installed, or what is wrong at that place.
    """
    if ":" in name:
        return _app_at(name)
    for entry in entry_points(group="edgeloop.apps", name=name):
        return entry.load()
    known = ", ".join(sorted(entry.name for entry in entry_points(group="edgeloop.apps"))) or "none"
    raise ConfigError(
        f"no app is called {name!r}; installed: {known} (module:attribute names one that is not installed)"
    )


def _app_at(place: str) -> AppSpec:
    try:
        found = resolve_name(place)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"there is no app at {place!r}: {error}") from error
    if not isinstance(found, AppSpec):
        raise ConfigError(f"{place!r} is a {type(found).__name__}, not an AppSpec")
    return found
