"""How well units tell phones apart, where data directories have phone labels.

Shapes: S frames, P phones, U units.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechlite.core.errors import DataError
from speechlite.data.corpora.phone_labels import read_phone_labels
from speechlite.data.units import labels_at_frames
from speechlite.metrics.units import count_pairs, phone_purity, pnmi, unit_purity

__all__ = ["unit_quality"]

_PHONES = "phone_labels"
_PHONE_RATE_HZ = 100.0
_LARGEST_MISFIT = 3


def unit_quality(
    data: Path, units: Mapping[str, np.ndarray], *, num_units: int, rate_hz: float
) -> dict[str, Any] | None:
    """Compare the units of a data directory with its phones.

    Args:
        data: the data directory; its ``phone_labels`` are 10 ms apart.
        units: units by utterance.
        num_units: codewords of the codebook.
        rate_hz: units a second.

    Returns:
        ``phone_purity``, ``unit_purity`` and ``pnmi``, and what they were counted on; None where
        no utterance has phone labels.

    Raises:
        DataError: if phones and units of an utterance differ in duration.
    """
    path = data / _PHONES
    if not path.is_file():
        return None
    phones = read_phone_labels(path)
    shared = [name for name in sorted(units) if name in phones]
    if not shared:
        return None
    num_phones = 1 + max(int(phones[name].max()) for name in shared)
    counts_PU = torch.zeros(num_phones, num_units, dtype=torch.int64)
    for name in shared:
        units_S, phones_S = units[name], phones[name]
        _check_durations(name, len(phones_S) / _PHONE_RATE_HZ, len(units_S) / rate_hz, rate_hz)
        phones_S = labels_at_frames(
            phones_S, len(units_S), label_rate_hz=_PHONE_RATE_HZ, frame_rate_hz=rate_hz
        )
        counts_PU += count_pairs(
            torch.from_numpy(phones_S.astype(np.int64)),
            torch.from_numpy(units_S.astype(np.int64)),
            num_phones=num_phones,
            num_units=num_units,
        )
    return {
        "phone_purity": phone_purity(counts_PU),
        "unit_purity": unit_purity(counts_PU),
        "pnmi": pnmi(counts_PU),
        "frames": int(counts_PU.sum()),
        "utterances": len(shared),
        "phones": int((counts_PU.sum(1) > 0).sum()),
        "units": int((counts_PU.sum(0) > 0).sum()),
    }


def _check_durations(name: str, phones: float, units: float, rate_hz: float) -> None:
    if abs(phones - units) > _LARGEST_MISFIT / min(rate_hz, _PHONE_RATE_HZ):
        raise DataError(
            f"utterance {name} has {phones:.2f} s of phone labels and {units:.2f} s of units",
            remedy=f"make {_PHONES} of this audio at 100 Hz, or remove the file",
        )
