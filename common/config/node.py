"""Settings of a node, and its enrolment."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from common.config.loader import Count, Port, Positive


class OutboxSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Durable event queue on the node."""

    budget_bytes: Annotated[int, msgspec.Meta(ge=65536)] = 256 * 1024 * 1024
    """Disk budget; beyond it the lowest priority is discarded first, alarms never."""
    commit_interval_s: Annotated[float, msgspec.Meta(ge=0)] = 15.0
    """Maximum delay before telemetry and decided readings are written together; alarms and events are written
    immediately, with everything that waits. A crash loses what waits, unless the source can go back. 0 writes
    every time, which wears out flash memory."""
    checkpoint_interval_s: Positive = 600.0
    """Maximum time between two full writes of the app's state; the readings in between are kept and processed
    again after a crash."""


class UplinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Transmission of events to the cloud."""

    batch_events: Count = 1000
    """Maximum number of events in a batch."""
    linger_s: Positive = 0.05
    """Time for which a batch waits for more events."""
    in_flight_batches: Count = 32
    """Maximum number of batches sent and not acknowledged."""
    ack_timeout_s: Positive = 5.0
    """Silence after which a batch is resent."""
    reconnect_min_s: Positive = 0.5
    """First delay before reconnecting; doubles, with jitter."""
    reconnect_max_s: Positive = 30.0
    """Maximum delay before reconnecting."""
    catch_up_events_per_s: Positive = 20000.0
    """Rate at which a backlog is sent after an outage."""
    drain_timeout_s: Annotated[float, msgspec.Meta(ge=0)] = 5.0
    """Maximum time that a stopping node waits for waiting events and local alarms to be sent."""


class OtaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Model updates of the node."""

    poll_interval_s: Positive = 60.0
    """Mean polling interval for deployments; jittered by 20 %."""
    shadow_readings: Annotated[int, msgspec.Meta(ge=0)] = 50
    """Readings that a candidate processes beside the live model before it takes over."""
    shadow_timeout_s: Positive = 600.0
    """Maximum duration of the shadow phase; the candidate then takes over with the readings so far."""
    download_timeout_s: Positive = 300.0
    """Maximum time for one file; a slower download is refused as slow retrieval."""
    min_bytes_per_s: Positive = 1024.0
    """Minimum mean speed of a download after the grace period."""
    download_grace_s: Positive = 10.0
    """Grace period before the minimum speed applies; also the read timeout."""
    failure_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.05
    """Share of failed inferences in shadow or soak at which a model is rejected."""
    max_latency_factor: Positive = 5.0
    """Maximum latency as a multiple of the previous model's (and of the model's own limit)."""
    crash_limit: Count = 2
    """Process starts within the soak after which the model is rejected."""
    min_soak_readings: Count = 10
    """Minimum number of readings in a soak."""
    max_disagreement: Positive = 0.25
    """Maximum difference from the previous model's output on a reading that is not novel to it, as a share of
    the output's golden range."""
    disagreement_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """Share of such readings at which a model is rejected; 1 and a high limit disable the guard."""


class CurationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Samples that the node keeps and uploads for learning."""

    enabled: bool = True
    """Keep and upload samples."""
    budget_bytes_per_day: Annotated[int, msgspec.Meta(ge=0)] = 20 * 1024 * 1024
    """Maximum bytes uploaded in 24 h."""
    store_bytes: Annotated[int, msgspec.Meta(ge=0)] = 100 * 1024 * 1024
    """Maximum bytes of waiting samples on the node; the lowest score is dropped first."""
    min_score: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    """Minimum score of an uploaded sample."""
    chunk_bytes: Count = 256 * 1024
    """Bytes in one chunk of an upload."""


class TelemetrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Metrics and health of the node."""

    host: str = "127.0.0.1"
    """Address of /metrics and /healthz; loopback by default."""
    port: Port = 0
    """Their port; 0 picks a free one and writes it to ``telemetry.port`` in the data folder."""
    health_interval_s: Positive = 15.0
    """Time between health events."""


class HistorySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Newest events, kept on the node for ``edgeloop node events`` after the cloud has them."""

    budget_bytes: Annotated[int, msgspec.Meta(ge=0)] = 16 * 1024 * 1024
    """Disk space, about 40,000 events; 0 keeps none. Each event is written once, about 400 bytes."""
    min_priority: Literal["telemetry", "event", "alarm"] = "event"
    """Lowest priority that is kept. Events of lower ones are shown until the cloud has them. ``telemetry``
    writes every event a second time: 35 MB a day for one event a second."""


class LocalAlarmSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Outputs for alarms and their ends at the machine, with or without a cloud."""

    log: bool = True
    """Log each (WARNING)."""
    webhook: Annotated[str, msgspec.Meta(pattern=r"^(https?://[^\s]+)?$")] = ""
    """URL to which each is posted as JSON; empty for none. Redirects are not followed."""
    command: list[str] = []
    """Program and arguments, run for each without a shell; the JSON is on standard input."""
    mqtt_host: str = ""
    """Broker on the local network to which each is published (QoS 1); empty for none."""
    mqtt_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1883
    """Its port."""
    mqtt_topic: Annotated[str, msgspec.Meta(pattern=r"^[^#+\x00]+$")] = "edgeloop/alarms"
    """Topic."""
    mqtt_user: str = ""
    """User at the broker; empty for none."""
    mqtt_password_file: str = ""
    """File with the password; empty for none."""
    timeout_s: Positive = 5.0
    """Maximum time for one attempt; a program that runs longer is killed."""
    retry_timeout_s: Positive = 3600.0
    """Time for which an alarm is retried at a failing output before it is dropped there and reported."""
    queue_alarms: Count = 256
    """Maximum number of alarms that wait for an output; beyond it the oldest is dropped and reported."""


class ClockSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Plausible range of the node's clock."""

    horizon_days: Annotated[float, msgspec.Meta(gt=0, le=36_500)] = 1826.0
    """Days after 2026-01-01, or after the expiry of the newest signed update metadata, up to which the clock
    is plausible. Times beyond are marked as unsynchronised."""


class NodeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An edge node."""

    app: str = ""
    """App to run."""
    source: str | list[str] = ""
    """URI of the source, or a list of several, which take turns."""
    data: str = "edgeloop-node"
    """Folder of the node's state."""
    profile: str = ""
    """Hardware profile; empty detects it."""
    tags: list[str] = []
    """Tags by which rollouts can select the node."""
    speed: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    """Speed of sources that allow it, as a multiple of real time; 0 is as fast as possible."""
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

    @property
    def sources(self) -> tuple[str, ...]:
        """URIs of the sources."""
        found = (self.source,) if isinstance(self.source, str) else tuple(self.source)
        return tuple(uri for uri in found if uri)


class Enrolment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys and addresses with which a node reaches a cloud; made by ``edgeloop fleet enrol``, mode 0600.

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
    """Connect to the broker by TLS."""
    mqtt_ca: str = ""
    """Certificate authority (PEM) of the broker's certificate; empty trusts the system's authorities."""
