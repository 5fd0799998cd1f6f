"""The one call that loads a checkpoint from Python."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import speechlite
from speechlite.core.errors import CheckpointError
from speechlite.engine.checkpoint import save_model
from speechlite.testing.fixtures import installed_registry, small_model, waves


def test_load_model_when_a_checkpoint_was_saved_then_outputs_are_bit_equal(tmp_path):
    model, sound = small_model(installed_registry()).eval(), waves()
    save_model(model, tmp_path / "model")
    loaded = speechlite.load_model(str(tmp_path / "model"))
    assert not loaded.training
    with torch.no_grad():
        ours, theirs = (m(sound.values, sound.lengths).layers for m in (loaded, model))
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_load_model_when_there_is_no_checkpoint_then_the_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.yaml: is missing"):
        speechlite.load_model(tmp_path)


def test_speechlite_when_imported_then_torch_is_not():
    script = "import sys, speechlite; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
