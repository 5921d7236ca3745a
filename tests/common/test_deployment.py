"""The deployment document: every node finds its own wave, and old or foreign documents are refused."""

from __future__ import annotations

import json
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.deployment import (
    Constraint,
    Deployment,
    NodeTraits,
    Wave,
    decode_deployment,
    position_of,
    version_for,
)
from common.errors import UpdateRefused


def traits(node: str = "node-1", **others: object) -> NodeTraits:
    return NodeTraits(**{"node": node, "site": "plant", "profile": "cpu", **others})


def deployment(*waves: Wave, serial: int = 3) -> Deployment:
    return Deployment(app="industrial", serial=serial, rollout="r1", base_version="old", waves=list(waves))


def test_a_share_of_the_nodes_gets_the_new_version() -> None:
    half = deployment(Wave("new", 0.5))
    chosen = [version_for(half, traits(f"node-{i}")) for i in range(4000)]
    assert 0.46 < chosen.count("new") / len(chosen) < 0.54
    assert set(chosen) == {"new", "old"}


@given(st.text(min_size=1), st.text(), st.floats(0.01, 1), st.floats(0.01, 1))
def test_who_is_in_a_wave_stays_in_when_it_grows(
    node: str, rollout: str, first: float, second: float
) -> None:
    position = position_of(node, rollout)
    assert 0 <= position < 1
    small, large = sorted((first, second))
    if position < small:
        assert position < large


def test_different_rollouts_have_different_canaries() -> None:
    canaries = [{n for n in range(300) if position_of(f"n{n}", salt) < 0.1} for salt in ("a", "b")]
    assert canaries[0] != canaries[1]


@pytest.mark.parametrize(
    ("constraint", "inside"),
    [
        (Constraint(), True),
        (Constraint(sites=["plant"]), True),
        (Constraint(sites=["other"]), False),
        (Constraint(profiles=["jetson"]), False),
        (Constraint(tags=["canary", "x"]), True),
        (Constraint(tags=["x"]), False),
        (Constraint(nodes=["node-1"], sites=["other"]), False),
    ],
)
def test_a_constraint_holds_only_if_all_its_parts_do(constraint: Constraint, inside: bool) -> None:
    document = deployment(Wave("new", 1.0, constraint))
    assert version_for(document, traits(tags=("canary",))) == ("new" if inside else "old")


def refusal(content: bytes) -> str:
    with pytest.raises(UpdateRefused) as caught:
        decode_deployment(content, app="industrial", seen_serial=3)
    return caught.value.reason


def test_a_document_is_taken_only_if_it_is_for_this_app_and_not_older() -> None:
    good = deployment()
    assert decode_deployment(msgspec.json.encode(good), app="industrial", seen_serial=3) == good
    assert refusal(msgspec.json.encode(deployment(serial=2))) == "rollback"
    assert refusal(msgspec.json.encode(msgspec.structs.replace(good, app="ecg"))) == "wrong_app"
    assert refusal(b"{") == "malformed"
    assert refusal(b'{"app":"industrial","serial":4,"rollout":"r","surprise":1}') == "malformed"
    assert refusal(msgspec.json.encode(msgspec.structs.replace(good, format=2))) == "malformed"


@pytest.mark.parametrize(
    "changes",
    [
        {"serial": 0},
        {"serial": 2**63 - 1},
        {"serial": 10**5000},
        {"soak_s": 1e308},
        {"soak_s": -1.0},
        {"waves": [{"version": "v", "share": 0.0}]},
        {"waves": [{"version": "v", "share": 1e9}]},
        {"settings": {"limit": 1e308}},
        {"settings": {"limit": 2**64}},
        {"settings": {"a": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_numbers_that_no_honest_document_has_are_refused(changes) -> None:
    document = {"app": "industrial", "serial": 3, "rollout": "r", **changes}
    encoded = _json(document)
    with pytest.raises(UpdateRefused) as refused:
        decode_deployment(encoded, app="industrial", seen_serial=0)
    assert refused.value.reason == "malformed"


def _json(document: dict[str, object]) -> bytes:
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(document).encode()
    finally:
        sys.set_int_max_str_digits(limit)
