"""Forced alignment with Kaldi's graph compiler and decoder.

Shapes: S frames, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from speechlite.core.errors import DataError
from speechlite.hmm.acoustic_model import AcousticModel, HmmTables, gaussians_of, mixtures_of
from speechlite.hmm.config import AlignOptions
from speechlite.hmm.features import Floats
from speechlite.hmm.parallel import map_forked
from speechlite.hmm.wheels import load_wheels

__all__ = [
    "GraphCompiler",
    "Segment",
    "align_all",
    "equal_alignments",
    "phone_segments",
]

Ints = npt.NDArray[np.int32]


class GraphCompiler:
    """Compile transcripts into graphs of a model's states.

    Args:
        model: tree and transitions.
        lexicon: L.fst, sorted by output label.
        disambiguation: ids of disambiguation symbols of phones.
    """

    def __init__(self, model: AcousticModel, lexicon: Any, disambiguation: Sequence[int]) -> None:
        khg = load_wheels().khg
        # Kaldi's compiler keeps bare pointers to what it is given
        self._kept = (model.transition_model, model.tree, lexicon)
        # both scales are applied when a graph is used
        options = khg.TrainingGraphCompilerOptions(transition_scale=0.0, self_loop_scale=0.0)
        self._compiler = khg.TrainingGraphCompiler(
            trans_model=self._kept[0],
            ctx_dep=self._kept[1],
            lex_fst=lexicon,
            disambig_syms=list(disambiguation),
            opts=options,
        )

    def compile(self, word_ids: Sequence[int]) -> Any:
        """Return the graph of a transcript, without transition probabilities.

        Args:
            word_ids: its words.

        Returns:
            A ``kaldifst.StdVectorFst``.

        Raises:
            DataError: if a word has no pronunciation, as ``<s>`` has none.
        """
        try:
            return self._compiler.compile_graph_from_text(list(word_ids))
        except RuntimeError:
            raise DataError(
                f"the words {list(word_ids)} of words.txt have no path through the lexicon",
                remedy="take <eps>, <s>, </s> and #0 out of the transcripts",
            ) from None


@dataclass(frozen=True)
class Aligned:
    """Hold the outcome of one utterance.

    Args:
        transitions_S: transition id of each frame; None where no path was found.
        log_likelihood: of the path, transitions included, divided by the acoustic scale.
    """

    transitions_S: Ints | None
    log_likelihood: float


def _boosted(model: AcousticModel, silence_ids: Sequence[int], factor: float) -> Any:
    """Return mixtures whose silence densities are larger by a factor."""
    if factor == 1.0:
        return model.mixtures
    khg = load_wheels().khg
    mixtures = mixtures_of(gaussians_of(model.mixtures))
    pdfs = khg.get_pdfs_for_phones(model.transition_model, sorted(silence_ids))[1]
    for pdf in pdfs:
        mixture = mixtures.get_pdf(pdf)
        mixture.set_weights(np.asarray(mixture.weights, np.float32) * np.float32(factor))
        mixture.compute_gconsts()
    return mixtures


def align_all(
    model: AcousticModel,
    compiler: GraphCompiler,
    features: Callable[[str], Floats],
    words: Mapping[str, Sequence[int]],
    *,
    options: AlignOptions,
    silence_ids: Sequence[int],
    num_workers: int = 1,
    on_result: Callable[[int], None] = lambda done: None,
) -> dict[str, Aligned]:
    """Align utterances to their transcripts.

    Args:
        model: the model.
        compiler: its graphs.
        features: gives the model's features (S, D) of an utterance; called in other processes.
        words: word ids of each utterance.
        options: how to align.
        silence_ids: ids of silence phones.
        num_workers: processes.
        on_result: called with the number of utterances done.

    Returns:
        The outcome of each utterance.
    """
    khg = load_wheels().khg
    mixtures = _boosted(model, silence_ids, options.boost_silence)
    transition_model = model.transition_model
    config = khg.AlignConfig(beam=options.beam, retry_beam=options.retry_beam)

    def align(name: str) -> Aligned:
        values_SD = features(name)
        graph = compiler.compile(words[name])
        if len(values_SD) == 0 or graph.num_states == 0:
            return Aligned(None, 0.0)
        khg.add_transition_probs(
            trans_model=transition_model,
            transition_scale=options.transition_scale,
            self_loop_scale=options.self_loop_scale,
            fst=graph,
        )
        decodable = khg.DecodableAmDiagGmmScaled(
            am=mixtures, tm=transition_model, feats=values_SD, scale=options.acoustic_scale
        )
        outcome = khg.align_utterance_wrapper(
            config=config,
            utt=name,
            acoustic_scale=options.acoustic_scale,
            fst=graph,
            decodable=decodable,
            num_done=0,
            num_error=0,
            num_retried=0,
            tot_like=0.0,
            frame_count=0,
        )
        done, _, _, log_likelihood, _, transitions, _ = outcome
        if not done:
            return Aligned(None, 0.0)
        return Aligned(np.array(transitions, np.int32), float(log_likelihood))

    names = list(words)
    found = map_forked(align, names, num_workers=num_workers, on_result=on_result)
    return dict(zip(names, found, strict=True))


def equal_alignments(
    compiler: GraphCompiler, frames: Mapping[str, int], words: Mapping[str, Sequence[int]]
) -> dict[str, Ints]:
    """Spread the states of each transcript evenly over its frames, for a flat start.

    Args:
        compiler: graphs of the model.
        frames: frames of each utterance.
        words: word ids of each utterance.

    Returns:
        Transition ids by utterance; utterances too short for their transcript are left out.
    """
    kaldifst = load_wheels().kaldifst
    found = {}
    for number, (name, ids) in enumerate(words.items()):
        graph = compiler.compile(ids)
        done, path = kaldifst.equal_align(
            ifst=graph, length=frames[name], rand_seed=number, num_retries=10
        )
        if done:
            labels = kaldifst.get_linear_symbol_sequence(path)[1]
            found[name] = np.array(labels, np.int32)
    return found


@dataclass(frozen=True)
class Segment:
    """Hold a phone's stretch of frames.

    Args:
        phone: its id.
        start: its first frame.
        end: the frame after its last.
    """

    phone: int
    start: int
    end: int


def phone_segments(transitions_S: Ints, tables: HmmTables) -> list[Segment]:
    """Cut an alignment into phones.

    A phone ends with the transition that leaves it, and the self-loops of the same state that
    follow it: Kaldi's graphs have them in that order.

    Args:
        transitions_S: transition id of each frame.
        tables: their meaning.

    Returns:
        The phones in order; they cover all frames.
    """
    num_frames = len(transitions_S)
    is_final = tables.is_final_T[transitions_S]
    state = tables.state_T[transitions_S]
    is_loop = tables.is_loop_T[transitions_S]
    segments: list[Segment] = []
    start = 0
    for frame in np.flatnonzero(is_final).tolist():
        end = frame + 1
        while end < num_frames and is_loop[end] and state[end] == state[frame]:
            end += 1
        segments.append(Segment(int(tables.phone_T[transitions_S[frame]]), start, end))
        start = end
    if start < num_frames:
        # a path that was cut off
        segments.append(Segment(int(tables.phone_T[transitions_S[start]]), start, num_frames))
    return segments
