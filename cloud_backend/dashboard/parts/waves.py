"""Progress of a rollout: waves with their nodes by state, the counts that decide, halt and revert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard.parts import formatting
from cloud_backend.dashboard.parts.dialogs import ask_reason
from cloud_backend.dashboard.parts.lineage import version_path
from common.pages import Badge, Chart, Column, Table, Text, Tile, View, action
from common.pages.blocks import Tone

STATES: Mapping[str, tuple[str, Tone]] = {
    "confirmed": ("#15803d", "good"),
    "soaking": ("#0369a1", "info"),
    "shadow": ("#4f46e5", "info"),
    "downloading": ("#0e7490", "info"),
    "waiting": ("#64748b", ""),
    "pending": ("#a16207", "warn"),
    "withdrawn": ("#7c3aed", ""),
    "retrying": ("#b45309", "warn"),
    "refused": ("#be123c", "bad"),
    "reverted": ("#7f1d1d", "bad"),
}
"""Colour and tone of each state of a node, in drawing order."""
ROLLOUT_TONES: Mapping[str, Tone] = {"running": "info", "done": "good", "halted": "warn", "reverted": "bad"}
NODE_COLUMNS = (
    Column("node", "Node", kind="link"),
    Column("virtual", "", kind="badge"),
    Column("wave", "Wave", kind="number"),
    Column("state", "State", kind="badge"),
    Column("reason", "Reason"),
    Column("runs", "Running version"),
    Column("at", "Since", kind="ago"),
)
_WAVE_PX = 52
REASONS: Mapping[str, str] = {
    "golden": "golden cases failed or were too slow",
    "latency": "too slow on this device",
    "disagreement": "disagreement with the live model",
    "failures": "failed inferences during the soak",
    "unreachable": "download failed",
    "no_space": "no disk space on the node",
    "unsigned": "not signed",
    "altered": "content does not match its signature",
    "rollback": "metadata older than the node's",
    "frozen": "update metadata expired, or the clock is wrong",
    "recalled": "recalled",
    "operator": "by an operator",
    "already": "already running",
}


def rollout_path(app: str, id: str) -> str:
    """The page of a rollout."""
    return f"/ui/rollouts/{quote(app, safe='')}/{quote(id, safe='')}"


def rollout_api(app: str, id: str) -> str:
    """The rollout in the API."""
    return f"/v1/apps/{quote(app, safe='')}/rollouts/{quote(id, safe='')}"


class Waves:
    """The progress of one rollout."""

    def __init__(self, *, nodes: bool) -> None:
        with ui.element("div").classes("stack"):
            with ui.element("div").classes("row-of"):
                self._state = Badge()
                self._text = Text("span", "")
            with ui.element("div").classes("tiles"):
                self._confirmed = Tile("Confirmed")
                self._failed = Tile("Refused or reverted")
                self._silent = Tile("Silent")
                self._open = Tile("Undecided")
            self._chart = Chart("Nodes of each wave by state", waves_chart([]), height_px=120)
            self._height = 0
            self._counts = Text("p", "").classes("hint")
            self._problems = Text("p", "").props("role=status").classes("field-error")
            self._table = Table(
                "Nodes of the rollout",
                NODE_COLUMNS,
                empty_text="No node matches.",
                empty_hint="A rollout includes nodes that run this app and were seen recently.",
            )
            self._table.set_visibility(nodes)

    def show(self, row: Mapping[str, Any], progress: Mapping[str, Any], now_ns: int) -> None:
        """Show a rollout and its progress."""
        self._state.show(row["state"], ROLLOUT_TONES.get(row["state"], ""))
        self._text.text = sentence(row, now_ns)
        for tile, (value, note, tone) in zip(
            (self._confirmed, self._failed, self._silent, self._open),
            tiles(progress, now_ns),
            strict=True,
        ):
            tile.show(value, note, tone)
        height = 64 + _WAVE_PX * len(progress["waves"])
        if height != self._height:
            self._height = height
            self._chart.element.style(f"height: {height}px")
        self._chart.show(waves_chart(progress["waves"]))
        self._counts.text = counts(progress)
        self._problems.text = problems(progress)
        self._problems.set_visibility(bool(self._problems.text))
        self._table.show([node_row(node) for node in progress["nodes"]])


class RolloutActions:
    """The buttons that halt and revert a rollout, with a reason."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._row: Mapping[str, Any] = {}
        self._halt = action("Halt", self._ask_halt, icon="pause")
        self._revert = action("Revert", self._ask_revert, icon="undo", tone="bad")
        self._halt.set_visibility(False)
        self._revert.set_visibility(False)

    def show(self, row: Mapping[str, Any], *, newest: bool) -> None:
        """Show the buttons that apply to this rollout."""
        self._row = row
        state = row["state"]
        self._halt.set_visibility(state == "running")
        self._revert.set_visibility(state in ("running", "halted") or (state == "done" and newest))

    async def _ask_halt(self) -> None:
        await ask_reason(
            "Halt this rollout?",
            "Nodes with the version keep it; no further node receives it.",
            "Halt",
            lambda reason: self._send("halt", reason, "The rollout is halted."),
        )

    async def _ask_revert(self) -> None:
        back = self._row.get("previous_version") or "the bundled model of each node"
        await ask_reason(
            "Revert this rollout?",
            f"Every node returns to {back}, and {self._row['version']} is marked as refused.",
            "Revert",
            lambda reason: self._send("revert", reason, "The rollout is reverted."),
        )

    async def _send(self, change: str, reason: str, done: str) -> bool:
        place = rollout_api(self._row["app"], self._row["id"])
        body = {"reason": reason or f"by {self._view.person}"}
        return await self._view.act(self._view.api.post(f"{place}/{change}", body), done)


