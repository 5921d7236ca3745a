"""The models of one node, on its hardware profile: two slots, the live model in its app, another on trial."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.app.edge import EdgeApp, EdgeContext
from common.app.spec import AppSpec
from common.bundle import Bundle
from common.clock import Clock
from common.config.node import NodeSettings
from common.edge.update.adoption import Adoption
from common.edge.update.app_settings import AppSettings
from common.edge.update.slots import Slots
from common.model.inference import OnnxModel, load_model
from common.model.load_test import load_proven
from common.model.profile import Profile, find_profile


class NodeModels:
    """The models under ``folder``; ``killed``: the previous process was killed from outside."""

    def __init__(
        self, settings: NodeSettings, spec: AppSpec, folder: Path, clock: Clock, *, killed: bool
    ) -> None:
        """Load the live model. Raises `EdgeloopError` for an unknown profile, wrong settings of the app, or
        where no whole model is left."""
        self._spec = spec
        self.profile: Profile = find_profile(settings.profile)
        self.slots = Slots(
            folder / "slots",
            spec.name,
            spec.starter,
            crash_limit=settings.ota.crash_limit,
            clock=clock,
            killed=killed,
        )
        deployed = self.slots.state.content.settings
        self.app_settings = AppSettings(spec, settings.settings, folder, deployed)
        try:
            self.adoption = Adoption(self.slots, self._create_app, settings.ota, clock)
        except Exception as error:
            if not self.app_settings.version:
                raise
            self.app_settings.leave_out(error)
            self.adoption = Adoption(self.slots, self._create_app, settings.ota, clock)

    @property
    def version(self) -> str:
        """Version of the live model."""
        return self.adoption.manifest.version

    def load_proven(self, bundle: Bundle) -> OnnxModel:
        """Load a model after its golden cases pass. Raises as `common.model.load_test.load_proven`."""
        return load_proven(bundle, self.profile)

    def _create_app(self, bundle: Bundle, changes: Mapping[str, Any]) -> tuple[EdgeApp, OnnxModel]:
        app_settings = self.app_settings.settings(changes)
        model = load_model(bundle, self.profile)
        return self._spec.load_edge()(EdgeContext(app_settings, model)), model
