"""The encoder without layers."""

from __future__ import annotations

import torch
from small_encoders import build, frames


def test_identity_when_run_then_features_come_back_as_the_only_state():
    frames_BSD, lengths_B = frames([5, 3])
    hidden = build("identity")(frames_BSD, lengths_B)
    assert len(hidden.layers) == 1
    assert torch.equal(hidden.layers[0], frames_BSD)


def test_identity_when_built_then_it_keeps_the_features_width_and_has_no_parameters():
    encoder = build("identity")
    assert encoder.dim is None
    assert not list(encoder.parameters())
