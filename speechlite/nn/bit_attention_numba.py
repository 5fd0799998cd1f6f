"""Attention over one-bit operands in one pass, compiled by numba.

Shapes: B batch, N frames, H heads, W words of K bits, R ranges of places, T places of keys, X words
of keys that a query meets. Places come in words of 64.

A query differs from a key in 0 to K bits, so that its row of attention weights is known from how
many keys differ in how many bits, and the bits of the weights are one comparison of these numbers
with a cut. No score and no weight is ever stored as a number.
"""

# functions of numba and of its code builder take and give Any
# mypy: disable-error-code="misc,no-untyped-def"

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from speechlite.nn.bit_vectors import WORD, popcount

__all__ = ["attend"]

_INT64, _INT32, _INT16, _BIT = (ir.IntType(width) for width in (64, 32, 16, 1))
_WORDS, _SHORTS, _BITS = (ir.VectorType(each, WORD) for each in (_INT64, _INT16, _BIT))
# increments of one counter wait for each other: neighbouring keys take another one
_LAST_TURN = np.uint64(3)
_ABOVE_ROUNDING = 1.000001


def _pointer(context, builder, signature, arguments, index, start):
    array = context.make_array(signature.args[index])
    return builder.gep(array(context, builder, arguments[index]).data, [start])


def _load(builder, pointer, vector):
    align = vector.element.width // 8
    return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=align)


def _store(builder, value, pointer):
    align = value.type.element.width // 8
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=align)


def _splat(builder, value):
    vector = ir.VectorType(value.type, WORD)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, _INT32(0))
    zeros = ir.Constant(ir.VectorType(_INT32, WORD), [0] * WORD)
    return builder.shuffle_vector(first, undefined, zeros)


def _count_ones(builder, words):
    function_type = ir.FunctionType(_WORDS, [_WORDS])
    name = f"llvm.ctpop.v{WORD}i64"
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    return builder.call(function, [words])


@intrinsic
def _count_differing(typing_context, query, row, num_words, keys, place, step, allowed, counts, to):
    """Fill 64 counts: bits in which a query and a key differ, or a number above all of them."""

    def generate(context, builder, signature, arguments):
        _, row, num_words, _, place, step, allowed, _, to = arguments
        total = cgutils.alloca_once_value(builder, ir.Constant(_WORDS, [0] * WORD))
        with cgutils.for_range(builder, num_words) as loop:
            at = builder.add(row, loop.index)
            word = builder.load(_pointer(context, builder, signature, arguments, 0, at))
            at = builder.add(place, builder.mul(step, loop.index))
            key_words = _load(
                builder, _pointer(context, builder, signature, arguments, 3, at), _WORDS
            )
            ones = _count_ones(builder, builder.xor(_splat(builder, word), key_words))
            builder.store(builder.add(builder.load(total), ones), total)
        found = builder.trunc(builder.load(total), _SHORTS)
        beyond = builder.trunc(builder.add(builder.mul(num_words, _INT64(WORD)), _INT64(1)), _INT16)
        kept = builder.select(builder.bitcast(allowed, _BITS), found, _splat(builder, beyond))
        _store(builder, kept, _pointer(context, builder, signature, arguments, 7, to))
        return context.get_dummy_value()

    integer = types.int64
    arguments = (query, integer, integer, keys, integer, integer, types.uint64, counts, integer)
    return types.void(*arguments), generate


@intrinsic
def _at_most(typing_context, counts, start, cut):
    """Give a word of 64 comparisons: whether a count is at most the cut."""

    def generate(context, builder, signature, arguments):
        start = arguments[1]
        found = _load(builder, _pointer(context, builder, signature, arguments, 0, start), _SHORTS)
        cut = _splat(builder, builder.trunc(arguments[2], _INT16))
        return builder.bitcast(builder.icmp_signed("<=", found, cut), _INT64)

    return types.uint64(counts, types.int64, types.int64), generate


