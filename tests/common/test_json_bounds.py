"""Bounds of accepted JSON, and display of a stored text."""

from __future__ import annotations

import pytest

from common import json_bounds
from common.errors import MessageError


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "text",
    [
        nested(65),
        nested(300),
        nested(100_000),
        '{"a":' * 65 + "1" + "}" * 65,
        "9" * 33,
        f'{{"a":[-{"9" * 33}]}}',
        "9" * 5000,
        "1e400",
        "NaN",
        "[Infinity]",
        '"\\ud800"',
        b'"\xed\xa0\x80"',
        b"\xff",
        "",
        '"\x00"',
        "\ud800",
    ],
)
def test_what_no_reader_could_show_is_refused(text: str | bytes) -> None:
    with pytest.raises(MessageError):
        json_bounds.read(text)
    shown = json_bounds.shown(text)
    assert shown["unreadable"]
    assert shown["size_bytes"] == len(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (nested(64), None),
        ("9" * 32, int("9" * 32)),
        (f'"{"9" * 5000}"', "9" * 5000),
        (f'"{"[" * 5000}"', "[" * 5000),
        (f"0.{'1' * 500}", 0.1111111111111111),
        ('{"a":1,"a":2}', {"a": 2}),
        ("[[],[],[]]" * 1, [[], [], []]),
        ('"\\u0000"', "\0"),
    ],
)
def test_what_is_within_the_bounds_is_read(text: str, value: object) -> None:
    assert json_bounds.read(text) == value or value is None
    assert json_bounds.shown(text) == json_bounds.read(text)


@pytest.mark.parametrize(("value", "number"), [(3, 3), (-2.5, -2.5), (2**63 - 1, 2**63 - 1), (0, 0)])
def test_a_finite_number_is_kept(value: object, number: float) -> None:
    assert json_bounds.finite_number(value) == number


@pytest.mark.parametrize("value", [True, None, "3", [3], float("nan"), float("-inf"), 2**63, 1e300])
def test_any_other_value_is_no_finite_number(value: object) -> None:
    assert json_bounds.finite_number(value) is None
