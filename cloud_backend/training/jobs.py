"""The queue of training jobs, kept in the store, driven by `Jobs.tick`. Rules:

- States: ``queued`` → ``running`` → ``done`` (approved by the gate), ``refused`` (by the gate),
  ``failed`` or ``cancelled``. The last four are final.
- A job that was running when the cloud died is resumed: by its result if it has one, else it is queued
  once more, and fails at its second interruption.
- Cancel and timeout terminate the worker, and kill it `GRACE_S` later.
- Every candidate that was judged goes to the registry, as approved or refused; what fails leaves a
  reason and a log.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select, update
from sqlmodel import Session, col

from cloud_backend.registry.registry import Registry
from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import JobRow
from cloud_backend.training import job as files
from cloud_backend.training.executors import Executor, Run, make_executor
from cloud_backend.training.job_spec import JobSpecs
from cloud_backend.training.samples import SampleStore
from common.clock import Clock
from common.config.cloud import TrainingSettings
from common.errors import EdgeloopError, TrainingError

GRACE_S = 10.0
"""Time for a worker to stop before it is killed."""
ATTEMPTS = 2
"""Number of starts of a job that stops of the cloud interrupt."""
LOG_LIMIT_BYTES = 16 * 1024 * 1024
QUEUE_LIMIT = 100
"""Limit of queued jobs."""

_log = logging.getLogger(__name__)


@dataclass
class _Running:
    run: Run
    started_s: float
    stop_reason: str = ""
    kill_at_s: float = 0.0
    progress: files.Progress | None = None

    def stop_when_due(self, *, cancelled: bool, timeout_s: float, grace_s: float) -> None:
        """Terminate the worker of a cancelled or overdue job, and kill it ``grace_s`` later."""
        now_s = time.monotonic()
        if not self.stop_reason:
            if cancelled:
                self.stop_reason = "cancelled"
            elif now_s - self.started_s > timeout_s:
                self.stop_reason = f"stopped: it took longer than {timeout_s:g} s"
            if self.stop_reason:
                self.kill_at_s = now_s + grace_s
                self.run.terminate()
        elif now_s > self.kill_at_s:
            self.run.kill()


class Jobs:
    """Training jobs. ``submit`` and ``cancel`` from any thread; ``tick`` from one.

    ``folder`` has one folder per job; ``data_path`` is the folder of the apps' data sets, if there is one;
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
        self._specs = JobSpecs(engine, registry, folder, self.samples, data_path, app_entries or {})
        self._executor = executor or make_executor(settings.ray_address)
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
                select(col(JobRow.id)).where(col(JobRow.state) == "queued").limit(QUEUE_LIMIT)
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
                row.state, row.message = "cancelled", "cancelled before it started"
                row.ended_ns = self._clock()
                session.commit()
            elif row.state == "running":
                self._cancels.add(id)
            else:
                raise TrainingError(f"job {id} has already ended: it is {row.state}")

    def log_path(self, id: str) -> Path:
        """File of a job's log."""
        return self._folder / id / files.LOG

    def tick(self) -> None:
        """Watch the running jobs and start queued ones. Cheap when there is nothing to do."""
        if not self._recovered:
            self._recover()
            self._recovered = True
        for id, running in list(self._running.items()):
            self._watch(id, running)
        while len(self._running) < self._settings.workers and self._start_next():
            pass

    def close(self) -> None:
        """Stop the running jobs; they are queued again for the next start of the cloud."""
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
            if result is None or result.state == "failed":  # else the next start finds the result
                message = "interrupted: the cloud was stopped"
                self._change(
                    id, state="queued", message=message, progress=0.0, attempts=col(JobRow.attempts) - 1
                )
        self._running.clear()

    def _recover(self) -> None:
        with Session(read_only(self._engine)) as session:
            orphans = session.execute(
                select(col(JobRow.id), col(JobRow.attempts)).where(col(JobRow.state) == "running")
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
            if session.scalar(select(col(JobRow.id)).where(col(JobRow.state) == "queued").limit(1)) is None:
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
            _empty(folder)
            parent = self._specs.parent(row)
            self._change(row.id, parent=parent.version if parent else "")
            files.write_struct(folder / files.SPEC, self._specs.make(row, parent))
            self._running[row.id] = _Running(self._executor.start(folder), time.monotonic())
        except (EdgeloopError, OSError) as error:
            self._end(row.id, "failed", str(error))
        return True

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
        running.stop_when_due(
            cancelled=id in self._cancels, timeout_s=self._settings.timeout_s, grace_s=self._grace_s
        )

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


def _empty(folder: Path) -> None:
    """Remove the results of an earlier start from a job's folder."""
    folder.mkdir(exist_ok=True)
    shutil.rmtree(folder / files.BUNDLE, ignore_errors=True)
    for name in (files.RESULT, files.PROGRESS):
        (folder / name).unlink(missing_ok=True)


def _bound_log(path: Path) -> None:
    """Truncate the log beyond its limit; the worker opened it to append, so it continues in the rest."""
    try:
        if path.stat().st_size > LOG_LIMIT_BYTES:
            with path.open("r+b") as log:
                log.truncate(0)
                log.write(b"(the log was over its limit; earlier lines were dropped)\n")
    except FileNotFoundError:
        pass
