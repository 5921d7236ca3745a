"""The MIT-BIH Arrhythmia Database from disk: signals, beats in AAMI classes, rhythms, and its splits.

`mitdb_in` finds it below a folder, in the layouts in which it is shipped. What the set is and where to get
it: ``datasets/mitdb.md``. Reading needs the ``wfdb`` package (the ``physionet`` extra).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.bundle import file_digest
from common.datasets import find_folders, not_found, one_of
from common.errors import DatasetError

DS1 = (
    "101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122",
    "124", "201", "203", "205", "207", "208", "209", "215", "220", "223", "230",
)  # fmt: skip
DS2 = (
    "100", "103", "105", "111", "113", "117", "121", "123", "200", "202", "210",
    "212", "213", "214", "219", "221", "222", "228", "231", "232", "233", "234",
)  # fmt: skip
"""Patients to train on and to test on (de Chazal, O'Dwyer, Reilly 2004). Records 201 and 202 are of one
patient; the split is used as it was published."""
PACED = ("102", "104", "107", "217")
"""Records with paced beats: part of QRS detection, not of beat classification (ANSI/AAMI EC57)."""
RECORDS = tuple(sorted(DS1 + DS2 + PACED))
PUBLISHED = "6fc889b5a4edc7a13ec7c6699cdc3e30266213447c148e0dc44f44c6edf2632a"
"""SHA-256 over names and SHA-256 of the 144 published files; the card has each of them."""

AAMI = {
    **dict.fromkeys("NLRBej", "N"), **dict.fromkeys("AaJSn", "S"), **dict.fromkeys("VEr", "V"), "F": "F",
    **dict.fromkeys("/fQ?", "Q"),
}  # fmt: skip
"""Class of a beat by its symbol in the annotation file (ANSI/AAMI EC57:2012, 4.3.2)."""


@dataclass(frozen=True, slots=True)
class Span:
    """Samples ``begin`` to ``end`` (left out) with a label: a rhythm such as ``(AFIB``."""

    begin: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class Beats:
    """Annotated beats in their order, one entry each."""

    samples: NDArray[np.int64]
    kinds: NDArray[np.str_]
    """AAMI class: N, S, V, F or Q."""
    symbols: NDArray[np.str_]
    """As in the annotation file."""

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True, slots=True)
class Record:
    """One record: ``signal_mv`` is ``(samples, leads)``, NaN where a sample is missing.

    ``rhythms`` cover the record from its first rhythm annotation on; ``flutter`` is ventricular flutter or
    fibrillation, in which no beats are annotated.
    """

    name: str
    rate_hz: float
    signal_mv: NDArray[np.float64]
    leads: tuple[str, ...]
    beats: Beats
    rhythms: tuple[Span, ...]
    flutter: tuple[Span, ...]


def mitdb_in(data_path: Path, names: Sequence[str] = RECORDS) -> Path:
    """The folder below ``data_path`` with the records ``names``.

    Raises `DatasetError` where they are not all there: figures of some are not figures of the set.
    """
    folders = find_folders(data_path, "mitdb", [f"{name}.dat" for name in names])
    if not folders:
        raise not_found(data_path, "MIT-BIH Arrhythmia Database", "mitdb", [f"{names[0]}.dat"])
    lacking = {folder: _lacking(folder, names) for folder in folders}
    whole = [folder for folder in folders if not lacking[folder]]
    if whole:
        return one_of(whole, "MIT-BIH")
    nearest = min(folders, key=lambda folder: len(lacking[folder]))
    missing = lacking[nearest]
    listed = ", ".join(missing[:6]) + (" and more" if len(missing) > 6 else "")
    raise DatasetError(
        f"{nearest} has a part of MIT-BIH: of the {len(names)} records that are needed, {len(missing)} lack "
        f"their .hea, .dat or .atr ({listed}); `edgeloop data get mitdb` fetches the set"
    )


def _lacking(folder: Path, names: Sequence[str]) -> list[str]:
    return [
        name
        for name in names
        if not all((folder / f"{name}{suffix}").is_file() for suffix in (".hea", ".dat", ".atr"))
    ]


def published(folder: Path) -> bool:
    """Whether the records in ``folder`` are those that PhysioNet published as ``mitdb`` 1.0.0."""
    listing = "".join(
        f"{name}{suffix} {file_digest(folder / f'{name}{suffix}')}\n"
        for name in RECORDS
        for suffix in (".atr", ".dat", ".hea")
    )
    return hashlib.sha256(listing.encode()).hexdigest() == PUBLISHED


def load_record(folder: Path, name: str) -> Record:
    """Read one record with its annotations. Raises `DatasetError`, with the file, for what is malformed."""
    try:
        import wfdb
    except ModuleNotFoundError:
        raise DatasetError("reading MIT-BIH records needs wfdb: pip install 'edgeloop[physionet]'") from None

    base = folder / name
    for suffix in (".hea", ".dat", ".atr"):
        if not base.with_suffix(suffix).is_file():
            raise DatasetError(
                f"{base}{suffix} is missing: a record is {name}.hea, {name}.dat and {name}.atr"
            )
    try:
        signal: Any = wfdb.rdrecord(str(base))
        marks: Any = wfdb.rdann(str(base), "atr")
    except Exception as error:  # wfdb has no errors of its own: a torn file ends in any of Python's
        raise DatasetError(f"{base} cannot be read as a WFDB record: {error!r}") from error
    units = set(signal.units or ())
    if signal.p_signal is None or units != {"mV"}:
        raise DatasetError(
            f"{base}.hea: the unit of every signal must be mV, not {', '.join(units) or 'none'}"
        )
    samples = np.asarray(marks.sample, np.int64)
    symbols = np.array(marks.symbol, "<U1")
    length = len(signal.p_signal)
    beat = np.isin(symbols, list(AAMI))
    if np.any(np.diff(samples) < 0) or (len(samples) and samples[-1] >= length):
        raise DatasetError(f"{base}.atr: annotations are out of order or after the end of the signal")
    return Record(
        name,
        float(signal.fs),
        np.asarray(signal.p_signal, np.float64),
        tuple(signal.sig_name),
        Beats(samples[beat], np.array([AAMI[s] for s in symbols[beat]], "<U1"), symbols[beat]),
        _rhythms(samples, [note.rstrip("\x00") for note in marks.aux_note], length),
        _flutter(samples, symbols, length),
    )


def _rhythms(samples: NDArray[np.int64], notes: list[str], length: int) -> tuple[Span, ...]:
    changes = [(int(at), note) for at, note in zip(samples, notes, strict=True) if note.startswith("(")]
    ends = [at for at, _ in changes[1:]] + [length]
    return tuple(Span(at, end, note) for (at, note), end in zip(changes, ends, strict=True))


def _flutter(samples: NDArray[np.int64], symbols: NDArray[np.str_], length: int) -> tuple[Span, ...]:
    """From each ``[`` to the ``]`` after it."""
    spans, begin = [], None
    for at, symbol in zip(samples, symbols, strict=True):
        if symbol == "[" and begin is None:
            begin = int(at)
        elif symbol == "]" and begin is not None:
            spans.append(Span(begin, int(at) + 1, "flutter"))
            begin = None
    if begin is not None:
        spans.append(Span(begin, length, "flutter"))
    return tuple(spans)


def lead_between(signal_mv: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """A lead in the plane of the first two leads of ``(samples, leads)``, as another electrode would see it.

    ``angle`` in radians: 0 is the first lead, pi/2 the second, each in units of its own size.
    """
    leads = signal_mv[:, :2] - np.median(signal_mv[:, :2], axis=0)
    sizes = np.percentile(np.abs(leads), 99, axis=0)
    return (np.cos(angle) * leads[:, 0] / sizes[0] + np.sin(angle) * leads[:, 1] / sizes[1]) * sizes.mean()
