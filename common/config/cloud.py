"""Settings of the cloud."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from common.config.loader import Count, Origin, Port, Positive


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
