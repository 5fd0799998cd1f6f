"""Products with sparse matrices on the CPU, for weights that unstructured pruning left.

Shapes: X any axes, N rows of inputs (frames), K inputs, O outputs, P non-zeros, R runs, G groups,
C cells.

A band is some rows of the matrix, a cell the part of a band in some columns, a run the non-zeros of
one row in a cell. A cell's inputs for some frames fit a level-1 cache, a band's sums a level-2
cache. The runs of a cell stand in order of their lengths: a group has runs of one length, so that a
processor foresees where the loop over a run ends.

Each frame's sums are taken in the same order whatever stands beside it, so results depend neither
on the number of threads nor on other frames. Nothing here has a gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from speechlite.core.errors import ConfigError, EnvironmentProblem
from speechlite.nn.bit_checks import check_tensor
from speechlite.nn.bit_kernels import run_parts

if TYPE_CHECKING:
    from speechlite.nn.sparse_product_numba import NumbaKernel

__all__ = [
    "CELL_COLUMNS",
    "FRAMES",
    "SparseMatrix",
    "kernel_name",
    "sparse_linear",
]

FRAMES = 64
"""Frames that a kernel takes at a time; places in a cell count in rows of so many floats."""
CELL_COLUMNS = 192
"""Columns of a cell."""
_BAND_ROWS = 768
# with FRAMES floats a row or column, places in a cell must fit 16 bits
_WORTH_THREADS = 2**26
"""Products of floats, some milliseconds on one core, from which it pays to wait for threads."""


@dataclass(frozen=True, eq=False)
class SparseMatrix:
    """Hold the non-zeros of a matrix in the order in which they are multiplied.

    Args:
        shape: (O, K).
        values_P: float32.
        columns_P: uint16, a column's place in its cell times ``FRAMES``.
        rows_R: uint16, a run's row in its band times ``FRAMES``.
        groups_G2: int32; non-zeros of a run, and number of runs.
        starts_C3: int64; the first group, non-zero and run of each cell, by band and then by
            columns, and what follows the last.
    """

    shape: tuple[int, int]
    values_P: np.ndarray[Any, Any]
    columns_P: np.ndarray[Any, Any]
    rows_R: np.ndarray[Any, Any]
    groups_G2: np.ndarray[Any, Any]
    starts_C3: np.ndarray[Any, Any]

    @classmethod
    def of(cls, weight_OK: Tensor) -> SparseMatrix:
        """Collect what is not zero in a dense matrix.

        Args:
            weight_OK: float32, on the CPU; not changed.

        Returns:
            The matrix; NaN and infinity count as non-zeros.

        Raises:
            ConfigError: if the dtype, device or shape does not fit.
        """
        _check("weight", weight_OK, (None, None))
        dense_OK = weight_OK.detach().numpy()
        num_rows, num_columns = dense_OK.shape
        cells_across = -(-num_columns // CELL_COLUMNS)
        num_bands = -(-num_rows // _BAND_ROWS)
        row_P, column_P = np.nonzero(dense_OK)
        # a run's number, unique over the matrix: first its cell, then its row in the band
        cell_P = row_P // _BAND_ROWS * cells_across + column_P // CELL_COLUMNS
        run_P = cell_P * _BAND_ROWS + row_P % _BAND_ROWS
        run_R, index_P, length_R = np.unique(run_P, return_inverse=True, return_counts=True)
        order_R = np.lexsort((run_R, length_R, run_R // _BAND_ROWS))
        rank_R = np.empty_like(order_R)
        rank_R[order_R] = np.arange(len(order_R))
        order_P = np.lexsort((column_P, rank_R[index_P]))
        run_R, length_R = run_R[order_R], length_R[order_R]
        cell_R = run_R // _BAND_ROWS
        group_starts_G = _changes(cell_R, length_R)
        sizes_G = np.diff(group_starts_G, append=len(run_R))
        cells_C = np.arange(num_bands * cells_across + 1)
        starts = [
            np.searchsorted(cell, cells_C)
            for cell in (cell_R[group_starts_G], cell_P[order_P], cell_R)
        ]
        return cls(
            shape=(num_rows, num_columns),
            values_P=dense_OK[row_P, column_P][order_P],
            columns_P=(column_P[order_P] % CELL_COLUMNS * FRAMES).astype(np.uint16),
            rows_R=(run_R % _BAND_ROWS * FRAMES).astype(np.uint16),
            groups_G2=np.stack([length_R[group_starts_G], sizes_G], 1).astype(np.int32),
            starts_C3=np.stack(starts, 1).astype(np.int64),
        )

    @property
    def nonzeros(self) -> int:
        """Number of non-zeros, P."""
        return len(self.values_P)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the matrix takes; the dense one that :attr:`dense` keeps apart."""
        return sum(part.nbytes for part in vars(self).values() if isinstance(part, np.ndarray))

    @property
    def band_rows(self) -> int:
        """Number of rows of a band; the last may have fewer."""
        return min(_BAND_ROWS, self.shape[0])

    @cached_property
    def dense(self) -> Tensor:
        """The dense matrix, (O, K) float32; kept once it was asked for."""
        num_rows, num_columns = self.shape
        cells_across = -(-num_columns // CELL_COLUMNS)
        length_R = np.repeat(self.groups_G2[:, 0], self.groups_G2[:, 1])
        cell_R = np.repeat(np.arange(len(self.starts_C3) - 1), np.diff(self.starts_C3[:, 2]))
        row_R = cell_R // max(1, cells_across) * _BAND_ROWS + self.rows_R // FRAMES
        first_column_R = cell_R % max(1, cells_across) * CELL_COLUMNS
        dense_OK = np.zeros((num_rows, num_columns), np.float32)
        column_P = np.repeat(first_column_R, length_R) + self.columns_P // FRAMES
        dense_OK[np.repeat(row_R, length_R), column_P] = self.values_P
        return torch.from_numpy(dense_OK)


def kernel_name() -> str:
    """Return the name of the program that multiplies sparse matrices, for reports.

    Returns:
        "numba", or "dense, torch" where numba is missing or told not to compile.
    """
    kernel = _kernel()
    return kernel.name if kernel else "dense, torch"


def sparse_linear(inputs_XK: Tensor, matrix: SparseMatrix, bias_O: Tensor | None = None) -> Tensor:
    """Multiply inputs by a sparse matrix and add a bias, as a linear layer does.

    What is zero in the matrix is left out: there a NaN or an infinity of an input changes nothing,
    while in a dense product it gives NaN. Where :func:`kernel_name` says so the dense product runs,
    over a dense matrix that is made at the first call and kept.

    Args:
        inputs_XK: (..., K) float32, on the CPU.
        matrix: (O, K), a constant.
        bias_O: (O,) float32, a constant; zeros by default.

    Returns:
        (..., O) float32, without a gradient; equal to float32 rounding to ``functional.linear``.

    Raises:
        ConfigError: if a dtype, device or shape does not fit, or the inputs need a gradient.
    """
    num_outputs, num_inputs = matrix.shape
    _check("inputs", inputs_XK, (..., num_inputs))
    if bias_O is not None:
        _check("bias", bias_O, (num_outputs,))
        bias_O = bias_O.detach().contiguous()
    if inputs_XK.requires_grad and torch.is_grad_enabled():
        raise ConfigError(
            "inputs need a gradient, which a sparse product does not have",
            remedy="call it under torch.no_grad(), or train with the dense weight",
        )
    kernel, others = _kernel(), inputs_XK.shape[:-1]
    if kernel is None:
        with torch.autocast("cpu", enabled=False):
            return functional.linear(inputs_XK, matrix.dense, bias_O).detach()
    inputs_NK = inputs_XK.detach()
    if len(others) != 1:
        # (..., K) -> (N, K)
        inputs_NK = inputs_NK.reshape(math.prod(others), num_inputs)
    inputs_NK = inputs_NK.contiguous()
    if bias_O is None:
        bias_O = torch.zeros(num_outputs, dtype=torch.float32)
    if matrix.nonzeros == 0 or not inputs_NK.numel():
        return bias_O.expand(*others, num_outputs).clone()
    out_NO = _product(kernel, inputs_NK, matrix, bias_O)
    return out_NO if len(others) == 1 else out_NO.view(*others, num_outputs)


def _product(
    kernel: NumbaKernel, inputs_NK: Tensor, matrix: SparseMatrix, bias_O: Tensor
) -> Tensor:
    """Fill the output; where that pays, threads share its rows."""
    num_rows = len(inputs_NK)
    out_NO = torch.empty(num_rows, matrix.shape[0], dtype=torch.float32)
    parts = min(torch.get_num_threads(), num_rows)
    if parts == 1 or num_rows * matrix.nonzeros < _WORTH_THREADS:
        kernel.multiply(inputs_NK, matrix, bias_O, out_NO)
        return out_NO

    def multiply(start: int, stop: int) -> None:
        kernel.multiply(inputs_NK[start:stop], matrix, bias_O, out_NO[start:stop])

    run_parts(multiply, num_rows, parts)
    return out_NO


def _changes(*keys: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Give the places where one of the keys differs from the one before; the first is one."""
    if not len(keys[0]):
        return np.zeros(0, np.int64)
    differs = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return np.concatenate([[0], np.flatnonzero(differs) + 1])


def _check(name: str, tensor: Tensor, sizes: Any) -> None:
    if not tensor.is_cpu:
        raise ConfigError(
            f"{name} is on {tensor.device.type}, expected cpu",
            remedy="move it with .cpu(); sparse products run on the CPU alone",
        )
    check_tensor(name, tensor, torch.float32, sizes)


@cache
def _kernel() -> NumbaKernel | None:
    try:
        from speechlite.nn.sparse_product_numba import NumbaKernel
    except ImportError:
        return None
    try:
        return NumbaKernel()
    except EnvironmentProblem:
        return None
