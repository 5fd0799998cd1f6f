"""The steps ``decode`` and ``rescore``: lattices, what dev chooses, scores on test."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechlite.core.errors import DataError
from speechlite.engine.dnn_hmm.graph import small_grammar
from speechlite.engine.dnn_hmm.lattice_files import (
    read_lattices,
    write_error_report,
    write_lattices,
    write_nbest,
)
from speechlite.engine.dnn_hmm.scores import ScoreSource
from speechlite.engine.dnn_hmm.scoring import (
    Setting,
    best_setting,
    hypotheses,
    score_words,
    settings,
)
from speechlite.engine.dnn_hmm.steps import read_report, write_lines, write_report
from speechlite.engine.dnn_hmm.workspace import Workspace
from speechlite.engine.evaluate import Evaluation, SplitScore
from speechlite.engine.progress import say, track
from speechlite.engine.splits import Split
from speechlite.hmm.decoder import Decoder
from speechlite.hmm.language_model import GrammarScorer, KenlmScorer
from speechlite.hmm.lattice import ScoredLattice, word_lattice
from speechlite.hmm.parallel import map_forked

__all__ = ["decode", "read_splits", "rescore"]

_SECONDS_A_FRAME = 0.01


@dataclass
class _Decoded:
    """Hold the lattices of a split and the time that the search took."""

    lattices: dict[str, ScoredLattice]
    seconds: float = 0.0
    frames: int = 0
    cut_off: list[str] = field(default_factory=list)

    @property
    def rtf(self) -> float:
        return self.seconds / max(self.frames * _SECONDS_A_FRAME, 1e-9)


def read_splits(space: Workspace) -> dict[str, Split]:
    """Read dev and test data.

    Args:
        space: places and options.

    Returns:
        Splits by part: ``dev``, and every test directory by its name.
    """
    return {
        part: space.split(directories)
        for part, directories in space.parts().items()
        if part != "train"
    }


def decode(
    space: Workspace, graph: Any, num_pdfs: int, source: ScoreSource, *, directory: Path, name: str
) -> list[str]:
    """Decode dev with every beam and test with the best one, into lattices.

    Args:
        space: places and options.
        graph: the graph.
        num_pdfs: densities of the scores.
        source: gives the scores.
        directory: where lattices and the report go.
        name: what progress bars say.

    Returns:
        Names of the files written.
    """
    splits, options, lang = read_splits(space), space.config.decoding, space.lang()
    grammar = GrammarScorer(small_grammar(space).fst, backoff=lang.words["#0"])
    search = _Search(space, graph, num_pdfs, source, grammar, name)
    beams = sorted(set(source.beams))
    on_dev = search.run(splits["dev"], beams)
    chosen = {
        beam: best_setting(splits["dev"], on_dev[beam].lattices, settings(options), lang.word_names)
        for beam in beams
    }
    # the narrowest of equally good ones
    beam = min(beams, key=lambda one: chosen[one][1])
    found = {"dev": on_dev[beam]}
    for part, split in splits.items():
        if part != "dev":
            found[part] = search.run(split, [beam])[beam]
    facts = {
        "beam": beam,
        "dev_wer_by_beam": {f"{one:g}": chosen[one][1] for one in beams},
        "dev_rtf_by_beam": {f"{one:g}": on_dev[one].rtf for one in beams},
        "rtf": {part: one.rtf for part, one in found.items()},
        **asdict(chosen[beam][0]),
        "dev_wer": chosen[beam][1],
    }
    outputs = [
        write_lattices(directory / f"{part}.lat", one.lattices, lang.word_names)
        for part, one in found.items()
    ]
    missing, cut_off = [], []
    for part, one in found.items():
        absent = sorted(set(splits[part].utterances) - set(one.lattices))
        missing += [f"{utterance} no path survived" for utterance in absent]
        cut_off += [f"{utterance} no final state survived" for utterance in one.cut_off]
    outputs.append(write_lines(directory / "not_decoded.txt", [*missing, *cut_off]))
    if missing or cut_off:
        say(
            f"{name}: {len(missing)} utterances without a path count as no words, {len(cut_off)} "
            f"paths are cut off before a final state; see {directory / 'not_decoded.txt'}"
        )
    return [*outputs, write_report(directory, facts)]


@dataclass
class _Search:
    """Decode splits chunk by chunk, in several processes."""

    space: Workspace
    graph: Any
    num_pdfs: int
    source: ScoreSource
    grammar: GrammarScorer
    name: str

    def run(self, split: Split, beams: list[float]) -> dict[float, _Decoded]:
        """Decode a split with each beam."""
        found = {beam: _Decoded({}) for beam in beams}
        with track(f"{self.name}: {split.name}", len(split.utterances)) as tracker:
            done = 0
            for chunk in self.source.chunks(split):
                for beam, decoded in found.items():
                    self._decode(chunk, beam, decoded)
                done += len(chunk)
                tracker.update(done)
        return found

    def _decode(self, chunk: Mapping[str, Any], beam: float, decoded: _Decoded) -> None:
        lattice_beam = self.space.config.decoding.lattice_beam
        decoder = Decoder(self.graph, self.num_pdfs, beam=beam, lattice_beam=lattice_beam)

        def one(utterance: str) -> tuple[ScoredLattice | None, float, bool]:
            scores_SP = chunk[utterance] * np.float32(self.source.scale)
            started = time.perf_counter()
            lattice = decoder.lattice(scores_SP)
            seconds = time.perf_counter() - started
            if lattice is None:
                return None, seconds, True
            words = word_lattice(lattice, beam=lattice_beam)
            return ScoredLattice.of(words, self.grammar), seconds, lattice.is_complete

        names = list(chunk)
        results = map_forked(one, names, num_workers=self.space.num_workers)
        for utterance, (lattice, seconds, complete) in zip(names, results, strict=True):
            decoded.seconds += seconds
            decoded.frames += len(chunk[utterance])
            if lattice is not None:
                decoded.lattices[utterance] = lattice
            if not complete:
                decoded.cut_off.append(utterance)


def read_decoded(space: Workspace, directory: Path) -> dict[str, dict[str, ScoredLattice]]:
    """Read the lattices of all parts.

    Args:
        space: places and options.
        directory: where the step ``decode`` wrote.

    Returns:
        Lattices by utterance, by part.
    """
    parts = [part for part in space.parts() if part != "train"]
    ids = space.lang().words
    return {part: read_lattices(directory / f"{part}.lat", ids) for part in parts}


def score_decoded(space: Workspace, directory: Path, train: Split) -> Evaluation:
    """Score the words of the graph's own language model.

    Args:
        space: places and options.
        directory: where the step ``decode`` wrote; n-best lists and error reports go there.
        train: the training data, for the record.

    Returns:
        The scores, with what dev chose.
    """
    facts = read_report(directory)
    setting = Setting(facts["lm_weight"], facts["word_penalty"])
    lattices = read_decoded(space, directory)
    return _evaluation(space, lattices, setting, facts, train, directory)


def rescore(space: Workspace, directory: Path, target: Path, train: Split) -> Evaluation:
    """Score the words after the large language model took the small one's place.

    Args:
        space: places and options.
        directory: where the step ``decode`` wrote.
        target: where n-best lists and error reports go.
        train: the training data, for the record.

    Returns:
        The scores, with what dev chose.
    """
    names = space.lang().word_names
    model = KenlmScorer(space.lm_dir / "large.arpa", names)
    lattices = {
        part: {name: lattice.rescored(model) for name, lattice in found.items()}
        for part, found in read_decoded(space, directory).items()
    }
    dev = read_splits(space)["dev"]
    setting, rate = best_setting(dev, lattices["dev"], settings(space.config.decoding), names)
    facts = {**read_report(directory), **asdict(setting), "dev_wer": rate}
    return _evaluation(space, lattices, setting, facts, train, target)


def _evaluation(
    space: Workspace,
    lattices: Mapping[str, Mapping[str, ScoredLattice]],
    setting: Setting,
    facts: Mapping[str, Any],
    train: Split,
    target: Path,
) -> Evaluation:
    names, tests = space.lang().word_names, []
    for part, split in read_splits(space).items():
        if part == "dev":
            continue
        score = score_words(split, hypotheses(lattices[part], [setting], names)[0])
        tests.append(score)
        write_error_report(target / f"{part}.errors.txt", score)
        write_nbest(
            target / f"{part}.nbest.txt",
            lattices[part],
            names,
            count=space.config.decoding.nbest,
            weight=setting.lm_weight,
            penalty=setting.word_penalty,
        )
    _refuse_empty(tests)
    return Evaluation(
        tests=tuple(tests),
        dev=facts["dev_wer"],
        best_step=0,
        seconds=0.0,
        train=train,
        search={key: facts[key] for key in ("beam", "lm_weight", "word_penalty", "dev_wer", "rtf")},
    )


def _refuse_empty(tests: list[SplitScore]) -> None:
    for test in tests:
        if not any(score.denominator for score in test.scores):
            raise DataError(
                f"{test.split.name} has no reference word to score against",
                remedy="fill in its text file",
            )