@intrinsic
def _column(typing_context, words, start, bit):
    """Give one bit of each of 64 words as a word."""

    def generate(context, builder, signature, arguments):
        start = arguments[1]
        rows = _load(builder, _pointer(context, builder, signature, arguments, 0, start), _WORDS)
        wanted = builder.and_(rows, _splat(builder, builder.shl(_INT64(1), arguments[2])))
        zeros = ir.Constant(_WORDS, [0] * WORD)
        return builder.bitcast(builder.icmp_unsigned("!=", wanted, zeros), _INT64)

    return types.uint64(words, types.int64, types.int64), generate


@intrinsic
def _count_chosen(typing_context, chosen, places, number, columns, start, sums):
    """Fill 64 sums: chosen keys whose value has the bit of a channel."""

    def generate(context, builder, signature, arguments):
        _, _, number, _, start, _ = arguments
        total = cgutils.alloca_once_value(builder, ir.Constant(_WORDS, [0] * WORD))
        with cgutils.for_range(builder, number) as loop:
            word, place = (
                builder.load(_pointer(context, builder, signature, arguments, index, loop.index))
                for index in (0, 1)
            )
            at = builder.add(start, place)
            channels = _load(
                builder, _pointer(context, builder, signature, arguments, 3, at), _WORDS
            )
            ones = _count_ones(builder, builder.and_(_splat(builder, word), channels))
            builder.store(builder.add(builder.load(total), ones), total)
        _store(
            builder,
            builder.load(total),
            _pointer(context, builder, signature, arguments, 5, _INT64(0)),
        )
        return context.get_dummy_value()

    return types.void(chosen, places, types.int64, columns, types.int64, sums), generate


@njit(nogil=True)
def _lay_out(key_NW, value_NW, frames_T, keys_WT, columns_WT, room_T):
    """Fill keys word by word, and values channel by channel, in the order of places."""
    num_places = len(frames_T)
    for w in range(key_NW.shape[1]):
        for place in range(num_places):
            frame = frames_T[place]
            keys_WT[w, place] = key_NW[frame, w] if frame >= 0 else np.uint64(0)
            room_T[place] = value_NW[frame, w] if frame >= 0 else np.uint64(0)
        for start in range(0, num_places, WORD):
            for channel in range(WORD):
                columns_WT[w, start + channel] = _column(room_T, start, channel)


@njit(nogil=True, fastmath={"reassoc"})
def _sum(tally_C, lowest, worth_C):
    """Give what the softmax of a row divides by."""
    total = 0.0
    for steps in range(len(worth_C) - lowest):
        total += tally_C[lowest + steps] * worth_C[steps]
    return total


@njit(nogil=True)
def _cut(turns_4C, tally_C, worth_C, threshold):
    """Give the most differing bits with which a key's weight reaches the threshold."""
    num_bits = len(worth_C) - 1
    for differing in range(num_bits + 1):
        halves = turns_4C[0, differing] + turns_4C[1, differing]
        tally_C[differing] = halves + turns_4C[2, differing] + turns_4C[3, differing]
    lowest = 0
    while lowest <= num_bits and tally_C[lowest] == 0:
        lowest += 1
    total = _sum(tally_C, lowest, worth_C)
    # divisions are slow: most steps are clear without
    surely = threshold * total * _ABOVE_ROUNDING
    steps, end = 0, num_bits + 1 - lowest
    while steps < end and worth_C[steps] >= surely:
        steps += 1
    while steps < end and np.float32(worth_C[steps] / total) >= threshold:
        steps += 1
    # below the lowest, or without any key: either way no weight is chosen
    return lowest + steps - 1


