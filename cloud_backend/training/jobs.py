"""The queue of training jobs, kept in the store, driven by `Jobs.tick`. Rules:

- States: ``queued`` → ``running`` → ``done`` (approved by the gate), ``refused`` (by the gate),
  ``failed`` or ``cancelled``. The last four are final.
- A job that was running when the cloud died is taken up again: by its result if it has one, else it is
  queued once more, and fails if that was its second interruption.
- Cancel and timeout ask the worker to stop, and make it stop `GRACE_S` later.
- Every candidate that was judged goes to the registry, as approved or refused; what fails leaves a
  reason and a log.
- What production or an ancestor of it was trained on is not held out: `held_out` judges both models on
  samples that neither has seen.
"""

from __future__ import annotations

import logging
import re
import shutil
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine, select, update
from sqlmodel import Session, col

from cloud_backend.registry import Registry
from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import JobRow, LabelRow, Node, SampleRow
from cloud_backend.training import job as files
from cloud_backend.training.executors import Executor, Run, make_executor
from cloud_backend.training.samples import SampleStore
from cloud_backend.training.split import held_out
from common.app.training import Label
from common.bundle import Bundle
from common.clock import Clock
from common.config.cloud import TrainingSettings
from common.errors import EdgeloopError, RegistryError, TrainingError

JOB_ID = re.compile(r"job-[0-9a-f]{12}")
GRACE_S = 10.0
"""How long a worker may take to stop when asked."""
ATTEMPTS = 2
"""How often a job is started when the cloud dies under it."""
SAMPLE_LIMIT = 20_000
LABEL_LIMIT = 100_000
"""Most samples and labels in a job: the newest."""
LOG_LIMIT_BYTES = 16 * 1024 * 1024
QUEUE_LIMIT = 100
"""Most jobs that wait."""

_log = logging.getLogger(__name__)


@dataclass
class _Running:
    run: Run
    started_s: float
    stop_reason: str = ""
    kill_at_s: float = 0.0
    progress: files.Progress | None = None


