"""Align transcribed speech with a trained model, and write the result in time.

Frame n is centred at (160 n + 200) / 16000 s; the boundary between two frames is half-way between
their centres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt

from speechlite.data.corpora.ctm import Mark
from speechlite.hmm.acoustic_model import AcousticModel
from speechlite.hmm.alignment import Segment, align_all
from speechlite.hmm.gmm_training import TrainingConditions
from speechlite.hmm.lang import Lang
from speechlite.hmm.speaker_adaptation import silence_weights, speaker_transforms
from speechlite.hmm.training_set import Phonology, TrainingSet

__all__ = ["align_speech", "phone_marks", "word_marks"]

Ints = npt.NDArray[np.int32]
_SHIFT_SECONDS = 0.01
_FIRST_BOUNDARY_SECONDS = 0.0075


def align_speech(
    model: AcousticModel,
    speaker_independent: AcousticModel | None,
    data: TrainingSet,
    phonology: Phonology,
    how: TrainingConditions,
) -> tuple[dict[str, Ints], AcousticModel]:
    """Align utterances; with an adapted model in two passes.

    The first pass uses the speaker-independent model; from it each speaker's transform follows,
    with which the second pass aligns.

    Args:
        model: the model.
        speaker_independent: its twin for features without adaptation; None aligns in one pass.
        data: the utterances.
        phonology: phones and lexicon.
        how: alignment and processes.

    Returns:
        Transition ids by utterance, of those that could be aligned, and the model with the
        speakers' transforms.
    """
    if speaker_independent is None:
        return _aligned(model, data, phonology, how), model
    first = _aligned(speaker_independent, data, phonology, how)
    pdf_T = speaker_independent.tables.pdf_T
    transforms = speaker_transforms(
        model,
        data,
        {name: pdf_T[transitions] for name, transitions in first.items()},
        weights_P=silence_weights(model, phonology.lang),
        speaker_independent=speaker_independent,
    )
    adapted = replace(model, transforms=transforms)
    return _aligned(adapted, data.only(first), phonology, how), adapted


def _aligned(
    model: AcousticModel, data: TrainingSet, phonology: Phonology, how: TrainingConditions
) -> dict[str, Ints]:
    features = data.features(model.transforms)
    found = align_all(
        model,
        phonology.compiler(model),
        features.__getitem__,
        data.words,
        options=how.align,
        silence_ids=phonology.lang.silence_ids,
        num_workers=how.num_workers,
    )
    return {name: one.transitions_S for name, one in found.items() if one.transitions_S is not None}


def _seconds(frame: int) -> float:
    return frame * _SHIFT_SECONDS + _FIRST_BOUNDARY_SECONDS if frame else 0.0


def phone_marks(segments: Sequence[Segment], names: Mapping[int, str]) -> list[Mark]:
    """Return phones in time.

    Args:
        segments: the phones of an utterance.
        names: name of each phone id.

    Returns:
        One mark a phone, silence included.
    """
    return [
        Mark(_seconds(s.start), _seconds(s.end) - _seconds(s.start), names[s.phone], number)
        for number, s in enumerate(segments, start=1)
    ]


def word_marks(segments: Sequence[Segment], words: Sequence[str], lang: Lang) -> list[Mark]:
    """Return words in time.

    Args:
        segments: the phones of an utterance.
        words: the words that the lexicon knows them as, in order.
        lang: the lexicon.

    Returns:
        One mark a word.
    """
    spoken = {phone: name for name, phone in lang.phones.items()}
    optional = lang.phones[lang.silence_phones[0][0]]
    names = [spoken[segment.phone] for segment in segments]
    known: dict[str, list[tuple[str, ...]]] = {}
    for entry in lang.lexicon.entries:
        if entry.word in set(words):
            known.setdefault(entry.word, []).append(entry.phones)

    @cache
    def rest(word: int, place: int) -> tuple[int, ...] | None:
        """Return where the words from this one on begin and end, or None."""
        if place < len(segments) and segments[place].phone == optional:
            found = rest(word, place + 1)
            if found is not None:
                return found
        if word == len(words):
            return () if place == len(segments) else None
        for phones in known[words[word]]:
            end = place + len(phones)
            if tuple(names[place:end]) == phones:
                following = rest(word + 1, end)
                if following is not None:
                    return (place, end, *following)
        return None

    places = rest(0, 0)
    # the phones were aligned to these words
    assert places is not None
    marks = []
    for number, word in enumerate(words):
        first, last = segments[places[2 * number]], segments[places[2 * number + 1] - 1]
        start = _seconds(first.start)
        marks.append(Mark(start, _seconds(last.end) - start, word, number + 1))
    return marks
