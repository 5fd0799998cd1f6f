"""The convolution frontend against transformers' models, torch's norms and slow loops."""

from __future__ import annotations

import copy

import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from speechlite.encoders.config import TransformerConfig
from speechlite.encoders.transformer import TransformerEncoder
from speechlite.frontends.config import ConvWaveformConfig
from speechlite.frontends.conv_waveform import ConvWaveform

SMALL = {"channels": [12, 16, 20], "kernels": [10, 3, 2], "strides": [5, 4, 2]}
OPTIONS = {
    "group": {},
    "layer": {"norm": "layer"},
    "layer_bias": {"norm": "layer", "bias": True, "normalise": True},
    "group_scaled": {"channel_scale": True, "bias": True, "normalise": True},
    "bare": {"projection_norm": False},
}
each_option = pytest.mark.parametrize("name", OPTIONS)
LENGTHS = [400, 260, 60]


def _build(*, dim=24, spread=0.2, **options):
    torch.manual_seed(0)
    frontend = ConvWaveform(ConvWaveformConfig(**{**SMALL, **options}), dim=dim)
    with torch.no_grad():
        for parameter in frontend.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
    return frontend.eval()


def _waves(lengths, *, offset=0.3):
    waves_BT = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(row)
        waves_BT[row, :length] = 0.2 * torch.randn(length, generator=generator) + offset
    return waves_BT, torch.tensor(lengths)


@each_option
def test_frames_when_batched_then_each_utterance_is_as_if_alone(name):
    frontend = _build(**OPTIONS[name])
    with torch.no_grad():
        batched_BSD, counts_B = frontend(*_waves(LENGTHS))
        for row, length in enumerate(LENGTHS):
            wave_1T = _waves(LENGTHS)[0][row : row + 1, :length]
            alone_1SD, count = frontend(wave_1T, torch.tensor([length]))
            assert counts_B[row] == count[0] == alone_1SD.shape[1]
            torch.testing.assert_close(
                batched_BSD[row, : int(count)], alone_1SD[0], atol=1e-5, rtol=1e-5
            )


@each_option
@pytest.mark.parametrize("training", [True, False])
def test_frames_when_padding_grows_then_valid_ones_stay(name, training):
    frontend = _build(**OPTIONS[name]).train(training)
    waves_BT, lengths_B = _waves(LENGTHS)
    longer_BT = nn.functional.pad(waves_BT, (0, 500))
    short_BSF, counts_B = frontend.extract(waves_BT, lengths_B)
    long_BSF, longer_counts_B = frontend.extract(longer_BT, lengths_B)
    assert torch.equal(counts_B, longer_counts_B)
    torch.testing.assert_close(long_BSF[:, : short_BSF.shape[1]], short_BSF, atol=1e-5, rtol=1e-5)
    assert not long_BSF[:, short_BSF.shape[1] :].any()


@pytest.mark.parametrize("length", [0, 5, 59])
def test_frames_when_an_utterance_is_too_short_then_it_has_none_and_harms_nobody(length):
    frontend = _build(channel_scale=True, normalise=True)
    waves_BT, lengths_B = _waves([400, 1])
    lengths_B = torch.tensor([400, min(length, frontend.min_samples - 1)])
    frames_BSD, counts_B = frontend(waves_BT, lengths_B)
    assert counts_B.tolist() == [10, 0]
    frames_BSD[0].square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in frontend.parameters())


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 6)), min_size=1, max_size=5),
    extra=st.integers(0, 300),
)
def test_counts_when_taken_layer_by_layer_then_they_are_what_the_frontend_says(rows, extra):
    kernels, strides = [list(values) for values in zip(*rows, strict=True)]
    config = ConvWaveformConfig(channels=[2] * len(rows), kernels=kernels, strides=strides)
    frontend = ConvWaveform(config, dim=None)
    length = frontend.min_samples + extra
    expected = length
    for kernel, stride in rows:
        expected = (expected - kernel) // stride + 1
    features_BSF, counts_B = frontend.extract(torch.randn(1, length), torch.tensor([length]))
    assert counts_B.tolist() == [expected]
    assert features_BSF.shape == (1, expected, 2)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_frames_when_there_is_but_one_then_they_are_finite(norm):
    config = ConvWaveformConfig(channels=[4], kernels=[40], strides=[20], norm=norm)
    frontend = ConvWaveform(config, dim=6).eval()
    frames_BSD, counts_B = frontend(*_waves([frontend.min_samples]))
    assert counts_B.tolist() == [1]
    assert torch.isfinite(frames_BSD).all()


def _published(norm, *, bias):
    from transformers import HubertConfig
    from transformers.models.hubert import modeling_hubert as hubert

    config = HubertConfig(
        conv_dim=SMALL["channels"],
        conv_kernel=SMALL["kernels"],
        conv_stride=SMALL["strides"],
        num_feat_extract_layers=3,
        feat_extract_norm=norm,
        conv_bias=bias,
        hidden_size=24,
        feat_proj_dropout=0.0,
    )
    torch.manual_seed(4)
    stack, projection = hubert.HubertFeatureEncoder(config), hubert.HubertFeatureProjection(config)
    for parameter in [*stack.parameters(), *projection.parameters()]:
        nn.init.normal_(parameter, std=0.4)
    return stack.eval(), projection.eval()


