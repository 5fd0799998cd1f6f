"""Decode scores with a graph into lattices, in Kaldi's C++.

Shapes: S frames, P densities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from speechlite.core.errors import DataError
from speechlite.hmm.fst_arrays import LatticeArrays, from_lattice
from speechlite.hmm.wheels import load_wheels

__all__ = ["BestPath", "Decoder"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BestPath:
    """Hold the best path of an utterance.

    Args:
        pdfs_S: density of each frame.
        words: ids of the words.
        cost: graph and acoustic cost.
    """

    pdfs_S: npt.NDArray[np.int32]
    words: tuple[int, ...]
    cost: float


class Decoder:
    """Search a graph for the words of utterances.

    Kaldi's decoders keep a bare pointer to their graph; this object keeps the graph alive.

    Args:
        graph: a graph with density + 1 as input labels.
        num_pdfs: number of densities.
        beam: search beam; wider is slower and misses less.
        lattice_beam: beam of the lattice around the best path.
    """

    def __init__(self, graph: Any, num_pdfs: int, *, beam: float, lattice_beam: float) -> None:
        kd = load_wheels().kd
        self._graph = graph
        self._num_pdfs = num_pdfs
        self._config = kd.LatticeSimpleDecoderConfig(beam=beam, lattice_beam=lattice_beam)

    def lattice(self, scores_SP: Floats) -> LatticeArrays | None:
        """Decode an utterance.

        Args:
            scores_SP: scaled log-likelihood of each density at each frame.

        Returns:
            Its lattice, perhaps of paths that are cut off, or None where no path was found.

        Raises:
            DataError: if the scores have another number of columns, or are not finite.
        """
        decoder = self._decoded(scores_SP)
        if decoder is None:
            return None
        found, lattice = decoder.get_raw_lattice()
        if not found or lattice.num_states == 0:
            return None
        is_complete = math.isfinite(decoder.final_relative_cost())
        return replace(from_lattice(lattice), is_complete=is_complete)

    def best_path(self, scores_SP: Floats) -> BestPath | None:
        """Return the best path of an utterance.

        Args:
            scores_SP: scaled log-likelihood of each density at each frame.

        Returns:
            The path, perhaps cut off, or None where none was found.

        Raises:
            DataError: if the scores have another number of columns, or are not finite.
        """
        decoder = self._decoded(scores_SP)
        if decoder is None:
            return None
        found, path = decoder.get_best_path()
        if not found:
            return None
        _, labels, words, cost = load_wheels().kaldifst.get_linear_symbol_sequence(path)
        total = float(cost.value1) + float(cost.value2)
        return BestPath(np.array(labels, np.int32) - 1, tuple(words), total)

    def _decoded(self, scores_SP: Floats) -> Any:
        # the decodable reads beyond its columns without a check
        if scores_SP.ndim != 2 or scores_SP.shape[1] != self._num_pdfs:
            raise DataError(
                f"scores of shape {tuple(scores_SP.shape)}, expected {self._num_pdfs} columns",
                remedy="use a graph and an acoustic model of one tree",
            )
        if not np.isfinite(scores_SP).all():
            raise DataError(
                "scores are not finite", remedy="train the acoustic model with a lower rate"
            )
        if len(scores_SP) == 0:
            return None
        kd = load_wheels().kd
        # a decoder of its own for each utterance: one that is used again does not free its tokens
        decoder = kd.LatticeSimpleDecoder(self._graph, self._config)
        # it returns false where no final state survived the beam; what there is then is kept
        decoder.decode(kd.DecodableCtc(np.ascontiguousarray(scores_SP, np.float32)))
        return decoder
