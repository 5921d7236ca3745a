"""Apps are found by their installed name, or by the place of their spec."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.app.spec import AppSpec, find_app
from common.errors import ConfigError


def test_an_installed_app_is_found_by_name() -> None:
    assert find_app("industrial").name == "industrial"


def test_an_app_that_is_not_installed_is_found_by_its_place() -> None:
    spec = find_app("apps.demo.benchmarks.meter:SPEC")
    assert isinstance(spec, AppSpec)
    assert spec.name == "meter"


def test_an_unknown_name_lists_what_is_installed() -> None:
    with pytest.raises(ConfigError, match=r"installed: .*industrial"):
        find_app("meter")


def test_a_library_that_an_app_lacks_is_reported_with_what_installs_it() -> None:
    spec = replace(find_app("industrial"), edge="no_such_library.edge:Edge")
    with pytest.raises(ConfigError, match=r"needs no_such_library.*edgeloop\[edge,industrial\]"):
        spec.load_edge()


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("apps.demo.nowhere:SPEC", "no app at 'apps.demo.nowhere:SPEC'"),
        ("apps.demo.benchmarks.meter:NOTHING", "no app at"),
        ("not a module:SPEC", "no app at"),
        (":SPEC", "no app at"),
        ("apps.demo.benchmarks.meter:", "not an AppSpec"),
        ("apps.demo.benchmarks.meter:MeterEdge", "is a type, not an AppSpec"),
        ("apps.demo.benchmarks.meter:VALUES", "is a int, not an AppSpec"),
    ],
)
def test_what_is_no_app_is_refused_with_its_place(place: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        find_app(place)
