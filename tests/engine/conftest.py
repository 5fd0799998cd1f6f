from __future__ import annotations

import os
import signal

import pytest
import torch
from made_runs import choice, pretrain_config, write_speech

from speechlite.data.frame_labels import label_frames
from speechlite.engine.build import build_model, model_spec
from speechlite.engine.checkpoint import save_model
from speechlite.engine.fitting import _Steps
from speechlite.plugins.discovery import discover
from speechlite.plugins.registry import Registry

SPLITS = {"train": 12, "dev": 4, "test": 6}


@pytest.fixture(scope="session")
def registry():
    return Registry(discover())


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    """Give a folder with the data directories train, dev and test; tests must not change it."""
    root = tmp_path_factory.mktemp("speech")
    for seed, (name, utterances) in enumerate(SPLITS.items()):
        write_speech(root / name, utterances=utterances, seed=seed)
    label_frames([root / name for name in SPLITS])
    return root


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    environ = dict(os.environ)
    yield
    torch.set_num_threads(before)
    os.environ.clear()
    os.environ.update(environ)


@pytest.fixture
def make_model(registry):
    """Build the tiny model, with weights that depend on a seed."""

    def make(seed=0, **options):
        options = {"dim": 8, "layers": 3, "heads": 2, "feedforward": 16, "kernel_size": 3} | options
        torch.manual_seed(seed)
        spec = model_spec(
            choice(registry, "frontend", "fbank", num_mels=8),
            choice(registry, "encoder", "conformer", **options),
        )
        return build_model(spec, registry).eval()

    return make


@pytest.fixture
def saved(make_model, tmp_path):
    """Write a checkpoint of the tiny model."""
    path = tmp_path / "saved" / "model"
    save_model(make_model(), path)
    return path


@pytest.fixture
def tiny_config(registry, speech):
    """Compose the configuration of a tiny pretraining from overrides."""

    def compose(*further):
        return pretrain_config(registry, speech, *further)

    return compose


@pytest.fixture
def stop_at(monkeypatch):
    """Let runs stop as if a signal came in the named optimiser steps of each start."""

    def put(*steps):
        pending = list(steps)

        def asked(self, device):
            if pending and self.module_step == pending[0]:
                pending.pop(0)
                self.signal = signal.SIGTERM
            return bool(self.signal)

        original = _Steps.on_train_batch_end

        def remember(self, trainer, *rest):
            self.module_step = trainer.global_step
            original(self, trainer, *rest)

        monkeypatch.setattr(_Steps, "_stop_asked", asked)
        monkeypatch.setattr(_Steps, "on_train_batch_end", remember)

    return put
