"""Training jobs survive in a backup: what they were, what they printed, and what they learned from."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, update
from sqlmodel import Session, col

from cloud_backend.ota.repository import Repository
from cloud_backend.runtime.backup import restore_backup, take_backup
from cloud_backend.store.tables import JobRow, ModelVersion
from cloud_backend.training import job as files
from tests.cloud_backend.learner import NAME, make_learner
from tests.cloud_backend.training.job_bench import Bench

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("LEARNER_STARTER", str(tmp_path / "cloud" / "starter"))
    (tmp_path / "cloud").mkdir()
    bench = Bench(tmp_path / "cloud")
    Repository(bench.folder / "tuf", bench.folder / "secrets", (NAME,))
    yield bench
    bench.close()


@pytest.fixture
def restored(bench: Bench, tmp_path: Path) -> Iterator[Callable[[], Bench]]:
    """The cloud of a backup that is taken now, started; call it after what is to be in the backup."""
    made: list[Bench] = []

    def restore() -> Bench:
        file, _ = take_backup(bench.folder, "", tmp_path / "b.tar", edgeloop="1")
        restore_backup(file, tmp_path / "again")
        made.append(Bench(tmp_path / "again"))
        return made[0]

    yield restore
    for each in made:
        each.close()


def spec_of(bench: Bench, id: str) -> files.JobSpec:
    return files.read_spec(bench.folder / "jobs" / id / files.SPEC)


def groups_of(spec: files.JobSpec, *, held_out: bool) -> set[str]:
    return {sample.group for sample in spec.samples if sample.held_out == held_out}


def test_a_restored_cloud_knows_what_its_models_learned_from(bench: Bench, restored) -> None:
    bench.learn(8, gain=2.0)
    id = bench.jobs.submit(NAME, {}, seed=5)
    row = bench.run(id)
    assert row.state == "done"
    bench.registry.set_state(NAME, row.version, "production")
    again: Bench = restored()
    found = again.row(id)
    assert (found.state, found.message, found.gate, found.seed) == ("done", "approved", row.gate, 5)
    assert again.jobs.log_path(id).read_bytes() == bench.jobs.log_path(id).read_bytes() != b""
    assert spec_of(again, id) == spec_of(bench, id)
    trained_on = groups_of(spec_of(bench, id), held_out=False)
    bench.close()
    shutil.rmtree(bench.folder)  # nothing of the old folder is needed
    make_learner(bench.folder / "starter")  # but the installed app
    later = again.jobs.submit(NAME, {"gain": 2.0})
    again.run(later)
    spec = spec_of(again, later)
    assert spec.unknown_training == []
    assert trained_on
    assert not trained_on & groups_of(spec, held_out=True)
    assert {len(files.StoredArrays(Path(sample.path))) for sample in spec.samples} == {1}


def test_a_job_that_ran_starts_again_without_its_unfinished_candidate(bench: Bench, restored) -> None:
    id = bench.jobs.submit(NAME, {"wait": True})
    bench.running(id)
    candidate = bench.folder / "jobs" / id / files.BUNDLE
    candidate.mkdir(exist_ok=True)
    (candidate / "model.onnx").write_bytes(b"half of it")
    again: Bench = restored()
    assert not (again.folder / "jobs" / id / files.BUNDLE).exists()
    again.running(id, attempt=2)


@pytest.mark.parametrize("kept", [True, False], ids=["with its candidate", "whose candidate was taken"])
def test_a_job_that_ended_while_the_backup_was_taken_ends_in_the_restored_cloud(
    bench, restored, kept
) -> None:
    """The store is copied first; a job may run in it whose worker ends before its files are copied."""
    id = bench.jobs.submit(NAME, {"gain": 2.0})
    bench.until(lambda: bench.row(id).state == "running")
    bench.until(lambda: files.read_result(bench.folder / "jobs" / id) is not None, alive=False)
    if not kept:
        assert bench.run(id).state in ("done", "refused")
        assert not (bench.folder / "jobs" / id / files.BUNDLE).exists()
        with Session(bench.engine) as session:
            session.execute(update(JobRow).where(col(JobRow.id) == id).values(state="running", ended_ns=None))
            session.execute(delete(ModelVersion))
            session.commit()
    again: Bench = restored()
    row = again.run(id)
    assert (row.state, row.attempts) == ("refused", 1 if kept else 2), row.message
