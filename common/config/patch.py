"""Changes to a settings tree: JSON Merge Patch (RFC 7396)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast


def merge_patch(tree: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """``tree`` with the members of ``patch`` replaced, mappings member by member; None removes a member.

    >>> merge_patch({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": [3]}})
    {'a': {'c': 2, 'd': [3]}}
    """
    merged = dict(tree)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            before = merged.get(key)
            if not isinstance(before, Mapping):
                before = {}
            merged[key] = merge_patch(cast("Mapping[str, Any]", before), cast("Mapping[str, Any]", value))
        else:
            merged[key] = value
    return merged
