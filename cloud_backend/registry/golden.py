"""Golden cases of a bundle, run in the cloud before any node runs them."""

from __future__ import annotations

import math

import msgspec

from common.bundle import Bundle, Limits
from common.model.golden import check_golden as check_on_device
from common.model.inference import load_model
from common.model.load_test import prove
from common.model.profile import find_profile


def check_golden(bundle: Bundle) -> None:
    """Run the golden cases as a node does, on the CPU. Latency is for the device to judge, not for here.

    A process with limits loads and runs the model first (`common.model.load_test`). Raises
    `GoldenCaseFailed`, and `BundleIncompatible` for a model that does not fit its manifest or those limits.
    """
    prove(bundle)
    unhurried = msgspec.structs.replace(bundle.manifest, limits=Limits(latency_ms=math.inf))
    bundle = Bundle(bundle.path, unhurried)
    check_on_device(bundle, load_model(bundle, find_profile("cpu")))
