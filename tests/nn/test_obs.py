"""Optimal brain surgery against explicit inverses, one column and one weight at a time."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from speechlite.core.errors import ConfigError, DataError, PlanError
from speechlite.nn import obs_window
from speechlite.nn.obs import pattern_mask, prune_obs

NEEDS_NUMBA = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs numba")


@pytest.fixture(params=["torch", pytest.param("numba", marks=NEEDS_NUMBA)])
def solver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test once with each program that solves windows."""
    monkeypatch.setattr(obs_window, "_has_numba", lambda: request.param == "numba")
    return request.param


def _layer(groups, outputs, inputs, *, seed=0, rows=200):
    generator = torch.Generator().manual_seed(seed)
    weight_GOK = torch.randn(groups, outputs, inputs, generator=generator)
    mixture_GKK = torch.randn(groups, inputs, inputs, generator=generator)
    inputs_GNK = torch.randn(groups, rows, inputs, generator=generator)
    inputs_GNK = inputs_GNK @ (torch.eye(inputs) + 0.3 * mixture_GKK)
    return weight_GOK, (inputs_GNK.mT @ inputs_GNK).double()


def _least(saliency_OW, count):
    mask = torch.zeros(saliency_OW.numel(), dtype=torch.bool)
    mask[saliency_OW.flatten().argsort()[:count]] = True
    return mask.view(saliency_OW.shape)


def _slow_obs(weight_GOK, gram_GKK, choose, *, block, damping=0.01, first_order=False):
    """Prune with the inverse of the Hessian of the columns that are left, at every column.

    ``choose`` is given what the weights of a block cost, those of all groups as rows.
    """
    weight_GOK, start_GOK = weight_GOK.double().clone(), weight_GOK.double()
    groups, outputs, inputs = weight_GOK.shape
    plain_GKK = 2 * gram_GKK.double()
    hessian_GKK = torch.stack(
        [plain + damping * plain.diagonal().mean() * torch.eye(inputs) for plain in plain_GKK]
    )
    for first in range(0, inputs, block):
        columns = range(first, min(first + block, inputs))
        saliency_GOW = torch.zeros(groups, outputs, len(columns), dtype=torch.float64)
        for g in range(groups):
            for p in columns:
                cost = hessian_GKK[g, p:, p:].inverse()[0, 0]
                saliency_GOW[g, :, p - first] = weight_GOK[g, :, p] ** 2 / cost
        if first_order:
            gradient_GOK = (weight_GOK - start_GOK) @ plain_GKK
            saliency_GOW += (weight_GOK * gradient_GOK)[:, :, first : columns.stop].abs()
        mask_GOW = choose(saliency_GOW.flatten(0, 1)).view(saliency_GOW.shape)
        for g in range(groups):
            for p in columns:
                inverse = hessian_GKK[g, p:, p:].inverse()
                for o in range(outputs):
                    if mask_GOW[g, o, p - first]:
                        share = weight_GOK[g, o, p].clone() / inverse[0, 0]
                        weight_GOK[g, o, p:] -= share * inverse[0]
                        weight_GOK[g, o, p] = 0
    return weight_GOK