def sentence(row: Mapping[str, Any], now_ns: int) -> str:
    """The state of a rollout in one sentence."""
    waves = len(row["waves"])
    state, reason = row["state"], row["reason"]
    if state == "running":
        return (
            f"Wave {row['wave'] + 1} of {waves} is running, "
            f"started {formatting.since(row['wave_started_ns'], now_ns)}."
        )
    if state == "halted":
        return f"Halted in wave {row['wave'] + 1} of {waves}: {reason}."
    if state == "reverted":
        back = row["previous_version"] or "the bundled model of each node"
        return f"Reverted to {back}: {reason}."
    return f"Done in {formatting.plural(waves, 'wave')}."


def tiles(progress: Mapping[str, Any], now_ns: int) -> list[tuple[str, str, Tone]]:
    """Confirmed, failed, silent and undecided nodes, each with its effect on the rollout."""
    states, total = progress["states"], progress["nodes_total"]
    confirmed, bad = states.get("confirmed", 0), states.get("refused", 0) + states.get("reverted", 0)
    decision = progress["decision"]
    if decision is None:
        silent = sum(node["outcome"] == "silent" for node in progress["nodes"])
        behind = progress["state"] == "reverted" and confirmed > 0
        return [
            (
                f"{confirmed} of {total}",
                "not reverted yet" if behind else "nodes of all waves",
                "warn" if behind else "",
            ),
            (str(bad), "nodes", "bad" if bad else ""),
            (str(silent), "no answer before its end", "warn" if silent else ""),
            ("0", "the rollout has ended", ""),
        ]
    threshold, failed, silent = decision["failures_to_revert"], decision["failed"], decision["silent"]
    limit = f"reverts at {formatting.plural(threshold, 'node')} failed or silent"
    left_s = (decision["deadline_ns"] - now_ns) // 1_000_000_000
    waiting, withdrawn = decision["waiting"], decision["withdrawn"]
    note = "all nodes of this wave have answered" if not waiting else f"silent after {_span(left_s)}"
    pending = decision["pending"]
    if pending:
        note = (
            f"{formatting.plural(pending, 'node')} pending: not seen since the wave began, or without updates"
        )
    if withdrawn and withdrawn == decision["nodes"]:
        note = "all were taken back: halt or revert the rollout"
    reached = "nodes of the waves so far" + (f"; {withdrawn} taken back by an operator" if withdrawn else "")
    return [
        (f"{decision['adopted']} of {decision['nodes']}", reached, ""),
        (str(failed), limit, "bad" if failed else ""),
        (str(silent), "count as failed", "bad" if silent else ""),
        (str(waiting + pending), note, "warn" if pending else ""),
    ]


