"""A job as files: everything that a worker needs and gives, in one folder.

::

    job.json         JobSpec: written by the cloud before the worker starts
    progress.jsonl   Progress, one a line, by the worker
    log.txt          what the worker and its libraries print
    bundle/          the candidate
    result.json      JobResult: written last, so a job with a result is finished

Samples are named by their path in the sample store; they never change there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from common import durable
from common.app.edge import Sample
from common.app.training import Label, LabelledSample
from common.errors import TrainingError

SPEC, PROGRESS, LOG, RESULT, BUNDLE = "job.json", "progress.jsonl", "log.txt", "result.json", "bundle"


class SampleFile(msgspec.Struct, frozen=True):
    """A stored sample: the file of its arrays, and its attributes."""

    digest: str
    path: str
    subject: str
    group: str
    captured_ns: int
    reasons: dict[str, float]
    attributes: dict[str, Any]
    held_out: bool
    virtual: bool = False
    """Whether its node runs a virtual source."""


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Order of a training run. ``app_entry`` is ``"module:attribute"`` of an `AppSpec` that is not installed
    by entry point; ``parent`` the folder of the production bundle, empty for a first model."""

    id: str
    app: str
    app_entry: str = ""
    version: str
    seed: int
    parameters: dict[str, Any]
    parent: str
    data_path: str
    samples: list[SampleFile]
    labels: list[Label]
    unknown_training: list[str] = []
    """Versions among the parent and its ancestors whose training samples are not on record here."""


class Progress(msgspec.Struct, frozen=True):
    """One line of progress."""

    fraction: float
    message: str


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a job: ``approved``, ``refused`` (by the gate) or ``failed``."""

    state: str
    reason: str = ""
    gate: dict[str, Any] = {}


class StoredArrays(Mapping[str, NDArray[Any]]):
    """The arrays of a stored sample, read at first use, so that a job need not hold all at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: tuple[str, ...] | None = None

    def _read(self) -> Mapping[str, NDArray[Any]]:
        from common.samples import decode_sample

        arrays = decode_sample(self._path)
        self._names = tuple(arrays)
        return arrays

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read() if self._names is None else self._names)

    def __len__(self) -> int:
        return len(self._read() if self._names is None else self._names)


def labelled_samples(spec: JobSpec) -> list[LabelledSample]:
    """The samples of a job with the labels of their groups."""
    by_group: dict[str, list[Label]] = {}
    for label in spec.labels:
        by_group.setdefault(label.group, []).append(label)
    return [
        LabelledSample(
            digest=file.digest,
            sample=Sample(
                subject=file.subject,
                group=file.group,
                captured_ns=file.captured_ns,
                reasons=file.reasons,
                arrays=StoredArrays(Path(file.path)),
                attributes=file.attributes,
            ),
            labels=by_group.get(file.group, []),
            held_out=file.held_out,
        )
        for file in spec.samples
    ]


def write_struct(path: Path, content: msgspec.Struct) -> None:
    """``content`` as JSON, whole or not there."""
    durable.write(path, msgspec.json.encode(content) + b"\n")


def read_spec(path: Path) -> JobSpec:
    """The job in a file. Raises `TrainingError`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=JobSpec)
    except (OSError, msgspec.MsgspecError) as error:
        raise TrainingError(f"{path} is not a training job: {error}") from error


def read_result(folder: Path) -> JobResult | None:
    """Result of the job in ``folder``; None if it has none, or one that cannot be read."""
    try:
        return msgspec.json.decode((folder / RESULT).read_bytes(), type=JobResult)
    except (OSError, msgspec.MsgspecError):
        return None


def last_progress(folder: Path) -> Progress | None:
    """The last whole line of progress."""
    try:
        with (folder / PROGRESS).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 8192))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return None
    for line in reversed(lines):
        try:
            return msgspec.json.decode(line, type=Progress)
        except msgspec.MsgspecError:
            continue
    return None
