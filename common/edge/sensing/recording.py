"""Writing readings to a folder, for ``replay:FOLDER``."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import numpy as np

from common import durable
from common.app.edge import Reading


def record(folder: Path, reading: Reading) -> None:
    """Write one reading as ``<position>.npz``."""
    rest = {
        "subject": reading.subject,
        "captured_ns": reading.captured_ns,
        "position": reading.position,
        "channels": reading.channels,
        "rate_hz": reading.rate_hz,
        "attributes": dict(reading.attributes),
    }
    content = io.BytesIO()
    text = np.frombuffer(msgspec.json.encode(rest), np.uint8)
    np.savez(content, values=reading.values, reading=text)
    durable.write(folder / f"{reading.position:012d}.npz", content.getvalue())
