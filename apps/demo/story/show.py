"""The script of a show, its story from start to end, and the closing lines.

One cloud and three virtual subjects (`apps.demo.world.shows`), each with a node of its own, run as real
processes on loopback.
"""

from __future__ import annotations

import time
from pathlib import Path
from pkgutil import resolve_name

from apps.demo.story.story import Chapter, Outcome, Script, Step
from apps.demo.world.stage import Stage


def load_script(stage: Stage, *, keep_running: bool) -> Script:
    """New story and manual actions of the stage's show; with ``keep_running`` the story ends with running
    nodes."""
    return resolve_name(stage.show.script)(stage, keep_running=keep_running)


def story_chapters(stage: Stage, *, explore_until: float = 0.0) -> list[Chapter]:
    """The whole story, with a pause until ``explore_until`` (monotonic) before its last chapter."""

    def explore() -> str:
        while (remaining_s := explore_until - time.monotonic()) > 0:
            time.sleep(min(1.0, remaining_s))
        return f"the API was at {stage.cloud.file.http_url}/docs, its token in {stage.cloud.folder}/secrets"

    chapters = list(load_script(stage, keep_running=False).story)
    if explore_until > time.monotonic():
        text = f"The {stage.show.subject_kind} keep running."
        chapters[-1:-1] = [Chapter("Exploration", text, [Step("time to explore", explore)])]
    return chapters


def closing_lines(outcome: Outcome, folder: Path, *, keep_data: bool) -> list[str]:
    """Result, and next steps."""
    minutes, seconds = divmod(round(outcome.seconds), 60)
    if outcome.failure:
        return [
            f"FAILED after {minutes} min {seconds} s: {outcome.passed} of {outcome.steps} steps passed",
            f"failed step: {outcome.failure}",
            f"logs of all processes: {folder / 'logs'}",
        ]
    lines = [
        f"All {outcome.steps} steps passed in {minutes} min {seconds} s. All data was virtual.",
        "Next:",
        "  edgeloop cloud up --data my-cloud            a permanent cloud",
        "  edgeloop node run --help                     a node with your own source (csv:, virtual:, ...)",
        "  README.md                                    structure of the project, measured figures",
    ]
    return [*lines, f"The show's data and logs: {folder}"] if keep_data else lines
