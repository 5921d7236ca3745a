"""Settings of the cloud."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from common.config.loader import Count, Origin, Port, Positive


class HttpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cloud's API."""

    host: str = "127.0.0.1"
    """Address; loopback by default."""
    port: Port = 8080
    """Port; 0 picks a free one and writes it to ``cloud.json`` in the data folder."""
    public_url: str = ""
    """URL by which nodes and browsers reach the API; empty derives it from host and port. Required
    if host is 0.0.0.0 or ::, or behind a proxy."""
    sample_limit_bytes: Count = 64 * 1024 * 1024
    """Maximum size of a sample."""
    node_samples_bytes: Count = 16 * 1024**3
    """Maximum bytes of samples of one node; a sample beyond that is refused, and the node retries later."""
    forwarded_allow_ips: list[str] = []
    """Addresses or networks of trusted reverse proxies (``X-Forwarded-For`` and ``-Proto``); empty trusts
    none, and every client counts by the address from which it connects."""
    connections: Count = 1000
    """Maximum open connections, dashboards included; lowered to the system's limit of open files."""
    connections_per_address: Count = 200
    """Maximum number of open connections per address (IPv6: per /64 network); trusted proxies are exempt."""
    request_timeout_s: Positive = 15.0
    """Timeout of a request's head; after the same time its body must have a mean rate of 1 KiB/s."""
    dashboard_sockets: Count = 200
    """Maximum number of open dashboard pages; each holds a websocket."""
    frame_ancestors: list[Origin] = []
    """Origins (``http://127.0.0.1:9000``) of pages that may embed the dashboard; empty for none."""


class MqttSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The broker."""

    broker: str = "auto"
    """``auto`` (an installed Mosquitto, else iotcore), ``mosquitto``, ``iotcore`` or ``external``."""
    host: str = "127.0.0.1"
    """Address to listen on, or of the external broker."""
    port: Port = 1883
    """Port; 0 picks a free one."""
    public_host: str = ""
    """Host by which nodes reach the broker; empty is host. Required if host is 0.0.0.0 or ::."""
    public_port: Port = 0
    """Port by which nodes reach the broker; 0 is its own port."""
    tls: bool = False
    """Connect to an external broker by TLS, from the cloud and its nodes."""
    ca_file: str = ""
    """Certificate authority (PEM) of an external broker; enrolments carry it to the nodes. Empty trusts the
    system's authorities."""
    max_connections: Annotated[int, msgspec.Meta(ge=10, le=1_000_000)] = 10_000
    """Maximum connections to the broker that the cloud starts, each with a file descriptor; lowered to the
    system's limit of open files."""


class IngestSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Reception of events in the cloud."""

    queue_events: Count = 50_000
    """Maximum received events that wait for the database; beyond it batches are dropped and resent."""
    queue_bytes: Annotated[int, msgspec.Meta(ge=1024 * 1024)] = 256 * 1024 * 1024
    """Maximum memory of waiting batches in bytes, estimated from their size."""
    node_queue_bytes: Annotated[int, msgspec.Meta(ge=1024 * 1024)] = 64 * 1024 * 1024
    """Maximum share of one node in it; beyond it its batches are dropped, and it resends them later."""
    node_batches_per_s: Annotated[float, msgspec.Meta(ge=0)] = 500.0
    """Maximum batches per second and node, with bursts of two seconds; 0 is no limit."""
    node_bytes_per_s: Annotated[float, msgspec.Meta(ge=0)] = 64 * 1024 * 1024
    """Maximum uncompressed bytes per second and node, with bursts of two seconds; 0 is no limit."""
    retry_after_s: Positive = 1.0
    """Delay for a node that exceeds its rate."""
    projection_failures: Count = 4
    """Maximum events of one node and app per transaction that are isolated if their projection fails; beyond
    it, failing events are stored without projection."""
    transaction_events: Count = 20_000
    """Number of events at which a transaction is closed; a backlog makes transactions larger."""
    clock_tolerance_s: Positive = 5.0
    """Clock error of a node from which its times are corrected and flagged."""
    quarantine_rows: Count = 1000
    """Maximum number of quarantined items; the oldest are deleted first."""
    quarantine_bytes: Count = 16 * 1024 * 1024
    """Maximum bytes of quarantined items."""
    retry_min_s: Positive = 0.2
    """First delay before retrying the database (full disk, connection lost); doubles."""
    retry_max_s: Positive = 5.0
    """Maximum delay before retrying the database."""


class RolloutSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Progress of rollouts."""

    soak_s: Positive = 60.0
    """Time in good health after which a version counts as adopted by a node."""
    silence_s: Positive = 900.0
    """Silence after which a node of a wave counts as failed."""
    failure_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.1
    """Share of failed nodes in a wave at which the rollout halts and reverts."""
    max_absence_s: Positive = 7 * 86400.0
    """Silence before the start of a rollout that excludes a node from its waves."""
    check_interval_s: Positive = 1.0
    """Interval of health checks of a rollout."""


class TufSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The update repository."""

    timestamp_validity_s: Positive = 86400.0
    """Validity of the timestamp; renewed at half of it."""


class TrainingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Training jobs."""

    ray_address: str = ""
    """Address of a Ray cluster; empty trains in local worker processes."""
    workers: Count = 1
    """Maximum number of concurrent local jobs."""
    timeout_s: Positive = 6 * 3600.0
    """Maximum duration of a job."""


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
    only_apps: list[str] = []
    """Names of the apps that this cloud serves; empty serves every installed app."""
    apps: dict[str, dict[str, Any]] = {}
    """Settings of the apps' cloud sides, by app."""
