"""Products with sparse matrices compiled by numba, a few seconds at the first call.

Shapes: N frames, K inputs, O outputs, F the frames that are taken at a time, R rows of a band,
P non-zeros, G groups of runs, C cells, B bands (:mod:`speechlite.nn.sparse_product`).

Frames stand across the lanes of vectors: a non-zero costs its place, its value, and a vector of
each 16 frames, whose sums stay in registers along a run. Inputs and sums are transposed on the way.
Compiled code is not kept on the disk.
"""

# functions of numba and of its code builder take and give Any
# mypy: disable-error-code="attr-defined,misc,no-untyped-def"

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from llvmlite import ir
from numba import cfunc, config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from speechlite.core.errors import EnvironmentProblem
from speechlite.nn.sparse_product import CELL_COLUMNS, FRAMES, SparseMatrix

__all__ = ["NumbaKernel"]

_FLOAT, _INT32, _INT64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_LANES = 16
_STEP = 8
# frames that are missing to a whole step are computed and not kept


def _vector(num_lanes):
    return ir.VectorType(_FLOAT, num_lanes)


def _pointer(context, builder, signature, arguments, index):
    array = context.make_array(signature.args[index])
    return array(context, builder, arguments[index]).data


def _vector_at(builder, base, place, num_lanes):
    return builder.bitcast(builder.gep(base, [place]), _vector(num_lanes).as_pointer())


def _pieces(num_frames):
    """Cut frames into vectors: (first frame, lanes) of each."""
    whole = num_frames // _LANES * _LANES
    pieces = [(start, _LANES) for start in range(0, whole, _LANES)]
    return pieces + ([(whole, num_frames - whole)] if num_frames > whole else [])


def _shuffled(builder, left, right, lanes):
    mask = ir.Constant(ir.VectorType(_INT32, len(lanes)), lanes)
    return builder.shuffle_vector(left, right, mask)


def _add_product(builder, factor, values, sums):
    """Write code that adds a number times a vector; fused where the processor can."""
    vector = values.type
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, factor, _INT32(0))
    factors = _shuffled(builder, first, undefined, [0] * vector.count)
    name = f"llvm.fmuladd.v{vector.count}f32"
    function_type = ir.FunctionType(vector, [vector] * 3)
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    return builder.call(function, [factors, values, sums])


def _add_runs(builder, arguments, num_frames):
    """Write code that adds a group of runs, all of one length, to their rows' sums."""
    values, columns, rows, first_value, first_run, length, num_runs, inputs, sums, start = arguments
    inputs, pieces = builder.gep(inputs, [start]), _pieces(num_frames)
    # LLVM turns these into registers
    registers = [cgutils.alloca_once(builder, _vector(lanes)) for _, lanes in pieces]
    with cgutils.for_range(builder, num_runs) as runs:
        run = builder.add(first_run, runs.index)
        row = builder.zext(builder.load(builder.gep(rows, [run])), _INT64)
        places = [_vector_at(builder, sums, builder.add(row, _INT64(f)), n) for f, n in pieces]
        for register, place in zip(registers, places, strict=True):
            builder.store(builder.load(place, align=4), register)
        base = builder.add(first_value, builder.mul(runs.index, length))
        with cgutils.for_range(builder, length) as nonzeros:
            index = builder.add(base, nonzeros.index)
            column = builder.zext(builder.load(builder.gep(columns, [index])), _INT64)
            value = builder.load(builder.gep(values, [index]))
            for register, (frame, lanes) in zip(registers, pieces, strict=True):
                place = _vector_at(builder, inputs, builder.add(column, _INT64(frame)), lanes)
                vector = builder.load(place, align=4)
                total = _add_product(builder, value, vector, builder.load(register))
                builder.store(total, register)
        for register, place in zip(registers, places, strict=True):
            builder.store(builder.load(register), place, align=4)


def _make_add_runs(num_frames):
    @intrinsic
    def add_runs(typing_context, values, columns, rows, value, run, length, runs, x, sums, start):
        def generate(context, builder, signature, arguments):
            _add_runs(builder, arguments, num_frames)
            return context.get_dummy_value()

        arguments = values, columns, rows, *[types.int64] * 4, x, sums, types.int64
        return types.void(*arguments), generate

    return add_runs


