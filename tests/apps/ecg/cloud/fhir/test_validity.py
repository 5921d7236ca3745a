"""All that leaves by FHIR, checked against R4 by a validator that is not ours (the npm package ``fhir``)."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlmodel import Session
from starlette.testclient import TestClient

from apps.ecg.cloud.fhir import bundles
from apps.ecg.cloud.fhir.api import error
from apps.ecg.cloud.fhir.transactions import bundles_of, contents_of
from tests.apps.ecg.cloud.fhir.clients import sqlite
from tests.apps.ecg.conftest import Project
from tests.apps.ecg.received import ANN, a_day, at, hrv, received, rhythm, strip
from tests.waiting import PATIENCE_S

PACKAGE = "fhir@4.12.0"
SCRIPT = """
const { Fhir } = require("fhir");
const validator = new Fhir();
const given = JSON.parse(require("fs").readFileSync(0));
const results = given.map((each) => validator.validate(each, { errorOnUnexpected: true }));
console.log(JSON.stringify(results));
"""


@pytest.fixture(scope="session")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which node finds the package; skips where it cannot be had."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("the validator needs node and npm")
    folder = tmp_path_factory.mktemp("validator")
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm does not answer")
    if done.returncode:
        pytest.skip(f"npm cannot install {PACKAGE}: {done.stderr[-200:]}")
    return folder


def problems(validator: Path, resources: list[dict[str, Any]]) -> list[str]:
    done = subprocess.run(
        ["node", "-e", SCRIPT],
        input=json.dumps(resources),
        capture_output=True,
        text=True,
        cwd=validator,
        timeout=PATIENCE_S,
        check=True,
    )
    return [
        f"{resource['resourceType']}/{resource.get('id', '')} {message['location']}: {message['message']}"
        for resource, result in zip(resources, json.loads(done.stdout), strict=True)
        for message in result["messages"]
        if message["severity"] in ("error", "fatal")
    ]


@pytest.mark.e2e
@sqlite
def test_all_that_is_answered_and_sent_is_valid(
    validator: Path, engine: Engine, fhir: TestClient, client: TestClient, project: Project
) -> None:
    leads = ("I", "aVR", "V6", "MLII")
    odd = [strip(4000, "asystole", leads=leads, rhythm="unknown", beats=[]), strip(5000), strip(6000)]
    odd += [rhythm(7000, label=label) for label in ("VT", "pause", "tachycardia", "other")]
    odd += [hrv(86400, vlf_ms2=None, lf_ms2=None, hf_ms2=None, lf_hf=None, virtual=True)]
    odd += [received("finding", 9, node="bed_2", version="v 1/odd", finding="gap", lead=None, text="")]
    project([*a_day(), *odd])
    for began, verdict in ((4000, "unreadable"), (5000, "confirmed")):
        client.post(f"/strips/{ANN}.{at(began)}/review", json={"verdict": verdict, "note": "a note"})
    client.post(f"/strips/{ANN}.{at(6000)}/review", json={"verdict": "corrected", "rhythm": "other"})

    found: list[dict[str, Any]] = [fhir.get("/fhir/metadata").json(), json.loads(error(404, "none")[2])]
    for type_ in ("Patient", "Device", "Observation", "DiagnosticReport", "Provenance"):
        bundle = fhir.get(f"/fhir/{type_}?_count=200&colour=blue").json()
        found += [bundle, *(entry["resource"] for entry in bundle["entry"])]
        found += [fhir.get(f"/fhir/{type_}?{query}").json() for query in ("_summary=count", "_sort=-_id")]
    for type_ in ("Observation", "DiagnosticReport", "Provenance"):
        revinclude = "" if type_ == "Provenance" else "&_revinclude=Provenance:target"
        found.append(fhir.get(f"/fhir/{type_}?_include=*{revinclude}&_total=accurate").json())
    with Session(engine) as session:
        for seconds in (3600, 86400):
            contents = contents_of(session, ANN, at(0), seconds, at(10**6))
            found += [json.loads(bundle) for bundle in bundles_of(contents)]
    assert len(found) > 70
    assert problems(validator, found) == []


@pytest.mark.e2e
def test_the_validator_sees_what_is_wrong(validator: Path) -> None:
    wrong = {"resourceType": "Observation", "status": "finished", "code": {"text": "x"}, "colour": "blue"}
    assert len(problems(validator, [wrong, bundles.outcome("error", "invalid", "x")])) == 2
