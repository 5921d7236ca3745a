"""Whatever fits the API's own description, and much that does not, gets an answer that it describes."""

from __future__ import annotations

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from cloud_backend.runtime.cloud import Cloud

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
quick = settings(
    max_examples=5,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_answers_are_as_described(api: FastAPI, cloud: Cloud, mode: GenerationMode) -> None:
    headers = {"Authorization": f"Bearer {cloud.access.admin_token}"}
    described = schemathesis.openapi.from_asgi("/openapi.json", api, headers=headers)
    seen: set[tuple[str, str]] = set()
    for found in described.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()

        @quick
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: schemathesis.Case) -> None:
            answer = case.call(headers=headers)
            seen.add((case.method, case.path))
            case.validate_response(answer, checks=CHECKS)

        check()
    assert len(seen) > 30