def _with_weights_of(stack, projection, **options):
    frontend = _build(**options)
    for ours, theirs in zip(frontend.stack.layers, stack.conv_layers, strict=True):
        ours.convolution.load_state_dict(theirs.conv.state_dict())
        if ours.norm is not None:
            ours.norm.load_state_dict(theirs.layer_norm.state_dict())
    frontend.projection.norm.load_state_dict(projection.layer_norm.state_dict())
    frontend.projection.linear.load_state_dict(projection.projection.state_dict())
    return frontend


@pytest.mark.parametrize(("norm", "bias"), [("group", False), ("layer", False), ("layer", True)])
@pytest.mark.parametrize("legacy_padding", [True, False])
def test_frames_when_transformers_has_the_same_weights_then_they_are_equal(
    norm, bias, legacy_padding
):
    stack, projection = _published(norm, bias=bias)
    options = {"norm": norm, "bias": bias, "legacy_padding": legacy_padding}
    frontend = _with_weights_of(stack, projection, **options)
    # published code has no lengths at this point; without padding both conventions agree
    waves_BT, lengths_B = _waves([400, 400])
    with torch.no_grad():
        expected_BSD = projection(stack(waves_BT).mT)
        frames_BSD, _ = frontend(waves_BT, lengths_B)
    torch.testing.assert_close(frames_BSD, expected_BSD, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("legacy_padding", [True, False])
def test_frames_when_padded_then_only_legacy_padding_gives_those_of_published_code(legacy_padding):
    stack, projection = _published("group", bias=False)
    frontend = _with_weights_of(stack, projection, legacy_padding=legacy_padding)
    waves_BT, lengths_B = _waves([400, 150])
    with torch.no_grad():
        expected_BSD = projection(stack(waves_BT).mT)
        frames_BSD, counts_B = frontend(waves_BT, lengths_B)
    count = int(counts_B[1])
    difference = (frames_BSD[1, :count] - expected_BSD[1, :count]).abs().max()
    assert (difference < 1e-4) == legacy_padding


def test_frames_when_padding_is_legacy_then_the_batch_matters():
    frontend = _build(legacy_padding=True)
    with torch.no_grad():
        batched_BSF, counts_B = frontend.extract(*_waves([400, 150]))
        alone_BSF, _ = frontend.extract(_waves([400, 150])[0][1:, :150], torch.tensor([150]))
    assert (batched_BSF[1, : int(counts_B[1])] - alone_BSF[0]).abs().max() > 1e-2


def test_frames_when_waves_are_normalised_then_volume_and_offset_do_not_matter():
    frontend, (waves_BT, lengths_B) = _build(norm="layer", bias=True, normalise=True), _waves([400])
    with torch.no_grad():
        plain_BSF, _ = frontend.extract(waves_BT, lengths_B)
        louder_BSF, _ = frontend.extract(7 * waves_BT - 2, lengths_B)
    torch.testing.assert_close(louder_BSF, plain_BSF, atol=1e-4, rtol=1e-4)


def test_frames_when_waves_are_normalised_then_transformers_does_the_same():
    from transformers import Wav2Vec2FeatureExtractor

    waves_BT, lengths_B = _waves([400, 150])
    rows = [wave_T[:length].numpy() for wave_T, length in zip(waves_BT, LENGTHS, strict=False)]
    rows[1] = rows[1][:150]
    made = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    theirs_BT = made(rows, sampling_rate=16000, padding=True, return_tensors="pt").input_values
    plain, normalising = _build(), _build(normalise=True)
    with torch.no_grad():
        expected_BSF, _ = plain.extract(theirs_BT, lengths_B)
        ours_BSF, _ = normalising.extract(waves_BT, lengths_B)
    torch.testing.assert_close(ours_BSF, expected_BSF, atol=1e-4, rtol=1e-4)


def _stack_gradient(frontend):
    frontend.train()(*_waves([300]))[0].pow(2).sum().backward()
    return frontend.stack.layers[0].convolution.weight.grad


@pytest.mark.parametrize("scale", [0.1, 0.5])
def test_gradient_when_it_is_scaled_then_only_the_stacks_shrinks(scale):
    plain, scaled = _build(), _build(gradient_scale=scale)
    torch.testing.assert_close(_stack_gradient(scaled), scale * _stack_gradient(plain))
    torch.testing.assert_close(
        scaled.projection.linear.weight.grad, plain.projection.linear.weight.grad
    )


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_features_when_gradients_are_scaled_then_training_changes_no_bit(precision):
    frontend = _build(gradient_scale=0.1).to(precision)
    waves_BT, lengths_B = _waves([300])
    trained_BSF, _ = frontend.train().extract(waves_BT.to(precision), lengths_B)
    assert torch.equal(trained_BSF, frontend.eval().extract(waves_BT.to(precision), lengths_B)[0])


def test_stack_when_the_gradient_scale_is_zero_then_weight_decay_leaves_it_too():
    frontend = _build(gradient_scale=0.0, channel_scale=True)
    before = copy.deepcopy(frontend.state_dict())
    adam = torch.optim.AdamW(frontend.parameters(), lr=0.1, weight_decay=0.5)
    assert _stack_gradient(frontend) is None
    adam.step()
    changed = {
        name
        for name, value in frontend.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert {name.split(".")[0] for name in changed} == {"projection"}


def test_features_when_channels_are_scaled_then_each_is_multiplied():
    plain, scaled = _build(spread=0.0), _build(spread=0.0, channel_scale=True)
    scaled.load_state_dict(plain.state_dict(), strict=False)
    factors_F = torch.linspace(-1, 2, 20)
    with torch.no_grad():
        scaled.channel_scale.copy_(factors_F)
        expected_BSF = plain.extract(*_waves(LENGTHS))[0] * factors_F
        torch.testing.assert_close(scaled.extract(*_waves(LENGTHS))[0], expected_BSF)


def test_projection_when_widths_are_equal_and_it_is_not_asked_for_then_there_is_none():
    assert _build(dim=20, project_equal=False).projection.linear is None
    assert _build(dim=20).projection.linear is not None
    assert _build(dim=24, project_equal=False).projection.linear is not None


def test_groups_when_no_linear_layer_reads_the_last_channels_then_they_are_not_offered():
    for frontend in (_build(dim=20, project_equal=False), _build(dim=None)):
        names = [group.name for group in frontend.prune_groups()]
        assert names == ["stack.layers.0.channels", "stack.layers.1.channels"]
    assert len(_build().prune_groups()) == 3


def _count(frontend_options, encoder_options):
    encoder = TransformerConfig(**encoder_options)
    with torch.device("meta"):
        frontend = ConvWaveform(ConvWaveformConfig(**frontend_options), dim=encoder.dim)
        parts = (frontend, TransformerEncoder(encoder))
    return sum(parameter.numel() for part in parts for parameter in part.parameters())


BASE = {"norm": "post", "positions": "convolution"}
LARGE = {"dim": 1024, "layers": 24, "heads": 16, "feedforward": 4096, "positions": "convolution"}
SEW_CHANNELS = [64, 128, 128, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512]


PUBLISHED = {
    "hubert_base": (94_370_944, {}, BASE),
    "wavlm_base": (94_381_168, {}, {**BASE, "relative_bias": True}),
    "hubert_large": (315_434_112, {"norm": "layer"}, LARGE),
    "wav2vec2_large_lv60k": (315_437_696, {"norm": "layer", "bias": True}, LARGE),
    "wavlm_large": (315_452_096, {"norm": "layer"}, {**LARGE, "relative_bias": True}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_model_when_torchaudio_has_it_then_its_parameters_are_as_many(name):
    expected, frontend, encoder = PUBLISHED[name]
    with torch.device("meta"):
        theirs = getattr(torchaudio.models, name)()
    assert sum(parameter.numel() for parameter in theirs.parameters()) == expected
    assert _count(frontend, encoder) == expected


def test_model_when_channels_are_scaled_then_it_has_one_factor_each_more():
    assert _count({"channel_scale": True}, BASE) == 94_370_944 + 512


def test_stack_when_it_is_the_compact_one_of_sew_then_size_and_stride_are_its():
    config = ConvWaveformConfig(
        channels=SEW_CHANNELS,
        kernels=[10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1],
        strides=[5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1],
        projection_norm=False,
        project_equal=False,
    )
    with torch.device("meta"):
        frontend = ConvWaveform(config, dim=512)
    assert sum(parameter.numel() for parameter in frontend.parameters()) == 1_843_968
    assert (frontend.stride, frontend.min_samples) == (320, 400)


@each_option
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_frames_when_in_mixed_precision_then_they_stay_near(name, precision):
    frontend = _build(**OPTIONS[name])
    with torch.no_grad():
        whole_BSD, _ = frontend(*_waves(LENGTHS))
        with torch.autocast("cpu", precision):
            mixed_BSD, _ = frontend(*_waves(LENGTHS))
    scale = whole_BSD.abs().max()
    torch.testing.assert_close(mixed_BSD.float() / scale, whole_BSD / scale, atol=0.03, rtol=0)


@each_option
def test_copy_when_gates_are_installed_then_it_computes_the_same(name):
    frontend = _build(**OPTIONS[name])
    for group in frontend.prune_groups():
        group.gate(torch.arange(group.size) % 3 / 2.0)
    copied = copy.deepcopy(frontend)
    with torch.no_grad():
        assert torch.equal(copied(*_waves(LENGTHS))[0], frontend(*_waves(LENGTHS))[0])
