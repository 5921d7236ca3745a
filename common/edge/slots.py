"""Two slots for models: one that runs, one to prepare the next in. A node always starts with one whole model.

`SlotState` is the core: an immutable record with one method for each thing that can happen. `Slots` is
the shell that keeps it in ``slots.json``. Replacing that one file (temporary name, sync, rename) is the
only moment at which anything changes, so a crash at any step leaves the old model or the new one. Rules:

- The idle slot may be written only while nothing depends on it: not while its bundle is on trial and not
  in the soak, when it holds the way back.
- A model in its soak is blamed for process starts that no clean stop preceded; after ``crash_limit`` of
  them the previous model is live again before anything of the new one is loaded.
- An attempt that takes the process down before the switch is counted too, and given up after as many.
- A given-up ``(version, serial)`` is not tried again until a newer serial names the version.
- What the cloud must hear (switched, confirmed, reverted, refused) is part of the state until it was handed
  to the outbox.
- While nothing was ever rolled out, the starter bundle of the installed package is what runs.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from common import durable
from common.bundle import MANIFEST, Bundle, file_digest, open_bundle
from common.clock import Clock, anchored_clock
from common.errors import BundleError, UpdateRefused

log = logging.getLogger(__name__)

STATE = "slots.json"
REFUSED_LIMIT = 64
REPORT_LIMIT = 64
OTHER = {"a": "b", "b": "a"}


class Refused(msgspec.Struct, frozen=True):
    """A version that this node gave up, up to the serial that named it then."""

    version: str
    serial: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One step of adoption, as it is told to the cloud (data of ``edgeloop.adoption``)."""

    version: str
    from_version: str
    step: str
    ok: bool
    reason: str = ""
    serial: int = 0
    rollout: str = ""
    detail: str = ""
    time_ns: int = 0


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment document asks of this node: run ``version`` with these changes to the settings."""

    version: str
    serial: int
    rollout: str
    soak_s: float = 60.0
    settings: dict[str, Any] = {}
    starter: bool = False
    """The version is the package's own starter bundle."""
    compare: bool = True
    """Whether the candidate must agree with the live model; not with one that was withdrawn."""
    wave: bool = False
    """Whether a wave asked for it, so that the cloud counts this node's answer."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a slot holds."""

    version: str
    starter: bool = False
    settings: dict[str, Any] = {}


class Floors(msgspec.Struct, frozen=True):
    """Highest versions of TUF metadata seen; ``keys`` tells under which timestamp and snapshot keys."""

    root: int = 0
    timestamp: int = 0
    snapshot: int = 0
    keys: str = ""


