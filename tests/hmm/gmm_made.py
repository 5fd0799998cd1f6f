"""Tiny langs, models and speech drawn from a known HMM, for the tests of GMM-HMMs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from speechlite.hmm.acoustic_model import AcousticModel, Gaussians, mixtures_of
from speechlite.hmm.features import Transforms
from speechlite.hmm.lang import Lang, make_lang
from speechlite.hmm.lexicon import Lexicon, Pronunciation
from speechlite.hmm.lexicon_fst import lexicon_fst
from speechlite.hmm.topology import read_topology, topology_text
from speechlite.hmm.training_set import Phonology, TrainingSet
from speechlite.hmm.tree_bytes import monophone_tree
from speechlite.hmm.wheels import load_wheels

WORDS = {"ab": ("A", "B"), "ba": ("B", "A"), "c": ("C",), "\u00e9t\u00e9": ("C", "B")}
"""Words and their only pronunciations; one is not ASCII."""


def lang_of(entries, **options) -> Lang:
    """Return a lang of (word, phones) pairs."""
    return make_lang(Lexicon.of(Pronunciation(word, phones) for word, phones in entries), **options)


def phonology_of(lang: Lang, **states) -> Phonology:
    """Return what training needs of a lang."""
    text = topology_text(lang.silence_ids, lang.speech_ids, **states)
    lexicon = lexicon_fst(lang, disambiguated=False)
    load_wheels().kaldifst.arcsort(lexicon, sort_type="olabel")
    return Phonology(lang, text, read_topology(text, phones=[]), lexicon)


@cache
def phonology() -> Phonology:
    """Return that of ``WORDS``, made once."""
    return phonology_of(lang_of(WORDS.items()))


def mixtures_with(sizes, *, dim, seed=0, scale=1.0):
    """Return random mixtures of these sizes."""
    generator = np.random.default_rng(seed)
    weights = [generator.dirichlet(np.full(size, 3.0)) for size in sizes]
    total = sum(sizes)
    return mixtures_of(
        Gaussians(
            pdf_G=np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
            weights_G=np.concatenate(weights).astype(np.float32),
            means_GD=(scale * generator.standard_normal((total, dim))).astype(np.float32),
            variances_GD=generator.uniform(0.5, 2.0, (total, dim)).astype(np.float32),
        )
    )


def mono_model(sound: Phonology, *, dim, size=1, seed=0, scale=1.0, kind="deltas") -> AcousticModel:
    """Return a monophone model with random mixtures."""
    tree = monophone_tree(sound.group_ids(sound.lang.groups), sound.topology)
    model = AcousticModel(tree, sound.topology_text, None, None, Transforms(kind))
    sizes = [size] * model.num_pdfs
    model.mixtures = mixtures_with(sizes, dim=dim, seed=seed, scale=scale)
    return model


def features_along(model: AcousticModel, transitions_S, *, seed=0, noise=1.0):
    """Return frames drawn around the first Gaussian of each density of an alignment."""
    generator = np.random.default_rng(seed)
    pdfs = model.tables.pdf_T[transitions_S]
    means_SD = np.stack([np.asarray(model.mixtures.get_pdf(int(p)).means)[0] for p in pdfs])
    return (means_SD + noise * generator.standard_normal(means_SD.shape)).astype(np.float32)


@dataclass(frozen=True)
class Spoken:
    """Hold drawn speech and what was said.

    Args:
        data: the utterances.
        phones: phone id of each frame by utterance.
    """

    data: TrainingSet
    phones: dict[str, np.ndarray]


def speak(
    *, count=20, dim=3, seed=0, speakers=2, spread=4.0, shift=0.0, colour=0.0, words=tuple(WORDS)
) -> Spoken:
    """Draw utterances of two or three words with silence around them.

    A phone has three states with a Gaussian each; speakers may be shifted by ``shift`` standard
    deviations, and ``colour`` makes a phone's middle depend on the phone before it.
    """
    lang = phonology().lang
    generator = np.random.default_rng(seed)
    means = {
        (phone, state): spread * generator.standard_normal(dim)
        for phone in [lang.phones["SIL"], *lang.speech_ids]
        for state in range(3)
    }
    colours = {phone: colour * generator.standard_normal(dim) for phone, _ in means}
    shifts = [shift * generator.standard_normal(dim) for _ in range(speakers)]
    cepstra, speaker_of, ids, truth = {}, {}, {}, {}
    silence = lang.phones["SIL"]
    for number in range(count):
        name, speaker = f"u{number:03d}", number % speakers
        said = [str(w) for w in generator.choice(sorted(words), generator.integers(2, 4))]
        phones = [silence]
        for word in said:
            phones += [lang.phones[phone] for phone in WORDS[word]]
            phones += [silence] * int(generator.random() < 0.4)
        phones += [silence] * (phones[-1] != silence)
        frames, labels, before = [], [], 0
        for phone in phones:
            for state in range(3):
                for _ in range(generator.integers(2, 5)):
                    tint = colours.get(before, 0.0) if state == 1 and phone != silence else 0.0
                    frame = means[phone, state] + tint + shifts[speaker]
                    frames.append(frame + generator.standard_normal(dim))
                    labels.append(phone)
            before = phone
        cepstra[name] = np.array(frames, np.float32)
        truth[name] = np.array(labels)
        speaker_of[name] = f"s{speaker}"
        ids[name] = [lang.words[word] for word in said]
    return Spoken(TrainingSet(cepstra, speaker_of, ids), truth)
