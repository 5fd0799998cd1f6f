"""The filterbank as matrix products against the one that models compute."""

from __future__ import annotations

import pytest
import torch
from ragged_models import noise
from torch import nn

from speechlite.interop.onnx_fbank import PlainFilterbank, with_plain_filterbanks
from speechlite.nn.fbank import LogMelFilterbank


@pytest.mark.parametrize(
    "options",
    [{}, {"sample_rate": 8000, "num_mels": 23}, {"preemphasis": 0.0}, {"scale": 32768.0}],
    ids=["default", "8kHz", "no_preemphasis", "scaled"],
)
def test_plain_filterbank_when_a_batch_is_padded_then_features_are_the_same(options):
    filterbank = LogMelFilterbank(**options)
    waves = noise((4000, 2500, 400, 399))
    offset_BT = waves.values + 0.05 * (waves.values != 0)
    features_BSF, counts_B = filterbank(offset_BT, waves.lengths)
    plain_BSF, plain_counts_B = PlainFilterbank(filterbank)(offset_BT, waves.lengths)
    assert plain_counts_B.tolist() == counts_B.tolist()
    torch.testing.assert_close(plain_BSF, features_BSF, rtol=0, atol=1e-4)


def test_plain_filterbank_when_all_is_silence_then_energies_are_the_floor():
    features_BSF, _ = PlainFilterbank(LogMelFilterbank())(torch.zeros(1, 800), torch.tensor([800]))
    floor = torch.tensor(torch.finfo(torch.float32).eps).log()
    assert torch.equal(features_BSF, floor.expand_as(features_BSF))


def test_with_plain_filterbanks_when_a_model_has_one_inside_then_it_is_replaced():
    model = nn.Sequential(nn.Identity(), nn.Sequential(LogMelFilterbank()))
    assert with_plain_filterbanks(model) is model
    assert isinstance(model[1][0], PlainFilterbank)
    assert isinstance(model[0], nn.Identity)
