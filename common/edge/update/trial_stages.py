"""The stages of a model on trial: shadow, switch, soak, and the way back. Belongs to the process thread.

::

    begin_shadow ──> shadow ──(good)──> switched ──> soak ──(good for soak_s)──> confirmed
                        └─(bad)─> refused                └─(bad)─> reverted

In shadow the candidate starts from the live app's snapshot and sees the same readings. In the soak the roles
are reversed: the previous model keeps running as the reference and stands by. At a switch and at a reversal
the next app continues from the snapshot of the one before, so that what was already reported (an alarm that
is up) stays reported. `common.edge.update.stage` judges; `common.edge.update.slots` remembers.
"""

from __future__ import annotations

import logging

from common.app.edge import State
from common.clock import Clock
from common.config.node import OtaSettings
from common.edge.inference.instance import Instance, take_over, transfer_state
from common.edge.inference.model_pair import Decision, ModelPair
from common.edge.update.adoption_reports import AdoptionReports
from common.edge.update.model_loader import ModelLoader
from common.edge.update.slot_state import Content, Order
from common.edge.update.slots import Slots
from common.edge.update.stage import Candidate, Shadow, Soak
from common.edge.update.trial import Verdict

log = logging.getLogger(__name__)

OPERATOR = "operator"
"""Reason of a step that a person requested."""


