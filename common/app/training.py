"""The app contract in training: labelled samples in, a bundle and its figures out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from common.bundle import Bundle
from common.app.edge import Sample
from common.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Label:
    """Ground truth about ``subject`` in ``group``: from a person, an outcome or a teacher model."""

    app: str
    subject: str
    group: str
    kind: str
    body: Mapping[str, Any]
    source: str
    created_ns: int


@dataclass(frozen=True, slots=True)
class LabelledSample:
    """A stored sample with the labels of its group. ``held_out`` ones are for evaluation only.

    ``sample`` is what the app offered on the node (`common.app.edge.Sample`): the arrays as they were,
    attributes as JSON values, the subject as a pseudonym where the app has them.
    """

    digest: str
    sample: Sample
    labels: Sequence[Label]
    held_out: bool


@dataclass(frozen=True, slots=True)
class TrainContext:
    """Input of a training job. ``samples`` are those that are not held out.

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

    def whole_number(self, name: str, default: int, maximum: int = 10_000) -> int:
        """The parameter ``name``, from 1 to ``maximum``. Raises `TrainingError`."""
        value = self.parameters.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= maximum:
            raise TrainingError(
                f"the parameter {name} must be a whole number from 1 to {maximum}, not {value!r}"
            )
        return value

    def choice(self, name: str, known: Sequence[str], default: str) -> str:
        """The parameter ``name``, one of ``known``. Raises `TrainingError`."""
        value = self.parameters.get(name, default)
        if value not in known:
            raise TrainingError(f"the parameter {name} must be {' or '.join(known)}, not {value!r}")
        return value


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number with its interval (95 % by default) and sample size.

    ``recorded``: taken from the bundle's manifest instead of measured now; the gate ignores it.
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
    """Result of an evaluation: ``figures`` overall, ``slices`` of the gate's metric by slice name.

    ``data`` names the measured set on disk, whether it is the published one, and its folder; empty if
    none was. ``evidence`` counts the held-out cases from the field behind the gate's figure, by what they are
    (``"runs"``); None where the app leaves the counting to the training job, which then counts the labelled
    samples that it held out.
    """

    figures: Mapping[str, Figure]
    slices: Mapping[str, Figure] = field(default_factory=dict[str, Figure])
    data: str = ""
    evidence: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class GateRule:
    """Gate for candidates: ``figure`` decides, every slice is guarded.

    A candidate passes if ``figure`` improves by at least ``min_gain`` (relative), no slice that
    production was measured on gets worse by more than ``slice_tolerance`` (relative), and it was judged on at
    least ``min_evidence`` held-out cases from the field (`Metrics.evidence`).
    """

    figure: str
    higher_is_better: bool
    min_gain: float = 0.0
    slice_tolerance: float = 0.05
    min_evidence: int = 1


class Training(Protocol):
    """The learning side of an app, imported only in training jobs and by ``edgeloop model``.

    It may have ``check_parameters``: those with which ``edgeloop app check`` trains in seconds. Where
    `evaluate` takes long it may have ``judge``, with the same arguments: what the gate compares models by.
    ``starter_needs_data = True`` says that it makes no first model without a data set: a copy of the app then
    begins with its starter.
    """

    gate: GateRule

    def train(self, context: TrainContext) -> Bundle:
        """Make a bundle in ``context.output``. Raises `TrainingError` or `DatasetError`."""
        ...

    def evaluate(self, bundle: Bundle, samples: Sequence[LabelledSample], data_path: Path | None) -> Metrics:
        """Measure ``bundle`` on data of no training job: held-out ``samples`` and the app's fixed sets.

        Raises `DatasetError` for a ``data_path`` without the app's set: it is never replaced by another.
        """
        ...