@intrinsic
def _call_add_cell(
    typing_context, address, values, columns, rows, groups, starts, cell, x, sums, start
):
    """Call what :func:`_compiled_add_cell` gave the address of."""

    def generate(context, builder, signature, arguments):
        address, *others = [
            _pointer(context, builder, signature, arguments, index)
            if isinstance(signature.args[index], types.Array)
            else argument
            for index, argument in enumerate(arguments)
        ]
        function_type = ir.FunctionType(ir.VoidType(), [argument.type for argument in others])
        function = builder.inttoptr(address, function_type.as_pointer())
        builder.call(function, others)
        return context.get_dummy_value()

    places = values, columns, rows, groups, starts
    return types.void(types.int64, *places, types.int64, x, sums, types.int64), generate


def _transposed(builder, rows):
    """Write code that transposes a square of vectors: swap ever smaller squares off its diagonal.

    The side is a power of two.
    """
    side, half = len(rows), len(rows) // 2
    lanes = range(side)
    while half:
        upper = [lane if not lane & half else lane + side - half for lane in lanes]
        lower = [lane + half if not lane & half else lane + side for lane in lanes]
        for row in range(side):
            if not row & half:
                pair = rows[row], rows[row + half]
                rows[row] = _shuffled(builder, *pair, upper)
                rows[row + half] = _shuffled(builder, *pair, lower)
        half //= 2
    return rows


@intrinsic
def _transpose_square(typing_context, source, first, stride, target, target_first, target_stride):
    def generate(context, builder, signature, arguments):
        source, target = (
            _pointer(context, builder, signature, arguments, index) for index in (0, 3)
        )
        _, first, stride, _, target_first, target_stride = arguments
        rows = []
        for row in range(_LANES):
            place = builder.add(first, builder.mul(stride, _INT64(row)))
            rows.append(builder.load(_vector_at(builder, source, place, _LANES), align=4))
        for row, vector in enumerate(_transposed(builder, rows)):
            place = builder.add(target_first, builder.mul(target_stride, _INT64(row)))
            builder.store(vector, _vector_at(builder, target, place, _LANES), align=4)
        return context.get_dummy_value()

    whole = types.int64
    return types.void(source, whole, whole, target, whole, whole), generate