class SlotState(msgspec.Struct, frozen=True, kw_only=True):
    """Which model runs, how it came there, and what this node has learnt about updates."""

    live: str
    content: Content
    """What the live slot holds."""
    previous: Content | None = None
    """What the idle slot holds, if that was live before and is whole."""
    step: str = "confirmed"
    """``soak`` until the live model has proved itself, then ``confirmed``."""
    serial: int = 0
    rollout: str = ""
    soak_s: float = 60.0
    compare: bool = True
    boots: int = 0
    attempt: Refused | None = None
    attempts: int = 0
    refused: list[Refused] = []
    seen_serial: int = 0
    floors: Floors = Floors()
    unreported: list[Report] = []

    @property
    def version(self) -> str:
        return self.content.version

    def is_refused(self, version: str, serial: int) -> bool:
        """Whether ``version`` was given up and no newer serial names it."""
        return any(r.version == version and serial <= r.serial for r in self.refused)

    def started(self, crash_limit: int, time_ns: int) -> SlotState:
        """The process started. Reverts when the model in its soak was started too often."""
        if self.step != "soak":
            return self
        counted = _replace(self, boots=self.boots + 1)
        if counted.boots >= crash_limit and counted.previous is not None:
            return counted.reverted(
                "crash_loop",
                f"the process started {counted.boots} times in the soak of {self.version}",
                time_ns,
            )
        return counted

    def stopped_cleanly(self) -> SlotState:
        """A planned stop: this start says nothing against the model."""
        return _replace(self, boots=max(0, self.boots - 1), attempts=max(0, self.attempts - 1))

    def trying(self, order: Order) -> SlotState:
        """A bundle for ``order`` is about to be loaded; counts attempts that ended in a crash."""
        attempt = Refused(order.version, order.serial)
        return _replace(self, attempt=attempt, attempts=self.attempts + 1 if attempt == self.attempt else 1)

    def settled(self) -> SlotState:
        """The attempt ended without a crash and without a switch (superseded)."""
        return _replace(self, attempt=None, attempts=0)

    def idle_overwritten(self) -> SlotState:
        """The idle slot is about to be written: there is no way back to what it held."""
        return _replace(self, previous=None)

    def switched(self, order: Order, time_ns: int) -> SlotState:
        """The candidate in the idle slot becomes live; the soak begins."""
        return _replace(
            self,
            live=OTHER[self.live],
            content=Content(version=order.version, starter=order.starter, settings=order.settings),
            previous=self.content,
            step="soak",
            serial=order.serial,
            rollout=order.rollout,
            soak_s=order.soak_s,
            compare=order.compare,
            boots=0,
            attempt=None,
            attempts=0,
        )._with_report("switched", True, time_ns, from_version=self.version)

    def confirmed(self, detail: str, time_ns: int) -> SlotState:
        """The soak went well."""
        before = self.previous.version if self.previous else ""
        return _replace(self, step="confirmed", boots=0)._with_report(
            "confirmed", True, time_ns, detail=detail, from_version=before
        )

    def resettled(self, order: Order) -> SlotState:
        """The live model goes on with other settings."""
        content = msgspec.structs.replace(self.content, settings=order.settings)
        return _replace(self, content=content, serial=order.serial, rollout=order.rollout)

    def renamed(self, order: Order, time_ns: int) -> SlotState:
        """Another rollout asks for what is live and confirmed already: it counts for that one too."""
        return _replace(self, serial=order.serial, rollout=order.rollout)._with_report(
            "confirmed", True, time_ns, reason="already", from_version=self.version
        )

    def reverted(self, reason: str, detail: str, time_ns: int, *, blame: bool = True) -> SlotState:
        """The previous model is live again; the present one is given up if it is to ``blame``."""
        if self.previous is None:
            return self
        reported = self._with_report(
            "reverted", False, time_ns, reason=reason, detail=detail, from_version=self.previous.version
        )
        back = _replace(
            reported,
            live=OTHER[self.live],
            content=self.previous,
            previous=None,
            step="confirmed",
            boots=0,
            attempt=None,
            attempts=0,
        )
        return back.without(self.version, self.serial) if blame else back

    def fallen_back(self, starter: str, detail: str, time_ns: int) -> SlotState:
        """Both slots were damaged; the starter was put into the idle one and is live now."""
        reported = self._with_report(
            "reverted", False, time_ns, reason="damaged", detail=detail, from_version=starter
        )
        return _replace(
            reported,
            live=OTHER[self.live],
            content=Content(version=starter, starter=True),
            previous=None,
            step="confirmed",
            boots=0,
        )

    def gave_up(self, order: Order, reason: str, detail: str, time_ns: int) -> SlotState:
        """A candidate was refused before it became live."""
        report = Report(
            version=order.version,
            from_version=self.version,
            step="refused",
            ok=False,
            reason=reason,
            serial=order.serial,
            rollout=order.rollout,
            detail=detail,
            time_ns=time_ns,
        )
        return _replace(
            self.without(order.version, order.serial),
            attempt=None,
            attempts=0,
            unreported=[*self.unreported, report][-REPORT_LIMIT:],
        )

    def reported(self, count: int) -> SlotState:
        """The first ``count`` reports were handed on."""
        return _replace(self, unreported=self.unreported[count:])

    def saw(self, floors: Floors, serial: int) -> SlotState:
        """Valid metadata and, with ``serial`` > 0, a valid deployment document were read."""
        return _replace(self, floors=floors, seen_serial=max(self.seen_serial, serial))

    def without(self, version: str, serial: int) -> SlotState:
        """``version`` is given up until a newer serial names it."""
        others = [r for r in self.refused if r.version != version]
        return _replace(self, refused=[*others, Refused(version, serial)][-REFUSED_LIMIT:])

    def _with_report(
        self, step: str, ok: bool, time_ns: int, *, reason: str = "", detail: str = "", from_version: str = ""
    ) -> SlotState:
        report = Report(
            version=self.version,
            from_version=from_version,
            step=step,
            ok=ok,
            reason=reason,
            serial=self.serial,
            rollout=self.rollout,
            detail=detail,
            time_ns=time_ns,
        )
        return _replace(self, unreported=[*self.unreported, report][-REPORT_LIMIT:])


def _replace(state: SlotState, **changes: Any) -> SlotState:
    return msgspec.structs.replace(state, **changes)


