"""The values that travel between components."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
import torch

from speechlite.core.types import Batch, Hidden, LabelSpace, Loss, Padded, stateless_seed


def test_seed_when_hashed_by_hand_then_it_is_equal():
    digest = hashlib.blake2b(b"(1, 'a', 'b')", digest_size=8).hexdigest()
    assert stateless_seed(1, "a", "b") == int(digest, 16) // 2


def test_seed_when_parts_differ_in_anything_then_seeds_differ():
    parts = [(), (1,), ("1",), (1, 2), (12,), ("a", "b"), ("ab",), ("a,b",), ("b", "a")]
    assert len({stateless_seed(*part) for part in parts}) == len(parts)


def test_seed_when_drawn_often_then_it_is_a_uniform_63_bit_number():
    seeds = [stateless_seed("run", step) for step in range(2000)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert abs(sum(seeds) / len(seeds) / 2**63 - 0.5) < 0.03
    torch.Generator().manual_seed(max(seeds))


def _batch():
    stream = Padded(torch.ones(2, 3), torch.tensor([3, 1]))
    return Batch(("a", "b"), waves=stream, labels={"phone": stream}, speakers=("s", "t"), seed=4)


def test_batch_when_moved_then_every_tensor_moves_and_the_rest_stays():
    moved = _batch().to("meta")
    tensors = [*dataclasses.astuple(moved.waves), *dataclasses.astuple(moved.labels["phone"])]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert (moved.ids, moved.speakers, moved.seed) == (("a", "b"), ("s", "t"), 4)
    assert moved.features is None


def test_batch_when_it_has_features_then_they_move_too():
    batch = dataclasses.replace(_batch(), waves=None, features=_batch().waves)
    assert batch.to("meta").features.values.device.type == "meta"


@pytest.mark.parametrize(
    "value",
    [
        Padded(torch.ones(1), torch.ones(1)),
        Batch(()),
        Hidden((), torch.ones(1)),
        Loss(torch.ones(()), torch.ones(())),
        LabelSpace("phone", ("a",)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_value_when_changed_in_place_then_it_refuses(value):
    field = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, None)
