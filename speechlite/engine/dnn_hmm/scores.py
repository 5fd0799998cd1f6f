"""Log-likelihoods of densities for decoding: from an acoustic network, or from a GMM-HMM.

Shapes: S frames of 10 ms, P densities.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from speechlite.data.reader import KALDI_FRAMES, frame_of
from speechlite.engine.dnn_hmm.acoustic_network import (
    AcousticNetwork,
    FrozenFrames,
    batches,
)
from speechlite.engine.dnn_hmm.gmm import read_stage
from speechlite.engine.dnn_hmm.workspace import Workspace, training_set
from speechlite.engine.splits import Split
from speechlite.hmm.acoustic_model import AcousticModel
from speechlite.hmm.decoder import Decoder
from speechlite.hmm.gmm_scores import GmmScorer
from speechlite.hmm.parallel import map_forked
from speechlite.hmm.speaker_adaptation import silence_weights, speaker_transforms
from speechlite.hmm.training_set import TrainingSet

__all__ = ["GmmScores", "NetworkScores", "ScoreSource"]

Floats = npt.NDArray[np.float32]
_BATCH_SECONDS = 120.0
_CHUNK = 64
_SILENCE_WEIGHT = 0.01


class ScoreSource(Protocol):
    """Give scores of a split's utterances, some at a time."""

    @property
    def scale(self) -> float:
        """Acoustic scale of the search."""

    @property
    def beams(self) -> Sequence[float]:
        """Search beams that dev may choose."""

    def chunks(self, split: Split) -> Iterator[Mapping[str, Floats]]:
        """Give scores until all utterances had their turn.

        Args:
            split: the utterances.

        Returns:
            Log-likelihoods (S, P) by utterance, of some utterances at a time.
        """


@dataclass(frozen=True)
class NetworkScores:
    """Score with an acoustic network on a frozen model's frames.

    Args:
        network: the network.
        frames: the frames.
        scale: acoustic scale of the search.
        beams: search beams that dev may choose.
    """

    network: AcousticNetwork
    frames: FrozenFrames
    scale: float
    beams: Sequence[float]

    def chunks(self, split: Split) -> Iterator[Mapping[str, Floats]]:
        """Give log-likelihoods by utterance.

        Args:
            split: the utterances.

        Yields:
            Scores (S, P) at 10 ms a frame, of the utterances of a batch.
        """
        reader = self.frames.frozen.reader
        for names in batches(split, _BATCH_SECONDS, 0, shuffle=False).epoch(0):
            with torch.no_grad():
                _, hidden = self.frames.frozen.read(names)
            found = {}
            for name, scores_SP in zip(names, self.network.scores(hidden), strict=True):
                count = KALDI_FRAMES.num_frames(reader.num_samples(name))
                places = frame_of(
                    KALDI_FRAMES, self.frames.grid, num_target=count, num_source=len(scores_SP)
                )
                found[name] = scores_SP[places]
            yield found


@dataclass(frozen=True)
class GmmScores:
    """Score with a GMM-HMM; an adapted one decodes first without adaptation.

    Args:
        space: places and options.
        stage: the GMM stage.
        graph: its graph.
        scale: acoustic scale of the search.
        beams: search beams that dev may choose.
    """

    space: Workspace
    stage: str
    graph: Any
    scale: float
    beams: Sequence[float]

    def chunks(self, split: Split) -> Iterator[Mapping[str, Floats]]:
        """Give log-likelihoods by utterance.

        Args:
            split: the utterances.

        Yields:
            Scores (S, P) of some utterances.
        """
        lang = self.space.lang()
        # transcripts are for scoring alone; any word makes an utterance usable
        anything = next(iter(lang.lexicon.words))
        utterances = {n: replace(one, text=anything) for n, one in split.utterances.items()}
        data, _ = training_set(
            replace(split, utterances=utterances),
            lang,
            num_cepstra=self.space.config.gmm.cepstra,
            description=f"decode {self.stage}: cepstra of {split.name}",
        )
        model, independent = read_stage(self.space, self.stage)
        if independent is not None:
            model = self._adapted(model, independent, data)
        yield from self._scored(model, data)

    def _scored(self, model: AcousticModel, data: TrainingSet) -> Iterator[dict[str, Floats]]:
        scorer = GmmScorer(model.mixtures)
        names = list(data.cepstra)
        for first in range(0, len(names), _CHUNK):
            part = data.only(names[first : first + _CHUNK])
            yield {name: scorer(x) for name, x in part.features(model.transforms).items()}

    def _adapted(
        self, model: AcousticModel, independent: AcousticModel, data: TrainingSet
    ) -> AcousticModel:
        options = self.space.config.decoding
        decoder = Decoder(
            self.graph,
            model.num_pdfs,
            beam=min(self.beams),
            lattice_beam=options.lattice_beam,
        )
        pdfs: dict[str, npt.NDArray[np.int32]] = {}
        for chunk in self._scored(independent, data):
            find = partial(_best_pdfs, decoder, chunk, self.scale)
            found = map_forked(find, list(chunk), num_workers=self.space.num_workers)
            pdfs.update(
                (name, path) for name, path in zip(chunk, found, strict=True) if path is not None
            )
        transforms = speaker_transforms(
            model,
            data,
            pdfs,
            weights_P=silence_weights(model, self.space.lang(), weight=_SILENCE_WEIGHT),
            speaker_independent=independent,
        )
        return replace(model, transforms=transforms)


def _best_pdfs(
    decoder: Decoder, chunk: Mapping[str, Floats], scale: float, name: str
) -> npt.NDArray[np.int32] | None:
    path = decoder.best_path(chunk[name] * np.float32(scale))
    return None if path is None else path.pdfs_S
