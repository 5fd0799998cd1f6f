"""A speechlite checkpoint as a frontend of ESPnet; B batch, T samples."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from speechlite.core.errors import ConfigError, DataError, EnvironmentProblem
from speechlite.core.model import Edit, ModelSpec
from speechlite.engine.build import build_model, replay_edits
from speechlite.engine.checkpoint import load_model, save_model
from speechlite.testing.fixtures import installed_registry, waves

PLUGIN = Path(__file__).parents[2] / "plugins" / "speechlite-espnet"
SPEC = ModelSpec(
    frontend={"name": "fbank"},
    encoder={
        "name": "transformer",
        "dim": 16,
        "layers": 3,
        "heads": 2,
        "feedforward": 24,
        "share_parameters": True,
    },
)
DEPTH = Edit(compressor={"name": "depth", "layers": 2}, plan={"layers": 2})


@pytest.fixture(autouse=True)
def _plugin_on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGIN))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    registry = installed_registry()
    torch.manual_seed(0)
    model = replay_edits(build_model(SPEC, registry), (DEPTH,), registry)
    directory = tmp_path_factory.mktemp("checkpoint") / "model"
    save_model(model, directory)
    return directory


@pytest.fixture
def make(checkpoint):
    pytest.importorskip("espnet2")
    from speechlite_espnet.frontend import SpeechliteFrontend

    return lambda **options: SpeechliteFrontend(str(checkpoint), **options).eval()


def asr_model(frontend):
    from espnet2.asr.ctc import CTC
    from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
    from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
    from espnet2.asr.espnet_model import ESPnetASRModel

    tokens = ["<blank>", "<unk>", "a", "b", "<sos/eos>"]
    encoder = TransformerEncoder(
        frontend.output_size(), 8, 2, linear_units=8, num_blocks=1, input_layer="linear"
    )
    decoder = TransformerDecoder(len(tokens), 8, 2, linear_units=8, num_blocks=1)
    return ESPnetASRModel(
        vocab_size=len(tokens),
        token_list=tokens,
        frontend=frontend,
        specaug=None,
        normalize=None,
        preencoder=None,
        encoder=encoder,
        postencoder=None,
        decoder=decoder,
        ctc=CTC(len(tokens), 8),
        joint_network=None,
        ctc_weight=0.3,
        report_cer=False,
        report_wer=False,
    )


# ESPnet still uses the older name of torch.autocast
@pytest.mark.filterwarnings("ignore:`torch.cuda.amp.autocast:FutureWarning")
@pytest.mark.parametrize("trainable", [False, True])
def test_frontend_in_an_asr_model_gives_a_loss_that_reaches_what_learns(make, trainable):
    torch.manual_seed(0)
    model = asr_model(make(trainable=trainable)).train()
    sound = waves()
    text_BL, lengths_B = torch.tensor([[2, 3, 2], [3, 2, -1], [2, -1, -1]]), torch.tensor([3, 2, 1])
    loss, stats, weight = model(sound.values, sound.lengths, text_BL, lengths_B)
    loss.backward()
    assert bool(loss.isfinite())
    assert float(stats["loss_ctc"]) > 0
    assert int(weight) == 3
    frontend = model.frontend
    assert float(frontend.layer_sum.scores.grad.abs().sum()) > 0
    grads = [parameter.grad for parameter in frontend.model.encoder.parameters()]
    assert all((grad is not None) == trainable for grad in grads)


@pytest.mark.parametrize(("layer", "depth"), [("last", None), (2, 2), (1, 1), (0, 0)])
def test_frontend_of_one_layer_gives_that_of_the_loaded_model(make, checkpoint, layer, depth):
    model, sound = load_model(checkpoint, installed_registry()), waves()
    with torch.no_grad():
        expected = model(sound.values, sound.lengths, num_layers=depth)
        feats, lengths_B = make(layer=layer)(sound.values, sound.lengths)
    assert torch.equal(feats, expected.layers[-1])
    assert torch.equal(lengths_B, expected.lengths)


def test_frontend_with_weights_gives_the_sum_over_all_layers(make):
    frontend, sound = make(), waves()
    with torch.no_grad():
        frontend.layer_sum.scores.copy_(torch.tensor([0.0, 1.0, -2.0]))
        feats, lengths_B = frontend(sound.values, sound.lengths)
        states = frontend.model(sound.values, sound.lengths).layers
    parts = torch.tensor([0.0, 1.0, -2.0]).exp()
    expected = sum(part * state for part, state in zip(parts / parts.sum(), states, strict=True))
    torch.testing.assert_close(feats, expected)
    assert feats.shape == (3, int(lengths_B.max()), frontend.output_size())


def test_frontend_with_noise_beyond_the_lengths_ignores_it(make):
    frontend, sound = make(), waves()
    noisy_BT = sound.values.clone()
    noisy_BT[2, int(sound.lengths[2]) :] = float("nan")
    assert torch.equal(
        frontend(noisy_BT, sound.lengths)[0], frontend(sound.values, sound.lengths)[0]
    )


def test_frontend_of_less_than_a_frame_gives_no_frames(make):
    _, lengths_B = make()(torch.zeros(2, 10), torch.tensor([10, 3]))
    assert lengths_B.tolist() == [0, 0]


def test_frontend_in_training_keeps_a_frozen_model_in_eval_mode(make):
    assert not make().train().model.training
    assert make(trainable=True).train().model.training


def test_frontend_after_espnet_drew_new_weights_takes_those_of_the_checkpoint(make):
    from espnet2.torch_utils.initialize import initialize

    frontend, sound = make(layer="last"), waves()
    before, _ = frontend(sound.values, sound.lengths)
    outer = torch.nn.Module()
    outer.frontend = frontend
    initialize(outer, "xavier_uniform")
    assert torch.equal(frontend(sound.values, sound.lengths)[0], before)


def test_register_with_espnets_choices_makes_the_name_known(make):
    from speechlite_espnet.frontend import SpeechliteFrontend, register

    # ESPnet's own class needs packages that nothing else here does
    choices = SimpleNamespace(classes={"default": object})
    register(choices)
    assert choices.classes == {"default": object, "speechlite": SpeechliteFrontend}


@pytest.mark.parametrize("layer", [3, -1, "first", True, 1.5])
def test_frontend_of_a_layer_that_is_not_there_is_refused(make, layer):
    with pytest.raises(ConfigError, match="expected weighted, last, or 0 to 2"):
        make(layer=layer)


@pytest.mark.parametrize("fs", [16000, "16k", "16K", "16000"])
def test_frontend_with_the_models_rate_is_built(make, fs):
    assert make(fs=fs).output_size() == 16


@pytest.mark.parametrize("fs", [8000, "8k", "high"])
def test_frontend_with_another_rate_is_refused(make, fs):
    with pytest.raises(ConfigError, match=f"fs={fs}, the checkpoint's model expects 16000"):
        make(fs=fs)


def test_frontend_with_two_channels_is_refused(make):
    with pytest.raises(DataError, match=r"waves of shape \(2, 800, 2\), expected"):
        make()(torch.zeros(2, 800, 2), torch.tensor([800, 800]))


def test_frontend_without_espnet_names_the_remedy(monkeypatch):
    for module in ("espnet2", "espnet2.asr", "espnet2.asr.frontend"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "espnet2.asr.frontend.abs_frontend", None)
    monkeypatch.delitem(sys.modules, "speechlite_espnet.frontend", raising=False)
    with pytest.raises(EnvironmentProblem, match="ESPnet cannot be imported: .*pip install"):
        import speechlite_espnet.frontend  # noqa: F401
