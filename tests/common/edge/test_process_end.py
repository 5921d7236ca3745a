"""End of the previous process: each kind, by a real process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from common.edge.process_end import MARK, TRACE, Ending

ROOT = Path(__file__).resolve().parents[3]
CHILD = """
import ctypes, os, signal, sys
from pathlib import Path
from common.edge.process_end import ProcessEnd
end = ProcessEnd(Path(sys.argv[1]))
print(end.previous, flush=True)
match sys.argv[2]:
    case "clean":
        end.close()
    case "failed":
        end.crashed("a thread failed")
        end.close()
    case "segfault":
        ctypes.string_at(0)
    case "abort":
        os.abort()
    case "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def run(folder: Path, how: str) -> Ending:
    """Let a process end in this way; how the one before it ended."""
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), how],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    expected = {"segfault": -signal.SIGSEGV, "abort": -signal.SIGABRT, "killed": -signal.SIGKILL}
    assert ended.returncode == expected.get(how, 0), ended.stderr
    return Ending(ended.stdout.strip())


@pytest.mark.parametrize(
    ("how", "ending"),
    [
        ("clean", Ending.CLEAN),
        ("failed", Ending.CRASHED),
        ("segfault", Ending.CRASHED),
        ("abort", Ending.CRASHED),
        ("killed", Ending.KILLED),
    ],
)
def test_the_next_process_knows_how_the_previous_one_ended(tmp_path, how, ending):
    assert run(tmp_path, how) is Ending.CLEAN
    assert run(tmp_path, "killed") is ending
    assert run(tmp_path, "clean") is Ending.KILLED
    assert run(tmp_path, "clean") is Ending.CLEAN


def test_an_end_for_lack_of_memory_is_a_crash(tmp_path):
    run(tmp_path, "killed")
    mark = msgspec.json.decode((tmp_path / MARK).read_bytes())
    if not mark["boot"]:
        pytest.skip("this system does not identify its boots")
    (tmp_path / MARK).write_bytes(msgspec.json.encode(mark | {"out_of_memory": mark["out_of_memory"] - 1}))
    assert run(tmp_path, "killed") is Ending.CRASHED
    (tmp_path / MARK).write_bytes(msgspec.json.encode({"boot": "another", "out_of_memory": -1}))
    assert run(tmp_path, "killed") is Ending.KILLED


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_a_damaged_mark_is_an_end_without_a_trace(tmp_path, content):
    (tmp_path / MARK).write_bytes(content)
    assert run(tmp_path, "clean") is Ending.KILLED
    assert not (tmp_path / MARK).exists()
    assert (tmp_path / TRACE).exists()
