"""One typed, frozen settings tree, from TOML and the environment, passed in and never read at import.

`load` merges, later over earlier: defaults, the TOML file, ``EDGELOOP_*`` variables (two underscores
between levels: ``EDGELOOP_OUTBOX__BUDGET_BYTES=1000000``; a list's items stand between commas), and
overrides of the command line. A wrong key is an error that names the nearest right one. Paths are relative
to where the process runs.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import tomllib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_origin

import msgspec

from common.errors import ConfigError

S = TypeVar("S", bound=msgspec.Struct)
ENVIRONMENT_PREFIX = "EDGELOOP_"
RESERVED_VARIABLES = frozenset({"EDGELOOP_DATA", "EDGELOOP_TOKEN", "EDGELOOP_CLOUD", "EDGELOOP_SEED"})
"""Variables that mean something else: the data folder, the bearer token, the cloud to talk to, a seed."""

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Origin = Annotated[str, msgspec.Meta(pattern=r"^https?://[A-Za-z0-9.\-\[\]:]+$")]


class OutboxSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The durable queue of events on the node."""

    budget_bytes: Annotated[int, msgspec.Meta(ge=65536)] = 256 * 1024 * 1024
    """Disk budget; over it the lowest priority is given up first, alarms never."""
    commit_interval_s: Annotated[float, msgspec.Meta(ge=0)] = 15.0
    """Longest time that telemetry and decided readings wait to be written together; alarms and events are
    written at once, and what waits with them. A crash costs what waits: a source that can go back gives it
    again, any other loses it. 0 writes each time, which wears flash memory out."""
    checkpoint_s: Positive = 600.0
    """Longest time between two whole writes of the app's state; the readings in between are kept, and decided
    on again after a crash."""


class UplinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How events travel to the cloud."""

    batch_events: Count = 1000
    """Most events in a batch."""
    linger_s: Positive = 0.05
    """How long a batch waits for more events."""
    in_flight_batches: Count = 32
    """Most batches sent and not acked."""
    ack_timeout_s: Positive = 5.0
    """Silence after which a batch is sent again."""
    reconnect_first_s: Positive = 0.5
    """First wait before connecting again; doubles, with jitter."""
    reconnect_last_s: Positive = 30.0
    """Longest wait before connecting again."""
    catch_up_events_per_s: Positive = 20000.0
    """Pace at which a backlog is sent after an outage."""


class OtaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the node finds and adopts models."""

    poll_s: Positive = 60.0
    """Mean time between looks for a deployment; jittered by 20 %."""
    shadow_readings: Annotated[int, msgspec.Meta(ge=0)] = 50
    """Readings that a candidate sees beside the live model before it takes over."""
    shadow_timeout_s: Positive = 600.0
    """Longest shadow phase; the candidate takes over then with what it has seen."""
    download_timeout_s: Positive = 300.0
    """Longest time for one file; slower is refused as slow retrieval."""
    least_bytes_per_s: Positive = 1024.0
    """Mean speed under which a download is refused, once the grace is over."""
    download_grace_s: Positive = 10.0
    """How long a download may be slower; also the longest silence within one."""
    failure_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.05
    """Share of failed inferences in shadow or soak at which a model is given up."""
    latency_factor: Positive = 5.0
    """How many times slower than the previous model (and its own limit) a model may be."""
    crash_limit: Count = 2
    """Process starts within the soak after which the model is blamed and given up."""
    soak_readings: Count = 10
    """Readings that a model must have seen before its soak can end."""
    disagreement_limit: Positive = 0.25
    """Difference from the previous model's output, as a share of the output's golden range, that is too
    much on a reading that the previous model knew (not novel to it)."""
    disagreement_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """Share of such readings at which a model is given up; 1 and a high limit switch the guard off."""


class CurationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the node keeps and uploads for learning."""

    enabled: bool = True
    """Whether samples are kept and uploaded at all."""
    budget_bytes_per_day: Annotated[int, msgspec.Meta(ge=0)] = 20 * 1024 * 1024
    """Most bytes uploaded in 24 h."""
    store_bytes: Annotated[int, msgspec.Meta(ge=0)] = 100 * 1024 * 1024
    """Most bytes kept on the node while they wait; the least interesting is dropped first."""
    least_score: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    """Score from which a sample is worth uploading."""
    chunk_bytes: Count = 256 * 1024
    """Bytes in one piece of an upload."""


class TelemetrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the node tells about itself."""

    host: str = "127.0.0.1"
    """Address of /metrics and /healthz; loopback unless told otherwise."""
    port: Port = 0
    """Their port; 0 picks a free one, which is written to ``telemetry.port`` in the data folder."""
    health_s: Positive = 15.0
    """Time between health events."""


class HistorySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The newest events, kept on the node for ``edgeloop node events`` after the cloud has them."""

    budget_bytes: Annotated[int, msgspec.Meta(ge=0)] = 16 * 1024 * 1024
    """Disk space, about 40,000 events; 0 keeps none. Each event is written once, about 400 bytes."""
    least_priority: Literal["telemetry", "event", "alarm"] = "event"
    """Lowest priority that is kept. Events of lower ones are seen until the cloud has them. ``telemetry``
    writes every event a second time: 35 MB a day for one event a second."""


class LocalAlarmSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where alarms, and their ends, are sent at the machine itself, with or without a cloud."""

    log: bool = True
    """Whether each is a log line (WARNING)."""
    webhook: Annotated[str, msgspec.Meta(pattern=r"^(https?://[^\s]+)?$")] = ""
    """URL that each is posted to as JSON; empty for none. Redirects are not followed."""
    command: list[str] = []
    """Program and arguments that are run for each, without a shell, with the JSON on standard input."""
    mqtt_host: str = ""
    """Broker on the local network that each is published to (QoS 1); empty for none."""
    mqtt_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1883
    """Its port."""
    mqtt_topic: Annotated[str, msgspec.Meta(pattern=r"^[^#+\x00]+$")] = "edgeloop/alarms"
    """Topic."""
    mqtt_user: str = ""
    """User at the broker; empty for none."""
    mqtt_password_file: str = ""
    """File with the password; empty for none."""
    timeout_s: Positive = 5.0
    """Longest time for one try; a program that runs longer is killed."""
    give_up_after_s: Positive = 3600.0
    """How long an alarm is tried at an output that fails; then it is given up there, which is reported."""
    queue: Count = 256
    """Most alarms that wait for an output; beyond, the oldest is given up, which is reported."""


class ClockSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Up to when the node's clock is believed."""

    horizon_days: Annotated[float, msgspec.Meta(gt=0, le=36_500)] = 1826.0
    """Days after 2026-01-01, or after the expiry of the newest signed update metadata, up to which the clock
    can be right. Times by a clock that is further ahead are marked as unsynchronised."""


class NodeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An edge node."""

    app: str = ""
    """App to run."""
    source: str = ""
    """URI of the source."""
    data: str = "edgeloop-node"
    """Folder of the node's state."""
    profile: str = ""
    """Hardware profile; empty finds it by looking at the device."""
    tags: list[str] = []
    """Tags that rollouts can select by."""
    speed: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    """Times real time for sources that allow it; 0 is as fast as the node can."""
    outbox: OutboxSettings = OutboxSettings()
    uplink: UplinkSettings = UplinkSettings()
    ota: OtaSettings = OtaSettings()
    curation: CurationSettings = CurationSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    history: HistorySettings = HistorySettings()
    local_alarms: LocalAlarmSettings = LocalAlarmSettings()
    clock: ClockSettings = ClockSettings()
    settings: dict[str, Any] = {}
    """The app's own settings."""


class HttpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cloud's API."""

    host: str = "127.0.0.1"
    """Address; loopback unless told otherwise."""
    port: Port = 8080
    """Port; 0 picks a free one, which is written to ``cloud.json`` in the data folder."""
    public_url: str = ""
    """URL by which nodes and browsers reach the API; empty derives it from host and port. Needed where host
    is 0.0.0.0 or ::, or a proxy stands before the API."""
    sample_limit_bytes: Count = 64 * 1024 * 1024
    """Largest sample that is taken."""
    node_samples_bytes: Count = 16 * 1024**3
    """Most bytes of samples that are kept of one node; what comes beyond is refused, and sent again later."""
    forwarded_allow_ips: list[str] = []
    """Addresses or networks of reverse proxies whose ``X-Forwarded-For`` and ``-Proto`` are believed; empty
    believes nobody's, and every client counts by the address that it connects from."""
    connections: Count = 1000
    """Most open connections, dashboards included; lowered where the system allows fewer open files."""
    connections_per_address: Count = 200
    """Most open connections of one address (of one /64 network of IPv6); trusted proxies are not bounded."""
    request_timeout_s: Positive = 15.0
    """Time for a request's head; after the same time its body must come at 1 KiB/s in the mean."""
    dashboard_sockets: Count = 200
    """Most open dashboard pages, each of which holds a websocket."""
    frame_ancestors: list[Origin] = []
    """Origins (``http://127.0.0.1:9000``) of pages that may show the dashboard in a frame; empty is none."""


class MqttSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The broker."""

    broker: str = "auto"
    """``auto`` (an installed Mosquitto, else iotcore), ``mosquitto``, ``iotcore`` or ``external``."""
    host: str = "127.0.0.1"
    """Address to listen on, or of the external broker."""
    port: Port = 1883
    """Port; 0 picks a free one."""
    public_host: str = ""
    """Host by which nodes reach the broker; empty is host. Needed where host is 0.0.0.0 or ::."""
    public_port: Port = 0
    """Port by which nodes reach the broker; 0 is the port that it listens on."""
    tls: bool = False
    """Whether the cloud and its nodes connect to an external broker by TLS."""
    ca_file: str = ""
    """Certificate authority (PEM) of an external broker's certificate, which enrolments carry to the nodes;
    empty trusts the authorities of the system."""
    max_connections: Annotated[int, msgspec.Meta(ge=10, le=1_000_000)] = 10_000
    """Most connections to the broker that the cloud starts, each with a file descriptor of it; the limit of
    open files is raised as far as the system lets it, and fewer are taken where that is not enough."""


class IngestSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How events come into the cloud."""

    queue_events: Count = 50_000
    """Most received events that wait for the database; over it batches are dropped, and sent again."""
    queue_bytes: Annotated[int, msgspec.Meta(ge=1024 * 1024)] = 256 * 1024 * 1024
    """Most memory, in bytes, that received batches take while they wait; estimated from their size."""
    node_queue_bytes: Annotated[int, msgspec.Meta(ge=1024 * 1024)] = 64 * 1024 * 1024
    """Most of that for one node; over it its batches are dropped, and it is told to send them later."""
    node_batches_per_s: Annotated[float, msgspec.Meta(ge=0)] = 500.0
    """Most batches a second that are taken of one node, with bursts of two seconds; 0 is no limit."""
    node_bytes_per_s: Annotated[float, msgspec.Meta(ge=0)] = 64 * 1024 * 1024
    """Most bytes a second, uncompressed, that are taken of one node, with bursts of two seconds; 0 is no
    limit."""
    limited_s: Positive = 1.0
    """How long a node that sends more than its share is told to wait."""
    projection_failures: Count = 4
    """Most events of one node and app, in one transaction, that are looked for because a projection cannot
    digest them; beyond that the rest of what fails is kept without being projected."""
    transaction_events: Count = 20_000
    """Events from which a transaction takes no further batch; a backlog makes transactions larger."""
    clock_tolerance_s: Positive = 5.0
    """Error of a node's clock from which its times are corrected and flagged."""
    quarantine_rows: Count = 1000
    """Most things kept that could not be taken; the oldest give way."""
    quarantine_bytes: Count = 16 * 1024 * 1024
    """Most bytes of them."""
    retry_first_s: Positive = 0.2
    """First wait when the database cannot take anything (full disk, connection lost); doubles."""
    retry_last_s: Positive = 5.0
    """Longest wait for the database."""


class RolloutSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How rollouts advance."""

    soak_s: Positive = 60.0
    """How long a node runs a version in good health before it counts as adopted."""
    silence_s: Positive = 900.0
    """Silence after which a node of a wave counts as failed."""
    failure_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.1
    """Share of failed nodes in a wave at which the rollout halts and reverts."""
    absent_s: Positive = 7 * 86400.0
    """Nodes unheard of for this long before a rollout starts do not count in its waves."""
    tick_s: Positive = 1.0
    """Time between looks at the health of a rollout."""


class TufSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The update repository."""

    timestamp_s: Positive = 86400.0
    """Life of the timestamp; renewed at half of it."""


class TrainingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where training runs."""

    ray_address: str = ""
    """Address of a Ray cluster; empty trains in local worker processes."""
    workers: Count = 1
    """Local jobs at the same time."""
    timeout_s: Positive = 6 * 3600.0
    """Longest job."""


class CloudSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cloud."""

    data: str = "edgeloop-cloud"
    """Folder of the cloud's state."""
    database: str = ""
    """SQLAlchemy URL; empty is SQLite in the data folder."""
    http: HttpSettings = HttpSettings()
    mqtt: MqttSettings = MqttSettings()
    ingest: IngestSettings = IngestSettings()
    rollout: RolloutSettings = RolloutSettings()
    tuf: TufSettings = TufSettings()
    training: TrainingSettings = TrainingSettings()
    apps: dict[str, dict[str, Any]] = {}
    """Settings of the apps' cloud sides, by app."""


class Enrolment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a node needs to trust and reach a cloud; made by ``edgeloop fleet enrol``, kept with mode 0600.

    The node's user at the broker is ``<site>/<node>``.
    """

    node: str
    site: str
    cloud_url: str
    mqtt_host: str
    mqtt_port: int
    mqtt_password: str
    token: str
    tuf_root: dict[str, Any]
    """The update repository's root metadata, pinned by this file."""
    wire_key: str
    """Key that seals this node's messages, in both directions (`common.sealing`)."""
    mqtt_tls: bool = False
    """Whether the broker is reached by TLS."""
    mqtt_ca: str = ""
    """Certificate authority (PEM) of the broker's certificate; empty trusts the authorities of the system."""


def load(
    kind: type[S],
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> S:
    """Settings of ``kind``. Raises `ConfigError` that says which key of which origin is wrong, and why."""
    tree: dict[str, Any] = {}
    if file is not None:
        try:
            parsed = tomllib.loads(file.read_text("utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"there is no settings file {file}") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{file}: {error}") from error
        _check_keys(kind, parsed, str(file))
        _merge(tree, parsed)
    variables = _from_environment(kind, environment or {})
    _merge(tree, variables)
    _merge(tree, {k: v for k, v in (overrides or {}).items() if v is not None})
    return convert(kind, tree, str(file) if file else "settings")


def convert(kind: type[S], tree: Mapping[str, Any], where: str) -> S:
    """``tree`` as settings of ``kind``. Raises `ConfigError`."""
    _check_keys(kind, tree, where)
    try:
        return msgspec.convert(tree, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from error


class Setting(msgspec.Struct, frozen=True):
    """One setting as it is shown to people."""

    name: str
    default: Any
    help: str


def explain(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[Setting]:
    """Every setting of ``kind`` with its default and the line of help that stands below it in the code."""
    helps = _helps(kind)
    for field in msgspec.structs.fields(kind):
        inner = field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from explain(inner, f"{prefix}{field.name}.")
        else:
            made = field.default_factory
            default = field.default if made is msgspec.NODEFAULT else made()
            yield Setting(f"{prefix}{field.name}", default, helps.get(field.name, ""))


def _helps(kind: type[msgspec.Struct]) -> dict[str, str]:
    """The string below each field, as documentation tools read it."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in pairwise(body.body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            found[field.target.id] = inspect.cleandoc(text.value.value)
    return found


def _check_keys(kind: type[msgspec.Struct], tree: Mapping[str, Any], where: str, prefix: str = "") -> None:
    fields = {f.encode_name: f.type for f in msgspec.structs.fields(kind)}
    for key, value in tree.items():
        if key not in fields:
            nearest = difflib.get_close_matches(key, fields, n=1)
            hint = (
                f"; did you mean {prefix}{nearest[0]}?"
                if nearest
                else f"; known: {', '.join(sorted(fields))}"
            )
            raise ConfigError(f"{where}: there is no setting {prefix}{key}{hint}")
        inner = fields[key]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct) and isinstance(value, Mapping):
            _check_keys(inner, value, where, f"{prefix}{key}.")


def _from_environment(kind: type[msgspec.Struct], environment: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for variable, value in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in RESERVED_VARIABLES:
            continue
        path = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        branch = value
        if get_origin(_type_at(kind, path)) is list:
            branch = [item.strip() for item in value.split(",") if item.strip()]  # type: ignore[assignment]
        for key in reversed(path):
            branch = {key: branch}  # type: ignore[assignment]
        _check_keys(kind, branch, variable)  # type: ignore[arg-type]
        _merge(tree, branch)  # type: ignore[arg-type]
    return tree


def _type_at(kind: Any, path: list[str]) -> Any:
    """The type of the setting at ``path``; None where there is none."""
    for key in path:
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return None
        kind = {f.encode_name: f.type for f in msgspec.structs.fields(kind)}.get(key)
    return kind


def _merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value
