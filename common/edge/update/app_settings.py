"""Settings of the app on one node, from three places; later ones win.

1. the node's own settings file (``[settings]``),
2. changes in the deployment document, for all nodes of the app,
3. a change that an operator sent to this node (`common.messages.SettingsChange`), kept in ``folder``.

A change is a JSON Merge Patch with a version. Rules:

- The highest version wins; a lower one is refused (``rollback``), and so is another change of the same
  version, such as from a cloud that was restored from a backup. The same change is done already.
- Settings that the app declares as the node's own (`common.app.spec.AppSpec.own_settings`), such as what may
  leave the device, come from the first place only; a change that names one is refused (``own``).
- A change with which the settings are not valid is refused (``settings``), and nothing changes.
- A kept change that is not readable, no longer valid, or under which the app does not start any more, is left
  out at the start, and reported.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from common import durable
from common.app.spec import AppSpec
from common.config.loader import convert
from common.config.patch import merge_patch
from common.deployment import is_bounded
from common.errors import ConfigError, UpdateRefused
from common.messages import SettingsChange

log = logging.getLogger(__name__)

KEPT = "app_settings.json"


class AppSettings:
    """Of the app ``spec``; ``own`` are those of the node's file, ``deployed`` those of the live model.

    `propose`, `accept` and `discard` belong to a change on its way; any thread may read.
    """

    def __init__(
        self, spec: AppSpec, own: Mapping[str, Any], folder: Path, deployed: Mapping[str, Any]
    ) -> None:
        self._spec = spec
        self._own = own
        self._path = folder / KEPT
        self._proposed: SettingsChange | None = None
        self._accepted = SettingsChange(0)
        self.problem = ""
        """Why the kept change was left out; empty where it was not."""
        self._load(deployed)

    @property
    def version(self) -> int:
        """Version of the operator's change that holds; 0 for none."""
        return self._accepted.version

    def settings(self, deployed: Mapping[str, Any]) -> Any:
        """The app's settings with the changes of a deployment document. Raises `ConfigError`."""
        return self._with(deployed, self._proposed or self._accepted)

    def holds(self, change: SettingsChange) -> bool:
        """Whether this very change holds."""
        return change == self._accepted

    def propose(self, change: SettingsChange, deployed: Mapping[str, Any]) -> None:
        """Use a change from the next `settings` on. Raises `UpdateRefused`."""
        if change.version < self.version:
            raise UpdateRefused(
                "rollback", f"version {change.version} of the settings is below {self.version}"
            )
        if change.version == self.version:
            raise UpdateRefused("rollback", f"another change of version {change.version} holds")
        if not is_bounded(change.settings):
            raise UpdateRefused("settings", "the change is nested too deeply, or has too large a number")
        try:
            self._with(deployed, change)
        except _OwnSetting as error:
            raise UpdateRefused("own", str(error)) from error
        except ConfigError as error:
            raise UpdateRefused("settings", str(error)) from error
        self._proposed = change

    def accept(self) -> None:
        """Keep the proposed change. Raises ``OSError``; it holds until the process ends even so."""
        if self._proposed is not None:
            self._accepted, self._proposed = self._proposed, None
            durable.write(self._path, msgspec.json.encode(self._accepted))

    def discard(self) -> None:
        """Leave the proposed change."""
        self._proposed = None

    def leave_out(self, error: Exception) -> None:
        """Continue without the kept change, because of ``error``."""
        self._accepted = SettingsChange(0)
        self.problem = f"the kept change of the settings is left out: {error}"
        log.error("%s", self.problem)

    def _with(self, deployed: Mapping[str, Any], change: SettingsChange) -> Any:
        for origin, changes in (("the deployment", deployed), ("the operator's change", change.settings)):
            own = sorted(set(changes) & set(self._spec.own_settings))
            if own:
                raise _OwnSetting(
                    f"{own[0]} is decided on the node: {origin} cannot set it; use [settings] in the node's "
                    "settings file"
                )
        tree = merge_patch({**self._own, **deployed}, change.settings)
        return convert(self._spec.settings, tree, f"settings of {self._spec.name}")

    def _load(self, deployed: Mapping[str, Any]) -> None:
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=SettingsChange)
            self._with(deployed, kept)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError, RecursionError, ConfigError) as error:
            self.leave_out(error)
            return
        self._accepted = kept


class _OwnSetting(ConfigError):
    """A change names a setting that only the node's file decides."""
