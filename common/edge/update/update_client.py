"""Update client: resolves the signed deployment document to a bundle, verifies it, and starts its trial.

One check: refresh the trusted metadata (`common.edge.update.tuf_client`), read the app's deployment document,
resolve the version for this node, and bring it into the idle slot (`common.edge.update.bundle_download`).
A bundle is offered to `common.edge.update.adoption` when it is whole, for this app, and its golden cases pass
on this device. Anything else is refused with a reason word and the node keeps its model. Beside
the words of `common.edge.update.tuf_client` these are: ``extraneous`` (the bundle wants a file that its app's
role did not sign), ``wrong_app``, ``incompatible``, ``too_large``, ``no_space``, ``golden``, ``load_failed``,
``crash_loop``. What depends on signed content alone is final until a newer serial; what an attacker on the
network could cause is tried again at the next check. A node without space for a bundle reports that in its
health.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.app.edge import Model
from common.bundle import (
    Bundle,
)
from common.clock import Clock
from common.config.node import Enrolment, OtaSettings
from common.connection import (
    Address,
)
from common.deployment import (
    DEPLOYMENT_LIMIT_BYTES,
    Deployment,
    NodeTraits,
    decode_deployment,
    deployment_target,
    version_for,
)
from common.edge.update.adoption import Adoption, Offer
from common.edge.update.app_settings import AppSettings
from common.edge.update.broker_address import BrokerAddress
from common.edge.update.bundle_download import BundleDownload, FinalRefusal, check_length
from common.edge.update.fetcher import RepositoryFetcher
from common.edge.update.operator_requests import OperatorRequests
from common.edge.update.settings_changes import SettingsChanges
from common.edge.update.slot_state import Order
from common.edge.update.slots import Slots
from common.edge.update.tuf_client import TrustedRepository
from common.errors import BundleError, BundleIncompatible, GoldenCaseFailed, UpdateRefused
from common.messages import NAME_PATTERN
from common.model.golden import check_golden

log = logging.getLogger(__name__)

REPEAT_S = 3600.0
"""Time between two reports of the same refusal."""


class UpdateClient:
    """Checks for deployments; belongs to the update thread."""

    def __init__(
        self,
        folder: Path,
        enrolment: Enrolment,
        app: str,
        traits: NodeTraits,
        settings: OtaSettings,
        slots: Slots,
        adoption: Adoption,
        load: Callable[[Bundle], Model],
        *,
        user_agent: str = "edgeloop-node",
        clock: Clock = time.time_ns,
        broker_moved: Callable[[Address], None] = lambda _: None,
        reserve_bytes: Callable[[], int] = lambda: 0,
        app_settings: AppSettings | None = None,
    ) -> None:
        self._folder = folder
        self._app = app
        self._traits = traits
        self._settings = settings
        self._slots = slots
        self._adoption = adoption
        self._load = load
        fetcher = RepositoryFetcher(settings, token=enrolment.token, user_agent=user_agent)
        self._repository = TrustedRepository(
            folder / "metadata", enrolment.tuf_root, f"{enrolment.cloud_url.rstrip('/')}/tuf", fetcher, app
        )
        changes = (
            SettingsChanges(app_settings, adoption, clock, node=traits.node)
            if app_settings is not None
            else None
        )
        self.requests = OperatorRequests(slots, adoption, load, clock, changes)
        self._download = BundleDownload(self._repository, app, slots, reserve_bytes)
        enrolled = Address(enrolment.mqtt_host, enrolment.mqtt_port)
        self._broker = BrokerAddress(folder, enrolled, broker_moved)
        self._order: Order | None = None
        self._offered: tuple[str, int] | None = None
        self._reported: tuple[str, str, int] | None = None
        self._reported_s = 0.0
        self.refusals: dict[str, int] = {}
        """Count of refusals by reason, for the metrics."""
        self.problem: UpdateRefused | None = None
        """Reason of a failed check for updates, or of missing space; None after a success."""
        self._broker.restore()

    def run(self, stop: threading.Event, check_now: threading.Event) -> None:
        """Check every ``poll_interval_s`` (jittered), and at once on ``check_now``, until ``stop``.

        Requests of an operator are executed before each check.
        """
        while not stop.is_set():
            check_now.clear()
            self.requests.execute()
            self.check()
            due = time.monotonic() + self._settings.poll_interval_s * random.uniform(0.8, 1.2)  # noqa: S311
            while not stop.is_set() and not check_now.is_set():
                left = due - time.monotonic()
                if left <= 0 or self.requests.ready:
                    break
                check_now.wait(min(0.25, left))

    def check(self) -> None:
        """One check. Raises nothing: a refusal is reported, an unreachable repository is logged."""
        self._order = None
        try:
            self._check()
            self._reported = self.problem = None
        except UpdateRefused as error:
            self.problem = error if self._order is None or error.reason == "no_space" else None
            self._refused(error)
        except Exception:
            log.exception("the check for a deployment failed; the node keeps its model")

    def facts(self) -> dict[str, Any]:
        """The trusted state of the update repository, for the health event."""
        state, problem = self._slots.state, self.problem
        return {
            "problem": problem.reason if problem else "",
            "detail": str(problem)[:300] if problem else "",
            "root": state.floors.root,
            "metadata": max(state.floors.timestamp, state.floors.snapshot),
            "serial": state.seen_serial,
        }

    def _check(self) -> None:
        floors = self._repository.refresh(self._slots.state.floors)
        self._broker.refresh(self._repository)
        document = self._deployment(self._slots.state.serial_floor(floors))
        self._slots.change(lambda state: state.saw(floors, document.serial if document else 0))
        if document is None:
            return
        self.requests.withdrawn = frozenset(document.withdrawn)
        self._order = self._order_of(document)
        if self._should_adopt(self._order):
            self._adopt(self._order)

    def _deployment(self, seen: int) -> Deployment | None:
        path = deployment_target(self._app)
        target = self._repository.target(path)
        if target is None:
            if seen:
                raise UpdateRefused("missing", f"{path} is no longer there; serial {seen} was seen")
            return None
        check_length(target, DEPLOYMENT_LIMIT_BYTES)
        local = self._folder / "deployment.json"
        self._repository.fetch(target, local)
        document = decode_deployment(local.read_bytes(), app=self._app, seen_serial=seen)
        for version in (document.base_version, *(wave.version for wave in document.waves)):
            if version and not NAME_PATTERN.fullmatch(version):
                raise UpdateRefused("malformed", f"{version[:80]!r} in {path} cannot be a version")
        return document

    def _order_of(self, document: Deployment) -> Order:
        version = version_for(document, self._traits)
        starter = self._slots.starter_version()
        return Order(
            version=version or starter,
            serial=document.serial,
            rollout=document.rollout,
            soak_s=document.soak_s,
            settings=document.settings,
            starter=version in ("", starter),
            compare=self._slots.state.version not in document.withdrawn,
            wave=any(wave.version == version for wave in document.waves),
        )

    def _should_adopt(self, order: Order) -> bool:
        """Whether to fetch the version; recalls a trial that the document no longer orders."""
        state, candidate = self._slots.state, self._adoption.candidate
        if candidate is not None:
            if candidate.version != order.version:
                self._adoption.recall("superseded")
            return False
        if state.step == "soak":
            if state.previous is not None and state.previous.version == order.version != state.version:
                self._adoption.recall("recalled")
            return False
        if self._adoption.busy or state.is_refused(order.version, order.serial):
            return False
        if order.version != state.version:
            return True
        if order.settings != state.content.settings:
            self._adoption.apply_settings(order)
        elif order.wave and order.rollout != state.rollout:
            now_ns = time.time_ns()
            self._slots.change(lambda s: s.renamed(order, now_ns))
        return False

    def _adopt(self, order: Order) -> None:
        if self._offered != (order.version, order.serial):
            self._adoption.reports.note("offered", order)
            self._offered = (order.version, order.serial)
        try:
            bundle = self._download.fetch(order)
            self._adoption.reports.note("downloaded", order)
            if bundle.version != order.version:
                raise FinalRefusal("mixed", f"the bundle of {order.version} is version {bundle.version}")
            self._adoption.reports.note("verified", order)
            self._prove(order, bundle)
        except GoldenCaseFailed as error:
            raise FinalRefusal("golden", str(error)) from error
        except BundleIncompatible as error:
            raise FinalRefusal("incompatible", str(error)) from error
        except BundleError as error:
            raise FinalRefusal("incomplete", str(error)) from error

    def _prove(self, order: Order, bundle: Bundle) -> None:
        try:
            self._slots.try_order(order)
        except UpdateRefused as error:
            raise FinalRefusal(error.reason, str(error)) from error
        try:
            model = self._load(bundle)
        except Exception as error:
            raise FinalRefusal("load_failed", f"{type(error).__name__}: {error}") from error
        proof = check_golden(bundle, model)
        self._adoption.reports.note(
            "golden", order, detail=f"{proof.cases} cases, {proof.latency_ms:.3g} ms a run"
        )
        self._adoption.offer(Offer(bundle, order))

    def _refused(self, error: UpdateRefused) -> None:
        reason, order = error.reason, self._order
        self.refusals[reason] = self.refusals.get(reason, 0) + 1
        if reason in ("unreachable", "busy"):
            log.info("no check possible (%s): %s", reason, error)
            return
        refusal = (reason, order.version if order else "", self._slots.state.seen_serial)
        if refusal == self._reported and time.monotonic() - self._reported_s < REPEAT_S:
            log.info("update refused again (%s): %s", reason, error)
            return
        self._reported, self._reported_s = refusal, time.monotonic()
        self._adoption.reports.refuse(order, reason, str(error), final=isinstance(error, FinalRefusal))