class Jobs:
    """Training jobs. ``submit`` and ``cancel`` from any thread; ``tick`` from one.

    ``folder`` keeps one folder per job; ``data_path`` is where the apps' data sets lie, if anywhere;
    ``app_entries`` names `AppSpec`s (``"module:attribute"``) that are not installed by entry point.
    """

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        folder: Path,
        settings: TrainingSettings,
        *,
        samples: SampleStore | None = None,
        data_path: Path | None = None,
        executor: Executor | None = None,
        app_entries: Mapping[str, str] | None = None,
        clock: Clock = time.time_ns,
        grace_s: float = GRACE_S,
    ) -> None:
        self._grace_s = grace_s
        self._engine = engine
        self._registry = registry
        self._folder = folder
        self._settings = settings
        self.samples = samples or SampleStore(engine, folder.parent / "samples", clock=clock)
        self._data_path = data_path
        self._executor = executor or make_executor(settings.ray_address)
        self._app_entries = dict(app_entries or {})
        self._clock = clock
        self._running: dict[str, _Running] = {}
        self._cancels: set[str] = set()
        self._lock = threading.Lock()
        self._recovered = False
        folder.mkdir(parents=True, exist_ok=True)

    def submit(self, app: str, parameters: Mapping[str, Any] | None = None, seed: int = 0) -> str:
        """Queue a job and return its id. Raises `RegistryError` for an unknown app, `TrainingError` if
        too many wait."""
        with self._lock:
            version = self._registry.next_version(app)
            return self._queue(app, version, parameters or {}, seed)

    def _queue(self, app: str, version: str, parameters: Mapping[str, Any], seed: int) -> str:
        with Session(self._engine) as session:
            waiting = session.scalars(
                select(JobRow.id).where(col(JobRow.state) == "queued").limit(QUEUE_LIMIT)
            ).all()
            if len(waiting) >= QUEUE_LIMIT:
                raise TrainingError(f"{QUEUE_LIMIT} jobs are waiting: cancel some, or wait")
            row = JobRow(
                id=f"job-{uuid.uuid4().hex[:12]}",
                app=app,
                state="queued",
                seed=seed,
                parameters=dict(parameters),
                version=version,
                created_ns=self._clock(),
            )
            session.add(row)
            session.commit()
            return row.id

    def cancel(self, id: str) -> None:
        """Cancel a job that waits or runs. Raises `TrainingError` if it is unknown or has ended."""
        with self._lock, Session(self._engine) as session:
            row = session.get(JobRow, id)
            if row is None:
                raise TrainingError(f"there is no job {id!r}")
            if row.state == "queued":
                row.state, row.message, row.ended_ns = (
                    "cancelled",
                    "cancelled before it started",
                    self._clock(),
                )
                session.commit()
            elif row.state == "running":
                self._cancels.add(id)
            else:
                raise TrainingError(f"job {id} has already ended: it is {row.state}")

    def log_path(self, id: str) -> Path:
        """Where the log of a job lies."""
        return self._folder / id / files.LOG

    def tick(self) -> None:
        """Look after what runs, and start what waits. Cheap when there is nothing to do."""
        if not self._recovered:
            self._recover()
            self._recovered = True
        for id, running in list(self._running.items()):
            self._watch(id, running)
        while len(self._running) < self._settings.workers and self._start_next():
            pass

    def close(self) -> None:
        """Stop what runs; it is queued again, and starts with the next life of the cloud."""
        for running in self._running.values():
            running.run.terminate()
        deadline_s = time.monotonic() + self._grace_s / 2
        for id, running in self._running.items():
            while running.run.poll() is None and time.monotonic() < deadline_s:
                time.sleep(0.02)
            if running.run.poll() is None:
                running.run.kill()
                running.run.poll()
            result = files.read_result(self._folder / id)
            if result is None or result.state == "failed":  # else the next life finds the result
                message = "interrupted: the cloud was stopped"
                self._change(
                    id, state="queued", message=message, progress=0.0, attempts=col(JobRow.attempts) - 1
                )
        self._running.clear()

    def _recover(self) -> None:
        with Session(read_only(self._engine)) as session:
            orphans = session.execute(
                select(JobRow.id, JobRow.attempts).where(col(JobRow.state) == "running")
            ).all()
        for id, attempts in orphans:
            self._executor.abandon(self._folder / id)
            result = files.read_result(self._folder / id)
            # A backup that was taken while the job ended may hold its result without its candidate.
            if result and (result.state == "failed" or (self._folder / id / files.BUNDLE).is_dir()):
                self._finish(id, "", "")
            elif attempts < ATTEMPTS:
                _log.warning("job %s was interrupted and is queued again", id)
                self._change(id, state="queued", message="interrupted: queued again", progress=0.0)
            else:
                self._end(id, "failed", f"interrupted {attempts} times by a stop of the cloud")

    def _start_next(self) -> bool:
        with Session(read_only(self._engine)) as session:
            if session.scalar(select(JobRow.id).where(col(JobRow.state) == "queued").limit(1)) is None:
                return False
        with self._lock, Session(self._engine, expire_on_commit=False) as session:
            row = session.scalars(
                select(JobRow).where(col(JobRow.state) == "queued").order_by(col(JobRow.created_ns)).limit(1)
            ).first()
            if row is None:
                return False
            row.state, row.started_ns, row.message = "running", self._clock(), "starting"
            row.attempts += 1
            session.commit()  # before the start: a job that runs is never found as queued
        folder = self._folder / row.id
        try:
            folder.mkdir(exist_ok=True)
            shutil.rmtree(folder / files.BUNDLE, ignore_errors=True)
            for name in (files.RESULT, files.PROGRESS):
                (folder / name).unlink(missing_ok=True)
            files.write_struct(folder / files.SPEC, self._spec(row))
            self._running[row.id] = _Running(self._executor.start(folder), time.monotonic())
        except (EdgeloopError, OSError) as error:
            self._end(row.id, "failed", str(error))
        return True

    def _spec(self, row: JobRow) -> files.JobSpec:
        try:
            parent = self._registry.production(row.app)
        except RegistryError as error:
            _log.info("job %s trains a first model: %s", row.id, error)
            parent = None
        self._change(row.id, parent=parent.version if parent else "")
        trained_on, unknown = self._trained_on(row.app, parent.version) if parent else (set(), [])
        with Session(read_only(self._engine)) as session:
            spec = self._spec_of(session, row, parent, trained_on)
        return msgspec.structs.replace(spec, unknown_training=unknown)

    def _trained_on(self, app: str, version: str) -> tuple[set[str], list[str]]:
        """Groups that a version and its ancestors were trained on, and those of them that left no record."""
        groups: set[str] = set()
        unknown: list[str] = []
        for link in self._registry.lineage(app, version):
            if link["known"] and "samples" not in link["data"]:
                continue  # it learned from data sets alone
            job = str(link.get("job", ""))
            try:
                if not JOB_ID.fullmatch(job):  # it names a folder, and a bundle from outside may say anything
                    raise TrainingError(f"{job!r} is no job of this cloud")
                spec = files.read_spec(self._folder / job / files.SPEC)
            except TrainingError:
                unknown.append(link["version"])
                continue
            groups |= {sample.group for sample in spec.samples if not sample.held_out}
        return groups, unknown

    def _spec_of(
        self, session: Session, row: JobRow, parent: Bundle | None, trained_on: set[str]
    ) -> files.JobSpec:
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
        virtual = set(session.scalars(select(Node.name).where(col(Node.virtual))))
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
                _sample_file(s, self.samples.path(s.digest), s.group in judging, s.node in virtual)
                for s in reversed(stored)
            ],
            labels=[_label(label) for label in reversed(labels)],
        )

    def _watch(self, id: str, running: _Running) -> None:
        ended = running.run.poll()
        if ended is not None:
            del self._running[id]
            self._cancels.discard(id)
            self._finish(id, ended, running.stop_reason)
            return
        progress = files.last_progress(self._folder / id)
        if progress is not None and progress != running.progress:
            running.progress = progress
            self._change(id, progress=progress.fraction, message=progress.message)
        _bound_log(self.log_path(id))
        now_s = time.monotonic()
        if not running.stop_reason:
            if id in self._cancels:
                running.stop_reason = "cancelled"
            elif now_s - running.started_s > self._settings.timeout_s:
                running.stop_reason = f"stopped: it took longer than {self._settings.timeout_s:g} s"
            if running.stop_reason:
                running.kill_at_s = now_s + self._grace_s
                running.run.terminate()
        elif now_s > running.kill_at_s:
            running.run.kill()

    def _finish(self, id: str, ended: str, stop_reason: str) -> None:
        result = files.read_result(self._folder / id)
        if stop_reason:
            self._end(id, "cancelled" if stop_reason == "cancelled" else "failed", stop_reason)
        elif result is None:
            self._end(id, "failed", f"{ended or 'the worker left no result'}: see the job's log")
        elif result.state == "failed":
            self._end(id, "failed", result.reason)
        else:
            try:
                self._registry.add(self._folder / id / files.BUNDLE, job=id, state=result.state)
            except EdgeloopError as error:
                self._end(
                    id, "failed", f"the registry does not take the candidate: {error}", gate=result.gate
                )
                return
            done = result.state == "approved"
            message = "approved" if done else result.reason
            self._end(id, "done" if done else "refused", message, gate=result.gate, progress=1.0)
            shutil.rmtree(self._folder / id / files.BUNDLE, ignore_errors=True)  # the registry has it

    def _end(self, id: str, state: str, message: str, **more: Any) -> None:
        self._change(id, state=state, message=message[:2000], ended_ns=self._clock(), **more)
        _log.info("job %s is %s: %s", id, state, message)

    def _change(self, id: str, **values: Any) -> None:
        with Session(self._engine) as session:
            session.execute(update(JobRow).where(col(JobRow.id) == id).values(**values))
            session.commit()


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


def _bound_log(path: Path) -> None:
    """Start the log again when it has grown too long; the worker appends, so it goes on in the new one."""
    try:
        if path.stat().st_size > LOG_LIMIT_BYTES:
            with path.open("r+b") as log:
                log.truncate(0)
                log.write(b"(the log had grown too long; what came before was dropped)\n")
    except FileNotFoundError:
        pass
