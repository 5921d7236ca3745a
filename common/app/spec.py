"""The app as its entry point names it: `AppSpec`, and how apps are found.

An app is an `AppSpec` under the entry point group ``edgeloop.apps``. Its parts are named as
``"module:attribute"`` and imported on first use, so a node never imports a part of the cloud or of training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import resolve_name

import msgspec

from common.app.cloud import CloudApp
from common.app.edge import EdgeApp, EdgeContext, Source
from common.app.events import EventTypes
from common.app.training import Training
from common.errors import ConfigError


@dataclass(frozen=True, slots=True)
class AppSpec:
    """An app, as found by its entry point. The strings are ``"module:attribute"``, imported on use.

    ``events``   the `EventTypes` that the app sends
    ``edge``     callable ``(EdgeContext) -> EdgeApp``
    ``cloud``    callable ``() -> CloudApp``
    ``train``    a `Training` (a module with ``gate``, ``train`` and ``evaluate`` is one)
    ``virtual``  callable ``(kind, parameters: dict[str, str], speed: float) -> Source``;
                 its kinds are ``virtual_kinds``
    ``pages``    callable that adds the app's pages to the dashboard
    ``settings`` the app's typed settings; ``starter`` the folder of the bundle that the app comes with
    ``channels`` those without which a row of sensor values cannot be used; a source that lacks one is refused
    ``rates_hz`` sampling rates that it takes, lowest and highest; a recording at another one is refused
    ``alarm_ends`` types of events of a lower priority that end an alarm
    ``pseudonyms`` whether subjects are persons: app and cloud get only the pseudonyms that the node makes
                 (`common.edge.sensing.pseudonyms`)
    ``capacity`` the setting that bounds how many subjects are followed at a time (`common.subjects`); beside
                 it stands one ``forget_..._after_hours`` or ``_days``
    ``own_settings`` those that only a node's own file decides, such as what may leave the device: no change
                 from the cloud sets one (`common.edge.update.app_settings`)
    ``check_source`` parameters, beside ``seed``, of the virtual source in ``edgeloop app check``: those with
                 which it is quick
    ``ranges`` what each channel can read, ``{channel: (lowest, highest)}``, of an app that checks its
                 sensors: a value outside of it is reported, is not used, and clears no alarm
    """

    name: str
    title: str
    settings: type[msgspec.Struct]
    starter: Path
    edge: str
    cloud: str
    train: str
    virtual: str
    virtual_kinds: tuple[str, ...]
    events: str = ""
    pages: str | None = None
    pseudonyms: bool = False
    capacity: str = ""
    ranges: str = ""
    channels: tuple[str, ...] = ()
    rates_hz: tuple[float, float] | None = None
    alarm_ends: tuple[str, ...] = ()
    own_settings: tuple[str, ...] = ()
    check_source: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)

    def load_events(self) -> EventTypes:
        """None are declared where ``events`` is empty."""
        return resolve_name(self.events) if self.events else EventTypes(self.name)

    def load_edge(self) -> Callable[[EdgeContext], EdgeApp]:
        """Raises `ConfigError` where a library that the app needs is not installed."""
        try:
            return resolve_name(self.edge)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"the app {self.name!r} needs {error.name}, which is not installed: "
                f"pip install 'edgeloop[edge,{self.name}]'"
            ) from error

    def load_cloud(self) -> CloudApp:
        return resolve_name(self.cloud)()

    def load_train(self) -> Training:
        return resolve_name(self.train)

    def load_virtual(self) -> Callable[[str, dict[str, str], float], Source]:
        return resolve_name(self.virtual)


def installed_apps() -> dict[str, AppSpec]:
    """Every app of this installation by name."""
    return {entry.name: entry.load() for entry in entry_points(group="edgeloop.apps")}


def find_app(name: str) -> AppSpec:
    """The app with this name, or at ``"module:attribute"`` for one that is not installed (yet).

    A name with a colon imports code: it must come from the operator, never from the network.
    Raises `ConfigError` naming those that are installed, or what is wrong at that place.
    """
    if ":" in name:
        return _app_at(name)
    for entry in entry_points(group="edgeloop.apps", name=name):
        return entry.load()
    known = ", ".join(sorted(entry.name for entry in entry_points(group="edgeloop.apps"))) or "none"
    raise ConfigError(
        f"no app is called {name!r}; installed: {known} (module:attribute names one that is not installed)"
    )


def _app_at(place: str) -> AppSpec:
    try:
        found = resolve_name(place)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"there is no app at {place!r}: {error}") from error
    if not isinstance(found, AppSpec):
        raise ConfigError(f"{place!r} is a {type(found).__name__}, not an AppSpec")
    return found
