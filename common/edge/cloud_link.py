"""Link of a node to its cloud: sends events, finds models, uploads samples. Nothing without an enrolment.

``uplink``     sends and receives (`common.edge.delivery.uplink`)
``update``     finds models (`common.edge.update.update_client`), at once where the cloud hints at one
``curation``   uploads samples (`common.edge.curation.curation`)
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from common.clock import Clock
from common.config.node import Enrolment, NodeSettings
from common.connection import Address
from common.deployment import NodeTraits
from common.edge.curation.curation import Curation
from common.edge.delivery.outbox import Outbox
from common.edge.delivery.uplink import Uplink
from common.edge.node_models import NodeModels
from common.edge.threads import JOIN_S, NodeThreads
from common.edge.update.update_client import UpdateClient
from common.messages import Event, Hint, Status


class CloudLink:
    """The three threads towards the cloud. ``report`` takes events about the uplink."""

    def __init__(
        self,
        enrolment: Enrolment | None,
        settings: NodeSettings,
        folder: Path,
        app: str,
        models: NodeModels,
        outbox: Outbox,
        clock: Clock,
        *,
        report: Callable[[Event], None],
    ) -> None:
        self._outbox = outbox
        self.curation: Curation | None = None
        """The samples; kept without an enrolment too, for a cloud that may come."""
        if settings.curation.enabled:
            self.curation = Curation(folder / "samples", app, enrolment, settings.curation, clock)
        self._drain_timeout_s = settings.uplink.drain_timeout_s
        self._stopping = threading.Event()
        self._check_now = threading.Event()
        self.uplink: Uplink | None = None
        self.update_client: UpdateClient | None = None
        if enrolment is None:
            return
        uplink = self.uplink = Uplink(
            enrolment,
            outbox,
            settings.uplink,
            clock,
            status=lambda: Status("online", app, models.version),
            check_now=self._check_now.set,
            hint=self._take_hint,
            report=report,
        )

        def move_broker(broker: Address) -> None:
            uplink.broker = broker

        profile = models.profile
        tags = (*profile.tags, *settings.tags)
        try:
            self.update_client = UpdateClient(
                folder / "tuf",
                enrolment,
                app,
                NodeTraits(node=enrolment.node, site=enrolment.site, profile=profile.name, tags=tags),
                settings.ota,
                models.slots,
                models.adoption,
                models.load_proven,
                clock=clock,
                broker_moved=move_broker,
                reserve_bytes=lambda: outbox.room_bytes,
                app_settings=models.app_settings,
            )
        except BaseException:
            uplink.close()
            raise

    @property
    def delivered(self) -> bool:
        """Whether the cloud has everything that is meant for it."""
        if self.uplink is None:
            return True
        return not self._outbox.events and (self.curation is None or not self.curation.waiting)

    def wake(self) -> None:
        """There is something new in the outbox."""
        if self.uplink is not None:
            self.uplink.wake()

    def start(self, threads: NodeThreads) -> None:
        """Start the threads."""
        if self.uplink is None or self.update_client is None:
            return
        client = self.update_client
        threads.start("uplink", self.uplink.run)
        threads.start("update", lambda: client.run(self._stopping, self._check_now))
        if self.curation is not None:
            threads.start("curation", self.curation.run)

    def stop_updates(self) -> None:
        """Find no more models: the node is about to stop."""
        self._stopping.set()
        self._check_now.set()

    def stop(self) -> None:
        """End the threads; the uplink once it has drained, or after ``uplink.drain_timeout_s``."""
        if self.curation is not None:
            self.curation.stop()
        if self.uplink is not None:
            self.uplink.stop(self._drain_timeout_s)

    def join(self, threads: NodeThreads) -> None:
        """Wait for the threads, after `stop`."""
        threads.join("uplink", self._drain_timeout_s + JOIN_S)
        for name in ("curation", "update"):
            threads.join(name, JOIN_S)

    def close(self) -> None:
        """Release the resources, once the threads have ended and nobody calls `wake`."""
        if self.uplink is not None:
            self.uplink.close()

    def _take_hint(self, hint: Hint) -> None:
        if self.update_client is not None and self.update_client.requests.submit(hint):
            self._check_now.set()
