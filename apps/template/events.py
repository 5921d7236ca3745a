"""Events of the template app: made on the node, decoded in the cloud."""

from __future__ import annotations

import msgspec

RISK = "template.risk"
ALARM = "template.alarm"
ALARM_CLEARED = "template.alarm_cleared"
MACHINE_FORGOTTEN = "template.machine_forgotten"


class Risk(msgspec.Struct, frozen=True):
    """Data of ``template.risk``, ``template.alarm`` and ``template.alarm_cleared``."""

    risk: float
    """Probability of a fault, in [0, 1]."""
    novelty: float
    """Above 1: unlike the readings that the model was trained on."""
    version: str


class MachineForgotten(msgspec.Struct, frozen=True):
    """Data of ``template.machine_forgotten``."""

    last_ns: int
    """Capture time of the last reading."""
    version: str
