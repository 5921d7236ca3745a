"""Runs from the field: work orders, lost cycles, slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from apps.industrial.domain import CHANNELS
from apps.industrial.training.dataset import Run
from apps.industrial.training.evaluation import (
    evaluate,
    field_runs,
    slice_name,
    virtual_runs,
)
from common.bundle import Bundle
from tests.apps.industrial.training.contexts import field_sample


def test_work_orders_set_the_end_of_a_run() -> None:
    run = virtual_runs("hpc", 1, 4)[0]
    life = len(run.values)
    failed, _ = field_runs([field_sample(run, note="HPC worn.\nsecond line")])
    assert failed[0].remaining_cycles == 0
    assert failed[0].slice == "field:hpc-worn"
    inspected, _ = field_runs([field_sample(run, cycle=life, remaining=40)])
    assert inspected[0].rul_cycles()[-1] == 40
    # The order was closed at an earlier cycle than the last one that the node saw.
    earlier, _ = field_runs([field_sample(run, cycle=life - 10)])
    assert len(earlier[0].values) == life - 10
    assert earlier[0].rul_cycles()[-1] == 0


def test_unusable_field_runs_are_left_out_with_a_reason() -> None:
    run = virtual_runs("hpc", 1, 5)[0]
    good = field_sample(run)
    unlabelled = replace(good, labels=[])
    late = field_sample(run, first_cycle=20)
    short = field_sample(Run("short", run.values[:12]))
    shape = field_sample(Run("narrow", run.values[:, :7]))
    lost = run.values.copy()
    lost[40:60, CHANNELS.index("T50")] = np.nan
    gaps = field_sample(Run("gaps", lost))
    runs, reasons = field_runs([good, unlabelled, late, short, shape, gaps])
    assert [r.name for r in runs] == [run.name, "gaps"]
    assert len(runs[1].values) == len(run.values) - 20
    assert len(reasons) == 3
    assert "12 usable cycles" in " ".join(reasons)


def test_a_field_run_with_lost_cycles_keeps_the_numbers_of_those_that_came() -> None:
    run = virtual_runs("hpc", 1, 5)[0]
    values = run.values.copy()
    values[[10, 11, 50, -1]] = np.nan
    ((found,), _) = field_runs([field_sample(Run("gaps", values))])
    assert found.numbers().tolist() == [n for n in range(1, len(values)) if n not in (11, 12, 51)]
    assert found.rul_cycles()[-1] == 1
    assert found.life_cycles() == len(run.values)


def test_the_newest_label_counts() -> None:
    sample = field_sample(virtual_runs("hpc", 1, 6)[0], remaining=50)
    corrected = replace(
        sample.labels[0], body={**sample.labels[0].body, "remaining_cycles": 20}, created_ns=9
    )
    runs, _ = field_runs([replace(sample, labels=[corrected, sample.labels[0]])])
    assert runs[0].remaining_cycles == 20


def test_slices_have_plain_names_and_small_ones_are_judged_together(starter: Bundle) -> None:
    assert slice_name("Fan: blade #3 ERODED\n...") == "fan-blade-3-eroded"
    assert slice_name(" \n ") == "unnamed"
    assert len(slice_name("x" * 300)) == 40
    runs = virtual_runs("fan", 4, 7)
    notes = ["a", "a", "b", "c"]
    samples = [field_sample(run, note=note) for run, note in zip(runs, notes, strict=True)]
    slices = evaluate(starter, samples, None).slices
    assert {name: figure.count for name, figure in slices.items()} == {
        "field:a": 2, "field:others": 2, "virtual-hpc": 60
    }  # fmt: skip
