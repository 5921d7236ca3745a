"""The machine: its channels with units, and the label of a window of its readings."""

from __future__ import annotations

from common.app.channels import Channels

CHANNELS = Channels({"vibration": "mm/s", "temperature": "°C"})
WINDOW_READINGS = 32
"""Readings of a sample, which is labelled as a whole."""
CONDITION = "condition"
"""Kind of the label of a sample; its body is ``{"faulty": true or false}``."""
