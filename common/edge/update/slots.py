"""Two slots for models: one that runs, one to prepare the next in. A node always starts with one whole model.

`common.edge.update.slot_state.SlotState` is the core: an immutable record with one method for each thing that
can happen. `Slots` is the shell that keeps it in ``slots.json``. Replacing that one file (temporary name,
sync, rename) is the only moment at which anything changes, so a crash at any step leaves the old model or the
new one. Rules of the shell:

- The idle slot may be written only while nothing depends on it: not while its bundle is on trial and not
  in the soak, when it holds the way back.
- While nothing was ever rolled out, the starter bundle of the installed package is what runs.
- A damaged live bundle gives way to the previous one, and to the starter where that is damaged too.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from common import durable
from common.bundle import MANIFEST, Bundle, file_digest, open_bundle
from common.clock import Clock, anchored_clock
from common.edge.update.slot_state import OTHER, Content, Order, SlotState, with_changes
from common.errors import BundleError, UpdateRefused

log = logging.getLogger(__name__)

STATE = "slots.json"


class Slots:
    """The two slots in ``folder``. Safe to use from the process thread and the update thread."""

    def __init__(
        self,
        folder: Path,
        app: str,
        starter: Path,
        *,
        crash_limit: int = 2,
        clock: Clock | None = None,
        killed: bool = False,
    ) -> None:
        """Open the slots and count this process start.

        ``killed``: the previous process was killed from outside (`common.edge.process_end`).
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
        self._write(state.started(crash_limit, self._clock(), killed=killed))
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

    def idle(self) -> Bundle:
        """The bundle in the slot that does not run, whole. Raises `BundleError`."""
        return open_bundle(self.idle_path(), app=self._app)

    def idle_path(self) -> Path:
        """Folder of the slot that does not run."""
        return self._folder / OTHER[self._state.live]

    def starter_version(self) -> str:
        """Version of the installed package's starter bundle."""
        return open_bundle(self._starter, app=self._app).version

    def starter_bytes(self) -> int:
        """Size of the starter bundle."""
        bundle = open_bundle(self._starter, app=self._app)
        return sum((bundle.path / name).stat().st_size for name in bundle.files())

    def prepare_idle(self) -> Path:
        """The idle slot, free to be written. Raises `UpdateRefused` (``busy``) in a soak."""
        with self._lock:
            if self._state.step == "soak":
                raise UpdateRefused("busy", "the idle slot holds the previous model until the soak is over")
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
        self._write(with_changes(self._state, live=OTHER[state.live], content=content))
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
