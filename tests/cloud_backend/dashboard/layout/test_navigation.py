from __future__ import annotations

import pytest

from cloud_backend.dashboard.layout.navigation import ENTRIES, draw, is_current

MARKUP = '<img src=x onerror="window.broken=1">'


def test_the_frame_stands_in_the_pages_source_with_every_place() -> None:
    source = draw([*ENTRIES, ("apps/tally", "Tallies", "tag")], "/ui/alerts", "Robin")
    for place, name, _ in ENTRIES:
        assert f'href="/ui/{place}"' in source
        assert f"<span>{name}</span>" in source
    assert source.index("Pages of the apps") < source.index("<span>Tallies</span>")
    assert "Signed in as Robin" in source
    assert source.count('aria-current="page"') == 1
    assert 'href="/ui/alerts" aria-current="page"' in source


def test_no_navigation_head_stands_over_no_pages_of_apps() -> None:
    assert "Pages of the apps" not in draw(ENTRIES, "/ui/fleet", "Robin")


def test_of_an_apps_places_the_nearest_one_is_the_current_one() -> None:
    places = [*ENTRIES, ("apps/tally", "Tallies", "tag"), ("apps/tally/review", "Review", "tag")]
    for path in ("apps/tally/review", "apps/tally"):
        source = draw(places, f"/ui/{path}", "Robin")
        assert source.count('aria-current="page"') == 1
        assert f'href="/ui/{path}" aria-current="page"' in source


def test_names_in_the_frame_are_text() -> None:
    source = draw([*ENTRIES, ("apps/x", MARKUP, MARKUP)], "/ui/fleet", MARKUP)
    assert "<img" not in source
    assert source.count("&lt;img") == 3


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/ui/fleet", "fleet"),
        ("/ui/nodes/engine-1", "fleet"),
        ("/ui/models/tally/1.0.0", "models"),
        ("/ui/apps/tally/machines/m", "apps/tally"),
    ],
)
def test_a_page_belongs_to_one_place(path: str, place: str) -> None:
    places = [*(each for each, _, _ in ENTRIES), "apps/tally"]
    assert [each for each in places if is_current(path, each)] == [place]
