"""Sparse layers against stock ones with zeros."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from speechlite.core.operations import choose_kernels
from speechlite.nn import sparse as sparse_module
from speechlite.nn.sparse import SparseConv1d, SparseLinear, SparseWeight, dense_of, sparse_of


def kept_of(weight, share, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(weight.shape, generator=generator) < share


@pytest.mark.parametrize("share", [0.0, 0.01, 0.15, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (8, 8), (3, 17), (64, 33)])
def test_dense_of_a_weight_has_the_values_where_they_were_and_zeros_elsewhere(shape, share):
    weight = torch.randn(shape)
    kept = kept_of(weight, share)
    sparse = SparseWeight(shape, int(kept.sum()))
    sparse.fill(weight, kept)
    assert torch.equal(sparse.dense(), weight * kept)
    assert torch.equal(sparse.kept(), kept)
    assert sparse.zeros == int((~kept).sum())


def test_mask_takes_one_bit_a_place():
    sparse = SparseWeight((100, 33), 10)
    assert sparse.mask.numel() == -(-100 * 33 // 8)


def test_integer_values_are_no_parameters():
    sparse = SparseWeight((4, 4), 3, dtype=torch.int8)
    assert list(sparse.parameters()) == []
    assert set(sparse.state_dict()) == {"mask", "values"}


LAYERS = [
    nn.Linear(9, 5),
    nn.Linear(9, 5, bias=False),
    nn.Conv1d(6, 4, 3, padding=1),
    nn.Conv1d(6, 6, 5, padding=2, groups=6, bias=False),
    nn.Conv1d(6, 4, 3, stride=2, padding=2, dilation=2, groups=2),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_sparse_layer_computes_what_the_stock_one_with_zeros_does(layer):
    inputs = torch.randn(2, 6, 20) if isinstance(layer, nn.Conv1d) else torch.randn(2, 7, 9)
    kept = kept_of(layer.weight, 0.3)
    sparse = sparse_of(layer, kept)
    back = dense_of(sparse)
    assert type(sparse) is (SparseConv1d if isinstance(layer, nn.Conv1d) else SparseLinear)
    assert torch.equal(back.weight, layer.weight * kept)
    assert type(back) is type(layer)
    with torch.no_grad():
        assert torch.equal(sparse(inputs), back(inputs))


def test_gradient_reaches_the_kept_values_alone():
    layer = nn.Linear(6, 4)
    kept = kept_of(layer.weight, 0.4)
    sparse = sparse_of(layer, kept)
    inputs = torch.randn(3, 6)
    sparse(inputs).square().sum().backward()
    dense = (layer.weight * kept).detach().requires_grad_()
    functional.linear(inputs, dense, layer.bias.detach()).square().sum().backward()
    torch.testing.assert_close(sparse.weight.values.grad, dense.grad[kept])


@pytest.mark.parametrize(
    "optimiser",
    [
        lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.5),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    ],
)
def test_training_never_revives_a_pruned_weight(optimiser):
    layer = nn.Linear(6, 4)
    kept = kept_of(layer.weight, 0.4)
    sparse = sparse_of(layer, kept)
    averaged = torch.optim.swa_utils.AveragedModel(
        sparse, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=False
    )
    optimizer = optimiser(sparse.parameters())
    for step in range(20):
        (sparse(torch.randn(3, 6)).square().sum() / 2).backward()
        if step % 2:
            optimizer.step()
            optimizer.zero_grad()
            averaged.update_parameters(sparse)
    for trained in (sparse, averaged.module):
        assert not bool(trained.weight.dense()[~kept].any())
    assert not torch.equal(sparse.weight.dense(), layer.weight * kept)


def test_inference_sees_what_training_has_changed():
    sparse = sparse_of(nn.Linear(6, 4), torch.ones(4, 6, dtype=torch.bool))
    inputs = torch.randn(3, 6)
    with torch.inference_mode():
        before = sparse(inputs)
    sparse(inputs).sum().backward()
    torch.optim.SGD(sparse.parameters(), lr=1.0).step()
    with torch.inference_mode():
        assert not torch.equal(sparse(inputs), before)


@pytest.fixture
def skipping(monkeypatch):
    """Say what the measurement finds."""

    def find(wins):
        monkeypatch.setattr(sparse_module, "_skipping_wins", lambda *facts: wins)

    return find


def test_layer_that_skips_zeros_computes_the_same_but_for_rounding(skipping):
    skipping(True)
    torch.manual_seed(0)
    layer = nn.Linear(96, 64)
    sparse = sparse_of(layer, kept_of(layer.weight, 0.15)).eval()
    inputs = torch.randn(2, 33, 96)
    with torch.no_grad():
        before = sparse(inputs)
        assert sparse.kernel == "dense"
        choose_kernels(nn.Sequential(sparse), 66)
        assert sparse.kernel.startswith("sparse, ")
        torch.testing.assert_close(sparse(inputs), before, rtol=1e-5, atol=1e-5)


def test_layer_that_trains_on_leaves_the_kernel_of_its_old_weights(skipping):
    skipping(True)
    sparse = sparse_of(nn.Linear(6, 4), torch.ones(4, 6, dtype=torch.bool))
    sparse.choose_kernel(8)
    inputs = torch.randn(3, 6)
    sparse(inputs).sum().backward()
    torch.optim.SGD(sparse.parameters(), lr=1.0).step()
    with torch.no_grad():
        torch.testing.assert_close(
            sparse(inputs), functional.linear(inputs, sparse.weight.dense(), sparse.bias)
        )


def test_layer_where_zeros_cost_nothing_multiplies_them(skipping):
    skipping(False)
    sparse = sparse_of(nn.Linear(6, 4), torch.ones(4, 6, dtype=torch.bool))
    sparse.choose_kernel(8)
    assert sparse.kernel == "dense"


def test_measurement_decides_for_one_of_the_two():
    assert sparse_module._skipping_wins((16, 16), 20, 8, torch.float32, 1) in (True, False)


def test_layer_of_bfloat16_skips_zeros_too(skipping):
    skipping(True)
    layer = nn.Linear(96, 64)
    sparse = sparse_of(layer, kept_of(layer.weight, 0.15)).eval().bfloat16()
    inputs = torch.randn(5, 96).bfloat16()
    with torch.no_grad():
        before = sparse(inputs)
        sparse.choose_kernel(5)
        after = sparse(inputs)
    assert sparse.kernel.startswith("sparse, ")
    assert after.dtype == torch.bfloat16
    torch.testing.assert_close(after, before)
