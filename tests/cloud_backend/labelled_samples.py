"""Labelled samples of the learner in a store."""

from __future__ import annotations

import numpy as np
from sqlalchemy import Engine
from sqlmodel import Session

from cloud_backend.store.tables import LabelRow
from cloud_backend.training.samples import SampleStore, digest_of
from cloud_backend.training.upload_rows import Announced
from common.samples import encode_sample
from tests.cloud_backend.learner import NAME


def store_labelled(engine: Engine, samples: SampleStore, groups: int, gain: float) -> list[str]:
    """Store one labelled sample in each of ``groups`` groups, and give their names."""
    names = [f"machine-{n}/run-1" for n in range(groups)]
    for number, group in enumerate(names):
        content = encode_sample({"values": np.full(16, float(number))})
        announced = Announced(
            NAME, "m", group, number, {"novelty": 1.0}, {}, len(content), digest_of(content)
        )
        upload = samples.begin("n1", announced)
        with samples.piece("n1", upload.id, 0) as piece:
            piece.write(content)
    with Session(engine) as session:
        session.add_all(
            LabelRow(
                app=NAME,
                subject="m",
                group=group,
                kind="outcome",
                body={"gain": gain},
                source="test",
                created_ns=number,
            )
            for number, group in enumerate(names)
        )
        session.commit()
    return names
