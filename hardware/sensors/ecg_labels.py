"""ECG signals of a recording, by their labels and units: one rule for every file format.

A signal is an ECG by its label: the word ``ECG`` or ``EKG`` (``ECG1``, ``EKG1-EKG2``, ``ECG LA-RA``,
``EEG EKG1-REF``) beside nothing but leads, electrodes and words such as *lead* or *channel*; or the name of
a lead alone (``II``, ``aVR``, ``V5``, ``MLII``, ``MCL1``, ``CM5``). ``ECG HR`` and ``EEG C4`` are none.
Without such a label, the file is refused with its labels; ``leads=`` picks any signal in volts.

A lead with a minus sign (``-aVR``), or called inverted, keeps the sign in its name,
and its samples are as they are stored. Two signals of one name: the second is renamed, and that is reported.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from common.errors import SourceFormatError

LEADS_LIMIT = 12
"""ECG signals that are taken from a file unless ``leads=`` names them."""
_ECG = re.compile(r"(ECG|EKG|ELECTROCARDIOGRAM)\d{0,2}")
_LEAD = re.compile(
    r"I{1,3}|D(I{1,3}|[123])|AV[RLF]|V([1-9]R?|[XYZ])?|ML(I{1,3}|[1-9])|MV[1-9]|MCL[1-6]?|CM[1-6]|C[CS]5",
    re.ASCII,
)
_EASI = ("A-I", "A-S", "E-S")
_ELECTRODE = re.compile(
    r"\d{1,2}|[LR][AL]?|LEFT|RIGHT|ARM|LEG|[AM][12]|C[1-9]|[XYZ]|CH(ANNEL)?\d{0,2}|REF|AVG?|N|G|GND"
)
_BESIDE = frozenset(
    (
        "LEAD", "LEADS", "MOD", "MODIFIED", "DERIVATION", "ABLEITUNG", "SIGNAL", "WAVE", "WAVEFORM", "RAW",
        "FILTERED", "UNFILTERED", "FILT", "BIPOLAR", "CHEST", "STANDARD", "HOLTER", "PATCH", "MV", "UV",
    )
)  # fmt: skip
_BEFORE = frozenset(("EEG", "POL", "BIO"))
"""Kinds of signal that some recorders put before every label, an ECG's too."""
_INVERTED = frozenset(("INV", "INVERTED", "INVERSE", "REVERSED"))
_UNITS = {
    "": 1e3,
    "m": 1.0,
    "milli": 1.0,
    "u": 1e-3,
    "µ": 1e-3,
    "μ": 1e-3,
    "âµ": 1e-3,
    "micro": 1e-3,
    "n": 1e-6,
}


def millivolts_in(unit: str) -> float | None:
    """Millivolts in a ``unit`` as files write it (``uV``, ``millivolts``); None if it is no voltage."""
    found = re.fullmatch(r"(\D*?)\s*v(olts?)?\.?", unit.strip().lower())
    return _UNITS.get(found[1]) if found else None


def ecg_name(label: str) -> str | None:
    """The lead in a label, or the label itself for an ECG without a lead; None if it is no ECG.

    >>> ecg_name("ECG II"), ecg_name("EKG1-EKG2"), ecg_name("ECG -aVR"), ecg_name("C4")
    ('II', 'EKG1-EKG2', '-aVR', None)
    """
    plain = " ".join(label.replace("\u2212", "-").split())
    upper = plain.upper()
    if upper in _EASI:
        return upper
    words = re.findall(r"[^\W_]+", re.sub(r"\b(ECG|EKG)(?=(I|V|AV|ML|MCL)\w*\b)", r"\1 ", upper))
    ecg_words = [word for word in words if _ECG.fullmatch(word)]
    if ecg_words and words[0] in _BEFORE:
        del words[0]
    rest = [word for word in words if word not in ecg_words and word not in _BESIDE and word not in _INVERTED]
    leads = [word for word in rest if _LEAD.fullmatch(word)]
    if not ecg_words and "LEAD" in words and not leads:
        leads = [{"1": "I", "2": "II", "3": "III"}.get(word, "") for word in rest if word in "123"]
        rest = leads or rest
    alone = len(leads) == len(rest) == 1 and all(word in ("ECG", "EKG") for word in ecg_words)
    if not alone and not (ecg_words and all(_LEAD.fullmatch(w) or _ELECTRODE.fullmatch(w) for w in rest)):
        return None
    if not alone:
        return plain
    minus = re.search(r"(^|[\s:_(\[])-(?=\w)", plain) or _INVERTED.intersection(words)
    name = re.sub(r"^AV", "aV", leads[0])
    modified = "MOD " if {"MOD", "MODIFIED"}.intersection(words) else ""
    return f"{'-' if minus else ''}{modified}{name}"


