"""``edgeloop bench``: speed of the loop, compared with the limits of the same broker and database.

Every comparison is within one run: the loop and its two limits are measured in turn for several rounds, and
the medians are printed. Figures of `loop`:

``loop_events_per_s``        the meter (`apps.demo.benchmarks.meter`, 100 events from one run of a tiny model)
on a node
                             at full speed: from ``process`` to committed in the cloud; against the smaller
                             of the next two. Enough events are in transit to keep it busy; none are
                             dropped
``broker_events_per_s``      the meter's batches through the same broker alone
``database_events_per_s``    the meter's rows into the same SQLite schema, same transactions and pragmas
``loop_batch_events``        (and the other ``loop_...`` except the next) details of the meter's run
``loop_industrial_events_per_s``   the industrial app on a node at full speed, one event from one run of its
                             model, from ``process`` to committed in the cloud; against the next
``process_events_per_s``     the industrial app and its model alone

Of the industrial app:

``node_cpu_percent``         of one core, one engine at 1 Hz
``adoption_s``               from a published deployment to a confirmed model on one node
``deployment_check_*``       cost for the cloud of a check by 10,000 nodes without a new deployment

Figure of `wear`, of two nodes with default settings, connected to a cloud, in real time:

``node_bytes_written_per_day``   bytes written to disk by the node's process, one engine at 1 Hz
                             and one patient at 360 Hz, extrapolated from a window (Linux only)

Figures of `ecg`, one lead at 360 Hz with all features on; the baselines get the whole signal at once:

``ecg_speed``                the app, in seconds of signal per second of CPU time; against neurokit2's
                             ``ecg_process``
``ecg_detection_speed``      the same figure against R-peak detectors, one line each
``ecg_streams_per_core``     patients in real time per CPU core
``ecg_stream_memory_mb``     memory of the app per patient

Figures of `vision`, the retail app on one clip (``--clip``), in real time where it says so:

``vision_fps``               frames/s of a whole node, from decoding to the outbox; against the session of its
                             model alone on tensors that are ready
``vision_cpu_ms``            CPU time of a frame in the same run; against the same, and ObjectCounter's
``vision_speed``             frames/s of the node against Ultralytics' ObjectCounter, weights of the same
                             starter (or ``--weights``) and its defaults, in the Python of ``--ultralytics``
``vision_latency_p50_ms``    and ``vision_latency_p99_ms``: one camera at ``--fps``, from the capture of a
                             frame to the commit of its events, with ``outbox.commit_interval_s`` 0
``vision_memory_mb``         of the node's process after 5 minutes (half of ``--minutes`` if less) and
                             at the end; ``vision_memory_growth_mb`` is the difference
``vision_live_fps``          ``--cameras`` at ``--fps`` each on two cores, together; against what they offer
``vision_dropped_percent``   of the frames of each of these cameras

Figures of `dashboard`, over a store filled by simulated nodes:

``page_first_paint_ms``      of each page, in Chromium on this machine; against ``query_ms``, the duration of
                             the page's requests without a browser
``dashboard_resident_mb``    memory of the cloud's process after all visits
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

app = typer.Typer(help="Measure the speed of the loop.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure the speed of the loop."""