@njit(nogil=True)
def _load_frames(inputs_NK, first, num_frames, x_KF):
    """Transpose some frames; what is missing to a whole step of frames becomes zeros."""
    width, stride = inputs_NK.shape[1], x_KF.shape[1]
    whole_frames, whole = num_frames // _LANES * _LANES, width // _LANES * _LANES
    for f in range(0, whole_frames, _LANES):
        for k in range(0, whole, _LANES):
            place = (first + f) * width + k
            _transpose_square(inputs_NK, place, width, x_KF, k * stride + f, stride)
        for k in range(whole, width):
            for i in range(f, f + _LANES):
                x_KF[k, i] = inputs_NK[first + i, k]
    for f in range(whole_frames, num_frames):
        for k in range(width):
            x_KF[k, f] = inputs_NK[first + f, k]
    for k in range(width):
        for f in range(num_frames, -(-num_frames // _STEP) * _STEP):
            x_KF[k, f] = 0


@njit(nogil=True)
def _store_sums(sums_RF, num_rows, num_frames, out_NO, frame, output):
    """Transpose the sums of a band into the output, from its first frame and output on."""
    stride, width = sums_RF.shape[1], out_NO.shape[1]
    whole_frames, whole = num_frames // _LANES * _LANES, num_rows // _LANES * _LANES
    for f in range(0, whole_frames, _LANES):
        for r in range(0, whole, _LANES):
            place = (frame + f) * width + output + r
            _transpose_square(sums_RF, r * stride + f, stride, out_NO, place, width)
        for r in range(whole, num_rows):
            for i in range(f, f + _LANES):
                out_NO[frame + i, output + r] = sums_RF[r, i]
    for f in range(whole_frames, num_frames):
        for r in range(num_rows):
            out_NO[frame + f, output + r] = sums_RF[r, f]


_FLOATS, _PLACES = types.CPointer(types.float32), types.CPointer(types.uint16)
_ADD_CELL = types.void(
    *(_FLOATS, _PLACES, _PLACES, types.CPointer(types.int32), types.CPointer(types.int64)),
    *(types.int64, _FLOATS, _FLOATS, types.int64),
)


@cache
def _compiled_add_cell(num_frames):
    """Compile what depends on the number of frames: the rest is compiled once for all."""
    add_runs = _make_add_runs(num_frames)

    @cfunc(_ADD_CELL)
    def add_cell(values, columns, rows, groups, starts, cell, inputs, sums, start):
        """Add the runs of a cell, whose inputs begin at a start, to the sums of their rows."""
        first, value, run = starts[3 * cell], starts[3 * cell + 1], starts[3 * cell + 2]
        for group in range(first, starts[3 * cell + 3]):
            length, runs = np.int64(groups[2 * group]), np.int64(groups[2 * group + 1])
            add_runs(values, columns, rows, value, run, length, runs, inputs, sums, start)
            value += length * runs
            run += runs

    return add_cell


@njit(nogil=True)
def _multiply(
    add_cell, step, inputs_NK, values, columns, rows, groups, starts, bias_O, x_KF, sums_RF, out_NO
):
    """Take so many frames at a time, a step that suits the function that adds a cell."""
    num_rows, num_outputs = out_NO.shape
    across = -(-len(x_KF) // CELL_COLUMNS)
    for frame in range(0, num_rows, step):
        frames = min(step, num_rows - frame)
        _load_frames(inputs_NK, frame, frames, x_KF)
        for output in range(0, num_outputs, len(sums_RF)):
            height = min(len(sums_RF), num_outputs - output)
            for r in range(height):
                for f in range(FRAMES):
                    sums_RF[r, f] = bias_O[output + r]
            first_cell = output // len(sums_RF) * across
            for index in range(across):
                cell, start = first_cell + index, index * CELL_COLUMNS * FRAMES
                _call_add_cell(
                    add_cell, values, columns, rows, groups, starts, cell, x_KF, sums_RF, start
                )
            _store_sums(sums_RF, height, frames, out_NO, frame, output)


class NumbaKernel:
    """Multiply sparse matrices by loops that numba compiles.

    Raises:
        EnvironmentProblem: if numba is told not to compile.
    """

    name = "numba"

    def __init__(self) -> None:
        if config.DISABLE_JIT:
            raise EnvironmentProblem(
                "numba is told not to compile", remedy="unset NUMBA_DISABLE_JIT"
            )

    def multiply(
        self, inputs_NK: Tensor, matrix: SparseMatrix, bias_O: Tensor, out_NO: Tensor
    ) -> None:
        """Fill an output with the products of rows and a matrix; on one thread.

        Args:
            inputs_NK: float32, contiguous; N at least 1.
            matrix: the matrix; at least one non-zero.
            bias_O: float32, contiguous, added to each row.
            out_NO: float32, contiguous, filled here.
        """
        # torch's memory starts where a cache line does: no vector lies across two
        x_KF = torch.empty(matrix.shape[1], FRAMES, dtype=torch.float32).numpy()
        sums_RF = torch.empty(matrix.band_rows, FRAMES, dtype=torch.float32).numpy()
        inputs, bias, out = inputs_NK.numpy(), bias_O.numpy(), out_NO.numpy()
        places = (matrix.columns_P, matrix.rows_R, matrix.groups_G2, matrix.starts_C3)
        whole = len(inputs) // FRAMES * FRAMES
        for here in (slice(whole), slice(whole, len(inputs))):
            frames = min(FRAMES, len(inputs[here]))
            if frames:
                step = -(-frames // _STEP) * _STEP
                add_cell = _compiled_add_cell(step).address
                parts = inputs[here], matrix.values_P, *places, bias, x_KF, sums_RF, out[here]
                _multiply(add_cell, step, *parts)
