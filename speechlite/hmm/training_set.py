"""What GMM training needs of utterances: cepstra, speakers and words.

Shapes: S frames, F cepstra, D features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from speechlite.hmm.acoustic_model import AcousticModel
from speechlite.hmm.alignment import GraphCompiler
from speechlite.hmm.features import Floats, Transforms, transformed
from speechlite.hmm.lang import Lang

__all__ = ["Phonology", "TrainingSet"]


@dataclass(frozen=True)
class Phonology:
    """Join what a lang directory says for training.

    Args:
        lang: phones and words.
        topology_text: HMM topology in Kaldi's form.
        topology: the same, read.
        lexicon: L.fst, sorted by output label.
    """

    lang: Lang
    topology_text: str
    topology: Any
    lexicon: Any

    def compiler(self, model: AcousticModel) -> GraphCompiler:
        """Return the compiler of training graphs for a model.

        Args:
            model: the model.

        Returns:
            The compiler.
        """
        symbols = [self.lang.phones[name] for name in self.lang.disambiguation]
        return GraphCompiler(model, self.lexicon, symbols)

    def group_ids(self, groups: Sequence[Sequence[str]]) -> list[list[int]]:
        """Return groups of phones by id.

        Args:
            groups: phones.

        Returns:
            The same groups.
        """
        return [[self.lang.phones[phone] for phone in group] for group in groups]


@dataclass(frozen=True)
class TrainingSet:
    """Hold utterances to train on or to align.

    Args:
        cepstra: cepstra (S, F) by utterance, normalised by speaker.
        speakers: speaker of each utterance.
        words: word ids of each utterance.
    """

    cepstra: Mapping[str, Floats]
    speakers: Mapping[str, str]
    words: Mapping[str, Sequence[int]]

    def shortest(self, count: int) -> TrainingSet:
        """Return the shortest utterances.

        Args:
            count: how many; 0 returns all.

        Returns:
            A smaller set.
        """
        if not count or count >= len(self.cepstra):
            return self
        names = sorted(self.cepstra, key=lambda name: (len(self.cepstra[name]), name))
        return self.only(names[:count])

    def only(self, names: Iterable[str]) -> TrainingSet:
        """Return some utterances.

        Args:
            names: their ids.

        Returns:
            A smaller set, in the order of this one.
        """
        kept = set(names)
        return replace(
            self,
            cepstra={name: value for name, value in self.cepstra.items() if name in kept},
            words={name: value for name, value in self.words.items() if name in kept},
        )

    def features(self, transforms: Transforms) -> dict[str, Floats]:
        """Return a model's features of all utterances.

        Args:
            transforms: the model's transforms.

        Returns:
            Features (S, D) by utterance.
        """
        return {
            name: transformed(values, transforms, speaker=self.speakers[name])
            for name, values in self.cepstra.items()
        }

    def of_speaker(self) -> dict[str, list[str]]:
        """Return the utterances of each speaker.

        Returns:
            Utterance ids by speaker.
        """
        found: dict[str, list[str]] = {}
        for name in self.cepstra:
            found.setdefault(self.speakers[name], []).append(name)
        return found
