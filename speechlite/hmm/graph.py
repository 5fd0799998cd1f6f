"""Decoding graphs: HCLG by composition, as Kaldi's mkgraph makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from speechlite.core.errors import EnvironmentProblem
from speechlite.hmm.acoustic_model import AcousticModel
from speechlite.hmm.fst_arrays import FstArrays, from_fst, to_fst
from speechlite.hmm.wheels import load_wheels

__all__ = ["GraphReport", "compose_graph", "memory_needed_bytes", "pdf_graph"]

_BYTES_PER_NGRAM = 4700
"""Peak memory of composition over the n-grams of the language model; measured with 1.4 million."""


@dataclass(frozen=True)
class GraphReport:
    """Hold the size of a graph.

    Args:
        num_states: states.
        num_arcs: arcs.
    """

    num_states: int
    num_arcs: int


def memory_needed_bytes(num_ngrams: int) -> int:
    """Estimate the peak memory of building a graph.

    Args:
        num_ngrams: n-grams of its language model.

    Returns:
        Bytes.
    """
    return num_ngrams * _BYTES_PER_NGRAM


def refuse_too_large(num_ngrams: int, available_bytes: int) -> None:
    """Refuse a language model whose graph would not fit into memory.

    Args:
        num_ngrams: its n-grams.
        available_bytes: free memory.

    Raises:
        EnvironmentProblem: if the estimate exceeds what is there.
    """
    needed = memory_needed_bytes(num_ngrams)
    if needed > available_bytes:
        raise EnvironmentProblem(
            f"a graph of {num_ngrams} n-grams needs about {needed / 1e9:.1f} GB to build, "
            f"{available_bytes / 1e9:.1f} GB are free",
            remedy="decode with a pruned language model (lm.small) and rescore with this one",
        )


def compose_graph(
    model: AcousticModel,
    lexicon: Any,
    grammar: FstArrays,
    *,
    disambiguation: Sequence[int],
    self_loop_scale: float = 0.1,
) -> Any:
    """Compose H, C, L and G into a graph of transition ids and words.

    Args:
        model: tree and transitions.
        lexicon: L_disambig.fst.
        grammar: G with ``#0`` as its input on back-off arcs.
        disambiguation: ids of disambiguation symbols of phones.
        self_loop_scale: scale of self-loop log-probabilities.

    Returns:
        A ``kaldifst.StdVectorFst``.
    """
    wheels = load_wheels()
    fst, khg = wheels.kaldifst, wheels.khg
    acceptor = to_fst(grammar)
    fst.arcsort(acceptor, sort_type="ilabel")
    composed = fst.compose(lexicon, acceptor)
    del acceptor
    fst.determinize_star(composed, use_log=True)
    fst.minimize_encoded(composed)
    fst.arcsort(composed, sort_type="ilabel")
    composed, contexts = fst.compose_context(
        disambig_syms=list(disambiguation),
        context_width=model.tree.context_width,
        central_position=model.tree.central_position,
        ifst=composed,
    )
    fst.arcsort(composed, sort_type="ilabel")
    states, symbols = khg.get_h_transducer(
        ilabel_info=contexts,
        ctx_dep=model.tree,
        trans_model=model.transition_model,
        config=khg.HTransducerConfig(transition_scale=1.0),
    )
    graph = fst.compose(states, composed)
    del composed
    fst.determinize_star(graph, use_log=True)
    graph = to_fst(_without(from_fst(graph), symbols))
    fst.minimize_encoded(graph)
    return khg.add_self_loops(
        self_loop_scale=self_loop_scale,
        disambig_syms=[],
        reorder=True,
        trans_model=model.transition_model,
        ifst=graph,
    )


def _without(arrays: FstArrays, symbols: Sequence[int]) -> FstArrays:
    """Turn disambiguation symbols into epsilon."""
    table = np.arange(max(int(arrays.ilabel_A.max(initial=0)), *symbols, 0) + 1, dtype=np.int32)
    table[list(symbols)] = 0
    return replace(arrays, ilabel_A=table[arrays.ilabel_A])


def pdf_graph(graph: Any, pdf_T: npt.NDArray[np.int32]) -> tuple[Any, GraphReport]:
    """Put densities in place of transition ids, so that scores have one column a density.

    Args:
        graph: a graph of transition ids.
        pdf_T: density of each transition id.

    Returns:
        The graph with density + 1 as input labels, and its size.
    """
    arrays = from_fst(graph)
    labels = np.where(arrays.ilabel_A > 0, pdf_T[arrays.ilabel_A] + 1, 0).astype(np.int32)
    report = GraphReport(len(arrays.finals_N), len(arrays.src_A))
    return to_fst(replace(arrays, ilabel_A=labels)), report
