"""Train GMM-HMMs stage by stage, as the Kaldi recipes do: mono, tri1, tri2b, tri3b.

``mono`` starts flat; ``tri1`` ties triphone states by a tree; ``tri2b`` adds LDA and MLLT;
``tri3b`` adapts the features to each speaker (fMLLR) and trains on those.

Shapes: S frames, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from speechlite.core.errors import DataError
from speechlite.hmm.acoustic_model import AcousticModel, Gaussians, gaussians_of, mixtures_of
from speechlite.hmm.alignment import align_all, equal_alignments
from speechlite.hmm.config import AlignOptions, GmmStageOptions
from speechlite.hmm.convert import Converter
from speechlite.hmm.features import Floats, Transforms
from speechlite.hmm.mixtures import FramesByPdf, grow, update_mixtures
from speechlite.hmm.phonetic_tree import grow_tree
from speechlite.hmm.speaker_adaptation import silence_weights, speaker_transforms
from speechlite.hmm.training_set import Phonology, TrainingSet
from speechlite.hmm.transforms import estimate_lda, estimate_mllt, transform_means
from speechlite.hmm.tree_bytes import monophone_tree
from speechlite.hmm.triphone_stats import collect_stats

__all__ = ["StageReport", "Trained", "TrainingConditions", "train_mono", "train_triphones"]

Ints = npt.NDArray[np.int32]
Alignments = dict[str, Ints]


@dataclass(frozen=True)
class TrainingConditions:
    """Join what the stages of a run have in common.

    Args:
        align: how to align.
        seed: where split means go.
        num_workers: processes that align.
        say: called with a line of progress.
    """

    align: AlignOptions = field(default_factory=AlignOptions)
    seed: int = 1
    num_workers: int = 1
    say: Callable[[str], None] = lambda text: None


@dataclass
class StageReport:
    """Hold what happened in a stage.

    Args:
        log_likelihoods: of a frame, one an iteration.
        not_aligned: utterances without a path in the last alignment.
        num_gaussians: at the end.
        num_pdfs: densities.
    """

    log_likelihoods: list[float] = field(default_factory=list)
    not_aligned: list[str] = field(default_factory=list)
    num_gaussians: int = 0
    num_pdfs: int = 0


@dataclass
class Trained:
    """Hold the outcome of a stage.

    Args:
        model: the model.
        alignments: transition ids by utterance, of the utterances that could be aligned.
        report: what happened.
        speaker_independent: for ``sat`` the model of unadapted features, else None.
    """

    model: AcousticModel
    alignments: Alignments
    report: StageReport
    speaker_independent: AcousticModel | None = None


class _Training:
    """Iterate EM over a model."""

    def __init__(
        self,
        data: TrainingSet,
        phonology: Phonology,
        stage: GmmStageOptions,
        how: TrainingConditions,
    ) -> None:
        self.data = data
        self.phonology = phonology
        self.stage = stage
        self.how = how
        self.report = StageReport()
        self.features: dict[str, Floats] = {}

    def run(self, model: AcousticModel, alignments: Alignments) -> tuple[AcousticModel, Alignments]:
        """Run all iterations from a model and its alignments."""
        stage = self.stage
        self.features = self.data.features(model.transforms)
        target = model.mixtures.num_gauss
        step = (stage.gaussians - target) / max(stage.grow_until, 1)
        for iteration in range(1, stage.iterations + 1):
            if iteration in stage.realign:
                alignments = self.align(model, first=iteration == 1)
            if iteration in stage.transform_iterations:
                model = self._retransform(model, alignments)
            model, occupancy_P = self.update(model, alignments)
            if iteration <= stage.grow_until:
                target += step
                grow(
                    model.mixtures,
                    occupancy_P,
                    round(target),
                    power=stage.power,
                    seed=self.how.seed,
                )
            self.how.say(
                f"iteration {iteration}/{stage.iterations}: log-likelihood a frame "
                f"{self.report.log_likelihoods[-1]:.3f}, {model.mixtures.num_gauss} Gaussians"
            )
        return model, self.align(model)

    def align(self, model: AcousticModel, *, first: bool = False) -> Alignments:
        """Align all utterances; those without a path are reported."""
        options = self.how.align
        found = align_all(
            model,
            self.phonology.compiler(model),
            self.features.__getitem__,
            self.data.words,
            # after a flat start all paths look alike
            options=replace(options, beam=0.6 * options.beam) if first else options,
            silence_ids=self.phonology.lang.silence_ids,
            num_workers=self.how.num_workers,
        )
        done = {
            name: one.transitions_S for name, one in found.items() if one.transitions_S is not None
        }
        self.report.not_aligned = sorted(set(found) - set(done))
        if not done:
            raise DataError(
                f"none of {len(found)} utterances could be aligned",
                remedy="check that transcripts belong to the sound, and the lexicon to them",
            )
        return done

    def update(
        self, model: AcousticModel, alignments: Alignments
    ) -> tuple[AcousticModel, npt.NDArray[np.float64]]:
        """Update transitions and mixtures along alignments."""
        frames = self.frames(model, alignments)
        log_likelihood, occupancy_P = update_mixtures(model.mixtures, frames)
        self.report.log_likelihoods.append(log_likelihood)
        return model.with_transitions(_transition_counts(model, alignments)), occupancy_P

    def frames(self, model: AcousticModel, alignments: Alignments) -> FramesByPdf:
        """Sort the aligned frames by density."""
        pdf_T = model.tables.pdf_T
        return FramesByPdf.of(
            (self.features[name] for name in alignments),
            (pdf_T[transitions] for transitions in alignments.values()),
            num_pdfs=model.num_pdfs,
        )

    def _retransform(self, model: AcousticModel, alignments: Alignments) -> AcousticModel:
        transforms = model.transforms
        if self.stage.kind == "lda":
            square_DD = estimate_mllt(model.mixtures, self.frames(model, alignments))
            transform_means(model.mixtures, square_DD)
            assert transforms.lda_DC is not None
            transforms = replace(transforms, lda_DC=square_DD @ transforms.lda_DC)
        else:
            transforms = _adapted(model, self.data, alignments, self.phonology)
        self.features = self.data.features(transforms)
        return replace(model, transforms=transforms)


def _transition_counts(
    model: AcousticModel, alignments: Mapping[str, Ints]
) -> npt.NDArray[np.float64]:
    counts_T = np.zeros(model.transition_model.num_transition_ids + 1)
    for transitions_S in alignments.values():
        counts_T += np.bincount(transitions_S, minlength=len(counts_T))
    return counts_T


def train_mono(
    data: TrainingSet,
    phonology: Phonology,
    stage: GmmStageOptions,
    how: TrainingConditions,
) -> Trained:
    """Train monophones from a flat start.

    Args:
        data: the utterances.
        phonology: phones, lexicon and topology.
        stage: how to train.
        how: alignment, seed and processes.

    Returns:
        The model and its alignments.

    Raises:
        DataError: if no utterance is as long as its transcript needs.
    """
    lang = phonology.lang
    transforms = Transforms("deltas")
    tree = monophone_tree(phonology.group_ids(lang.groups), phonology.topology)
    features = data.features(transforms)
    everything = np.concatenate(list(features.values()))
    model = AcousticModel(tree, phonology.topology_text, None, None, transforms)
    model.mixtures = mixtures_of(
        Gaussians(
            pdf_G=np.arange(model.num_pdfs, dtype=np.int32),
            weights_G=np.ones(model.num_pdfs, np.float32),
            means_GD=np.tile(everything.mean(0), (model.num_pdfs, 1)),
            variances_GD=np.tile(everything.var(0).clip(0.01), (model.num_pdfs, 1)),
        )
    )
    frames = {name: len(values) for name, values in features.items()}
    start = equal_alignments(phonology.compiler(model), frames, data.words)
    if not start:
        raise DataError(
            f"none of {len(frames)} utterances has as many frames as its transcript needs",
            remedy="check that transcripts belong to the sound",
        )
    training = _Training(data, phonology, stage, how)
    training.features = features
    model, _ = training.update(model, start)
    model, alignments = training.run(model, start)
    return _finished(training, model, alignments)


def _finished(training: _Training, model: AcousticModel, alignments: Alignments) -> Trained:
    training.report.num_gaussians = int(model.mixtures.num_gauss)
    training.report.num_pdfs = model.num_pdfs
    return Trained(model, alignments, training.report)


def train_triphones(
    previous: Trained,
    data: TrainingSet,
    phonology: Phonology,
    stage: GmmStageOptions,
    how: TrainingConditions,
) -> Trained:
    """Train tied triphones from an earlier stage.

    Args:
        previous: the earlier stage; its alignments may cover other utterances.
        data: the utterances.
        phonology: phones, lexicon and topology.
        stage: how to train.
        how: alignment, seed and processes.

    Returns:
        The model and its alignments.

    Raises:
        DataError: if nothing can be aligned.
    """
    training = _Training(data, phonology, stage, how)
    old = previous.model
    training.features = data.features(old.transforms)
    known = {
        name: previous.alignments[name] for name in data.cepstra if name in previous.alignments
    }
    alignments = known if len(known) == len(data.cepstra) else training.align(old)
    transforms = _first_transforms(training, old, alignments)
    training.features = data.features(transforms)
    model = _new_model(training, old, alignments, transforms)
    converter = Converter(old, model)
    converted = {name: converter.convert(one) for name, one in alignments.items()}
    model, final = training.run(model, converted)
    trained = _finished(training, model, final)
    if stage.kind == "sat":
        trained.speaker_independent = _speaker_independent(training, model, final)
    return trained


def _first_transforms(
    training: _Training, old: AcousticModel, alignments: Alignments
) -> Transforms:
    stage, data = training.stage, training.data
    if stage.kind == "deltas":
        return Transforms("deltas")
    if stage.kind == "sat":
        return _adapted(old, data, alignments, training.phonology)
    spliced = Transforms("lda", stage.context)
    pdf_T = old.tables.pdf_T
    features = data.only(alignments).features(spliced)
    lda_DC = estimate_lda(
        ((pdf_T[alignments[name]], features[name]) for name in alignments),
        num_pdfs=old.num_pdfs,
        dim=stage.dim,
    )
    return replace(spliced, lda_DC=lda_DC)


def _adapted(
    model: AcousticModel, data: TrainingSet, alignments: Alignments, phonology: Phonology
) -> Transforms:
    pdf_T = model.tables.pdf_T
    return speaker_transforms(
        model,
        data,
        {name: pdf_T[transitions] for name, transitions in alignments.items()},
        weights_P=silence_weights(model, phonology.lang),
    )


def _new_model(
    training: _Training, old: AcousticModel, alignments: Alignments, transforms: Transforms
) -> AcousticModel:
    phonology, lang = training.phonology, training.phonology.lang
    stats = collect_stats(
        ((alignments[name], training.features[name]) for name in alignments),
        old.tables,
        context_free=lang.silence_ids,
    )
    classes = phonology.topology.get_phone_to_num_pdf_classes()
    grown = grow_tree(
        stats,
        silence_groups=phonology.group_ids(lang.silence_phones),
        speech_groups=phonology.group_ids(lang.speech_phones),
        position_sets=_position_sets(phonology),
        silence_classes=classes[lang.silence_ids[0]],
        speech_classes=classes[lang.speech_ids[0]],
        num_leaves=training.stage.leaves,
    )
    mixtures = mixtures_of(
        Gaussians(
            pdf_G=np.arange(len(grown.counts_P), dtype=np.int32),
            weights_G=np.ones(len(grown.counts_P), np.float32),
            means_GD=grown.means_PD.astype(np.float32),
            variances_GD=grown.variances_PD.astype(np.float32),
        )
    )
    return AcousticModel(grown.content, phonology.topology_text, mixtures, None, transforms)


def _position_sets(phonology: Phonology) -> list[frozenset[int]]:
    lang = phonology.lang
    if not lang.position_dependent:
        return []
    by_suffix: dict[str, set[int]] = {}
    for group in lang.speech_phones:
        for phone in group:
            by_suffix.setdefault(phone[-2:], set()).add(lang.phones[phone])
    return [frozenset(ids) for ids in by_suffix.values()]


def _speaker_independent(
    training: _Training, model: AcousticModel, alignments: Alignments
) -> AcousticModel:
    """Give the adapted model's Gaussians the features without adaptation."""
    plain = replace(model.transforms, speakers={})
    unadapted = training.data.features(plain)
    frames = training.frames(model, alignments)
    targets_SD = np.concatenate([unadapted[name] for name in alignments])[frames.order_S]
    copied = mixtures_of(gaussians_of(model.mixtures))
    # adaptation pairs the Gaussians of both models
    update_mixtures(copied, frames, targets_SD=targets_SD, keep_rare=True)
    return replace(model, mixtures=copied, transforms=plain)