class TrialStages:
    """Steps the models of ``pair`` through their trial."""

    def __init__(
        self,
        pair: ModelPair,
        slots: Slots,
        loader: ModelLoader,
        reports: AdoptionReports,
        settings: OtaSettings,
        clock: Clock,
    ) -> None:
        """Load the live model, and the previous one if it is in its soak. Raises as `ModelLoader.live`."""
        self._pair = pair
        self._slots = slots
        self._loader = loader
        self._reports = reports
        self._settings = settings
        self._clock = clock
        self._stage: Shadow | Soak | None = None
        self.switches = 0
        """Number of switches to another model, or to the same under other settings."""
        pair.live = loader.live()
        if slots.state.step == "soak":
            self._begin_soak(pair.live, loader.previous())

    @property
    def phase(self) -> str:
        """``shadow``, ``soak``, or empty where no model is on trial."""
        stage = self._stage
        return stage.phase if stage is not None else ""

    @property
    def order(self) -> Order | None:
        """The order of the candidate in shadow."""
        stage = self._stage
        return stage.order if isinstance(stage, Shadow) else None

    @property
    def failing(self) -> bool:
        """Whether the live model fails in its soak."""
        stage = self._stage
        return isinstance(stage, Soak) and stage.trial.failures() > 0

    # ----------------------------------------------------------------------------- commands

    def begin_shadow(self, candidate: Candidate, *, drifting: bool) -> None:
        """Put a candidate beside the live model, unless another trial goes on."""
        if self._stage is not None:
            return
        instance, order, live = candidate.instance, candidate.order, self._pair.live
        problem = take_over(instance, live)
        if problem:
            self._reports.refuse(order, "load_failed", problem, final=True)
            return
        shadow = Shadow.begin(candidate, live, self._settings, self._clock(), drifting=drifting)
        self._enter(shadow)
        if shadow.skip_reason:
            self._switch(shadow, shadow.skip_reason)

    def recall(self, reason: str) -> bool:
        """Drop the candidate in shadow, or revert the model in its soak. False if no model is on trial."""
        stage = self._stage
        if stage is None:
            return False
        if isinstance(stage, Soak):
            by = "a person" if reason == OPERATOR else "the cloud"
            self._revert(stage, Verdict(False, reason, f"{by} requested the previous model"))
            return True
        order = stage.order
        self._enter(None)
        if reason == OPERATOR:
            detail, now_ns = "dropped in shadow by a person", self._clock()
            self._slots.change(
                lambda state: state.gave_up(order, OPERATOR, detail, now_ns, through=state.seen_serial)
            )
        else:
            self._reports.note("refused", order, ok=False, reason=reason, detail="dropped in shadow")
            self._slots.change(lambda state: state.settled())
        return True

    def roll_back(self, instance: Instance, content: Content, left: str) -> None:
        """Go live with ``instance`` in place of the confirmed model ``left``, as a person requested."""
        if self._stage is not None or self._pair.live.bundle.version != left:
            return
        detail = "a person requested the previous model" + (" (the starter)" if content.starter else "")
        log.warning("rolled back from %s to %s: %s", left, content.version, detail)
        self._slots.change(lambda state: state.rolled_back(content, OPERATOR, detail, self._clock()))
        transfer_state(instance, self._pair.live)
        self._go_live(instance)

    def apply_settings(self, instance: Instance, order: Order) -> None:
        """Continue with the live model under other settings."""
        if self._is_other(instance):
            return
        problem = take_over(instance, self._pair.live)
        if problem:
            self._reports.refuse(order, "settings", problem, final=True)
            return
        self._slots.change(lambda state: state.settings_applied(order))
        self._go_live(instance)

    def change_settings(self, instance: Instance) -> str:
        """Continue with the live model under settings of an operator; what prevents it, or empty."""
        if self._is_other(instance):
            return "another model was put on trial meanwhile"
        problem = take_over(instance, self._pair.live)
        if not problem:
            self._go_live(instance)
        return problem

    def _is_other(self, instance: Instance) -> bool:
        return self._stage is not None or instance.bundle.version != self._pair.live.bundle.version

    # ----------------------------------------------------------------------------- readings

    def judge(self, decision: Decision, *, drifting: bool) -> None:
        """Count a reading that both models saw, and take the next step if it is due."""
        stage = self._stage
        if isinstance(stage, Soak):
            self._judge_soak(stage, decision)
        elif stage is not None:
            self._judge_shadow(stage, decision, drifting=drifting)

    def restore(self, state: State) -> None:
        """Give a saved state to the live app, which in its soak is reverted if it cannot take it over."""
        try:
            self._pair.live.app.restore(state)
        except Exception as error:
            stage = self._stage
            if not isinstance(stage, Soak):
                raise
            log.exception("the model in its soak cannot take over the saved state")
            self._revert(stage, Verdict(False, "load_failed", f"cannot take over the saved state: {error}"))
            self._pair.live.app.restore(state)
            return
        self._pair.restore_companion(state)

    def _judge_shadow(self, shadow: Shadow, decision: Decision, *, drifting: bool) -> None:
        verdict = shadow.judge(decision, self._clock(), drifting=drifting)
        if verdict is None:
            return
        if verdict.good:
            self._switch(shadow, verdict.detail)
        else:
            self._reports.refuse(shadow.order, verdict.reason, f"in shadow: {verdict.detail}", final=True)
            self._enter(None)

    def _judge_soak(self, soak: Soak, decision: Decision) -> None:
        verdict = soak.judge(decision, self._clock())
        if self._slots.state.kills and soak.served:
            self._slots.change(lambda state: state.served())
        if verdict is None:
            return
        if verdict.good:
            self._slots.change(lambda state: state.confirmed(verdict.detail, self._clock()))
            self._enter(None)
        else:
            self._revert(soak, verdict)

    # -------------------------------------------------------------------------------- steps

    def _enter(self, stage: Shadow | Soak | None) -> None:
        self._stage = stage
        if stage is None:
            self._pair.set_companion(None)
        else:
            self._pair.set_companion(stage.companion, standby=isinstance(stage, Soak))

    def _go_live(self, instance: Instance) -> None:
        self._pair.live = instance
        self.switches += 1

    def _switch(self, shadow: Shadow, detail: str) -> None:
        order, candidate, previous = shadow.order, shadow.companion, self._pair.live
        self._reports.note("shadow", order, detail=detail)
        transfer_state(candidate, previous)
        familiar = shadow.trial.familiar
        self._slots.change(lambda state: state.switched(order, self._clock(), familiar=familiar))
        self._go_live(candidate)
        self._begin_soak(candidate, previous)
        log.info("the model %s is live; %s keeps running beside it", order.version, previous.bundle.version)

    def _begin_soak(self, live: Instance, previous: Instance | None) -> None:
        self._enter(Soak.begin(live, previous, self._slots.state, self._settings, self._clock()))

    def _revert(self, soak: Soak, verdict: Verdict) -> None:
        bad, previous = self._pair.live, soak.companion or self._loader.previous()
        log.warning("the model %s is reverted (%s): %s", bad.bundle.version, verdict.reason, verdict.detail)
        if previous is not None:
            through = self._slots.state.seen_serial if verdict.reason == OPERATOR else 0
            self._slots.change(
                lambda state: state.reverted(verdict.reason, verdict.detail, self._clock(), through=through)
            )
        else:
            bundle = self._slots.fall_back(f"{verdict.reason}: {verdict.detail}")
            previous = self._loader.load(bundle, {})
        transfer_state(previous, bad)
        self._go_live(previous)
        self._enter(None)
