"""Where the steps of DNN-HMM evaluation keep their files, and the speech that they read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechlite.config.compose import to_mapping
from speechlite.config.dnn_hmm import DnnHmmConfig
from speechlite.core.errors import ConfigError, DataError
from speechlite.data.reader import KALDI_FRAMES
from speechlite.engine.progress import track
from speechlite.engine.splits import Split, read_split
from speechlite.hmm.cepstra import compute_cepstra
from speechlite.hmm.features import normalise_speakers
from speechlite.hmm.gmm_training import TrainingConditions
from speechlite.hmm.lang import Lang
from speechlite.hmm.lang_files import read_lang, read_lang_topology, read_lexicon_fst
from speechlite.hmm.parallel import usable_workers
from speechlite.hmm.training_set import Phonology, TrainingSet
from speechlite.plugins.registry import Registry

__all__ = ["Workspace", "training_set"]


@dataclass(frozen=True)
class Workspace:
    """Name the places and options of a run.

    Args:
        config: the options.
        root: directory of everything that all models share.
        seed: seed of what is random; its GMMs have a directory of their own.
        registry: where components are looked up.
    """

    config: DnnHmmConfig
    root: Path
    seed: int
    registry: Registry

    @property
    def lang_dir(self) -> Path:
        """The lang directory."""
        return self.root / "lang"

    @property
    def lang_files(self) -> list[Path]:
        """What models are made of in the lang directory; reports on words lie there too."""
        names = ("L.fst", "L_disambig.fst", "lexiconp.txt", "phones", "phones.txt", "topo")
        return [self.lang_dir / name for name in (*names, "words.txt")]

    @property
    def lm_dir(self) -> Path:
        """The directory of language models: ``small.arpa`` and ``large.arpa``."""
        return self.root / "lm"

    @property
    def seed_dir(self) -> Path:
        """The directory of what depends on the seed."""
        return self.root / f"seed{self.seed}"

    def gmm_dir(self, stage: str) -> Path:
        """Return the directory of a GMM stage.

        Args:
            stage: ``mono``, ``tri1``, ``tri2b`` or ``tri3b``.

        Returns:
            The directory.
        """
        return self.seed_dir / "gmm" / stage

    def graph_dir(self, stage: str) -> Path:
        """Return the directory of the graph of a GMM stage.

        Args:
            stage: the stage.

        Returns:
            The directory.
        """
        return self.seed_dir / f"graph_{stage}"

    @property
    def num_workers(self) -> int:
        """Processes that align and decode."""
        return usable_workers(self.config.decoding.workers)

    def options(self, *sections: str) -> dict[str, Any]:
        """Return some sections of the options as plain values, for stamps.

        Args:
            sections: names of sections.

        Returns:
            Values by section.
        """
        return {section: to_mapping(getattr(self.config, section)) for section in sections}

    def directories(self, part: str) -> list[Path]:
        """Return the data directories of a part of the task.

        Args:
            part: ``train``, ``dev`` or ``test``.

        Returns:
            The directories.

        Raises:
            ConfigError: if the part names none.
        """
        found = [Path(name) for name in getattr(self.config.task, part)]
        if not found:
            raise ConfigError(
                f"task.{part} names no data directory", remedy=f"set task.{part}=[DIRECTORY,...]"
            )
        return found

    def parts(self) -> dict[str, list[Path]]:
        """Return all parts: training data and dev as one each, every test directory alone.

        Returns:
            Directories by name of the part.

        Raises:
            ConfigError: if a part is missing, or two have one name.
        """
        parts = {"train": self.directories("train"), "dev": self.directories("dev")}
        for directory in self.directories("test"):
            if directory.name in parts:
                raise ConfigError(
                    f"two parts of the task are called {directory.name}", remedy="rename one"
                )
            parts[directory.name] = [directory]
        return parts

    def split(self, directories: Sequence[Path]) -> Split:
        """Read data directories with transcripts.

        Args:
            directories: the directories.

        Returns:
            Their utterances; too short ones are left out and counted.
        """
        return read_split([str(path) for path in directories], KALDI_FRAMES, need_text=True)

    def lang(self) -> Lang:
        """Read the lang directory.

        Returns:
            The lang.
        """
        return read_lang(self.lang_dir)

    def phonology(self) -> Phonology:
        """Read what training and alignment need of the lang directory.

        Returns:
            Phones, topology and lexicon.
        """
        lang = self.lang()
        return Phonology(
            lang=lang,
            topology_text=(self.lang_dir / "topo").read_text(encoding="utf-8"),
            topology=read_lang_topology(self.lang_dir, lang),
            lexicon=read_lexicon_fst(self.lang_dir, disambiguated=False),
        )

    def conditions(self, say: Any = lambda text: None) -> TrainingConditions:
        """Return what the stages of GMM training have in common.

        Args:
            say: called with a line of progress.

        Returns:
            Alignment, seed and processes.
        """
        return TrainingConditions(self.config.gmm.align, self.seed, self.num_workers, say)


def training_set(
    split: Split, lang: Lang, *, num_cepstra: int, description: str
) -> tuple[TrainingSet, dict[str, str]]:
    """Compute the cepstra of a split.

    Args:
        split: the utterances.
        lang: words.
        num_cepstra: cepstra of a frame.
        description: what the progress bar says.

    Returns:
        The utterances that have words, and for each one left out the reason.

    Raises:
        DataError: if nothing is left.
    """
    words = {name: lang.word_ids(item.text or "")[0] for name, item in split.utterances.items()}
    excluded = {name: "empty transcript" for name, ids in words.items() if not ids}
    kept = {name: ids for name, ids in words.items() if ids}
    if not kept:
        raise DataError(
            f"no utterance of {split.name} has a transcript", remedy="fill in the text file"
        )
    with track(description, len(kept)) as tracker:
        cepstra = compute_cepstra(
            {name: split.utterances[name] for name in kept},
            {name: split.durations[name] for name in kept},
            num_cepstra=num_cepstra,
            on_batch=tracker.update,
        )
    speakers = {name: split.utterances[name].speaker for name in kept}
    return TrainingSet(normalise_speakers(cepstra, speakers), speakers, kept), excluded