@njit(nogil=True)
def _meet(query, row, n, ranges_NR2, keys_WT, b, valid_BX, itself, counts, places_X, turns_4C):
    """Count the bits in which a query differs from the keys of its ranges; give words met."""
    num_words, num_places = keys_WT.shape
    turns_4C[:] = 0
    met = 0
    for r in range(ranges_NR2.shape[1]):
        first, last = ranges_NR2[n, r, 0], ranges_NR2[n, r, 1]
        for start in range(first // WORD * WORD, last, WORD):
            low, high = max(first - start, 0), min(last - start, WORD)
            allowed = valid_BX[b, start // WORD]
            if itself and start <= n < start + WORD:
                allowed |= np.uint64(1) << np.uint64(n - start)
            allowed &= ~np.uint64(0) << np.uint64(low)
            allowed &= ~np.uint64(0) >> np.uint64(WORD - high)
            if allowed == 0:
                continue
            to = met * WORD
            _count_differing(query, row, num_words, keys_WT, start, num_places, allowed, counts, to)
            for j in range(np.uint64(to + low), np.uint64(to + high)):
                turns_4C[j & _LAST_TURN, counts[j]] += 1
            places_X[met] = start
            met += 1
    return met


@njit(nogil=True)
def _mix(counts, places_X, chosen_X, met, cut, columns_WT, sums, scale, b, n, h, out_BNHK):
    """Fill the sums of the values whose counts reach no further than the cut."""
    ones = np.int64(0)
    for x in range(met):
        chosen_X[x] = _at_most(counts, x * WORD, cut)
        ones += np.int64(popcount(chosen_X[x]))
    width, num_places = out_BNHK.shape[3], columns_WT.shape[1]
    for w in range(columns_WT.shape[0]):
        _count_chosen(chosen_X, places_X, met, columns_WT, w * num_places, sums)
        first = w * WORD
        for channel in range(min(WORD, width - first)):
            total = np.int32(2 * sums[channel] - ones)
            out_BNHK[b, n, h, first + channel] = np.float32(total) * scale


@njit(nogil=True)
def attend(
    query_BNHW,
    key_BNHW,
    value_BNHW,
    frames_T,
    ranges_NR2,
    valid_BX,
    itself,
    worth_C,
    threshold,
    scale,
    first_group,
    last_group,
    out_BNHK,
):
    """Fill the attended values of some heads of some utterances.

    Args:
        query_BNHW: contiguous (B, N, H, W) uint64 words of signs, as are the next two.
        key_BNHW: keys.
        value_BNHW: values.
        frames_T: (T,) int64 frame that stands at each place, -1 for none; T is whole words.
        ranges_NR2: (N, R, 2) int64 first place that a query may meet, and the end.
        valid_BX: (B, T / 64) uint64 bits of the places that may be met.
        itself: whether a query may always meet its own place in its ranges.
        worth_C: (K + 1,) float64 weight of a key, by the bits that it differs in more than the
            nearest one.
        threshold: weight from which on its bit is set, a float32 number.
        scale: factor of the sums, a float32 number.
        first_group: head to begin with, counted over all utterances.
        last_group: head to end before.
        out_BNHK: (B, N, H, K) float32, filled here.
    """
    _, num_frames, num_heads, num_words = query_BNHW.shape
    num_places = len(frames_T)
    keys_WT = np.empty((num_words, num_places), np.uint64)
    columns_WT = np.empty((num_words, num_places), np.uint64)
    room_T = np.empty(num_places, np.uint64)
    # ranges may share the words at which they meet
    most = num_places // WORD + 2 * ranges_NR2.shape[1]
    counts = np.empty(most * WORD, np.uint16)
    places_X, chosen_X = np.empty(most, np.int64), np.empty(most, np.uint64)
    turns_4C = np.empty((4, num_words * WORD + 2), np.int32)
    tally_C = np.empty(len(worth_C), np.int32)
    sums = np.empty(WORD, np.int64)
    scale = np.float32(scale)
    for group in range(first_group, last_group):
        b, h = group // num_heads, group % num_heads
        _lay_out(key_BNHW[b, :, h], value_BNHW[b, :, h], frames_T, keys_WT, columns_WT, room_T)
        for n in range(num_frames):
            row = ((b * num_frames + n) * num_heads + h) * num_words
            met = _meet(
                query_BNHW,
                row,
                n,
                ranges_NR2,
                keys_WT,
                b,
                valid_BX,
                itself,
                counts,
                places_X,
                turns_4C,
            )
            cut = _cut(turns_4C, tally_C, worth_C, threshold)
            _mix(counts, places_X, chosen_X, met, cut, columns_WT, sums, scale, b, n, h, out_BNHK)
