"""A store, a registry and an update repository: a cloud as far as rollouts go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session

from cloud_backend.ota.rollouts import Rollouts
from cloud_backend.registry.registry import Registry
from cloud_backend.store.engine import open_store, sqlite_url
from cloud_backend.store.tables import Adoption, Node, RolloutRow
from common.config.cloud import RolloutSettings
from common.deployment import Deployment
from tests.builders import make_app
from tests.updates import APP, StillClock, UpdateSite

SOAK_S = 10.0
SETTINGS = RolloutSettings(soak_s=SOAK_S, silence_s=100.0, failure_share=0.1)


class Yard:
    """A cloud as far as rollouts go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = StillClock()
        self.engine: Engine = open_store(sqlite_url(folder / "cloud.sqlite"))
        self.site = UpdateSite(folder / "site")
        app = make_app(self.site.starter.path)
        self.registry = Registry(self.engine, str(folder / "models"), apps={APP: app}, clock=self.clock)
        self.hints: list[str] = []
        self.sequence = 0
        self.rollouts = self.restarted()

    def restarted(self) -> Rollouts:
        def hint(site: str, node: str, look: str) -> None:
            assert (site, look) == ("here", "deployment")
            self.hints.append(node)

        return Rollouts(self.engine, self.site.repository, self.registry, SETTINGS, hint, self.clock)

    def close(self) -> None:
        self.site.server.close()
        self.engine.dispose()

    def add_nodes(self, *names: str, **facts: Any) -> None:
        with Session(self.engine) as session:
            for name in names:
                known = {"site": "here", "app": APP, "profile": "cpu", "last_seen_ns": self.clock()}
                session.add(Node(name=name, **{**known, **facts}))
            session.commit()

    def see(self, *names: str, **facts: Any) -> None:
        """Nodes report, with these facts about them."""
        with Session(self.engine) as session:
            for name in names:
                node = session.get_one(Node, name)
                node.sqlmodel_update({"last_seen_ns": self.clock(), **facts})
                session.add(node)
            session.commit()

    def add_model(self, version: str, state: str = "approved", **traits: Any) -> str:
        self.registry.add(self.site.bundle(version, **traits).path, state=state)
        return version

    def report(self, rollout: str, node: str, step: str, *, reason: str = "", version: str = "v2") -> None:
        self.sequence += 1
        with Session(self.engine) as session:
            row = Adoption(
                stream_id=1,
                seq=self.sequence,
                node=node,
                app=APP,
                version=version,
                step=step,
                ok=step not in ("reverted", "refused"),
                reason=reason,
                rollout=rollout,
                time_ns=self.clock(),
                received_ns=self.clock(),
            )
            session.add(row)
            session.commit()

    def row(self, rollout: str) -> RolloutRow:
        with Session(self.engine, expire_on_commit=False) as session:
            row = session.get(RolloutRow, rollout)
            assert row is not None
            return row

    def document(self) -> Deployment:
        document = self.site.repository.deployment(APP)
        assert document is not None
        return document

    def inside(self, rollout: str) -> list[str]:
        return sorted(self.rollouts.progress(rollout).outcomes)

    def finish(self, rollout: str, version: str = "v2") -> None:
        """Let every node of every wave confirm."""
        for _ in self.row(rollout).waves:
            for node in self.inside(rollout):
                self.report(rollout, node, "confirmed", version=version)
            self.rollouts.tick()
        assert self.row(rollout).state == "done"
