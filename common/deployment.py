"""The deployment document: one per app, signed as a TUF target, that assigns every node its version.

A node decides for itself: it finds the waves whose constraints it meets, hashes its own name into
[0, 1) with the rollout's salt, and runs the wave's version if the hash is below the wave's share. So
ten thousand nodes read the same document. Rules:

- Waves are tried in order; the first that matches and contains the node wins. A node in none of them
  runs ``base_version``.
- ``serial`` only grows. A node refuses a lower one than it has seen.
"""

from __future__ import annotations

import hashlib
from typing import Any, cast

import msgspec

from common.errors import UpdateRefused

DEPLOYMENT_FORMAT = 1
SERIAL_LIMIT = 2**53
SOAK_LIMIT_S = 30 * 86400.0
SETTINGS_DEPTH_LIMIT = 16
NUMBER_LIMIT = 1e300
DEPLOYMENT_LIMIT_BYTES = 256 * 1024


class Constraint(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Constraints on the nodes of a wave: empty ones match every node. All others must hold."""

    sites: list[str] = []
    profiles: list[str] = []
    tags: list[str] = []
    nodes: list[str] = []


class Wave(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A share in (0, 1] of the matching nodes that runs ``version``."""

    version: str
    share: float
    constraint: Constraint = Constraint()


class Deployment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Contents of ``<app>/deployment.json``. An empty ``base_version`` means the node's own starter model."""

    format: int = DEPLOYMENT_FORMAT
    app: str
    serial: int
    rollout: str
    """Identity of the rollout; salts the hash, so that canaries differ between rollouts."""
    base_version: str = ""
    waves: list[Wave] = []
    soak_s: float = 60.0
    settings: dict[str, Any] = {}
    """Changes to the app's settings."""
    withdrawn: list[str] = []
    """Versions that were taken back. A node that runs one does not compare a candidate with it."""


class NodeTraits(msgspec.Struct, frozen=True):
    """Properties of a node that constraints use."""

    node: str
    site: str
    profile: str
    tags: tuple[str, ...] = ()


def decode_deployment(content: bytes, *, app: str, seen_serial: int) -> Deployment:
    """Parse and judge a document. Raises `UpdateRefused` (``malformed``, ``wrong_app``, ``rollback``)."""
    try:
        document = msgspec.json.decode(content, type=Deployment)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise UpdateRefused(
            "malformed", f"the deployment document for {app} is not readable: {error}"
        ) from error
    if document.format > DEPLOYMENT_FORMAT:
        raise UpdateRefused(
            "malformed", f"the deployment document has format {document.format}: update edgeloop first"
        )
    if document.app != app:
        raise UpdateRefused(
            "wrong_app", f"the deployment document is for {document.app!r}, this node runs {app!r}"
        )
    if wrong := _out_of_bounds(document):
        raise UpdateRefused("malformed", f"the deployment document for {app} is out of bounds: {wrong}")
    if document.serial < seen_serial:
        raise UpdateRefused(
            "rollback", f"deployment serial {document.serial} is older than {seen_serial}, already seen"
        )
    return document


def _out_of_bounds(document: Deployment) -> str:
    """The first number of a document that no honest one has; empty where there is none."""
    if not 0 < document.serial <= SERIAL_LIMIT:
        return "its serial is not between 1 and 2**53"
    if not 0 <= document.soak_s <= SOAK_LIMIT_S:
        return f"soak_s is {document.soak_s:.3g}, at most {SOAK_LIMIT_S:.0f} s are taken"
    for wave in document.waves:
        if not 0 < wave.share <= 1:
            return f"a wave's share is {wave.share:.3g}, not above 0 and at most 1"
    if not is_bounded(document.settings):
        return "its settings are nested too deeply, or have a number that is too large"
    return ""


def is_bounded(value: object, depth: int = 0) -> bool:
    """Whether changes of settings are nested and have numbers as honest ones have."""
    if depth > SETTINGS_DEPTH_LIMIT:
        return False
    if isinstance(value, dict):
        return all(is_bounded(each, depth + 1) for each in cast("dict[str, object]", value).values())
    if isinstance(value, list):
        return all(is_bounded(each, depth + 1) for each in cast("list[object]", value))
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**63
    return not isinstance(value, float) or abs(value) <= NUMBER_LIMIT


def position_of(node: str, rollout: str) -> float:
    """Position of a node in [0, 1) for a rollout; uniform over nodes, fixed for the pair."""
    hashed = hashlib.sha256(f"{rollout}\n{node}".encode()).digest()
    return int.from_bytes(hashed[:8], "big") / 2**64


def matches(constraint: Constraint, traits: NodeTraits) -> bool:
    """Whether a node meets a constraint."""
    return (
        (not constraint.sites or traits.site in constraint.sites)
        and (not constraint.profiles or traits.profile in constraint.profiles)
        and (not constraint.tags or bool(set(constraint.tags) & set(traits.tags)))
        and (not constraint.nodes or traits.node in constraint.nodes)
    )


def version_for(deployment: Deployment, traits: NodeTraits) -> str:
    """The model version that this node should run; empty means its starter model."""
    position = position_of(traits.node, deployment.rollout)
    for wave in deployment.waves:
        if matches(wave.constraint, traits) and position < wave.share:
            return wave.version
    return deployment.base_version


def deployment_target(app: str) -> str:
    """TUF target path of an app's document."""
    return f"{app}/deployment.json"


def bundle_target(app: str, version: str, file: str) -> str:
    """TUF target path of one file of a bundle."""
    return f"{app}/bundles/{version}/{file}"
