from __future__ import annotations

import pytest
import torch
from made_runs import choice, write_speech

from speechlite.cli.main import main
from speechlite.data.frame_labels import label_frames
from speechlite.engine.build import build_model, model_spec
from speechlite.engine.checkpoint import save_model
from speechlite.plugins.discovery import discover
from speechlite.plugins.registry import Registry


@pytest.fixture(scope="session")
def places(tmp_path_factory):
    """Give the folders that command lines name; tests must not change them."""
    root = tmp_path_factory.mktemp("places")
    names = ("train", "dev", "test")
    for seed, name in enumerate(names):
        write_speech(root / "data" / name, utterances=6, seed=seed)
    label_frames([root / "data" / name for name in names])
    write_speech(root / "mute", utterances=4, seed=9, text=False)
    registry = Registry(discover())
    torch.manual_seed(0)
    spec = model_spec(
        choice(registry, "frontend", "fbank", num_mels=8),
        choice(registry, "encoder", "conformer", dim=8, layers=3, heads=2, feedforward=16),
    )
    save_model(build_model(spec, registry), root / "model")
    (root / "empty").mkdir()
    (root / "file").write_text("x")
    return root


@pytest.fixture
def refuse(capsys):
    """Run a command line that must fail; return its only line of error."""

    def run(words, code):
        assert main([str(word) for word in words]) == code
        lines = capsys.readouterr().err.splitlines()
        errors = [line for line in lines if line.startswith("speechlite: error: ")]
        assert errors == lines[-1:]
        # what else there is are lines of progress
        assert all(line[:4].isdigit() for line in lines[:-1])
        return errors[0]

    return run
