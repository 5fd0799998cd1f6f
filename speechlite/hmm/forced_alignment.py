"""Align transcribed speech with a trained model, and tell the result in time.

Times are Kaldi's: frame n is the time from n to n + 1 hundredths of a second.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace

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


def phone_marks(segments: Sequence[Segment], names: Mapping[int, str]) -> list[Mark]:
    """Return phones in time.

    Args:
        segments: the phones of an utterance.
        names: name of each phone id.

    Returns:
        One mark a phone, silence included.
    """
    return [
        _mark(s.start, s.end, names[s.phone], number) for number, s in enumerate(segments, start=1)
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
    places = _places([spoken[segment.phone] for segment in segments], words, lang)
    # the phones were aligned to these words
    assert places is not None
    marks = []
    for number, word in enumerate(words):
        begin, end = places[number]
        marks.append(_mark(segments[begin].start, segments[end - 1].end, word, number + 1))
    return marks


def _mark(start: int, end: int, token: str, line: int) -> Mark:
    return Mark(start * _SHIFT_SECONDS, (end - start) * _SHIFT_SECONDS, token, line)


def _places(
    phones: Sequence[str], words: Sequence[str], lang: Lang
) -> list[tuple[int, int]] | None:
    """Return where each word begins and ends; silence is left to no word if it can be."""
    silence = lang.silence_phones[0][0]
    known = {word: _pronunciations(word, lang) for word in set(words)}
    # by number of words: the places where they may end, with the place where the last one began
    ends: list[dict[int, tuple[int, int]]] = [_after_silence({0: (0, 0)}, phones, silence)]
    for word in words:
        found: dict[int, tuple[int, int]] = {}
        for before in sorted(ends[-1], reverse=True):
            for said in known[word]:
                end = before + len(said)
                if tuple(phones[before:end]) == said:
                    found.setdefault(end, (before, end))
        ends.append(_after_silence(found, phones, silence))
    place = len(phones)
    result = []
    for reached in reversed(ends[1:]):
        if place not in reached:
            return None
        result.append(reached[place])
        place = reached[place][0]
    return result[::-1] if place in ends[0] else None


def _after_silence(
    found: dict[int, tuple[int, int]], phones: Sequence[str], silence: str
) -> dict[int, tuple[int, int]]:
    """Add the places behind the optional silence."""
    behind = {
        end + 1: word for end, word in found.items() if end < len(phones) and phones[end] == silence
    }
    return behind | found


def _pronunciations(word: str, lang: Lang) -> list[tuple[str, ...]]:
    entries = lang.lexicon.entries
    # they are sorted by word
    first = bisect_left(entries, word, key=lambda entry: entry.word)
    last = bisect_right(entries, word, key=lambda entry: entry.word)
    return [entry.phones for entry in entries[first:last]]
