"""State of the two slots, as an immutable record with one transition for each thing that can happen.

No I/O: `common.edge.update.slots.Slots` keeps the state on disk. Rules:

- A model in its soak is blamed for process starts that no clean stop preceded; after ``crash_limit`` of
  them the previous model is live again before anything of the new one is loaded.
- An attempt that takes the process down before the switch is counted too, and given up after as many.
- A process that was killed from outside does not count against the model, up to `KILL_LIMIT` times in a row
  without readings served in between.
- Which deployments are followed, and which versions are rejected, is decided by serials
  (`common.edge.update.deployment_serials`).
- Reports to the cloud (switched, confirmed, reverted, refused) are part of the state until they are in
  the outbox.
"""

from __future__ import annotations

from typing import Any

import msgspec

from common.edge.update.deployment_serials import DeploymentSerials, Refused

REPORT_LIMIT = 64
KILL_LIMIT = 20
"""Kills from outside that are forgiven while a model serves nothing: a watchdog may end one that hangs."""
OTHER = {"a": "b", "b": "a"}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One step of adoption, as reported to the cloud (data of ``edgeloop.adoption``)."""

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
    """Order of a deployment document: run ``version`` with these changes to the settings."""

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
    """Whether a wave ordered it, so that the cloud counts this node's answer."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a slot."""

    version: str
    starter: bool = False
    settings: dict[str, Any] = {}


