"""Mel-frequency cepstra for GMMs.

Shapes: S frames, F cepstra.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from speechlite.data.datadir import Utterance
from speechlite.data.order import BatchOrder
from speechlite.data.reader import KALDI_FRAMES, UtteranceReader
from speechlite.hmm.features import Floats
from speechlite.nn.mfcc import Mfcc

__all__ = ["compute_cepstra"]

_SAMPLE_SCALE = 32768.0
_BATCH_SECONDS = 120.0


def compute_cepstra(
    utterances: Mapping[str, Utterance],
    durations: Mapping[str, float],
    *,
    num_cepstra: int,
    on_batch: Callable[[int], None] = lambda done: None,
) -> dict[str, Floats]:
    """Compute Kaldi's MFCC of utterances.

    Args:
        utterances: by id.
        durations: seconds of each.
        num_cepstra: cepstra of a frame.
        on_batch: called with the number of utterances done.

    Returns:
        Cepstra (S, F) by utterance, sorted by id.

    Raises:
        DataError: if there is no utterance, or audio cannot be read.
        ConfigError: if there are more cepstra than mel filters.
    """
    reader = UtteranceReader(utterances, KALDI_FRAMES)
    extract = Mfcc(KALDI_FRAMES.sample_rate, num_cepstra, scale=_SAMPLE_SCALE)
    order = BatchOrder(
        durations,
        batch_seconds=max([_BATCH_SECONDS, *durations.values()]),
        num_buckets=20,
        seed=0,
        shuffle=False,
    )
    found: dict[str, Floats] = {}
    with torch.no_grad():
        for names in order.epoch(0):
            waves = reader.read(names).waves
            assert waves is not None
            values_BSF, lengths_B = extract(waves.values, waves.lengths)
            for row, name in enumerate(names):
                found[name] = values_BSF[row, : lengths_B[row]].numpy().copy()
            on_batch(len(found))
    return {name: found[name] for name in sorted(found)}
