"""A cloud of its own with the app alone, its events projected and a sample stored, behind its API."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastapi import FastAPI

from cloud_backend.api import create_api
from cloud_backend.app_check.projection import project
from cloud_backend.runtime.assembly import build
from cloud_backend.runtime.cloud import Cloud
from cloud_backend.training.samples import digest_of
from cloud_backend.training.upload_rows import Announced
from common.app.edge import Sample
from common.authoring.check import AppUnderCheck
from common.config.cloud import CloudSettings, HttpSettings, MqttSettings
from common.errors import AppError
from common.samples import encode_sample


@dataclass(frozen=True, slots=True)
class ServedApp:
    """The cloud with its API and the admin's token."""

    cloud: Cloud
    api: FastAPI
    token: str

    def client(self) -> httpx.AsyncClient:
        """A client in this process; errors of a route are raised."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.api, client=("127.0.0.1", 0)),
            base_url="http://127.0.0.1",
            headers={"Authorization": f"Bearer {self.token}"},
        )


@contextmanager
def served(app: AppUnderCheck, folder: Path) -> Generator[ServedApp]:
    """A running cloud in ``folder`` for the time of the block."""
    folder.mkdir(parents=True)
    settings = CloudSettings(
        data=str(folder), http=HttpSettings(port=0), mqtt=MqttSettings(broker="iotcore", port=0)
    )
    with ExitStack() as stack:
        cloud, _ = build(settings, folder, stack, apps={app.spec.name: app.spec})
        if problem := cloud.app_problems.get(app.spec.name):
            raise AppError(problem)
        api = create_api(cloud)
        project(cloud.engine, cloud.projections[app.spec.name], app.received)
        for result in app.results:
            if isinstance(result, Sample):
                _store(cloud, app.spec.name, result)
                break
        yield ServedApp(cloud, api, cloud.access.admin_token)


def _store(cloud: Cloud, name: str, sample: Sample) -> None:
    content = encode_sample(sample.arrays)
    announced = Announced(
        name,
        sample.subject,
        sample.group,
        sample.captured_ns,
        dict(sample.reasons),
        dict(sample.attributes),
        len(content),
        digest_of(content),
    )
    upload = cloud.jobs.samples.begin("check", announced)
    with cloud.jobs.samples.piece("check", upload.id, 0) as piece:
        piece.write(content)
