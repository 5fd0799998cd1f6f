"""Carry alignments from one model to another whose tree differs, as Kaldi's convert-ali does."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from speechlite.hmm.acoustic_model import AcousticModel
from speechlite.hmm.alignment import phone_segments

__all__ = ["Converter"]

Ints = npt.NDArray[np.int32]


class Converter:
    """Convert alignments between models of one topology.

    Args:
        old: the model that made the alignments.
        new: the model that they are for.
    """

    def __init__(self, old: AcousticModel, new: AcousticModel) -> None:
        self._old, self._new = old, new
        model = old.transition_model
        states = old.tables.state_T
        starts = np.array(model.state2id)
        self._place = np.arange(len(states)) - starts[states]
        self._hmm_state = np.array([0, *(row.__getstate__()[1] for row in model.tuples)])[states]
        rows = [row.__getstate__() for row in new.transition_model.tuples]
        self._first_id = {
            row: new.transition_model.state2id[state] for state, row in enumerate(rows, start=1)
        }
        self._width = int(new.tree.context_width)
        self._pdf = cache(self._compute_pdf)
        self._id = cache(self._find_id)

    def convert(self, transitions_S: Ints) -> Ints:
        """Convert one alignment.

        Args:
            transitions_S: transition ids of the old model.

        Returns:
            Transition ids of the new one: the same phones and states at the same frames.
        """
        segments = phone_segments(transitions_S, self._old.tables)
        phones = [0, *(segment.phone for segment in segments), 0]
        converted = np.empty_like(transitions_S)
        for place, segment in enumerate(segments):
            context = tuple(phones[place : place + 3])
            for frame in range(segment.start, segment.end):
                converted[frame] = self._id(context, int(transitions_S[frame]))
        return converted

    def _find_id(self, context: tuple[int, ...], old_id: int) -> int:
        hmm_state = int(self._hmm_state[old_id])
        entry = self._new.topology.topology_for_phone(context[1])[hmm_state]
        forward = self._pdf(context, entry.forward_pdf_class)
        loop = self._pdf(context, entry.self_loop_pdf_class)
        return int(self._first_id[context[1], hmm_state, forward, loop] + self._place[old_id])

    def _compute_pdf(self, context: tuple[int, ...], pdf_class: int) -> int:
        window = list(context) if self._width == 3 else [context[1]]
        found, pdf = self._new.tree.compute(window, pdf_class)
        # every phone of the lang is in the tree
        assert found
        return int(pdf)
