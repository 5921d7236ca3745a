"""How it stands with each alarm."""

from __future__ import annotations

import pytest

from apps.ecg.app import EcgSettings
from apps.ecg.streaming.conditions import OF_THE_HEART, Standing, observe

MANY = EcgSettings().ventricular_beats_per_minute + 1


@pytest.mark.parametrize(("good_share", "present"), [(1.0, True), (0.5, True), (0.4, None)])
def test_a_minute_that_was_hardly_seen_says_nothing_of_its_beats(
    good_share: float, present: bool | None
) -> None:
    standing = Standing(False, False, 0.0, 70.0, (), MANY, good_share)
    found = {each.name: each.present for each in observe(standing, EcgSettings(), ())}
    assert found["frequent_ventricular_beats"] is present
    assert found["asystole"] is False


def test_nothing_of_the_heart_is_known_while_the_signal_is_withheld() -> None:
    standing = Standing(True, False, 9.0, 70.0, ("VT",), MANY, 1.0)
    found = {each.name: each.present for each in observe(standing, EcgSettings(), ())}
    assert [found[name] for name in OF_THE_HEART] == [None] * len(OF_THE_HEART)
    assert found["lead_off"] is False
