"""The content of a training job: parent, samples, labels, and the samples held out for the gate.

Groups that production or an ancestor of it was trained on are not held out: the gate judges both models on
samples that neither has seen (`cloud_backend.training.split`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Engine, select
from sqlmodel import Session, col

from cloud_backend.registry.registry import Registry
from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import JobRow, LabelRow, Node, SampleRow
from cloud_backend.training import job as files
from cloud_backend.training.samples import SampleStore
from cloud_backend.training.split import held_out
from common.app.training import Label
from common.bundle import Bundle
from common.errors import RegistryError, TrainingError

JOB_ID = re.compile(r"job-[0-9a-f]{12}")
SAMPLE_LIMIT = 20_000
LABEL_LIMIT = 100_000
"""Limits of samples and labels in a job; the newest are taken."""

_log = logging.getLogger(__name__)


class JobSpecs:
    """Makes the spec of a job from the store, at its start.

    ``folder`` has one folder per job; ``data_path`` is the folder of the apps' data sets, if there is one;
    ``app_entries`` names `AppSpec`s (``"module:attribute"``) that are not installed by entry point.
    """

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        folder: Path,
        samples: SampleStore,
        data_path: Path | None,
        app_entries: Mapping[str, str],
    ) -> None:
        self._reader = read_only(engine)
        self._registry = registry
        self._folder = folder
        self._samples = samples
        self._data_path = data_path
        self._app_entries = dict(app_entries)

    def make(self, row: JobRow, parent: Bundle | None) -> files.JobSpec:
        """The spec of a job that starts from ``parent``."""
        trained_on, unknown = self._trained_on(row.app, parent.version) if parent else (set[str](), [])
        with Session(self._reader) as session:
            stored = session.scalars(
                select(SampleRow)
                .where(col(SampleRow.app) == row.app, col(SampleRow.complete))
                .order_by(col(SampleRow.received_ns).desc())
                .limit(SAMPLE_LIMIT)
            ).all()
            labels = session.scalars(
                select(LabelRow)
                .where(col(LabelRow.app) == row.app)
                .order_by(col(LabelRow.id).desc())
                .limit(LABEL_LIMIT)
            ).all()
            virtual = set(session.scalars(select(col(Node.name)).where(col(Node.virtual))))
        groups = {sample.group for sample in stored}
        labelled = {label.group for label in labels} & groups
        judging = held_out(row.app, labelled, groups - labelled, trained_on)
        return files.JobSpec(
            id=row.id,
            app=row.app,
            app_entry=self._app_entries.get(row.app, ""),
            version=row.version,
            seed=row.seed,
            parameters=row.parameters,
            parent=str(parent.path.resolve()) if parent else "",
            data_path=str(self._data_path.resolve()) if self._data_path else "",
            samples=[
                _sample_file(s, self._samples.path(s.digest), s.group in judging, s.node in virtual)
                for s in reversed(stored)
            ],
            labels=[_label(label) for label in reversed(labels)],
            unknown_training=unknown,
        )

    def parent(self, row: JobRow) -> Bundle | None:
        """The model in production; None for an app's first model."""
        try:
            return self._registry.production(row.app)
        except RegistryError as error:
            _log.info("job %s trains a first model: %s", row.id, error)
            return None

    def _trained_on(self, app: str, version: str) -> tuple[set[str], list[str]]:
        """Groups that a version and its ancestors were trained on, and the versions without a record."""
        groups: set[str] = set()
        unknown: list[str] = []
        for link in self._registry.lineage(app, version):
            if link["known"] and "samples" not in link["data"]:
                continue  # trained on data sets alone
            job = str(link.get("job", ""))
            try:
                if not JOB_ID.fullmatch(job):  # it names a folder, and an imported bundle may have any text
                    raise TrainingError(f"{job!r} is no job of this cloud")
                spec = files.read_spec(self._folder / job / files.SPEC)
            except TrainingError:
                unknown.append(link["version"])
                continue
            groups |= {sample.group for sample in spec.samples if not sample.held_out}
        return groups, unknown


def _sample_file(row: SampleRow, path: Path, judging: bool, virtual: bool) -> files.SampleFile:
    return files.SampleFile(
        digest=row.digest,
        path=str(path.resolve()),
        subject=row.subject,
        group=row.group,
        captured_ns=row.captured_ns,
        reasons=row.reasons,
        attributes=row.attributes,
        held_out=judging,
        virtual=virtual,
    )


def _label(row: LabelRow) -> Label:
    return Label(
        app=row.app,
        subject=row.subject,
        group=row.group,
        kind=row.kind,
        body=row.body,
        source=row.source,
        created_ns=row.created_ns,
    )
