"""The steps of one-bit products that numba's loops would do badly, written as LLVM vectors.

Loops alone leave most of a vector unit idle. Here are 64 comparisons that become one word, and a
tile of rows by columns whose counters stay in registers. LLVM turns them into whatever the
processor has: AVX-512 VPOPCNTDQ, AVX2 table look-ups, NEON.
"""

# functions of numba and of its code builder take and give Any
# mypy: disable-error-code="misc,no-untyped-def"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["COLUMNS", "ROWS", "WORD", "compare_word", "make_tile", "popcount"]

WORD = 64
"""Bits of a word."""
ROWS = 4
"""Rows of a full tile."""
_LANES, _VECTORS = 8, 4
COLUMNS = _LANES * _VECTORS
"""Columns of a tile."""
_INT64, _INT32 = ir.IntType(64), ir.IntType(32)
_COUNTERS = ir.VectorType(_INT64, _LANES)


def _pointer(context, builder, signature, arguments, index):
    array = context.make_array(signature.args[index])
    return array(context, builder, arguments[index]).data


def _broadcast(builder, word):
    undefined = ir.Constant(_COUNTERS, ir.Undefined)
    first = builder.insert_element(undefined, word, _INT32(0))
    zeros = ir.Constant(ir.VectorType(_INT32, _LANES), [0] * _LANES)
    return builder.shuffle_vector(first, undefined, zeros)


def _count_ones(builder, bits):
    name = f"llvm.ctpop.v{_LANES}i64"
    function_type = ir.FunctionType(_COUNTERS, [_COUNTERS])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), [bits])


def _count_tile(context, builder, signature, arguments, *, num_rows, unsigned):
    """Write code that counts, for rows by columns, the bits set in both or in one of them."""
    a, panel, counts = (_pointer(context, builder, signature, arguments, i) for i in (0, 2, 4))
    _, row, _, num_words, _ = arguments
    zero = ir.Constant(_COUNTERS, [0] * _LANES)
    counters = [cgutils.alloca_once(builder, _COUNTERS) for _ in range(num_rows * _VECTORS)]
    for counter in counters:
        builder.store(zero, counter)
    starts = [builder.mul(builder.add(row, _INT64(r)), num_words) for r in range(num_rows)]
    with cgutils.for_range(builder, num_words) as loop:
        words = [builder.load(builder.gep(a, [builder.add(start, loop.index)])) for start in starts]
        row_vectors = [_broadcast(builder, word) for word in words]
        first = builder.mul(loop.index, _INT64(COLUMNS))
        for vector in range(_VECTORS):
            place = builder.gep(panel, [builder.add(first, _INT64(vector * _LANES))])
            columns = builder.load(builder.bitcast(place, _COUNTERS.as_pointer()), align=8)
            combine = builder.and_ if unsigned else builder.xor
            # counters of a row stand together
            for row_vector, counter in zip(row_vectors, counters[vector::_VECTORS], strict=True):
                ones = _count_ones(builder, combine(row_vector, columns))
                builder.store(builder.add(builder.load(counter), ones), counter)
    for index, counter in enumerate(counters):
        place = builder.bitcast(
            builder.gep(counts, [_INT64(index * _LANES)]), _COUNTERS.as_pointer()
        )
        builder.store(builder.load(counter), place, align=8)


def make_tile(*, num_rows: int, unsigned: bool) -> Callable[..., Any]:
    """Make a function for numba that counts the bits of a tile of rows by columns.

    Args:
        num_rows: rows of the tile, 1 to ``ROWS``.
        unsigned: whether to count the bits set in both, rather than those that differ.

    Returns:
        A function of (a_NW, row, panel_WM, W, counts_RM): uint64 rows, the tile's first row,
        (W, COLUMNS) uint64 columns, words of a row, and (ROWS, COLUMNS) int64 counts to fill.
    """

    @intrinsic
    def tile(typing_context, a, row, panel, num_words, counts):
        def generate(context, builder, signature, arguments):
            _count_tile(
                context, builder, signature, arguments, num_rows=num_rows, unsigned=unsigned
            )
            return context.get_dummy_value()

        return types.void(a, types.int64, panel, types.int64, counts), generate

    return tile


@intrinsic
def popcount(typing_context: Any, word: Any) -> Any:
    """Count the bits of a word; for numba.

    Args:
        typing_context: given by numba.
        word: uint64.

    Returns:
        What numba compiles: uint64, the number of ones.
    """

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@intrinsic
def compare_word(typing_context: Any, values: Any, start: Any, thresholds: Any, first: Any) -> Any:
    """Compare 64 values with 64 thresholds; for numba.

    Args:
        typing_context: given by numba.
        values: float32 array.
        start: place of the first value, counted over the whole array.
        thresholds: float32 array.
        first: place of the first threshold.

    Returns:
        What numba compiles: uint64, a bit for each value that reaches its threshold.
    """

    def generate(context, builder, signature, arguments):
        vector = ir.VectorType(ir.FloatType(), WORD)
        sides = []
        for index in (0, 2):
            base = _pointer(context, builder, signature, arguments, index)
            place = builder.gep(base, [arguments[index + 1]])
            sides.append(builder.load(builder.bitcast(place, vector.as_pointer()), align=4))
        # ordered: a NaN reaches nothing
        return builder.bitcast(builder.fcmp_ordered(">=", *sides), _INT64)

    return types.uint64(values, types.int64, thresholds, types.int64), generate
