from __future__ import annotations

import torch
from torch import nn

from speechlite.nn.inference import is_cpu_inference


def test_is_cpu_inference_when_gradients_are_only_off_then_it_is_not():
    with torch.no_grad():
        assert not is_cpu_inference(torch.zeros(1))


def test_is_cpu_inference_when_in_inference_mode_then_it_is_on_the_cpu_alone():
    with torch.inference_mode():
        assert is_cpu_inference(torch.zeros(1))
        assert not is_cpu_inference(torch.zeros(1, device="meta"))


def test_is_cpu_inference_when_exporting_then_it_is_not():
    class Told(nn.Module):
        def forward(self, values):
            return values + 1 if is_cpu_inference(values) else values

    with torch.inference_mode():
        program = torch.export.export(Told(), (torch.zeros(1),))
        assert float(program.module()(torch.zeros(1))) == 0.0
