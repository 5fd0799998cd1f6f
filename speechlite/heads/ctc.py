"""The ``ctc`` head: characters or subword units by connectionist temporal classification.

Shapes: B batch, S frames, D model width, C classes.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from speechlite.core.errors import DataError
from speechlite.core.head import Head, Metric, Search
from speechlite.core.types import Batch, Hidden, LabelSpace, Loss
from speechlite.heads.config import CtcConfig
from speechlite.heads.ctc_labels import BLANK, collapse, text_of
from speechlite.heads.ctc_search import BeamSearch, beam_searches
from speechlite.metrics.error_rate import ErrorRate
from speechlite.nn.layer_sum import LayerSum

__all__ = ["BLANK", "CtcHead", "collapse"]


class CtcHead(Head):
    """Predict characters or subword units through recurrent layers and CTC.

    ``predict`` takes the best path, which is quick enough to choose weights by; ``searches`` gives
    what the chosen weights are scored with.

    Args:
        config: the options.
        dim: width D of the hidden states.
        num_layers: hidden states given.
        labels: the symbols; symbol 0 is the blank, the mark of words parts words.
    """

    def __init__(self, config: CtcConfig, *, dim: int, num_layers: int, labels: LabelSpace) -> None:
        super().__init__()
        self.config = config
        self.labels = labels
        self.needs_all_layers = config.layer == "weighted"
        self.stack_frames = config.stack_frames
        self.layer_sum = LayerSum(num_layers, config.layer)
        width = dim * config.stack_frames
        self.dropout = nn.Dropout(config.dropout)
        self.recurrent: nn.LSTM | None = None
        if config.recurrent_layers:
            self.recurrent = nn.LSTM(
                width,
                config.recurrent_dim,
                config.recurrent_layers,
                batch_first=True,
                bidirectional=True,
                dropout=config.dropout if config.recurrent_layers > 1 else 0.0,
            )
            width = 2 * config.recurrent_dim
        self.classifier = nn.Linear(width, len(labels.symbols))

    def _log_probabilities(self, hidden: Hidden) -> tuple[Tensor, Tensor]:
        frames_BSD = self.layer_sum(hidden)
        missing = -frames_BSD.shape[1] % self.stack_frames
        frames_BSD = functional.pad(frames_BSD, (0, 0, 0, missing))
        # (B, S, D) -> (B, S / k, k * D)
        stacked_BSD = frames_BSD.unflatten(1, (-1, self.stack_frames)).flatten(2)
        lengths_B = torch.div(
            hidden.lengths + self.stack_frames - 1, self.stack_frames, rounding_mode="floor"
        )
        stacked_BSD = self.dropout(stacked_BSD)
        if self.recurrent is not None:
            packed = pack_padded_sequence(
                stacked_BSD, lengths_B.cpu(), batch_first=True, enforce_sorted=False
            )
            stacked_BSD, _ = pad_packed_sequence(
                self.recurrent(packed)[0], batch_first=True, total_length=stacked_BSD.shape[1]
            )
        return self.classifier(stacked_BSD).log_softmax(-1), lengths_B

    def loss(self, hidden: Hidden, batch: Batch) -> Loss:
        """Return the CTC loss.

        Args:
            hidden: hidden states of the batch.
            batch: its labels.

        Returns:
            The summed negative log-likelihood and the number of labels.

        Raises:
            DataError: if an utterance has fewer frames than its transcript needs.
        """
        labels = batch.labels[self.labels.stream]
        scores_BSC, lengths_B = self._log_probabilities(hidden)
        losses_B = functional.ctc_loss(
            scores_BSC.transpose(0, 1),
            labels.values,
            lengths_B,
            labels.lengths,
            blank=BLANK,
            reduction="none",
        )
        # NaN comes of diverged weights, and is no fault of the data
        if bool(losses_B.isinf().any()):
            row = int(losses_B.isinf().nonzero()[0])
            raise DataError(
                f"utterance {batch.ids[row]} has {int(lengths_B[row])} frames for "
                f"{int(labels.lengths[row])} labels, too few for CTC",
                remedy="leave the utterance out, or lower head.stack_frames",
            )
        return Loss(sum=losses_B.sum(), weight=labels.lengths.sum().float())

    def predict(self, hidden: Hidden) -> list[str]:
        """Return the text of the best path.

        Args:
            hidden: hidden states of a batch.

        Returns:
            One text an utterance.
        """
        scores_BSC, lengths_B = self._log_probabilities(hidden)
        best_BS = scores_BSC.argmax(-1).tolist()
        return [
            text_of(collapse(path[:length]), self.labels)
            for path, length in zip(best_BS, lengths_B.tolist(), strict=True)
        ]

    def searches(self) -> tuple[Search, ...]:
        """Read language model and lexicon, and return a beam search for each pair of weights.

        Returns:
            The searches; the best path alone where the options ask for it.

        Raises:
            ConfigError: if the words stand in no file.
            DataError: if a file is missing or malformed.
            EnvironmentProblem: if flashlight-text is not installed.
        """
        if self.config.search == "greedy":
            return super().searches()
        return tuple(
            Search(partial(self._search, search), search.facts)
            for search in beam_searches(self.config, self.labels)
        )

    def _search(self, search: BeamSearch, hidden: Hidden) -> list[str]:
        scores_BSC, lengths_B = self._log_probabilities(hidden)
        rows = zip(scores_BSC.float().cpu().numpy(), lengths_B.tolist(), strict=True)
        return [search.text_of(np.ascontiguousarray(row_SC[:length])) for row_SC, length in rows]

    def metric(self) -> Metric:
        """Return word error rate.

        Returns:
            The metric.
        """
        return ErrorRate("wer", self._reference_texts)

    def _reference_texts(self, batch: Batch) -> list[str]:
        labels = batch.labels[self.labels.stream]
        return [
            text_of(row[:length], self.labels)
            for row, length in zip(labels.values.tolist(), labels.lengths.tolist(), strict=True)
        ]
