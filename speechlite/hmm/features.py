"""Features of a GMM-HMM: cepstra normalised by speaker, with context, under linear transforms.

Shapes: S frames, F features of a frame, C spliced features, D features after a transform.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from speechlite.nn.mfcc import add_deltas

__all__ = ["Floats", "Transforms", "normalise_speakers", "splice", "transformed"]

Floats = npt.NDArray[np.float32]
"""Arrays of features."""


@dataclass(frozen=True)
class Transforms:
    """Say how normalised cepstra become the features of a model.

    Args:
        kind: ``deltas`` appends two derivatives; ``lda`` splices frames and projects them.
        context: frames spliced on each side, for ``lda``.
        lda_DC: the projection with MLLT in it; None before it is estimated.
        speakers: an affine transform (D, D + 1) by speaker, fMLLR; absent speakers keep features.
    """

    kind: str
    context: int = 0
    lda_DC: Floats | None = None
    speakers: Mapping[str, Floats] = field(default_factory=dict)


def normalise_speakers(
    cepstra: Mapping[str, Floats], speaker_of: Mapping[str, str]
) -> dict[str, Floats]:
    """Take the mean of each speaker off the features.

    Args:
        cepstra: features (S, F) by utterance.
        speaker_of: speaker of each utterance.

    Returns:
        Features of the same form.
    """
    sums: dict[str, npt.NDArray[np.float64]] = {}
    frames: dict[str, int] = {}
    for name, values_SF in cepstra.items():
        speaker = speaker_of[name]
        sums[speaker] = sums.get(speaker, 0.0) + values_SF.sum(0, dtype=np.float64)
        frames[speaker] = frames.get(speaker, 0) + len(values_SF)
    means = {speaker: sums[speaker] / max(frames[speaker], 1) for speaker in sums}
    return {
        name: (values_SF - means[speaker_of[name]]).astype(np.float32)
        for name, values_SF in cepstra.items()
    }


def splice(values_SF: Floats, context: int) -> Floats:
    """Join each frame with those before and after it; the ends are repeated.

    Args:
        values_SF: features.
        context: frames on each side.

    Returns:
        (S, (2 * context + 1) * F).
    """
    places = np.arange(len(values_SF))[:, None] + np.arange(-context, context + 1)
    return np.asarray(values_SF[places.clip(0, len(values_SF) - 1)].reshape(len(values_SF), -1))


def transformed(values_SF: Floats, transforms: Transforms, *, speaker: str) -> Floats:
    """Apply a model's transforms to an utterance.

    Args:
        values_SF: normalised cepstra; at least one frame.
        transforms: what to apply.
        speaker: the utterance's speaker.

    Returns:
        Contiguous features (S, D).
    """
    if transforms.kind == "deltas":
        values = torch.from_numpy(np.ascontiguousarray(values_SF)).unsqueeze(0)
        result = add_deltas(values, torch.tensor([len(values_SF)]))[0].numpy()
    else:
        result = splice(values_SF, transforms.context)
        if transforms.lda_DC is not None:
            result = result @ transforms.lda_DC.T
    affine = transforms.speakers.get(speaker)
    if affine is not None:
        result = result @ affine[:, :-1].T + affine[:, -1]
    return np.ascontiguousarray(result, dtype=np.float32)
