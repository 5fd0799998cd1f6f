from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from speechlite.core.errors import DataError
from speechlite.data.order import BatchOrder, Position


def durations(count=60, seed=0):
    values = np.random.default_rng(seed).uniform(0.5, 15, size=count)
    return {f"u{i:03d}": float(value) for i, value in enumerate(values)}


def order(seconds=None, **options):
    chosen = {"batch_seconds": 40.0, "num_buckets": 5, "seed": 1} | options
    return BatchOrder(durations() if seconds is None else seconds, **chosen)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("num_buckets", [1, 2, 20, 500])
def test_epoch_holds_every_utterance_once(shuffle, num_buckets):
    batches = list(order(shuffle=shuffle, num_buckets=num_buckets).epoch(0))
    assert sorted(name for names in batches for name in names) == sorted(durations())


def test_batches_hold_no_more_audio_than_asked_for_padding_included():
    seconds = durations()
    for names in order().epoch(3):
        assert len(names) * max(seconds[name] for name in names) <= 40.0 + 1e-6


def test_batches_of_buckets_hold_utterances_of_similar_length():
    seconds = durations(400)

    def padding(num_buckets):
        batches = order(seconds, num_buckets=num_buckets).epoch(0)
        lengths = [[seconds[name] for name in names] for names in batches]
        return sum(max(row) * len(row) - sum(row) for row in lengths) / sum(seconds.values())

    assert padding(20) < padding(1) / 2


def test_epochs_differ_and_repeat_for_equal_seeds():
    first, second = (list(order().epoch(0)) for _ in range(2))
    assert first == second
    assert list(order().epoch(1)) != first
    assert list(order(seed=2).epoch(0)) != first


def test_epoch_without_shuffling_never_changes():
    assert list(order(shuffle=False).epoch(0)) == list(order(shuffle=False, seed=9).epoch(5))


def test_epoch_does_not_depend_on_what_was_read_before():
    fresh, used = order(), order()
    for number in range(3):
        list(used.epoch(number))
    assert list(used.epoch(1)) == list(fresh.epoch(1))


@pytest.mark.parametrize("skip", [0, 1, 5, 20, 33])
def test_stream_from_any_position_is_the_rest_of_the_stream(skip):
    whole = list(islice(order().stream(Position(0, 0)), 50))
    position = whole[skip][0]
    assert list(islice(order().stream(position), 50 - skip)) == whole[skip:]


def test_stream_from_the_end_of_an_epoch_is_the_next_epoch():
    count = len(list(order().epoch(0)))
    assert next(order().stream(Position(0, count))) == next(order().stream(Position(1, 0)))


def test_order_of_utterances_of_one_length_holds_all():
    equal = {f"u{i}": 2.0 for i in range(10)}
    batches = list(order(equal, batch_seconds=6.0).epoch(0))
    assert sorted(len(names) for names in batches) == [1, 3, 3, 3]


def test_order_of_one_utterance_is_one_batch():
    assert list(order({"u": 40.0}).epoch(0)) == [("u",)]


def test_order_of_nothing_is_an_error():
    with pytest.raises(DataError, match="there is no utterance to make batches of"):
        order({})


def test_order_of_an_utterance_that_fits_no_batch_is_an_error():
    with pytest.raises(DataError, match="an utterance of 41.00 s does not fit into batches of 40"):
        order({"u": 41.0, "v": 1.0})