class Slots:
    """The two slots in ``folder``. Safe to use from the process thread and the ota thread."""

    def __init__(
        self,
        folder: Path,
        app: str,
        starter: Path,
        *,
        crash_limit: int = 2,
        clock: Clock | None = None,
    ) -> None:
        """Open the slots and count this process start.

        Raises `BundleError` only if there is no whole bundle at all, the starter included.
        """
        self._folder = folder
        self._app = app
        self._starter = starter
        self._clock = clock or anchored_clock()
        self._lock = threading.RLock()
        for slot in OTHER:
            (folder / slot).mkdir(parents=True, exist_ok=True)
        state = self._read()
        if state is None:
            state = self._recovered()
        self._state = state
        self._write(state.started(crash_limit, self._clock()))
        self._crash_limit = crash_limit
        self._take_new_starter()
        self._ensure_whole()

    @property
    def state(self) -> SlotState:
        return self._state

    @property
    def app(self) -> str:
        return self._app

    def change(self, transition: Callable[[SlotState], SlotState]) -> SlotState:
        """Apply a transition of `SlotState` and keep the result before anyone acts on it."""
        with self._lock:
            return self._write(transition(self._state))

    def live(self) -> Bundle:
        """The bundle that runs, whole. Raises `BundleError`."""
        return open_bundle(self._folder / self._state.live, app=self._app)

    def previous(self) -> Bundle | None:
        """The bundle that ran before, while the live one is in its soak."""
        with self._lock:
            if self._state.step != "soak" or self._state.previous is None:
                return None
            try:
                return open_bundle(self.idle_path(), app=self._app)
            except BundleError as error:
                log.warning("the previous model in %s cannot be opened: %s", self.idle_path(), error)
                return None

    def idle_path(self) -> Path:
        """Folder of the slot that does not run."""
        return self._folder / OTHER[self._state.live]

    def starter_version(self) -> str:
        """Version of the installed package's starter bundle."""
        return open_bundle(self._starter, app=self._app).version

    def prepare_idle(self) -> Path:
        """The idle slot, free to be written. Raises `UpdateRefused` (``busy``) in a soak."""
        with self._lock:
            if self._state.step == "soak":
                raise UpdateRefused("busy", "the idle slot holds the way back until the soak is over")
            if self._state.previous is not None:
                self._write(self._state.idle_overwritten())
            return self.idle_path()

    def copy_starter(self) -> Bundle:
        """Put the starter bundle into the idle slot."""
        return self._copy(self._starter, self.prepare_idle())

    def fall_back(self, detail: str) -> Bundle:
        """Run the starter, where the live model has to go and there is no way back."""
        with self._lock:
            bundle = self._copy(self._starter, self.idle_path())
            given_up = self._state.without(self._state.version, self._state.serial)
            self._write(given_up.fallen_back(bundle.version, detail, self._clock()))
            return bundle

    def try_order(self, order: Order) -> None:
        """Count an attempt. Raises `UpdateRefused` (``crash_loop``) if the last ones ended the process."""
        state = self.change(lambda s: s.trying(order))
        if state.attempts > self._crash_limit:
            raise UpdateRefused(
                "crash_loop",
                f"the last {self._crash_limit} attempts to load {order.version} ended the process",
            )

    def stopped_cleanly(self) -> None:
        """Call at the end of a planned stop, so that it does not count as a crash."""
        self.change(lambda s: s.stopped_cleanly())

    def _read(self) -> SlotState | None:
        path = self._folder / STATE
        try:
            return msgspec.json.decode(path.read_bytes(), type=SlotState)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            log.error("%s is not readable (%s): starting again from the bundles in the slots", path, error)
            return None

    def _write(self, state: SlotState) -> SlotState:
        if state != getattr(self, "_state", None) or not (self._folder / STATE).exists():
            durable.write(self._folder / STATE, msgspec.json.encode(state))
        self._state = state
        return state

    def _recovered(self) -> SlotState:
        """The state when ``slots.json`` is not there: at the first start, or after damage."""
        bundle = self._copy(self._starter, self._folder / "a")
        return SlotState(live="a", content=Content(version=bundle.version, starter=True))

    def _take_new_starter(self) -> None:
        """After an upgrade of the package, run its starter if nothing was ever rolled out."""
        state = self._state
        if not state.content.starter or state.step != "confirmed" or state.seen_serial:
            return
        live = self._folder / state.live / MANIFEST
        if live.is_file() and file_digest(live) == file_digest(self._starter / MANIFEST):
            return
        bundle = self.copy_starter()
        content = Content(version=bundle.version, starter=True, settings=state.content.settings)
        self._write(_replace(self._state, live=OTHER[state.live], content=content))
        log.info("the package's new starter model %s runs in slot %s", bundle.version, self._state.live)

    def _ensure_whole(self) -> None:
        """If the live bundle is damaged, run the previous one, and the starter if that is gone too."""
        try:
            self.live()
            return
        except BundleError as error:
            damage = str(error)
        log.error("the live model is damaged: %s", damage)
        state = self._state
        if state.previous is not None:
            reverted = state.reverted("damaged", damage, self._clock(), blame=False)
            try:
                open_bundle(self._folder / reverted.live, app=self._app)
                self._write(reverted)
                return
            except BundleError as error:
                log.error("the previous model is damaged too: %s", error)
        bundle = self._copy(self._starter, self._folder / OTHER[state.live])
        self._write(state.fallen_back(bundle.version, damage, self._clock()))

    def _copy(self, source: Path, slot: Path) -> Bundle:
        bundle = open_bundle(source, app=self._app)
        clear_slot(slot)
        for name in reversed(bundle.files()):
            partial = slot / f".{name}.partial"
            with (source / name).open("rb") as reader, partial.open("wb") as writer:
                shutil.copyfileobj(reader, writer)
                writer.flush()
                os.fsync(writer.fileno())
            os.replace(partial, slot / name)
        durable.sync_folder(slot)
        return open_bundle(slot, app=self._app)


def clear_slot(slot: Path, keep: frozenset[str] = frozenset()) -> None:
    """Remove all files but those named ``keep``; the manifest goes first, so that no mix looks whole."""
    if MANIFEST not in keep:
        (slot / MANIFEST).unlink(missing_ok=True)
    for path in slot.iterdir():
        if path.name not in keep and not path.is_dir():
            path.unlink(missing_ok=True)
