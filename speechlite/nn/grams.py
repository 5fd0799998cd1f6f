"""Second moments of layers' inputs: sums of x x^T or of x^2 over frames, in bounded memory.

Shapes: B batch, C channels, S frames, T taps of a kernel, G groups (1 for a linear layer), N rows,
K inputs of a group, P inputs of a panel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from speechlite.core.errors import ConfigError, DataError

__all__ = ["InputGram", "InputPower", "InputSum", "unfolded_parts"]

_PANEL = 256
"""Columns of the panels whose upper block triangle is summed."""
_ROWS = 2048
_BUFFER_VALUES = 2**23
"""Values that wait at most, so that a product has many rows."""
_PART_VALUES = 2**24
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class InputSum(Protocol):
    """Sum something over rows of inputs that come in pieces."""

    def add(self, inputs_GNK: Tensor) -> None:
        """Add rows.

        Args:
            inputs_GNK: (G, N, K) floating point, any N.
        """

    def total(self) -> Tensor:
        """Return the sum so far.

        Returns:
            A tensor of G groups.
        """


class InputPower:
    """Sum the squares of each input over rows that come in pieces.

    Args:
        groups: G.
        width: K.
        device: where the rows come from and the sum stays.
    """

    def __init__(self, groups: int, width: int, *, device: torch.device | str) -> None:
        self._squares_GK = torch.zeros(groups, width, device=device)

    @torch.no_grad()
    def add(self, inputs_GNK: Tensor) -> None:
        """Add rows; padding must not be among them.

        Args:
            inputs_GNK: (G, N, K) floating point, any N.
        """
        self._squares_GK += inputs_GNK.float().square().sum(1)

    def total(self) -> Tensor:
        """Return the sum so far.

        Returns:
            float32 (G, K): the diagonals of Gram matrices.
        """
        return self._squares_GK.clone()


class InputGram:
    """Sum x x^T over rows that come in pieces.

    Rows wait until some thousands of them make one product, of which only the upper block triangle
    is computed. Sums are float32. With bfloat16 the inputs, less a constant near their mean that
    the sum accounts for, are rounded to 8 bits, and so is each product on the CPU: errors of
    either sign that average out over rows and products.

    Args:
        groups: G.
        width: K.
        device: where the rows come from and the sum stays.
        precision: of the factors, "float32" or "bfloat16".

    Raises:
        ConfigError: if a size is not positive or there is no such precision.
    """

    def __init__(
        self, groups: int, width: int, *, device: torch.device | str, precision: str = "float32"
    ) -> None:
        if groups < 1 or width < 1 or precision not in _DTYPES:
            raise ConfigError(
                f"a Gram matrix of {groups} groups of {width} inputs in {precision!r}, expected "
                "positive sizes and one of " + ", ".join(_DTYPES),
                remedy="change the precision or the sizes",
            )
        dtype, rows = _DTYPES[precision], min(_ROWS, max(1, _BUFFER_VALUES // (groups * width)))
        self._waiting_GNK = torch.empty(groups, rows, width, dtype=dtype, device=device)
        self._num_waiting = 0
        self._rows = 0
        self._squares_GKK = torch.zeros(groups, width, width, device=device)
        # the sum is of the rows less the shift, before they are rounded
        self._sum_G1K = torch.zeros(groups, 1, width, device=device)
        self._shift_G1K: Tensor | None = None

    @property
    def rows(self) -> int:
        """Return how many rows were added.

        Returns:
            N of all pieces.
        """
        return self._rows

    @torch.no_grad()
    def add(self, inputs_GNK: Tensor) -> None:
        """Add rows; padding must not be among them.

        Args:
            inputs_GNK: (G, N, K) floating point, any N.

        Raises:
            DataError: if G or K differ.
        """
        groups, room, width = self._waiting_GNK.shape
        if inputs_GNK.dim() != 3 or inputs_GNK.shape[::2] != (groups, width):
            raise DataError(
                f"inputs are {tuple(inputs_GNK.shape)}, expected ({groups}, rows, {width})",
                remedy="give the inputs of the layer that the Gram matrix was made for",
            )
        self._rows += inputs_GNK.shape[1]
        is_long = 2 * inputs_GNK.shape[1] >= room and not self._num_waiting
        if is_long and inputs_GNK.dtype == self._waiting_GNK.dtype == torch.float32:
            self._multiply(inputs_GNK)
            return
        while inputs_GNK.shape[1]:
            piece_GNK = inputs_GNK[:, : room - self._num_waiting]
            inputs_GNK = inputs_GNK[:, piece_GNK.shape[1] :]
            self._put(piece_GNK)
            if self._num_waiting == room:
                self._flush()

    @torch.no_grad()
    def total(self) -> Tensor:
        """Return the sum so far.

        Returns:
            float32 (G, K, K), symmetric to the bit.
        """
        self._flush()
        gram_GKK = self._squares_GKK.clone()
        if self._shift_G1K is not None:
            # sum of (y + m)(y + m)^T with y = x - m: y y^T is there, y m^T + m y^T + m m^T is not
            shift_G1K, sum_G1K = self._shift_G1K, self._sum_G1K
            left_G3K = torch.cat([sum_G1K, shift_G1K, self._rows * shift_G1K], 1)
            gram_GKK.baddbmm_(left_G3K.mT, torch.cat([shift_G1K, sum_G1K, shift_G1K], 1))
        for first in range(0, gram_GKK.shape[1], _PANEL):
            last = first + _PANEL
            block_GPP = gram_GKK[:, first:last, first:last].triu()
            gram_GKK[:, first:last, first:last] = block_GPP + block_GPP.triu(1).mT
            gram_GKK[:, last:, first:last] = gram_GKK[:, first:last, last:].mT
        return gram_GKK

    def _put(self, piece_GNK: Tensor) -> None:
        end = self._num_waiting + piece_GNK.shape[1]
        place_GNK = self._waiting_GNK[:, self._num_waiting : end]
        self._num_waiting = end
        if place_GNK.dtype == torch.float32:
            place_GNK.copy_(piece_GNK)
            return
        if self._shift_G1K is None:
            self._shift_G1K = piece_GNK.mean(1, keepdim=True, dtype=torch.float32)
        torch.sub(piece_GNK, self._shift_G1K, out=place_GNK)
        # faster than a sum over rows
        ones_G1N = piece_GNK.new_ones(len(piece_GNK), 1, piece_GNK.shape[1], dtype=torch.float32)
        self._sum_G1K += ones_G1N @ piece_GNK.float()
        self._sum_G1K -= piece_GNK.shape[1] * self._shift_G1K

    def _flush(self) -> None:
        self._multiply(self._waiting_GNK[:, : self._num_waiting])
        self._num_waiting = 0

    def _multiply(self, rows_GNK: Tensor) -> None:
        if rows_GNK.shape[2] <= _PANEL:
            self._squares_GKK += _product(rows_GNK.mT, rows_GNK)
            return
        # products of two matrices are faster than those of a batch of one
        for squares_KK, rows_NK in zip(self._squares_GKK, rows_GNK, strict=True):
            for first in range(0, len(squares_KK), _PANEL):
                last = first + _PANEL
                product_PK = _product(rows_NK[:, first:last].T, rows_NK[:, first:])
                squares_KK[first:last, first:] += product_PK


def _product(left: Tensor, right: Tensor) -> Tensor:
    if left.dtype == torch.bfloat16 and left.is_cuda:
        # cuBLAS gives its float32 sums away; oneDNN rounds them
        multiply = torch.bmm if left.dim() == 3 else torch.mm
        return multiply(left, right, out_dtype=torch.float32)
    return left @ right


def unfolded_parts(
    inputs_BCS: Tensor,
    lengths_B: Tensor,
    *,
    kernel_size: int,
    stride: int,
    padding: int,
    groups: int,
    dilation: int = 1,
) -> Iterator[Tensor]:
    """Yield what a 1-d convolution multiplies its weights with, in parts of bounded size.

    Args:
        inputs_BCS: (B, C, S) inputs of the convolution.
        lengths_B: valid frames, int64; frames beyond count as zeros, as in a model that zeroes its
            padding.
        kernel_size: T.
        stride: frames from one output to the next.
        padding: zeros at each end.
        groups: groups of channels.
        dilation: frames from one tap to the next.

    Yields:
        (G, N, C / G * T), a row for each valid output frame, the columns in the order of
        ``weight.flatten(1)``. An utterance of L frames has as many outputs as the convolution gives
        for L frames.
    """
    span = dilation * (kernel_size - 1) + 1
    num_outputs_B = ((lengths_B + 2 * padding - span) // stride + 1).clamp(min=0)
    frames = max(1, _PART_VALUES // (inputs_BCS.shape[1] * kernel_size))
    for item_CS, length, num_outputs in zip(
        inputs_BCS, lengths_B.tolist(), num_outputs_B.tolist(), strict=True
    ):
        padded_CS = functional.pad(item_CS[:, :length], (padding, padding))
        for first in range(0, num_outputs, frames):
            last = min(first + frames, num_outputs)
            piece_CS = padded_CS[:, first * stride : (last - 1) * stride + span]
            taps_CNT = piece_CS.unfold(1, span, stride)[..., ::dilation]
            # (C, N, T) -> (G, N, C / G * T)
            taps_GNCT = taps_CNT.unflatten(0, (groups, -1)).transpose(1, 2)
            yield taps_GNCT.flatten(2)
