"""Run a bundle's golden cases in the cloud, before any node has to."""

from __future__ import annotations

import numpy as np

from common.bundle import Bundle
from common.errors import GoldenCaseFailed


def check_golden(bundle: Bundle) -> None:
    """Run ``bundle`` on its golden inputs and compare. Latency is for the device to judge, not for here.

    Raises `GoldenCaseFailed` naming the output and by how much it is off.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    inputs, expected = bundle.golden()
    where = f"{bundle.manifest.app} {bundle.version}"
    try:
        session = onnxruntime.InferenceSession(
            str(bundle.model_path()), options, providers=["CPUExecutionProvider"]
        )
        names = sorted(expected)
        outputs = dict(zip(names, session.run(names, inputs), strict=True))
    except Exception as error:  # onnxruntime's errors have no common root
        raise GoldenCaseFailed(f"{where} cannot be run on its golden cases: {error}") from error
    for name in names:
        given, wanted = np.asarray(outputs[name]), expected[name]
        if given.shape != wanted.shape:
            raise GoldenCaseFailed(f"{where}: {name} has shape {given.shape}, its golden case {wanted.shape}")
        if not np.issubdtype(wanted.dtype, np.number):
            off = float(np.sum(given != wanted))
        else:
            off = float(np.max(np.abs(given.astype(float) - wanted.astype(float)), initial=0.0))
        allowed = bundle.manifest.tolerance.get(name, 0.0)
        if not off <= allowed:
            raise GoldenCaseFailed(
                f"{where}: {name} is off by {off:.6g} on its golden cases; {allowed:g} is allowed"
            )