@dataclass(frozen=True, slots=True)
class Labelled:
    """A signal of a file: its label and unit as written, and a key of its sampling rate."""

    label: str
    unit: str
    rate: Hashable


@dataclass(frozen=True, slots=True)
class Chosen:
    """The signals to read: number in the file and name of each; those left out are reported."""

    signals: tuple[int, ...]
    names: tuple[str, ...]
    problems: tuple[str, ...]


def choose(signals: Sequence[Labelled], wanted: Sequence[str] | None, where: str) -> Chosen:
    """The ECG of a file: the signals called ``wanted``, or all that are one by their label.

    Raises `SourceFormatError` naming ``where`` if there is none, or a wanted one is not there.
    """
    names = [_name(signal.label, number) for number, signal in enumerate(signals, 1)]
    problems: list[str] = []
    for number, name in enumerate(names):
        count = names[:number].count(name)
        if count:
            names[number] = f"{name} ({count + 1})"
    volts = [number for number, signal in enumerate(signals) if millivolts_in(signal.unit) is not None]
    if wanted is not None:
        taken = [_wanted(name, signals, names, volts, where) for name in wanted]
        if len(set(taken)) < len(taken):
            raise SourceFormatError(f"{where}: leads={','.join(wanted)} names a signal twice")
        if len({signals[number].rate for number in taken}) > 1:
            raise SourceFormatError(f"{where}: the leads {', '.join(wanted)} are not at one rate")
    else:
        ecg = [number for number, signal in enumerate(signals) if ecg_name(signal.label) is not None]
        taken = [number for number in ecg if number in volts]
        if not taken:
            raise SourceFormatError(_none_said(signals, names, ecg, volts, where))
        problems += [
            f"{where}: {names[number]} is in {signals[number].unit or 'no unit'!r}, which is no voltage; "
            "it is left out"
            for number in ecg
            if number not in taken
        ]
        others = [number for number in taken if signals[number].rate != signals[taken[0]].rate]
        if others:
            called = ", ".join(names[number] for number in others)
            problems.append(
                f"{where}: {called} is sampled at another rate than {names[taken[0]]} and left out; "
                f"leads={names[others[0]]} takes it instead"
            )
        taken = [number for number in taken if number not in others]
        if len(taken) > LEADS_LIMIT:
            called = ", ".join(names[number] for number in taken[LEADS_LIMIT:])
            problems.append(
                f"{where}: it has {len(taken)} ECG signals; the first {LEADS_LIMIT} are taken, not {called}: "
                "leads= chooses others"
            )
            taken = taken[:LEADS_LIMIT]
    for number in taken:
        if names[number] != _name(signals[number].label, number + 1):
            original = names[number].rpartition(" (")[0]
            problems.append(
                f"{where}: it has more than one signal {original}; signal {number + 1} is called "
                f"{names[number]!r}"
            )
    return Chosen(tuple(taken), tuple(names[number] for number in taken), tuple(problems))


def _name(label: str, number: int) -> str:
    return (ecg_name(label) or " ".join(label.split()) or f"signal {number}")[:36]


def _wanted(
    name: str, signals: Sequence[Labelled], names: Sequence[str], volts: Sequence[int], where: str
) -> int:
    for called in (names, [" ".join(signal.label.split()) for signal in signals]):
        for number in volts:
            if called[number].lower() == name.lower():
                return number
    there = ", ".join(names[number] for number in volts) or "none"
    raise SourceFormatError(f"{where} has no lead {name!r} in volts; it has {there}")


def _none_said(
    signals: Sequence[Labelled], names: Sequence[str], ecg: Sequence[int], volts: Sequence[int], where: str
) -> str:
    if not volts:
        units = ", ".join(
            f"{name} ({signal.unit or 'no unit'})" for name, signal in zip(names, signals, strict=True)
        )
        return f"{where} has no signal in volts (V, mV, uV); it has {units[:400]}"
    there = ", ".join(names[number] for number in volts)[:400]
    odd = "".join(
        f"; {names[number]} is in {signals[number].unit or 'no unit'!r}, no voltage" for number in ecg[:3]
    )
    example = names[volts[0]]
    return f"{where}: no label marks its signal as an ECG{odd}. It has {there}: choose with leads={example}"
