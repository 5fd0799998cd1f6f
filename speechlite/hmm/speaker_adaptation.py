"""Adapt features to speakers by fMLLR, in training and on new speech.

Shapes: S frames, D features, P densities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from speechlite.hmm.acoustic_model import AcousticModel
from speechlite.hmm.features import Floats, Transforms
from speechlite.hmm.lang import Lang
from speechlite.hmm.training_set import TrainingSet
from speechlite.hmm.transforms import estimate_fmllr
from speechlite.hmm.wheels import load_wheels

__all__ = ["silence_weights", "speaker_transforms"]

Ints = npt.NDArray[np.int32]


def silence_weights(model: AcousticModel, lang: Lang, *, weight: float = 0.0) -> Floats:
    """Return how much the frames of each density count for adaptation.

    Args:
        model: the model.
        lang: its phones.
        weight: weight of silence.

    Returns:
        (P,) weights: that of silence for its densities, else 1.
    """
    weights_P = np.ones(model.num_pdfs, np.float32)
    silence = load_wheels().khg.get_pdfs_for_phones(
        model.transition_model, sorted(lang.silence_ids)
    )[1]
    weights_P[silence] = weight
    return weights_P


def speaker_transforms(
    model: AcousticModel,
    data: TrainingSet,
    pdfs: Mapping[str, Ints],
    *,
    weights_P: Floats,
    speaker_independent: AcousticModel | None = None,
) -> Transforms:
    """Estimate the transform of every speaker.

    Args:
        model: what features are to fit.
        data: the utterances.
        pdfs: density of each frame by utterance; utterances without are passed over.
        weights_P: weight of the frames of each density.
        speaker_independent: the model that judges the features without adaptation; None lets
            ``model`` judge them as they are adapted now.

    Returns:
        The model's transforms with one for each speaker who has enough speech.
    """
    plain = replace(model.transforms, speakers={})
    judged = model.transforms if speaker_independent is None else plain
    found: dict[str, Floats] = {}
    for speaker, names in data.of_speaker().items():
        part = data.only(name for name in names if name in pdfs)
        features, judging = part.features(plain), part.features(judged)
        affine = estimate_fmllr(
            model.mixtures,
            ((pdfs[name], features[name], judging[name]) for name in part.cepstra),
            weights_P=weights_P,
            posterior_mixtures=None
            if speaker_independent is None
            else speaker_independent.mixtures,
        )
        if affine is not None:
            found[speaker] = affine
    return replace(plain, speakers=found)
