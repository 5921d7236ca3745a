"""Loading the models of the slots into apps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from common.app.edge import EdgeApp
from common.bundle import Bundle
from common.clock import Clock
from common.edge.inference.instance import Instance
from common.edge.update.slots import Slots

log = logging.getLogger(__name__)

Create = Callable[[Bundle, Mapping[str, Any]], tuple[EdgeApp, Any]]
"""Makes the app with the model of a bundle, under changes to its settings; the second item is a
`common.edge.inference.instance.WatchedModel`."""


class ModelLoader:
    """Makes instances of the bundles in ``slots``."""

    def __init__(self, slots: Slots, create: Create, clock: Clock) -> None:
        self._slots = slots
        self._create = create
        self._clock = clock

    def load(self, bundle: Bundle, settings: Mapping[str, Any]) -> Instance:
        """An app with the model of ``bundle``. Raises what the app or the model raises."""
        return Instance(bundle, *self._create(bundle, settings))

    def live(self) -> Instance:
        """The live model; one in its soak that cannot be loaded is reverted here.

        Raises `BundleError` (or what ``create`` raises) if the confirmed bundle cannot be loaded.
        """
        state = self._slots.state
        bundle = self._slots.live()
        try:
            return self.load(bundle, state.content.settings)
        except Exception as error:
            if state.step != "soak" or state.previous is None:
                raise
            log.exception("the model %s in its soak cannot be loaded", state.version)
            detail = f"{type(error).__name__}: {error}"
            self._slots.change(lambda s: s.reverted("load_failed", detail, self._clock()))
            return self.live()

    def previous(self) -> Instance | None:
        """The model that ran before, while the live one is in its soak; None where it cannot be loaded."""
        bundle = self._slots.previous()
        content = self._slots.state.previous
        if bundle is None or content is None:
            return None
        try:
            return self.load(bundle, content.settings)
        except Exception:
            log.exception("the previous model %s cannot be loaded beside the new one", bundle.version)
            return None
