"""Looking for another model: from the signed deployment document to a bundle that is put on trial.

One look: refresh what can be believed (`common.edge.update.tuf_client`), read the app's deployment document,
find out which version this node should run, and bring it into the idle slot, file by file, the manifest last.
A bundle is offered to `common.edge.update.adoption` when it is whole, for this app, and its golden cases pass
on this device. Anything else is refused with a reason word and the node keeps the model that it has. Beside
the words of `common.edge.update.tuf_client` these are: ``extraneous`` (the bundle wants a file that its app's
role did not sign), ``wrong_app``, ``incompatible``, ``too_large``, ``no_space``, ``golden``, ``load_failed``,
``crash_loop``. What depends on signed content alone is final until a newer serial; what an attacker on the
network could cause is tried again at the next look.

A bundle never takes disk space that the node's events may still need (`reserve_bytes`), nor the last
`RESERVE_BYTES`; a node without that much space says so in its health.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuf.ngclient import TargetFile

from common import durable
from common.app.edge import Model
from common.bundle import (
    FILE_LIMIT_BYTES,
    MANIFEST,
    MANIFEST_LIMIT_BYTES,
    Bundle,
    Manifest,
    check_names,
    open_bundle,
    read_manifest,
)
from common.clock import Clock
from common.config.node import Enrolment, OtaSettings
from common.connection import (
    CONNECTION_LIMIT_BYTES,
    CONNECTION_TARGET,
    Address,
    decode_connection,
)
from common.deployment import (
    DEPLOYMENT_LIMIT_BYTES,
    Deployment,
    NodeTraits,
    bundle_target,
    decode_deployment,
    deployment_target,
    version_for,
)
from common.edge.operator_requests import OperatorRequests
from common.edge.update.adoption import Adoption, Offer
from common.edge.update.fetcher import RepositoryFetcher
from common.edge.update.slot_state import Order
from common.edge.update.slots import Slots, clear_slot
from common.edge.update.tuf_client import TrustedRepository
from common.errors import BundleError, BundleIncompatible, GoldenCaseFailed, UpdateRefused
from common.messages import NAME_PATTERN
from common.model.golden import check_golden

log = logging.getLogger(__name__)

REPEAT_S = 3600.0
"""How often the same refusal is reported again."""
_NEXT_MANIFEST = ".next-manifest.json"
RESERVE_BYTES = 16 * 1024 * 1024
"""Space that a bundle leaves free beside what events may need."""


class _GivenUp(UpdateRefused):
    """A refusal that stands until a newer serial names the version."""


class UpdateClient:
    """Looks for deployments; everything here runs in the update thread."""

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
    ) -> None:
        self._folder = folder
        self._app = app
        self._traits = traits
        self._settings = settings
        self._slots = slots
        self._adoption = adoption
        self._load = load
        self._reserve_bytes = reserve_bytes
        fetcher = RepositoryFetcher(settings, token=enrolment.token, user_agent=user_agent)
        self._repository = TrustedRepository(
            folder / "metadata", enrolment.tuf_root, f"{enrolment.cloud_url.rstrip('/')}/tuf", fetcher, app
        )
        self.requests = OperatorRequests(slots, adoption, load, clock)
        self._broker = self._enrolled_broker = Address(enrolment.mqtt_host, enrolment.mqtt_port)
        self._broker_moved = broker_moved
        self._order: Order | None = None
        self._offered: tuple[str, int] | None = None
        self._told: tuple[str, str, int] | None = None
        self._told_at = 0.0
        self.refusals: dict[str, int] = {}
        """Count of refusals by reason, for the metrics."""
        self.problem: UpdateRefused | None = None
        """Why this node cannot check for updates, or has no room for one; None after one that succeeded."""
        self._follow_kept_broker()

    def run(self, stop: threading.Event, check_now: threading.Event) -> None:
        """Look every ``poll_s`` (jittered), and at once when ``check_now`` is set, until ``stop`` is.

        What an operator wished for (`wishes`) is done before each look.
        """
        while not stop.is_set():
            check_now.clear()
            self.requests.execute()
            self.check()
            due = time.monotonic() + self._settings.poll_s * random.uniform(0.8, 1.2)  # noqa: S311
            while not stop.is_set() and not check_now.is_set():
                left = due - time.monotonic()
                if left <= 0:
                    break
                check_now.wait(min(0.25, left))

    def check(self) -> None:
        """One look. Raises nothing: what is refused is reported, what is out of reach is logged."""
        self._order = None
        try:
            self._check()
            self._told = self.problem = None
        except UpdateRefused as error:
            self.problem = error if self._order is None or error.reason == "no_space" else None
            self._refused(error)
        except Exception:
            log.exception("looking for a deployment failed; the node keeps its model")

    def facts(self) -> dict[str, Any]:
        """What this node trusts of the update repository, for the health event."""
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
        self._update_broker_address()
        document = self._deployment(self._slots.state.serial_floor(floors))
        self._slots.change(lambda state: state.saw(floors, document.serial if document else 0))
        if document is None:
            return
        self.requests.withdrawn = frozenset(document.withdrawn)
        self._order = self._order_of(document)
        if self._should_adopt(self._order):
            self._adopt(self._order)

    def _update_broker_address(self) -> None:
        """Take over the broker's address where it has moved; trouble with that holds no update up."""
        try:
            target = self._repository.target(CONNECTION_TARGET)
            if target is not None:
                _check_length(target, CONNECTION_LIMIT_BYTES)
                self._repository.fetch(target, self._folder / CONNECTION_TARGET)
                self._follow_broker()
        except UpdateRefused as error:
            log.warning("where the broker is cannot be found out (%s): %s", error.reason, error)

    def _follow_kept_broker(self) -> None:
        """Go on with the address that was verified when it was fetched."""
        try:
            self._follow_broker()
        except FileNotFoundError:
            return
        except (OSError, UpdateRefused) as error:
            log.warning("the kept address of the broker is not readable: %s", error)

    def _follow_broker(self) -> None:
        document = decode_connection((self._folder / CONNECTION_TARGET).read_bytes())
        broker = document.follow(self._enrolled_broker)
        if broker != self._broker:
            log.info("the broker is at %s:%d now", broker.host, broker.port)
            self._broker = broker
            self._broker_moved(broker)

    def _deployment(self, seen: int) -> Deployment | None:
        path = deployment_target(self._app)
        target = self._repository.target(path)
        if target is None:
            if seen:
                raise UpdateRefused("missing", f"{path} is no longer there; serial {seen} was seen")
            return None
        _check_length(target, DEPLOYMENT_LIMIT_BYTES)
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
        """Whether to fetch; steers what is under way where the document says something else now."""
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
            idle = self._slots.prepare_idle()
            bundle = self._copy_starter(idle) if order.starter else self._download(order, idle)
            self._adoption.reports.note("downloaded", order)
            if bundle.version != order.version:
                raise _GivenUp("mixed", f"the bundle of {order.version} says that it is {bundle.version}")
            self._adoption.reports.note("verified", order)
            self._prove(order, bundle)
        except GoldenCaseFailed as error:
            raise _GivenUp("golden", str(error)) from error
        except BundleIncompatible as error:
            raise _GivenUp("incompatible", str(error)) from error
        except BundleError as error:
            raise _GivenUp("incomplete", str(error)) from error

    def _prove(self, order: Order, bundle: Bundle) -> None:
        try:
            self._slots.try_order(order)
        except UpdateRefused as error:
            raise _GivenUp(error.reason, str(error)) from error
        try:
            model = self._load(bundle)
        except Exception as error:
            raise _GivenUp("load_failed", f"{type(error).__name__}: {error}") from error
        proof = check_golden(bundle, model)
        self._adoption.reports.note(
            "golden", order, detail=f"{proof.cases} cases, {proof.latency_ms:.3g} ms a run"
        )
        self._adoption.offer(Offer(bundle, order))

    def _download(self, order: Order, idle: Path) -> Bundle:
        """The bundle of ``order`` in the idle slot: each file in place before its manifest is."""
        next_manifest = idle / _NEXT_MANIFEST
        manifest_target = self._signed(order, MANIFEST)
        _check_length(manifest_target, MANIFEST_LIMIT_BYTES)
        self._repository.fetch(manifest_target, next_manifest)
        manifest = read_manifest(next_manifest.read_bytes(), manifest_target.path)
        check_names(manifest, manifest_target.path)
        if manifest.app != self._app:
            raise _GivenUp("wrong_app", f"{order.version} is a model for {manifest.app!r}, not {self._app!r}")
        targets = self._targets(order, manifest)
        clear_slot(idle, frozenset((_NEXT_MANIFEST, *manifest.files, *_partials(targets))))
        for name, target in targets.items():
            self._check_space(idle, sum(_missing_bytes(idle, *each) for each in targets.items()))
            self._repository.fetch(target, idle / name)
        os.replace(next_manifest, idle / MANIFEST)
        durable.sync_folder(idle)
        return open_bundle(idle, app=self._app)

    def _copy_starter(self, idle: Path) -> Bundle:
        self._check_space(idle, self._slots.starter_bytes())
        return self._slots.copy_starter()

    def _check_space(self, folder: Path, wanted_bytes: int) -> None:
        """Raises `UpdateRefused` (``no_space``) where ``wanted_bytes`` would go into the reserve."""
        reserve_bytes = self._reserve_bytes() + RESERVE_BYTES
        free_bytes = shutil.disk_usage(folder).free
        if wanted_bytes and free_bytes < wanted_bytes + reserve_bytes:
            raise UpdateRefused(
                "no_space",
                f"{wanted_bytes} bytes are needed in {folder}, {free_bytes} are free, and {reserve_bytes} of "
                "them are kept for events (outbox.budget_bytes): free some space, or lower the budget",
            )

    def _targets(self, order: Order, manifest: Manifest) -> dict[str, TargetFile]:
        targets: dict[str, TargetFile] = {}
        for name, digest in manifest.files.items():
            path = bundle_target(self._app, order.version, name)
            target = self._repository.target(path)
            if target is None:
                raise _GivenUp("extraneous", f"the bundle wants {path}, which its app's role did not sign")
            if target.hashes.get("sha256") != digest:
                raise _GivenUp("mixed", f"{path} is signed with another digest than its manifest names")
            _check_length(target, FILE_LIMIT_BYTES)
            targets[name] = target
        return targets

    def _signed(self, order: Order, name: str) -> TargetFile:
        path = bundle_target(self._app, order.version, name)
        target = self._repository.target(path)
        if target is None:
            raise UpdateRefused("missing", f"the deployment names {path}, which nobody signed")
        return target

    def _refused(self, error: UpdateRefused) -> None:
        reason, order = error.reason, self._order
        self.refusals[reason] = self.refusals.get(reason, 0) + 1
        if reason in ("unreachable", "busy"):
            log.info("no look possible (%s): %s", reason, error)
            return
        told = (reason, order.version if order else "", self._slots.state.seen_serial)
        if told == self._told and time.monotonic() - self._told_at < REPEAT_S:
            log.info("update refused again (%s): %s", reason, error)
            return
        self._told, self._told_at = told, time.monotonic()
        self._adoption.reports.refuse(order, reason, str(error), final=isinstance(error, _GivenUp))


def _partials(targets: dict[str, TargetFile]) -> list[str]:
    return [_partial(name, target) for name, target in targets.items()]


def _partial(name: str, target: TargetFile) -> str:
    return f".{name}.{target.hashes['sha256'][:16]}.partial"


def _check_length(target: TargetFile, limit: int) -> None:
    if target.length > limit:
        raise UpdateRefused("too_large", f"{target.path} is {target.length} bytes; at most {limit} are taken")


def _missing_bytes(folder: Path, name: str, target: TargetFile) -> int:
    """What is still to be written of a file of the bundle."""
    if (folder / name).exists():
        return 0
    partial = folder / _partial(name, target)
    return max(0, target.length - (partial.stat().st_size if partial.exists() else 0))