def _lost(weight_GOK, pruned_GOK, gram_GKK):
    change_GOK = pruned_GOK.double() - weight_GOK.double()
    return float(((change_GOK @ gram_GKK) * change_GOK).sum())


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize(
    ("groups", "outputs", "inputs", "block", "quota"),
    [(1, 6, 12, 4, 12), (3, 5, 10, 5, 15), (2, 4, 9, 4, None), (5, 1, 7, 32, 4)],
)
def test_prune_obs_when_compared_with_explicit_inverses_then_it_is_equal(
    solver, groups, outputs, inputs, block, quota, first_order
):
    weight_GOK, gram_GKK = _layer(groups, outputs, inputs, seed=groups)
    num_blocks = -(-inputs // block)
    # where the last block is narrow, half of every block goes
    num_pruned = groups * num_blocks * quota if quota else weight_GOK.numel() // 2
    pruned_GOK = prune_obs(
        weight_GOK, gram_GKK, num_pruned=num_pruned, block=block, first_order=first_order
    )

    def choose(saliency_OW):
        return _least(saliency_OW, quota * groups if quota else saliency_OW.numel() // 2)

    expected_GOK = _slow_obs(weight_GOK, gram_GKK, choose, block=block, first_order=first_order)
    assert torch.allclose(pruned_GOK.double(), expected_GOK, atol=1e-6)


@pytest.mark.parametrize(("pattern", "zeros", "of"), [("2:4", 2, 4), ("1:3", 1, 3)])
def test_prune_obs_when_n_of_m_then_it_equals_explicit_inverses(solver, pattern, zeros, of):
    weight_GOK, gram_GKK = _layer(1, 5, 12)
    pruned_GOK = prune_obs(weight_GOK, gram_GKK, num_pruned=None, pattern=pattern)

    def choose(saliency_OW):
        return torch.cat([_least(row, zeros) for row in saliency_OW.split(1)])

    expected_GOK = _slow_obs(weight_GOK, gram_GKK, choose, block=of)
    assert torch.allclose(pruned_GOK.double(), expected_GOK, atol=1e-6)
    assert (pruned_GOK.unflatten(2, (-1, of)) == 0).sum(3).eq(zeros).all()


@pytest.mark.parametrize(("pattern", "rows", "columns"), [("2x1", 2, 1), ("3x2", 3, 2)])
def test_prune_obs_when_tiles_then_it_equals_explicit_inverses(solver, pattern, rows, columns):
    weight_GOK, gram_GKK = _layer(1, 6, 12)
    pruned_GOK = prune_obs(weight_GOK, gram_GKK, num_pruned=36, pattern=pattern, block=4)

    def choose(saliency_OW):
        tiles = saliency_OW.unflatten(1, (-1, columns)).unflatten(0, (-1, rows)).sum((1, 3))
        mask = _least(tiles, tiles.numel() // 2)
        return mask.repeat_interleave(rows, 0).repeat_interleave(columns, 1)

    expected_GOK = _slow_obs(weight_GOK, gram_GKK, choose, block=4)
    assert torch.allclose(pruned_GOK.double(), expected_GOK, atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_prune_obs_when_any_number_is_asked_for_then_exactly_these_are_zero(solver, seed):
    random = np.random.default_rng(seed)
    groups, outputs, inputs = (int(random.integers(1, high)) for high in (6, 40, 90))
    weight_GOK, gram_GKK = _layer(groups, outputs, inputs, seed=seed)
    num_pruned = int(random.integers(0, weight_GOK.numel() + 1))
    pruned_GOK = prune_obs(weight_GOK, gram_GKK.float(), num_pruned=num_pruned, block=16)
    assert int((pruned_GOK == 0).sum()) == num_pruned
    assert pruned_GOK.dtype == torch.float32
    assert pruned_GOK.shape == weight_GOK.shape


def test_prune_obs_when_depthwise_then_channels_lose_what_costs_least_in_all(solver):
    weight_GOK, gram_GKK = _layer(300, 1, 31, rows=40)
    pruned_GOK = prune_obs(weight_GOK, gram_GKK.float(), num_pruned=7000)
    zeros_G = (pruned_GOK == 0).sum((1, 2))
    assert int(zeros_G.sum()) == 7000
    alone_GOK = torch.cat(
        [
            prune_obs(weight_GOK[g : g + 1], gram_GKK[g : g + 1].float(), num_pruned=23 + (g < 100))
            for g in range(300)
        ]
    )
    assert int((alone_GOK == 0).sum()) == 7000
    assert _lost(weight_GOK, pruned_GOK, gram_GKK) < _lost(weight_GOK, alone_GOK, gram_GKK)


def test_prune_obs_when_wide_then_blocks_lose_the_same_share_and_less_than_by_magnitude(solver):
    weight_GOK, gram_GKK = _layer(1, 30, 600, rows=900)
    num_pruned = int(0.7 * weight_GOK.numel())
    pruned_GOK = prune_obs(weight_GOK, gram_GKK.float(), num_pruned=num_pruned)
    zeros_I = [int((part == 0).sum()) for part in pruned_GOK.split(32, dim=2)]
    assert all(abs(zeros - 0.7 * 960) < 1 for zeros in zeros_I[:-1])
    kept_OK = pattern_mask(weight_GOK[0].abs(), num_pruned=num_pruned, pattern="unstructured")
    by_magnitude = _lost(weight_GOK, weight_GOK * kept_OK, gram_GKK)
    assert _lost(weight_GOK, pruned_GOK, gram_GKK) < 0.7 * by_magnitude


def test_prune_obs_when_panels_are_many_then_it_equals_explicit_inverses(solver, monkeypatch):
    monkeypatch.setattr("speechlite.nn.obs._PANEL", 6)
    monkeypatch.setattr("speechlite.nn.obs_factor._PANEL", 5)
    monkeypatch.setattr("speechlite.nn.obs._GROUP_VALUES", 600)
    weight_GOK, gram_GKK = _layer(3, 4, 20)
    pruned_GOK = prune_obs(weight_GOK, gram_GKK, num_pruned=120, block=2)
    # as many values as these bounds let a single group have
    expected = [
        _slow_obs(weight_GOK[g : g + 1], gram_GKK[g : g + 1], lambda s: _least(s, 4), block=2)
        for g in range(3)
    ]
    assert torch.allclose(pruned_GOK.double(), torch.cat(expected), atol=1e-6)


def test_prune_obs_when_undamped_then_the_gradient_of_the_columns_left_is_zero(solver):
    weight_GOK, gram_GKK = _layer(1, 5, 12)
    # W_now after the first 4 columns went: the rest solves its normal equations
    start_OK, gram_KK = weight_GOK[0].double(), gram_GKK[0]
    made_up_OK = start_OK[:, :4] @ gram_KK[:4, 4:] @ gram_KK[4:, 4:].inverse()
    now_OK = torch.cat([torch.zeros(5, 4), start_OK[:, 4:] + made_up_OK], 1)
    gradient_OK = 2 * (now_OK - start_OK) @ gram_KK
    assert gradient_OK[:, 4:].abs().max() < 1e-9 * gradient_OK[:, :4].abs().max()
    # and this is what the solver's weights are when its first block goes and nothing else
    weight_GOK[0, :, :4] *= 1e-9
    pruned_GOK = prune_obs(weight_GOK, gram_GKK, num_pruned=20, block=12, damping=0.0)
    assert not pruned_GOK[0, :, :4].any()
    assert torch.allclose(pruned_GOK[0, :, 4:], weight_GOK[0, :, 4:], atol=1e-6)


def test_prune_obs_when_undamped_then_the_first_order_saliency_changes_nothing(solver):
    weight_GOK, gram_GKK = _layer(2, 20, 16)
    form = {"num_pruned": 320, "block": 4}
    plain, first_order = (
        prune_obs(weight_GOK, gram_GKK, damping=0.0, first_order=flag, **form)
        for flag in (False, True)
    )
    assert torch.equal(plain, first_order)
    damped, first_order = (
        prune_obs(weight_GOK, gram_GKK, damping=2.0, first_order=flag, **form)
        for flag in (False, True)
    )
    assert not torch.equal(damped, first_order)


def test_prune_obs_when_weights_are_zero_already_then_they_stay_and_count(solver):
    weight_GOK, gram_GKK = _layer(2, 8, 40)
    once_GOK = prune_obs(weight_GOK, gram_GKK, num_pruned=320, block=8)
    twice_GOK = prune_obs(once_GOK, gram_GKK, num_pruned=500, block=8)
    assert int((twice_GOK == 0).sum()) == 500
    assert not twice_GOK[once_GOK == 0].any()


def test_prune_obs_when_a_block_is_zero_already_then_the_others_share_the_rest(solver):
    weight_GOK, gram_GKK = _layer(1, 4, 16)
    weight_GOK[:, :, 4:8] = 0
    pruned_GOK = prune_obs(weight_GOK, gram_GKK, num_pruned=28, block=4)
    assert [int((part == 0).sum()) for part in pruned_GOK.split(4, dim=2)] == [4, 16, 4, 4]


@pytest.mark.parametrize("pattern", ["2:4", "2x2"])
def test_prune_obs_when_patterns_meet_zeros_then_these_stay(solver, pattern):
    weight_GOK, gram_GKK = _layer(1, 8, 16)
    weight_GOK[0, ::3, ::5] = 0
    pruned_GOK = prune_obs(weight_GOK, gram_GKK, num_pruned=64, pattern=pattern, block=8)
    assert not pruned_GOK[weight_GOK == 0].any()


def test_prune_obs_when_inputs_are_dead_then_they_go_first_and_disturb_nothing(solver):
    weight_GOK, gram_GKK = _layer(1, 6, 12)
    dead = torch.tensor([2, 3, 9])
    alive = torch.tensor([k for k in range(12) if k not in dead])
    gram_GKK[:, dead] = 0
    gram_GKK[:, :, dead] = 0
    pruned_GOK = prune_obs(weight_GOK, gram_GKK, num_pruned=42, block=12, damping=0.0)
    assert not pruned_GOK[:, :, dead].any()
    alone_GOK = prune_obs(
        weight_GOK[:, :, alive], gram_GKK[:, alive][:, :, alive], num_pruned=24, damping=0.0
    )
    assert torch.allclose(pruned_GOK[:, :, alive], alone_GOK, atol=1e-6)


def test_prune_obs_when_there_are_more_dead_weights_than_asked_for_then_the_rest_stays(solver):
    weight_GOK, gram_GKK = _layer(1, 4, 8)
    weight_GOK[0, 0, 0] = 0
    gram_GKK[:, :6] = 0
    gram_GKK[:, :, :6] = 0
    pruned_GOK = prune_obs(weight_GOK, gram_GKK, num_pruned=9, block=4)
    assert int((pruned_GOK == 0).sum()) == 9
    stays = pruned_GOK != 0
    assert torch.equal(pruned_GOK[stays], weight_GOK[stays])
    assert not pruned_GOK[0, 0, 0]


def test_prune_obs_when_no_input_ever_came_then_the_number_holds(solver):
    weight_GOK, _ = _layer(2, 3, 5)
    pruned_GOK = prune_obs(weight_GOK, torch.zeros(2, 5, 5), num_pruned=11)
    assert int((pruned_GOK == 0).sum()) == 11


@pytest.mark.parametrize("damping", [0.0, 0.01])
def test_prune_obs_when_the_hessian_is_singular_then_damping_grows(solver, damping):
    weight_GOK, gram_GKK = _layer(2, 6, 20, rows=5)
    # not even semi-definite
    gram_GKK -= 1e-3 * gram_GKK.diagonal(dim1=1, dim2=2).mean() * torch.eye(20)
    pruned_GOK = prune_obs(weight_GOK, gram_GKK.float(), num_pruned=120, damping=damping)
    assert pruned_GOK.isfinite().all()
    assert int((pruned_GOK == 0).sum()) == 120


def test_prune_obs_when_the_gram_matrix_is_indefinite_then_it_raises():
    weight_GOK, gram_GKK = _layer(1, 3, 6)
    gram_GKK[0, 0, 5] = gram_GKK[0, 5, 0] = 1e6
    with pytest.raises(DataError, match=r"far from positive semi-definite; sum it in float32"):
        prune_obs(weight_GOK, gram_GKK, num_pruned=3)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", ["weight", "Gram matrix"])
def test_prune_obs_when_a_value_is_not_finite_then_it_raises(name, value):
    weight_GOK, gram_GKK = _layer(1, 3, 6)
    (weight_GOK if name == "weight" else gram_GKK)[0, 2, 4] = value
    with pytest.raises(DataError, match=f"the {name} has values that are not finite"):
        prune_obs(weight_GOK, gram_GKK, num_pruned=3)


def test_prune_obs_when_the_gram_matrix_is_of_another_layer_then_it_raises():
    with pytest.raises(DataError, match=r"the Gram matrix is \(1, 5, 5\), the weight \(1, 3, 6\)"):
        prune_obs(torch.ones(1, 3, 6), torch.ones(1, 5, 5), num_pruned=3)


@pytest.mark.parametrize("option", [{"block": 0}, {"damping": -0.1}, {"damping": float("nan")}])
def test_prune_obs_when_an_option_is_out_of_range_then_it_raises(option):
    with pytest.raises(ConfigError, match="expected block >= 1 and damping >= 0"):
        prune_obs(torch.ones(1, 3, 6), torch.eye(6)[None], num_pruned=3, **option)


def test_prune_obs_when_more_is_zero_than_asked_for_then_it_raises():
    weight_GOK, gram_GKK = _layer(1, 3, 6)
    weight_GOK[0, :2] = 0
    with pytest.raises(PlanError, match="12 weights are zero already, more than the 11 to prune"):
        prune_obs(weight_GOK, gram_GKK, num_pruned=11)


@pytest.mark.parametrize("num_pruned", [-1, 19, None])
def test_prune_obs_when_the_number_does_not_fit_then_it_raises(num_pruned):
    with pytest.raises(PlanError, match=f"cannot prune {num_pruned} of 18 weights"):
        prune_obs(torch.ones(1, 3, 6), torch.eye(6)[None], num_pruned=num_pruned)


def test_prune_obs_when_called_then_its_inputs_are_unchanged(solver):
    weight_GOK, gram_GKK = _layer(1, 4, 8)
    gram_GKK = gram_GKK.float()
    copies = weight_GOK.clone(), gram_GKK.clone()
    prune_obs(weight_GOK, gram_GKK, num_pruned=16)
    assert torch.equal(weight_GOK, copies[0])
    assert torch.equal(gram_GKK, copies[1])


def test_solve_window_when_a_weight_that_stays_comes_out_as_zero_then_it_does_not_count(solver):
    weight_GKO, moved_GKO = torch.tensor([[[3.0], [2.0]]]), torch.zeros(1, 2, 1)
    offset_GWO, lower_GWW = torch.tensor([[[3.0], [2.0]]]), torch.eye(2)[None]
    pruned_GWO = torch.tensor([[[False], [True]]])
    obs_window.solve_window_(weight_GKO, moved_GKO, 0, offset_GWO, lower_GWW, pruned_GWO)
    assert weight_GKO.flatten()[0] > 0
    assert weight_GKO.flatten()[1] == 0
