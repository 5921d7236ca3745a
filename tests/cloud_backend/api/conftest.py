"""A whole cloud, with broker, ingest and store, behind a client; one for all tests of a module."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlmodel import Session
from starlette.testclient import TestClient

from cloud_backend.api import create_api
from cloud_backend.ota.rollouts import Rollouts
from cloud_backend.registry.registry import Registry
from cloud_backend.runtime.assembly import build
from cloud_backend.runtime.cloud import Cloud
from cloud_backend.store.tables import Node, NodeSubject
from cloud_backend.training.jobs import Jobs
from cloud_backend.training.samples import SampleStore
from common.config.cloud import CloudSettings, HttpSettings, MqttSettings
from tests.cloud_backend.api.browsers import PAGES, PASSWORD, new_browser
from tests.cloud_backend.learner import ENTRY, NAME, make_learner

ROOT = Path(__file__).resolve().parents[3]
SAMPLE_LIMIT_BYTES = 200_000


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("LEARNER_STARTER", str(folder / "starter"))
        settings = CloudSettings(
            data=str(folder),
            database=database,
            http=HttpSettings(port=0, sample_limit_bytes=SAMPLE_LIMIT_BYTES),
            mqtt=MqttSettings(port=0),
        )
        whole, _ = build(settings, folder, stack)
        apps = {**whole.apps, NAME: make_learner(folder / "starter")}
        whole.repository.add_app(NAME)
        registry = Registry(whole.engine, str(folder / "models"), apps=apps, clock=whole.clock)
        samples = SampleStore(
            whole.engine, folder / "samples", limit_bytes=SAMPLE_LIMIT_BYTES, clock=whole.clock
        )
        jobs = Jobs(
            whole.engine,
            registry,
            folder / "jobs",
            settings.training,
            samples=samples,
            app_entries={NAME: ENTRY},
            clock=whole.clock,
        )
        stack.callback(jobs.close)
        rollouts = Rollouts(
            whole.engine, whole.repository, registry, settings.rollout, whole.consumer.hint, whole.clock
        )
        yield dataclasses.replace(whole, apps=apps, registry=registry, jobs=jobs, rollouts=rollouts)


@pytest.fixture(scope="module")
def api(cloud: Cloud) -> FastAPI:
    return create_api(cloud)


@pytest.fixture(scope="module")
def anyone(api: FastAPI) -> Iterator[TestClient]:
    """A client without a token."""
    with TestClient(api, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def admin(api: FastAPI, cloud: Cloud) -> Iterator[TestClient]:
    headers = {"Authorization": f"Bearer {cloud.access.admin_token}"}
    with TestClient(api, headers=headers, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def node(api: FastAPI, cloud: Cloud) -> Iterator[TestClient]:
    """A client with the token of the node ``n1`` at ``plant``, which has reported ``machine-1``."""
    token, password = cloud.access.enrol("n1", "plant")
    cloud.broker.add_node("plant", "n1", password)
    with Session(cloud.engine) as session:
        row = session.get(Node, "n1")
        assert row is not None
        row.app = NAME
        session.add(row)
        session.add(NodeSubject(node="n1", subject="machine-1"))
        session.commit()
    headers = {"Authorization": f"Bearer {token}"}
    with TestClient(api, headers=headers, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> FastAPI:
    """The API with pages under ``/ui`` and a password, as people see it."""
    cloud.access.passwords.set(PASSWORD)
    api = create_api(cloud)
    api.mount("/ui", PAGES)
    return api


@pytest.fixture
def browser(site: FastAPI) -> Iterator[TestClient]:
    """A browser that nobody has signed in with."""
    with new_browser(site) as client:
        yield client
