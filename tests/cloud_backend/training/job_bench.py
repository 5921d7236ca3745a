"""A registry, a sample store and jobs with real workers, as a cloud puts them together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session

from cloud_backend.registry.registry import Registry
from cloud_backend.store.engine import open_store, sqlite_url
from cloud_backend.store.tables import JobRow
from cloud_backend.training.executors import PID
from cloud_backend.training.jobs import Jobs
from cloud_backend.training.samples import SampleStore
from common.config.cloud import TrainingSettings
from tests.cloud_backend.labelled_samples import store_labelled
from tests.cloud_backend.learner import ENTRY, NAME, make_learner
from tests.waiting import wait_for

ENDED = {"done", "refused", "failed", "cancelled"}


class Bench:
    """A registry, a sample store and jobs over one folder; ``restart`` is the next life of the cloud."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.settings = TrainingSettings(**settings)
        self.engine: Engine = open_store(sqlite_url(folder / "cloud.sqlite"))
        apps = {NAME: make_learner(folder / "starter")}
        self.registry = Registry(self.engine, str(folder / "models"), apps=apps)
        self.samples = SampleStore(self.engine, folder / "samples")
        self.lives: list[Jobs] = []
        self.restart()

    def restart(self) -> None:
        self.jobs = Jobs(
            self.engine,
            self.registry,
            self.folder / "jobs",
            self.settings,
            samples=self.samples,
            app_entries={NAME: ENTRY},
            grace_s=0.5,
        )
        self.lives.append(self.jobs)

    def close(self) -> None:
        for jobs in self.lives:
            jobs.close()
        self.engine.dispose()

    def row(self, id: str) -> JobRow:
        with Session(self.engine) as session:
            return session.get_one(JobRow, id)

    def until(self, condition: Callable[[], bool], *, alive: bool = True) -> None:
        """Wait; with ``alive`` the jobs are looked after meanwhile."""

        def met() -> bool:
            if alive:
                self.jobs.tick()
            return condition()

        wait_for(met, "what the jobs lead to")

    def run(self, id: str) -> JobRow:
        self.until(lambda: self.row(id).state in ENDED)
        return self.row(id)

    def running(self, id: str, attempt: int = 1) -> None:
        """Wait until the worker of a job has reported that it waits."""
        self.until(lambda: (self.row(id).message, self.row(id).attempts) == ("waiting", attempt))

    def pid(self, id: str) -> int:
        return int((self.folder / "jobs" / id / PID).read_text())

    def learn(self, groups: int, gain: float) -> list[str]:
        """Store one labelled sample in each of ``groups`` groups."""
        return store_labelled(self.engine, self.samples, groups, gain)