def counts(progress: Mapping[str, Any]) -> str:
    """The waves of the chart as text."""
    parts = []
    for wave in progress["waves"]:
        nodes = ", ".join(f"{wave['states'][state]} {state}" for state in STATES if wave["states"].get(state))
        parts.append(f"Wave {wave['number']} ({wave['state']}): {nodes or 'no nodes'}.")
    return " ".join(parts)


def problems(progress: Mapping[str, Any]) -> str:
    """The reasons why nodes of the rollout cannot check for updates; empty if all can."""
    found = progress["problems"]
    if not found:
        return ""
    reasons = ", ".join(
        f"{formatting.plural(number, 'node')}: {REASONS.get(reason, reason)}"
        for reason, number in found.items()
    )
    return f"Nodes that cannot check for updates: {reasons}."


def waves_chart(waves: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """ECharts options: a stacked bar of nodes by state for each wave, the first on top."""
    present = [state for state in STATES if any(wave["states"].get(state) for wave in waves)]
    return {
        "tooltip": {"trigger": "item", "confine": True, "renderMode": "richText"},
        "legend": {"top": 0, "left": 0, "textStyle": {"color": "#7b8794"}, "icon": "roundRect"},
        "grid": {"left": 8, "right": 48, "top": 32, "bottom": 4, "containLabel": True},
        "xAxis": {"type": "value", "minInterval": 1, "name": "nodes", "splitNumber": 4},
        "yAxis": {
            "type": "category",
            "inverse": True,
            "data": [f"Wave {wave['number']}: to {100 * wave['share']:.3g} %" for wave in waves],
        },
        "series": [
            {
                "name": state,
                "type": "bar",
                "stack": "nodes",
                "barMaxWidth": 26,
                "itemStyle": {"color": STATES[state][0]},
                "label": {"show": True, "color": "#ffffff", "fontSize": 12},
                "data": [wave["states"].get(state) or None for wave in waves],
            }
            for state in present
        ],
    }


def node_row(node: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table of nodes."""
    silent = node["outcome"] == "silent"
    state = node["state"]
    reason = REASONS.get(node["reason"], node["reason"].replace("_", " "))
    if silent:
        reason = "no answer in time" + (f"; {reason}" if reason else "")
    elif state == "pending":
        reason = "not seen since its wave began"
    if node["problem"]:
        reason = f"cannot check for updates: {REASONS.get(node['problem'], node['problem'])}"
    return {
        "id": node["node"],
        "node": node["node"],
        "node_href": f"/ui/nodes/{quote(node['node'], safe='')}",
        "virtual": "virtual" if node["virtual"] else "",
        "virtual_tone": "info",
        "wave": node["wave"],
        "state": f"silent, {state}" if silent else state,
        "state_tone": "bad" if silent else STATES.get(state, ("", ""))[1],
        "reason": reason,
        "runs": node["version"] or formatting.NONE,
        "at": node["time_ns"],
    }


def history_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the list of rollouts."""
    waves = len(row["waves"])
    ended = row["ended_ns"]
    return {
        "id": row["id"],
        "rollout": row["id"],
        "rollout_href": rollout_path(row["app"], row["id"]),
        "version": row["version"],
        "version_href": version_path(row["app"], row["version"]),
        "state": row["state"],
        "state_tone": ROLLOUT_TONES.get(row["state"], ""),
        "waves": f"{min(row['wave'] + 1, waves)} of {waves}",
        "shares": shares(row["waves"]),
        "reason": row["reason"],
        "began": row["created_ns"],
        "took": _span((ended - row["created_ns"]) / 1e9) if ended else "",
    }


def shares(waves: Sequence[float]) -> str:
    """``34 %, 100 %``."""
    return ", ".join(f"{100 * share:.3g}\N{NO-BREAK SPACE}%" for share in waves)


def _span(seconds: float) -> str:
    """``now``, ``12 s``, ``4 min``, ``2 h``."""
    if seconds < 1:
        return "now"
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
