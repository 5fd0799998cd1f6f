from __future__ import annotations

import os
import warnings

import pytest
import torch

from speechlite.testing.fixtures import installed_registry, waves

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [12, 16, 20],
    "conv_kernel": [10, 3, 3],
    "conv_stride": [5, 4, 2],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}


@pytest.fixture(scope="session")
def registry():
    return installed_registry()


@pytest.fixture(scope="session")
def speech():
    return waves()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def transformers():
    """Give the package, which neither asks the network nor draws progress bars."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = pytest.importorskip("transformers")
        from transformers.utils import logging
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    return package


def randomise(module):
    """Give every parameter of a module, norms and biases included, random values."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return module.eval()


@pytest.fixture(scope="session")
def small(transformers):
    """Build a small model of transformers by the name of its class."""

    def build(name, **options):
        config = getattr(transformers, name.partition("Model")[0].partition("For")[0] + "Config")
        return randomise(getattr(transformers, name)(config(**{**SMALL, **options})))

    return build


@pytest.fixture(scope="session")
def states_of_huggingface():
    """Compute all hidden states of a padded batch; the last one is the model's output."""

    def run(model, speech):
        valid_BT = torch.arange(speech.values.shape[1]) < speech.lengths[:, None]
        with torch.no_grad(), warnings.catch_warnings():
            # transformers' WavLM mixes two kinds of masks, which torch warns of
            warnings.filterwarnings("ignore", message="Support for mismatched")
            output = model(speech.values, attention_mask=valid_BT.long(), output_hidden_states=True)
        return (*output.hidden_states[:-1], output.last_hidden_state)

    return run


@pytest.fixture(scope="session")
def gap():
    """Return the largest difference between hidden states within the lengths."""

    def compare(ours, theirs):
        assert len(ours.layers) == len(theirs)
        valid_BS = torch.arange(ours.layers[0].shape[1]) < ours.lengths[:, None]
        pairs = zip(ours.layers, theirs, strict=True)
        return max(float((a - b).abs()[valid_BS].max()) for a, b in pairs)

    return compare