class SlotState(DeploymentSerials, frozen=True, kw_only=True):
    """The live model, its origin and its trial, and the serials of deployments."""

    live: str
    content: Content
    """Content of the live slot."""
    previous: Content | None = None
    """Content of the idle slot, if it was live before and is whole."""
    step: str = "confirmed"
    """``soak`` until the live model has proved itself, then ``confirmed``."""
    rollout: str = ""
    soak_s: float = 60.0
    compare: bool = True
    familiar: bool = True
    """Whether the readings were of a kind that the previous model knew when it handed over."""
    boots: int = 0
    kills: int = 0
    """Kills from outside since the model on trial last served readings."""
    attempt: Refused | None = None
    attempts: int = 0
    unreported: list[Report] = []

    @property
    def version(self) -> str:
        return self.content.version

    def started(self, crash_limit: int, time_ns: int, *, killed: bool = False) -> SlotState:
        """The process started. Reverts when the model in its soak was started too often.

        ``killed``: the previous process was killed from outside.
        """
        if killed and self.kills < KILL_LIMIT:
            if self.step != "soak" and not self.attempts:
                return self
            return with_changes(self, kills=self.kills + 1, attempts=max(0, self.attempts - 1))
        if self.step != "soak":
            return self
        counted = with_changes(self, boots=self.boots + 1)
        if counted.boots >= crash_limit and counted.previous is not None:
            return counted.reverted(
                "crash_loop",
                f"the process started {counted.boots} times in the soak of {self.version}",
                time_ns,
            )
        return counted

    def served(self) -> SlotState:
        """The model on trial has served readings since the process started."""
        return with_changes(self, kills=0)

    def stopped_cleanly(self) -> SlotState:
        """A planned stop: this start does not count against the model."""
        return with_changes(self, boots=max(0, self.boots - 1), attempts=max(0, self.attempts - 1))

    def trying(self, order: Order) -> SlotState:
        """A bundle for ``order`` is about to be loaded; counts attempts that ended in a crash."""
        attempt = Refused(order.version, order.serial)
        return with_changes(
            self, attempt=attempt, attempts=self.attempts + 1 if attempt == self.attempt else 1
        )

    def settled(self) -> SlotState:
        """The attempt ended without a crash and without a switch (superseded)."""
        return with_changes(self, attempt=None, attempts=0)

    def idle_overwritten(self) -> SlotState:
        """The idle slot is about to be written: there is no way back to what it held."""
        return with_changes(self, previous=None)

    def switched(self, order: Order, time_ns: int, *, familiar: bool = True) -> SlotState:
        """The candidate in the idle slot becomes live; the soak begins."""
        return with_changes(
            self,
            live=OTHER[self.live],
            content=Content(version=order.version, starter=order.starter, settings=order.settings),
            previous=self.content,
            step="soak",
            serial=order.serial,
            rollout=order.rollout,
            soak_s=order.soak_s,
            compare=order.compare,
            familiar=familiar,
            boots=0,
            kills=0,
            attempt=None,
            attempts=0,
        )._with_report("switched", True, time_ns, from_version=self.version)

    def confirmed(self, detail: str, time_ns: int) -> SlotState:
        """The soak went well."""
        before = self.previous.version if self.previous else ""
        return with_changes(self, step="confirmed", boots=0, kills=0)._with_report(
            "confirmed", True, time_ns, detail=detail, from_version=before
        )

    def settings_applied(self, order: Order) -> SlotState:
        """The live model continues with other settings."""
        content = msgspec.structs.replace(self.content, settings=order.settings)
        return with_changes(self, content=content, serial=order.serial, rollout=order.rollout)

    def renamed(self, order: Order, time_ns: int) -> SlotState:
        """Another rollout orders the live, confirmed model: it counts for that one too."""
        return with_changes(self, serial=order.serial, rollout=order.rollout)._with_report(
            "confirmed", True, time_ns, reason="already", from_version=self.version
        )

    def reverted(
        self, reason: str, detail: str, time_ns: int, *, blame: bool = True, through: int = 0
    ) -> SlotState:
        """The previous model is live again; the present one is rejected if it is to ``blame``.

        It may come again with a serial above the one that brought it, or above ``through`` if that is higher.
        """
        if self.previous is None:
            return self
        reported = self._with_report(
            "reverted", False, time_ns, reason=reason, detail=detail, from_version=self.previous.version
        )
        back = with_changes(
            reported,
            live=OTHER[self.live],
            content=self.previous,
            previous=None,
            step="confirmed",
            boots=0,
            kills=0,
            attempt=None,
            attempts=0,
        )
        return back.without(self.version, max(self.serial, through)) if blame else back

    def rolled_back(self, content: Content, reason: str, detail: str, time_ns: int) -> SlotState:
        """A person requested ``content``, which the idle slot holds whole, in place of the live model.

        No deployment seen so far brings the replaced model back.
        """
        prepared = with_changes(self, previous=content)
        return prepared.reverted(reason, detail, time_ns, through=self.seen_serial)

    def fallen_back(self, starter: str, detail: str, time_ns: int) -> SlotState:
        """Both slots were damaged; the starter was put into the idle one and is live now."""
        reported = self._with_report(
            "reverted", False, time_ns, reason="damaged", detail=detail, from_version=starter
        )
        return with_changes(
            reported,
            live=OTHER[self.live],
            content=Content(version=starter, starter=True),
            previous=None,
            step="confirmed",
            boots=0,
        )

    def gave_up(self, order: Order, reason: str, detail: str, time_ns: int, *, through: int = 0) -> SlotState:
        """A candidate was refused before it became live; ``through`` is that of `reverted`."""
        reported = self._with_report(
            "refused", False, time_ns, order=order, reason=reason, detail=detail, from_version=self.version
        )
        given_up = reported.without(order.version, max(order.serial, through))
        return with_changes(given_up, attempt=None, attempts=0, kills=0)

    def reported(self, count: int) -> SlotState:
        """The first ``count`` reports were handed on."""
        return with_changes(self, unreported=self.unreported[count:])

    def _with_report(
        self,
        step: str,
        ok: bool,
        time_ns: int,
        *,
        order: Order | None = None,
        reason: str = "",
        detail: str = "",
        from_version: str = "",
    ) -> SlotState:
        """With a report on the live model, or on that of ``order``."""
        about = self if order is None else order
        report = Report(
            version=about.version,
            from_version=from_version,
            step=step,
            ok=ok,
            reason=reason,
            serial=about.serial,
            rollout=about.rollout,
            detail=detail,
            time_ns=time_ns,
        )
        return with_changes(self, unreported=[*self.unreported, report][-REPORT_LIMIT:])


def with_changes(state: SlotState, **changes: Any) -> SlotState:
    """``state`` with some fields replaced."""
    return msgspec.structs.replace(state, **changes)
