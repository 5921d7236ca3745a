"""Runs a node's adoption in children that kill themselves with SIGKILL, and the restart after it.

Usage: ``adoption_child.py FOLDER URL ROOT_JSON STARTER KIND``. The node's folder is prepared once; then, for
every file operation of the whole adoption in turn (each open for writing, rename and removal), a child
adopts over a copy of it and dies just before that operation. A second child is the restart. One JSON line
a death; the last line reports an adoption without a crash.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from common.bundle import open_bundle
from common.edge.update.update_client import UpdateClient  # noqa: F401  loaded before the forks, to be quick after them
from tests.updates import APP, NodeKit

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class World:
    """The part of an `UpdateSite` in another process that a `NodeKit` needs."""

    url: str
    root: dict[str, Any]
    starter: Path

    def node(self, folder: Path) -> NodeKit:
        site: Any = SimpleNamespace(starter=SimpleNamespace(path=self.starter))
        return NodeKit(folder, site, url=self.url, root=self.root)


def forked(run: Callable[[], Any]) -> tuple[int, Any]:
    """``run`` in a child: ``(0, its result)``, or the number of the signal that ended it."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        result = run()
        os.write(writing, json.dumps(result).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return (-code, None) if code else (0, json.loads(answer or b"null"))


def die_before(number: int, folder: Path) -> dict[str, int]:
    """From now on, die before the file operation with this number inside ``folder``."""
    count = {"operations": 0}
    inside = str(folder)

    def hook(event: str, facts: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = facts
            if not isinstance(path, str | bytes) or not flags & WRITING:
                return
        elif event in ("os.rename", "os.remove"):
            path = facts[0]
        else:
            return
        if not os.fsdecode(path).startswith(inside):
            return
        count["operations"] += 1
        if count["operations"] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return count


def adopt(node: NodeKit, kind: str) -> None:
    """A look, shadow, switch and soak; a model of the kind ``bad`` fails in the soak and is reverted."""
    node.look()
    node.feed(8)
    node.feed(25, scale=5.0 if kind == "bad" else 1.0)


def dying(world: World, folder: Path, kind: str, number: int) -> Any:
    count = die_before(number, folder)
    adopt(world.node(folder), kind)
    return count["operations"]


def restart(world: World, folder: Path, kind: str) -> dict[str, Any]:
    """Begin and end of a start."""
    node = world.node(folder)
    first = node.whole()
    answering = node.version()
    adopt(node, kind)
    adopt(node, kind)
    state = node.slots.state
    return {
        "first": first,
        "answering": answering,
        "last": open_bundle(folder / "slots" / state.live, app=APP).version,
        "step": state.step,
    }


def main() -> None:
    folder, kind = Path(sys.argv[1]), sys.argv[5]
    world = World(sys.argv[2], json.loads(sys.argv[3]), Path(sys.argv[4]))
    prepared = folder / "prepared"
    forked(lambda: world.node(prepared).version())
    number = 0
    while True:
        number += 1
        copy = folder / f"node-{number}"
        shutil.copytree(prepared, copy)
        signal_number, result = forked(lambda copy=copy, number=number: dying(world, copy, kind, number))
        left = sorted(str(p.relative_to(copy)) for p in copy.rglob("*") if ".partial" in p.name)
        code, found = forked(lambda copy=copy: restart(world, copy, kind))
        facts = {"number": number, "signal": signal_number, "left": left, "code": code, "found": found}
        print(json.dumps(facts), flush=True)
        shutil.rmtree(copy)
        if signal_number != signal.SIGKILL:
            print(json.dumps({"operations": result}), flush=True)
            return


if __name__ == "__main__":
    main()
