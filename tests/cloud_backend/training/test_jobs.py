"""Jobs end in one of their states whatever happens to them, and only what the gate approves is approved.

The workers are real child processes.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import delete, update
from sqlmodel import Session

from cloud_backend.store.tables import JobRow, LabelRow, Node
from cloud_backend.training import job as files
from cloud_backend.training.jobs import Jobs
from common.config.cloud import TrainingSettings
from common.errors import ConfigError, RegistryError, TrainingError
from tests.cloud_backend.learner import ENTRY, NAME
from tests.cloud_backend.training.job_bench import ENDED, Bench
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("LEARNER_STARTER", str(tmp_path / "starter"))
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_job_learns_from_labelled_samples_and_is_approved(bench: Bench) -> None:
    groups = bench.learn(6, gain=2.0)
    id = bench.jobs.submit(NAME, {}, seed=5)
    row = bench.run(id)
    assert (row.state, row.message, row.progress) == ("done", "approved", 1.0)
    assert row.gate["candidate"] == pytest.approx(0.0, abs=1e-6)
    assert row.gate["production"] == pytest.approx(1.0)
    assert row.gate["held_out_samples"] + row.gate["training_samples"] == len(groups)
    assert row.gate["held_out_samples"] >= 1
    assert {s["name"] for s in row.gate["slices"]} < set(groups)
    model = bench.registry.row(NAME, row.version)
    assert (model.state, model.job, model.parent, model.approved_by) == ("approved", id, "starter-1", "gate")
    lineage = bench.registry.bundle(NAME, row.version).manifest.lineage
    assert {"samples", "held_out_samples", "labels", "seeded"} <= set(lineage.data)
    assert (lineage.job, lineage.seed, lineage.parent) == (id, 5, "starter-1")
    assert lineage.code.startswith("0.1.0")
    log = bench.jobs.log_path(id).read_text()
    assert "training with" in log
    assert "100%  approved" in log


def test_what_is_held_out_is_never_trained_on(bench: Bench) -> None:
    bench.learn(6, gain=2.0)
    id = bench.jobs.submit(NAME)
    bench.run(id)
    spec = files.read_spec(bench.folder / "jobs" / id / files.SPEC)
    samples = files.labelled_samples(spec)
    held_out = {s.sample.group for s in samples if s.held_out}
    assert held_out
    assert held_out.isdisjoint(s.sample.group for s in samples if not s.held_out)
    assert all(len(s.labels) == 1 for s in samples)
    assert samples[3].sample.arrays["values"].tolist() == [3.0] * 16


def test_a_worse_candidate_is_refused_and_kept_for_the_record(bench: Bench) -> None:
    bench.learn(4, gain=2.0)
    row = bench.run(bench.jobs.submit(NAME, {"gain": 7.0}))
    assert row.state == "refused"
    assert "not better" in row.message
    model = bench.registry.row(NAME, row.version)
    assert (model.state, model.approved_by) == ("refused", "")
    assert bench.registry.production(NAME).version == "starter-1"


def test_a_job_without_anything_held_out_is_not_approved(bench: Bench) -> None:
    row = bench.run(bench.jobs.submit(NAME, {"gain": 2.0}))
    assert row.gate["candidate"] == pytest.approx(0.0, abs=1e-6)
    assert row.gate["production"] == pytest.approx(1.0)
    assert row.state == "refused"
    assert "no evidence" in row.message
    assert (row.gate["passed"], row.gate["evidence"]) == (False, {})
    assert bench.registry.row(NAME, row.version).approved_by == ""
    bench.registry.approve(NAME, row.version, by="Robin", reason="measured on our test stand")
    model = bench.registry.row(NAME, row.version)
    assert (model.state, model.approved_by) == ("approved", "Robin")
    assert model.approval_reason == "measured on our test stand"


def test_samples_without_labels_are_no_evidence(bench: Bench) -> None:
    bench.learn(6, gain=2.0)
    with Session(bench.engine) as session:
        session.execute(delete(LabelRow))
        session.commit()
    row = bench.run(bench.jobs.submit(NAME, {"gain": 2.0}))
    assert row.gate["held_out_samples"] + row.gate["training_samples"] == 6
    assert (row.state, row.gate["evidence"]) == ("refused", {})


def test_the_verdict_names_its_evidence(bench: Bench) -> None:
    bench.learn(6, gain=2.0)
    with Session(bench.engine) as session:
        session.add(Node(name="n1", site="s", virtual=True, enrolled_ns=1))
        session.commit()
    virtual = bench.run(bench.jobs.submit(NAME)).gate["basis"]
    assert "came from nodes with virtual sensors" in virtual
    with Session(bench.engine) as session:
        session.execute(update(Node).values(virtual=False))
        session.commit()
    row = bench.run(bench.jobs.submit(NAME))
    count = row.gate["held_out_samples"]
    assert row.gate["evidence"] == {"labelled samples": count}
    assert row.gate["basis"] == f"{count} labelled samples from the field, held out from both models"


def test_what_production_was_trained_on_judges_no_later_candidate(bench: Bench) -> None:
    def sides(id: str) -> tuple[set[str], set[str]]:
        spec = files.read_spec(bench.folder / "jobs" / id / files.SPEC)
        held = {s.group for s in spec.samples if s.held_out}
        return held, {s.group for s in spec.samples} - held

    bench.learn(6, gain=2.0)
    first = bench.jobs.submit(NAME)
    version = bench.run(first).version
    bench.registry.set_state(NAME, version, "production")
    path = bench.folder / "jobs" / first / files.SPEC
    spec = files.read_spec(path)
    held, learned = sides(first)
    files.write_struct(  # as if the first job had learned from what it held out, and the other way round
        path,
        msgspec.structs.replace(
            spec, samples=[msgspec.structs.replace(s, held_out=s.group in learned) for s in spec.samples]
        ),
    )
    second = bench.jobs.submit(NAME)
    bench.run(second)
    assert sides(second)[0]
    assert sides(second)[0].isdisjoint(held)
    path.unlink()
    third = bench.run(bench.jobs.submit(NAME))
    assert f"the samples that {version} learned from are not on record here" in third.gate["basis"]


def test_a_missing_data_set_fails_the_job_unless_it_is_left_out(bench: Bench, tmp_path: Path) -> None:
    bench.learn(4, gain=2.0)
    bench.jobs = Jobs(
        bench.engine,
        bench.registry,
        bench.folder / "jobs",
        bench.settings,
        samples=bench.samples,
        data_path=tmp_path / "sets",
        app_entries={NAME: ENTRY},
    )
    bench.lives.append(bench.jobs)
    row = bench.run(bench.jobs.submit(NAME, {"set": True}))
    assert row.state == "failed"
    assert "sets has no such set; the parameter data_sets=false trains" in row.message
    assert bench.run(bench.jobs.submit(NAME, {"set": True, "data_sets": False})).state == "done"


def test_a_second_round_starts_from_the_first(bench: Bench) -> None:
    bench.learn(4, gain=2.0)
    first = bench.run(bench.jobs.submit(NAME))
    bench.registry.set_state(NAME, first.version, "production")
    same = bench.run(bench.jobs.submit(NAME))
    assert (same.state, same.parent) == ("refused", first.version)
    assert same.version > first.version
    assert [link["version"] for link in bench.registry.lineage(NAME, same.version)] == [
        same.version,
        first.version,
        "starter-1",
    ]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"raise": True}, "nothing to learn from"),
        ({"die": True}, "SIGKILL"),
        ({"gain": "text"}, "could not convert"),
        ({"other_version": True}, "the job is for"),
    ],
)
def test_a_job_that_fails_has_a_reason(bench: Bench, parameters: dict[str, object], words: str) -> None:
    row = bench.run(bench.jobs.submit(NAME, parameters))
    assert row.state == "failed"
    assert words in row.message
    assert row.ended_ns is not None
    with pytest.raises(RegistryError):
        bench.registry.row(NAME, row.version)


def test_a_running_job_is_cancelled_at_its_next_report(bench: Bench) -> None:
    id = bench.jobs.submit(NAME, {"wait": True})
    bench.running(id)
    assert bench.row(id).progress == pytest.approx(0.4)
    bench.jobs.cancel(id)
    row = bench.run(id)
    assert (row.state, row.message) == ("cancelled", "cancelled")
    with pytest.raises(TrainingError, match="already ended"):
        bench.jobs.cancel(id)
    with pytest.raises(TrainingError, match="no job"):
        bench.jobs.cancel("job-x")


def test_a_job_that_does_not_listen_is_killed(bench: Bench) -> None:
    id = bench.jobs.submit(NAME, {"hang": True})
    bench.until(lambda: "training with" in _text(bench.jobs.log_path(id)))
    pid = bench.pid(id)
    bench.jobs.cancel(id)
    assert bench.run(id).state == "cancelled"
    assert gone(pid)


def test_a_waiting_job_is_cancelled_without_starting(bench: Bench) -> None:
    id = bench.jobs.submit(NAME)
    bench.jobs.cancel(id)
    bench.jobs.tick()
    assert (bench.row(id).state, bench.row(id).attempts) == ("cancelled", 0)


def test_a_job_that_takes_too_long_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("LEARNER_STARTER", str(tmp_path / "starter"))
    bench = Bench(tmp_path, timeout_s=0.2)
    row = bench.run(bench.jobs.submit(NAME, {"hang": True}))
    assert row.state == "failed"
    assert "longer than 0.2 s" in row.message
    bench.close()


def test_jobs_wait_their_turn(bench: Bench) -> None:
    first, second = bench.jobs.submit(NAME, {"wait": True}), bench.jobs.submit(NAME)
    bench.running(first)
    assert bench.row(second).state == "queued"
    assert bench.row(first).version < bench.row(second).version
    bench.jobs.cancel(first)
    assert bench.run(second).state in ENDED


def test_a_job_of_a_cloud_that_died_is_started_once_more(bench: Bench) -> None:
    id = bench.jobs.submit(NAME, {"wait": True})
    bench.running(id)
    pid = bench.pid(id)
    bench.restart()  # as after SIGKILL: nobody was notified, and the worker may still be there
    bench.jobs.tick()
    bench.running(id, attempt=2)
    assert gone(pid)
    assert bench.pid(id) != pid
    bench.restart()
    bench.jobs.tick()
    row = bench.row(id)
    assert row.state == "failed"
    assert "interrupted 2 times" in row.message


def test_a_result_that_came_while_the_cloud_was_dead_counts(bench: Bench) -> None:
    bench.learn(4, gain=2.0)
    id = bench.jobs.submit(NAME)
    bench.until(lambda: (bench.folder / "jobs" / id / files.RESULT).exists() or bench.row(id).state in ENDED)
    with Session(bench.engine) as session:  # as if the cloud had died before it looked
        row = session.get_one(JobRow, id)
        row.state, row.ended_ns, row.gate = "running", None, {}
        session.commit()
    bench.restart()
    row = bench.run(id)
    assert (row.state, row.attempts) == ("done", 1)
    assert row.gate["passed"] is True


def test_a_worker_ends_when_its_cloud_is_killed(bench: Bench, tmp_path: Path) -> None:
    """A cloud in a process of its own starts a job and is killed; its worker must not go on alone."""
    id = bench.jobs.submit(NAME, {"wait": True})
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.cloud_backend.training.job_bench import Bench\n"
        "bench = Bench(Path(sys.argv[1]))\n"
        "bench.running(sys.argv[2])\n"
        "print('running', flush=True)\n"
        "time.sleep(60)\n"
    )
    cloud = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), id], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert cloud.stdout is not None
    with cloud.stdout:
        assert cloud.stdout.readline() == "running\n"
        pid = bench.pid(id)
        cloud.send_signal(signal.SIGKILL)
        cloud.wait(PATIENCE_S)
    bench.until(lambda: gone(pid), alive=False)  # by itself: nobody has looked for it yet
    bench.running(id, attempt=2)


def test_a_stopped_cloud_queues_its_jobs_again(bench: Bench) -> None:
    id = bench.jobs.submit(NAME, {"wait": True})
    bench.running(id)
    pid = bench.pid(id)
    bench.jobs.close()
    assert gone(pid)
    row = bench.row(id)
    assert (row.state, row.attempts) == ("queued", 0)
    bench.restart()
    bench.running(id)


def test_a_damaged_starter_fails_the_job_and_not_the_cloud(bench: Bench) -> None:
    id = bench.jobs.submit(NAME)
    (bench.folder / "starter" / "model.onnx").write_bytes(b"damaged")
    row = bench.run(id)
    assert row.state == "failed"


def test_a_noisy_job_does_not_fill_the_disk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_backend.training.jobs.LOG_LIMIT_BYTES", 1000)
    id = bench.jobs.submit(NAME, {"noise": 5000, "wait": True})
    bench.running(id)
    bench.until(lambda: bench.jobs.log_path(id).stat().st_size < 1000)
    assert b"dropped" in bench.jobs.log_path(id).read_bytes()


def test_an_unknown_app_is_refused(bench: Bench) -> None:
    with pytest.raises(RegistryError, match="installed: learner"):
        bench.jobs.submit("nothing")


def test_ray_that_is_not_installed_is_a_clear_error(bench: Bench) -> None:
    try:
        import ray  # noqa: F401  # pyright: ignore[reportMissingImports]: optional
    except ImportError:
        settings = TrainingSettings(ray_address="ray://localhost:1")
        with pytest.raises(ConfigError, match="pip install"):
            Jobs(bench.engine, bench.registry, bench.folder / "jobs", settings)
    else:
        pytest.skip("Ray is installed")


def test_a_job_travels_to_another_machine_and_back(bench: Bench, tmp_path: Path) -> None:
    """The Ray executor's package is enough to run the job on a machine without its files."""
    from cloud_backend.training.executors import pack, run_remote

    bench.learn(4, gain=2.0)
    id = bench.jobs.submit(NAME)
    bench.run(id)
    packed = pack(bench.folder / "jobs" / id)
    bench.folder.joinpath("samples").rename(tmp_path / "elsewhere")
    out = run_remote(packed)
    result = msgspec.json.decode(out[files.RESULT], type=files.JobResult)
    assert result.state == "approved"
    assert {"bundle/manifest.json", "bundle/model.onnx", "bundle/golden.npz"} <= set(out)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