@app.command()
def loop(
    json: Annotated[bool, typer.Option("--json", help="One object a line.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 3,
    window_s: Annotated[float, typer.Option(min=1, help="Length of one measurement of the loop.")] = 8.0,
    cpu_s: Annotated[float, typer.Option(min=0, help="Length of the CPU measurement; 0 skips it.")] = 20.0,
    checks: Annotated[
        int, typer.Option(min=0, help="Simulated nodes that check for a deployment; 0 skips it.")
    ] = 10_000,
    with_adoption: Annotated[bool, typer.Option("--adoption/--no-adoption", help="Measure adoption.")] = True,
) -> None:
    """The loop against its broker and its database; a node at rest; deployment checks; adoption."""
    from apps.demo.benchmarks.bench_site import BenchSite
    from apps.demo.benchmarks.deployment import adoption, deployment_checks
    from apps.demo.benchmarks.loop import measure_round
    from apps.demo.benchmarks.node_at_rest import node_cpu_percent

    with tempfile.TemporaryDirectory(prefix="edgeloop-bench-") as folder, BenchSite(Path(folder)) as site:
        show = _Printer(json)
        found = [measure_round(site, window_s) for _ in range(rounds)]
        events = median(each.loop_events_per_s for each in found)
        limits = {
            "broker_events_per_s": median(each.broker_events_per_s for each in found),
            "database_events_per_s": median(each.database_events_per_s for each in found),
        }
        for name, value in limits.items():
            show.figure(name, value, "events/s")
        smaller = min(limits, key=lambda name: limits[name])
        show.figure("loop_events_per_s", events, "events/s", smaller, limits[smaller])
        last = found[-1]
        show.figure("loop_batch_events", last.batch_events, "events")
        show.figure("loop_transaction_events", last.transaction_events, "events")
        show.figure("loop_node_cpu_percent", median(each.node_cpu_percent for each in found), "%")
        show.figure("loop_cloud_cpu_percent", median(each.cloud_cpu_percent for each in found), "%")
        alone = median(each.process_events_per_s for each in found)
        industrial = median(each.industrial_events_per_s for each in found)
        show.figure("process_events_per_s", alone, "events/s")
        show.figure("loop_industrial_events_per_s", industrial, "events/s", "process_events_per_s", alone)
        if cpu_s:
            show.figure("node_cpu_percent", node_cpu_percent(site, cpu_s), "% of one core")
        if checks:
            cost = deployment_checks(site, checks)
            show.figure("deployment_check_nodes", cost.nodes, "nodes")
            show.figure("deployment_check_requests", cost.requests, "requests")
            show.figure("deployment_check_bytes", cost.bytes_sent, "bytes")
            show.figure("deployment_check_cloud_cpu_s", cost.cloud_cpu_s, "s")
            show.figure("deployment_check_s", cost.seconds, "s")
        if with_adoption:
            took = adoption(site)
            show.figure("adoption_switched_s", took.switched_s, "s")
            show.figure("adoption_s", took.confirmed_s, "s")
            show.note(f"adoption: {took.settings}")


@app.command()
def wear(
    json: Annotated[bool, typer.Option("--json", help="One object a line.")] = False,
    seconds: Annotated[
        float,
        typer.Option(min=60, help="Length of the window; above 600 s it includes a full write of the state."),
    ] = 660.0,
) -> None:
    """Bytes written to disk by a node in real time, extrapolated to a day."""
    from apps.demo.benchmarks.bench_site import BenchSite
    from apps.demo.benchmarks.node_at_rest import bytes_written_per_day

    with tempfile.TemporaryDirectory(prefix="edgeloop-bench-") as folder, BenchSite(Path(folder)) as site:
        show = _Printer(json)
        for name, value in bytes_written_per_day(site, seconds).items():
            show.figure("node_bytes_written_per_day", value / 1e6, "MB", app=name)


@app.command()
def ecg(
    json: Annotated[bool, typer.Option("--json", help="One object a line.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 3,
    seconds: Annotated[int, typer.Option(min=30, help="Seconds of each of four recordings.")] = 300,
) -> None:
    """The ECG app at the edge against neurokit2 and sleepecg, where installed, on the same signal."""
    from apps.demo.benchmarks.ecg import BASELINES, EcgBench, median_of

    measures, show = EcgBench(seconds), _Printer(json)
    speeds = median_of([measures.round() for _ in range(rounds)])
    whole, *detectors = BASELINES
    show.figure("ecg_speed", speeds.app, "times real time", whole, speeds.baselines.get(whole))
    for name in detectors:
        if name in speeds.baselines:
            show.figure("ecg_detection_speed", speeds.app, "times real time", name, speeds.baselines[name])
    show.figure("ecg_streams_per_core", speeds.app, "streams")
    show.figure("ecg_stream_memory_mb", measures.memory_mb(), "MB")
    show.note(f"measured on {measures.data}, {seconds} s of each")


@app.command()
def dashboard(
    json: Annotated[bool, typer.Option("--json", help="One object a line.")] = False,
    nodes: Annotated[int, typer.Option(min=2, help="Simulated nodes.")] = 500,
    events: Annotated[int, typer.Option(min=1000, help="Events in the store.")] = 2_000_000,
) -> None:
    """Every page of the dashboard over a large store, in a real browser (needs Chromium)."""
    from apps.demo.benchmarks.dashboard import DashboardBench

    with (
        tempfile.TemporaryDirectory(prefix="edgeloop-bench-") as name,
        DashboardBench(Path(name)) as measures,
    ):
        show = _Printer(json)
        filled = measures.fill(nodes, events)
        show.figure("dashboard_nodes", filled.nodes, "nodes")
        show.figure("dashboard_events", filled.events, "events")
        show.figure("dashboard_fill_s", filled.seconds, "s")
        for time in measures.pages():
            show.figure(
                "page_first_paint_ms", time.first_paint_ms, "ms", "query_ms", time.query_ms, page=time.page
            )
            show.figure("page_first_paint_slowest_ms", time.slowest_ms, "ms", page=time.page)
            show.figure("page_drawn_ms", time.drawn_ms, "ms", page=time.page)
        show.figure("dashboard_resident_mb", measures.resident_mb(), "MB")


@app.command()
def vision(
    json: Annotated[bool, typer.Option("--json", help="One object a line.")] = False,
    clip: Annotated[Path | None, typer.Option(help="Clip; default: vtest.avi of EDGELOOP_DATA.")] = None,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds at full speed; 0 skips them.")] = 3,
    frames: Annotated[int, typer.Option(min=40, help="Frames of a measurement at full speed.")] = 400,
    minutes: Annotated[float, typer.Option(min=0, help="Real time of each live run; 0 skips them.")] = 1.0,
    fps: Annotated[float, typer.Option(min=1, help="Frames/s of each live camera.")] = 10.0,
    cameras: Annotated[int, typer.Option(min=0, help="Cameras of the last live run; 0 skips it.")] = 4,
    cores: Annotated[int, typer.Option(min=1, help="Cores that this process uses.")] = 2,
    ultralytics: Annotated[
        Path | None, typer.Option(help="Python with Ultralytics; without it there is no vision_speed.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Other weights for it than those of the starter.")
    ] = None,
) -> None:
    """The retail app: a whole node against its model alone and against Ultralytics' ObjectCounter."""
    from apps.demo.benchmarks.vision_figures import Options, print_figures

    options = Options(clip, rounds, frames, minutes * 60, fps, cameras, cores, ultralytics, weights)
    print_figures(_Printer(json), options)


class _Printer:
    def __init__(self, json: bool) -> None:
        self._json = json

    def figure(
        self,
        name: str,
        value: float,
        unit: str,
        against: str | None = None,
        other: float | None = None,
        **more: str,
    ) -> None:
        from common.cli import print_figure

        if self._json:
            print_figure(name, value, unit, against=against, against_value=other, **more)
            return
        line = f"{' '.join([name, *more.values()]):40s} {value:14,.2f} {unit}"
        if against is not None and other:
            line += f"   {value / other:.2f} of {against}"
        typer.echo(line)

    def note(self, text: str) -> None:
        typer.echo(text, err=self._json)
