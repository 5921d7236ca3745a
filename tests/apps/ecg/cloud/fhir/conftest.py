"""A client of the FHIR API that has the right token."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from tests.apps.ecg.cloud.fhir.clients import make_api


@pytest.fixture
def fhir(engine: Engine) -> Iterator[TestClient]:
    headers = {"Authorization": "Bearer right"}
    with TestClient(make_api(engine), headers=headers, raise_server_exceptions=False) as client:
        yield client
