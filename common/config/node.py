"""Settings of a node, and its enrolment."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from common.config.loader import Count, Port, Positive


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
