"""The show: the whole loop of an app on this machine, as a story that is checked while it is told.

Three virtual subjects (`apps.demo.story.shows`), each with a node of its own, and one cloud, all real
processes on loopback; here is what a story has around it when it is told from its beginning to its end.
"""

from __future__ import annotations

import time
from pathlib import Path

from apps.demo.story.story import Chapter, Outcome, Step
from apps.demo.world.stage import Stage


def chapters_of(stage: Stage, *, look_around_until: float = 0.0) -> list[Chapter]:
    """The whole story; before its end the world goes on until a monotonic time, for who wants to look."""
    rest_s = look_around_until - time.monotonic()

    def look_around() -> str:
        while (left_s := look_around_until - time.monotonic()) > 0:
            time.sleep(min(1.0, left_s))
        return f"the API was at {stage.cloud.file.http_url}/docs, its token in {stage.cloud.folder}/secrets"

    told = list(stage.script(again=False).story)
    if rest_s > 0:
        going_on = f"The {stage.show.who} go on."
        told[-1:-1] = [Chapter("Look around", going_on, [Step("time to look around", look_around)])]
    return told


def ending(outcome: Outcome, folder: Path, *, kept: bool) -> list[str]:
    """The last lines: how it went, and what to do next."""
    minutes, seconds = divmod(round(outcome.seconds), 60)
    if outcome.failure:
        return [
            f"FAILED after {minutes} min {seconds} s: {outcome.happened} of {outcome.steps} steps happened",
            f"what did not: {outcome.failure}",
            f"logs of all processes: {folder / 'logs'}",
        ]
    lines = [
        f"All {outcome.steps} steps happened, in {minutes} min {seconds} s. All data was virtual.",
        "Next:",
        "  edgeloop cloud up --data my-cloud            a cloud that stays",
        "  edgeloop node run --help                     a node with your own source (csv:, virtual:, ...)",
        "  README.md                                    how the rooms lie, and the measured figures",
    ]
    return [*lines, f"The show's data and logs: {folder}"] if kept else lines
