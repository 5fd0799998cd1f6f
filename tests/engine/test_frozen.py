from __future__ import annotations

import pytest
import torch

from speechlite.core.errors import ConfigError
from speechlite.data.order import BatchOrder
from speechlite.data.reader import UtteranceReader
from speechlite.engine.frozen import FrozenModel
from speechlite.engine.splits import frame_grid, read_split


@pytest.fixture
def frozen_of(make_model, speech):
    def make(**options):
        model = options.pop("model", None) or make_model()
        split = read_split([str(speech / "dev")], frame_grid(model.frontend))
        reader = UtteranceReader(split.utterances, frame_grid(model.frontend))
        options = {"num_layers": None, "last_only": False, "cache_bytes": 1e9} | options
        order = BatchOrder(split.durations, batch_seconds=3.0, num_buckets=2, seed=1, shuffle=False)
        return FrozenModel(model, reader, **options), order

    return make


def test_states_from_memory_equal_those_of_a_forward(frozen_of):
    cached, order = frozen_of()
    cached.fill(order, "x")
    fresh, _ = frozen_of(cache_bytes=0)
    for names in ([name] for batch in order.epoch(0) for name in batch):
        (_, a), (_, b) = cached.read(names), fresh.read(names)
        assert torch.equal(a.lengths, b.lengths)
        for first, second in zip(a.layers, b.layers, strict=True):
            torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_states_after_filling_cost_no_forward(frozen_of, monkeypatch):
    cached, order = frozen_of()
    cached.fill(order, "x")
    monkeypatch.setattr(cached, "_forward", None)
    for names in order.epoch(0):
        batch, hidden = cached.read(names)
        assert batch.ids == names
        assert batch.waves is None
        assert len(hidden.layers) == cached.num_states == 4


def test_states_beyond_memory_are_computed_each_time(frozen_of):
    small, order = frozen_of(cache_bytes=1)
    small.fill(order, "x")
    batches = list(order.epoch(0))
    assert set(small._cache) == set(batches[0])
    everything = [name for names in batches for name in names]
    _, hidden = small.read(everything)
    assert len(hidden.lengths) == len(everything)


def test_states_of_the_last_layer_only_are_one(frozen_of):
    last, order = frozen_of(last_only=True)
    every, _ = frozen_of()
    names = next(iter(order.epoch(0)))
    assert last.num_states == 1
    assert torch.equal(last.read(names)[1].layers[0], every.read(names)[1].layers[-1])


def test_states_of_fewer_layers_stop_early(frozen_of):
    early, order = frozen_of(num_layers=1)
    assert early.num_states == 2
    assert len(early.read(next(iter(order.epoch(0))))[1].layers) == 2


def test_states_of_more_layers_than_the_model_has_are_an_error(frozen_of):
    early, order = frozen_of(num_layers=9)
    with pytest.raises(ConfigError, match="num_layers is 9, expected 0 to 3"):
        early.read(next(iter(order.epoch(0))))


def test_model_that_was_training_is_evaluated(frozen_of, make_model):
    frozen, order = frozen_of(model=make_model().train())
    names = next(iter(order.epoch(0)))
    first, second = (frozen.read(names)[1].layers[-1] for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
