"""Parameters of a training job: accepted values, and errors that name the parameter."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.app.training import TrainContext
from common.errors import TrainingError


def context(**parameters: object) -> TrainContext:
    return TrainContext("v1", None, (), Path(), None, 0, parameters, lambda _fraction, _message: None)


def test_a_parameter_that_is_absent_has_its_default() -> None:
    assert context().whole_number("epochs", 4) == 4
    assert context().choice("recipe", ("full", "quick"), "quick") == "quick"


def test_a_parameter_is_taken() -> None:
    assert context(epochs=9).whole_number("epochs", 4) == 9
    assert context(recipe="full").choice("recipe", ("full", "quick"), "quick") == "full"


@pytest.mark.parametrize("wrong", [0, -1, 11, 2.0, "3", True, None])
def test_a_number_out_of_range_or_of_another_type_is_refused(wrong: object) -> None:
    with pytest.raises(TrainingError, match="epochs must be a whole number from 1 to 10"):
        context(epochs=wrong).whole_number("epochs", 4, maximum=10)


@pytest.mark.parametrize("wrong", ["best", "", 1, None])
def test_an_unknown_choice_is_refused_with_the_known_ones(wrong: object) -> None:
    with pytest.raises(TrainingError, match="recipe must be full or quick"):
        context(recipe=wrong).choice("recipe", ("full", "quick"), "full")
