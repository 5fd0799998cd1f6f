"""Projection of features to the encoder's width."""

from __future__ import annotations

import torch

from speechlite.nn.projection import feature_projection


def test_projection_when_given_a_width_then_it_is_linear_and_normed():
    torch.manual_seed(0)
    projection = feature_projection(5, 8)
    features_BSF = torch.randn(2, 3, 5)
    mapped = features_BSF @ projection[0].weight.T + projection[0].bias
    centred = mapped - mapped.mean(-1, keepdim=True)
    expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(projection(features_BSF), expected, atol=1e-5, rtol=1e-5)


def test_projection_when_layer_reduction_builds_it_then_it_has_44032_parameters():
    count = sum(parameter.numel() for parameter in feature_projection(83, 512).parameters())
    assert count == 83 * 512 + 512 + 2 * 512


def test_projection_when_given_no_width_then_features_stay_as_they_are():
    features_BSF = torch.randn(1, 2, 5)
    assert feature_projection(5, None)(features_BSF) is features_BSF
