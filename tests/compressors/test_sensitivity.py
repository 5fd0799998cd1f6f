"""Hutchinson's traces against Hessians that torch computes whole."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from speechlite.compressors.sensitivity import mean_traces
from speechlite.core.errors import DataError
from speechlite.core.types import Batch, Loss


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.second = nn.Linear(3, 2)

    def forward(self, inputs):
        return self.second(torch.tanh(self.first(inputs)))


def test_mean_traces_agree_with_the_exact_hessian():
    torch.manual_seed(0)
    model, inputs, targets = Small().double(), torch.randn(16, 4).double(), torch.randn(16, 2)

    def loss_of(first, second):
        hidden = torch.tanh(functional.linear(inputs, first, model.first.bias))
        guess = functional.linear(hidden, second, model.second.bias)
        return (guess - targets.double()).square().sum() / 16

    def loss(module, batch):
        value = (module(inputs) - targets.double()).square().sum()
        return Loss(sum=value, weight=torch.tensor(16.0).double())

    exact = torch.autograd.functional.hessian(
        loss_of, (model.first.weight.detach(), model.second.weight.detach())
    )
    traces = [
        float(exact[i][i].reshape(weight.numel(), weight.numel()).trace() / weight.numel())
        for i, weight in enumerate((model.first.weight, model.second.weight))
    ]
    before = [weight.detach().clone() for weight in model.parameters()]
    found = mean_traces(
        model,
        {"first": model.first, "second": model.second},
        [Batch(ids=("a",), seed=1)],
        loss,
        probes=4000,
        max_batches=1,
        seed=3,
    )
    assert found["first"] == pytest.approx(traces[0], rel=0.1)
    assert found["second"] == pytest.approx(traces[1], rel=0.1)
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.equal(old, new)


def test_no_data_is_an_error():
    model = Small()
    with pytest.raises(DataError, match="there is no calibration data"):
        mean_traces(model, {"first": model.first}, [], None, probes=1, max_batches=1, seed=1)


def test_loss_that_is_not_finite_is_an_error():
    model = Small()

    def loss(module, batch):
        return Loss(sum=module.first.weight.sum() * float("nan"), weight=torch.tensor(1.0))

    with pytest.raises(DataError, match="the loss on calibration data is nan"):
        mean_traces(
            model,
            {"first": model.first},
            [Batch(ids=("a",))],
            loss,
            probes=1,
            max_batches=1,
            seed=1,
        )
