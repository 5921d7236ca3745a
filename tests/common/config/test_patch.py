"""Changes to a settings tree, by the examples of RFC 7396, appendix A."""

from __future__ import annotations

from typing import Any

import pytest

from common.config.patch import merge_patch


@pytest.mark.parametrize(
    ("tree", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_patch_replaces_members_and_none_removes_them(tree: Any, patch: Any, merged: Any) -> None:
    before = repr(tree)
    assert merge_patch(tree, patch) == merged
    assert repr(tree) == before
