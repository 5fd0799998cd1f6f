"""A head whose loss is no number stops its training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from made_hidden import DIM, batch, hidden

from speechlite.core.errors import SpeechliteError
from speechlite.core.types import LabelSpace
from speechlite.engine.evaluate import _HeadTraining
from speechlite.heads.config import CtcConfig, PhoneConfig
from speechlite.heads.ctc import CtcHead
from speechlite.heads.phone import PhoneHead

SPACE = LabelSpace("label", ("<blank>", "a", "b"))
HEADS = [(PhoneHead, PhoneConfig()), (CtcHead, CtcConfig(recurrent_layers=0))]


@pytest.mark.parametrize(("make", "config"), HEADS)
def test_step_when_weights_are_not_numbers_then_training_stops(make, config):
    head = make(config, dim=DIM, num_layers=3, labels=SPACE)
    with torch.no_grad():
        head.classifier.weight.fill_(torch.nan)
    frozen = SimpleNamespace(read=lambda names: (batch("label", [[1, 2]]), hidden([2])))
    options = SimpleNamespace(seed=1, clip_norm=None)
    training = _HeadTraining(head, frozen, SimpleNamespace(training=options), {})
    message = "the head's loss is nan at step 7; lower training.learning_rate"
    with pytest.raises(SpeechliteError, match=message):
        training._step(SimpleNamespace(zero_grad=lambda: None), ("u0",), 7)
