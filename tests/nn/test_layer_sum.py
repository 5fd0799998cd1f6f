"""The weighted sum over hidden states."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speechlite.core.types import Hidden
from speechlite.nn.layer_sum import LAYER_CHOICES, LayerSum


def _hidden(num_layers):
    generator = torch.Generator().manual_seed(0)
    layers = tuple(torch.randn(2, 3, 4, generator=generator) for _ in range(num_layers))
    return Hidden(layers, torch.tensor([3, 3]))


def test_choices_when_listed_then_both_can_be_built():
    assert [LayerSum(3, choice).scores is None for choice in LAYER_CHOICES] == [False, True]


def test_sum_when_untrained_then_it_is_the_mean_of_all_layers():
    hidden = _hidden(5)
    expected = np.mean([layer.numpy() for layer in hidden.layers], axis=0)
    np.testing.assert_allclose(LayerSum(5, "weighted")(hidden).detach(), expected, atol=1e-6)


def test_sum_when_scores_are_set_then_layers_have_their_softmax_as_weights():
    layer_sum, hidden = LayerSum(3, "weighted"), _hidden(3)
    with torch.no_grad():
        layer_sum.scores.copy_(torch.tensor([1.0, 2.0, 4.0]))
    shares = np.exp([1.0, 2.0, 4.0]) / np.exp([1.0, 2.0, 4.0]).sum()
    expected = sum(
        share * layer.numpy() for share, layer in zip(shares, hidden.layers, strict=True)
    )
    np.testing.assert_allclose(layer_sum(hidden).detach(), expected, atol=1e-6)


def test_sum_when_trained_then_every_score_gets_a_gradient():
    layer_sum = LayerSum(4, "weighted")
    layer_sum(_hidden(4)).square().sum().backward()
    assert (layer_sum.scores.grad != 0).all()


@pytest.mark.parametrize(("num_layers", "choice"), [(3, "last"), (1, "weighted")])
def test_sum_when_one_layer_counts_then_it_is_taken_without_parameters(num_layers, choice):
    layer_sum, hidden = LayerSum(num_layers, choice), _hidden(num_layers)
    assert layer_sum(hidden) is hidden.layers[-1]
    assert not list(layer_sum.parameters())


def test_sum_when_layers_are_missing_then_it_is_not_silent():
    with pytest.raises(ValueError, match="shorter"):
        LayerSum(4, "weighted")(_hidden(3))
