from __future__ import annotations

import pytest
import torch
from torch import nn
from torchaudio import models

from speechlite.core.errors import CheckpointError
from speechlite.engine.checkpoint import load_model, save_model
from speechlite.engine.importing import model_of
from speechlite.interop.dphubert import read_dphubert
from speechlite.interop.sources import read_source

DIM, HEADS, INNER, LAYERS = 32, 4, 128, 4
CHANNELS, KERNELS, STRIDES = [20, 14, 9], [10, 3, 3], [5, 4, 2]
KEPT_HEADS = [[0, 2, 3], [], [1], [0, 1, 2, 3]]
KEPT_INNER = [30, 7, 0, 128]


class Nothing(nn.Module):
    """Stand where a pruned block stood."""

    def forward(self, frames, **others):
        return torch.zeros_like(frames), others.get("position_bias")


class NoMap(nn.Module):
    def forward(self, frames):
        return torch.zeros_like(frames)


class Scaled(nn.Module):
    """Multiply each channel of the last convolution, as DPHuBERT's feature extractor does."""

    def __init__(self, extractor):
        super().__init__()
        self.conv_layers = extractor.conv_layers
        self.dummy_weight = nn.Parameter(torch.ones(CHANNELS[-1]))

    def forward(self, waves, lengths):
        frames = waves[:, None]
        for layer in self.conv_layers:
            frames, lengths = layer(frames, lengths)
        return frames.mT * self.dummy_weight, lengths


def config(*, first, mode):
    return {
        "extractor_mode": mode,
        "extractor_conv_layer_config": list(zip(CHANNELS, KERNELS, STRIDES, strict=True)),
        "extractor_conv_bias": False,
        "encoder_embed_dim": DIM,
        "encoder_projection_dropout": 0.0,
        "encoder_pos_conv_kernel": 8,
        "encoder_pos_conv_groups": 4,
        "encoder_num_layers": LAYERS,
        "encoder_use_attention": [bool(heads) for heads in KEPT_HEADS],
        "encoder_use_feed_forward": [bool(inner) for inner in KEPT_INNER],
        "encoder_num_heads": [len(heads) for heads in KEPT_HEADS],
        "encoder_head_dim": DIM // HEADS,
        "encoder_attention_dropout": 0.0,
        "encoder_ff_interm_features": KEPT_INNER,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.0,
        "encoder_layer_norm_first": first,
        "encoder_layer_drop": 0.0,
        "aux_num_out": None,
        "normalize_waveform": False,
    }


def reference(*, first=False, mode="group_norm", wavlm=False):
    """Build a pruned model out of torchaudio's own modules."""
    told = config(first=first, mode=mode)
    ours = {name: told[name] for name in told if name.startswith("extractor")}
    ours |= {name: told[name] for name in told if "pos_conv" in name or "dropout" in name}
    options = {
        **ours,
        "encoder_embed_dim": DIM,
        "encoder_num_layers": LAYERS,
        "encoder_num_heads": HEADS,
        "encoder_ff_interm_features": INNER,
        "encoder_layer_norm_first": first,
        "encoder_layer_drop": 0.0,
        "aux_num_out": None,
    }
    model = models.wav2vec2_model(**options)
    model.feature_extractor = Scaled(model.feature_extractor)
    for layer, heads, inner in zip(
        model.encoder.transformer.layers, KEPT_HEADS, KEPT_INNER, strict=True
    ):
        layer.attention = shrunk(layer.attention, len(heads)) if heads else Nothing()
        layer.feed_forward = narrowed(layer.feed_forward, inner) if inner else NoMap()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


def shrunk(attention, heads):
    width = heads * attention.head_dim
    attention.num_heads = heads
    for name in ("q_proj", "k_proj", "v_proj"):
        setattr(attention, name, nn.Linear(DIM, width))
    attention.out_proj = nn.Linear(width, DIM)
    return attention


def narrowed(feed_forward, inner):
    feed_forward.intermediate_dense = nn.Linear(DIM, inner)
    feed_forward.output_dense = nn.Linear(inner, DIM)
    return feed_forward


@pytest.mark.parametrize("mode", ["group_norm", "layer_norm"])
@pytest.mark.parametrize("first", [False, True])
def test_dphubert_when_imported_computes_the_same_in_padded_batches(
    mode, first, registry, speech, gap, tmp_path
):
    theirs = reference(first=first, mode=mode)
    path = tmp_path / "pruned.pth"
    content = {"state_dict": theirs.state_dict(), "config": config(first=first, mode=mode)}
    torch.save({**content, "distill_linear_projs": {"0.weight": torch.ones(1)}}, path)
    imported = read_source(str(path), chosen={"frontend.legacy_padding": True})
    assert (imported.assumed, imported.left_out) == ({}, {})
    model = model_of(imported, registry)
    with torch.no_grad():
        ours = model(speech.values, speech.lengths)
        layers, _ = theirs.extract_features(speech.values, speech.lengths)
        output, _ = theirs(speech.values, speech.lengths)
    assert gap(ours, (ours.layers[0], *layers[:-1], output)) < 1e-5
    own = sum(parameter.numel() for parameter in model.parameters())
    assert own == sum(parameter.numel() for parameter in theirs.parameters())


def test_dphubert_when_imported_records_one_pruning_of_a_usual_model(registry):
    imported = read_dphubert(reference().state_dict(), config(first=False, mode="group_norm"))
    assert imported.spec.frontend["channels"] == [512] * 3
    assert (imported.spec.encoder["heads"], imported.spec.encoder["feedforward"]) == (HEADS, INNER)
    (edit,) = imported.edits
    assert edit.compressor["name"] == "l0_structured"
    assert edit.plan["kept"] == {
        "frontend.stack.layers.0.channels": "0-19",
        "frontend.stack.layers.1.channels": "0-13",
        "frontend.stack.layers.2.channels": "0-8",
        "encoder.layers.0.attention.heads": "0-2",
        "encoder.layers.0.feedforward.units": "0-29",
        "encoder.layers.1.attention.heads": "",
        "encoder.layers.1.attention.block": "",
        "encoder.layers.1.feedforward.units": "0-6",
        "encoder.layers.2.attention.heads": "0",
        "encoder.layers.2.feedforward.units": "",
        "encoder.layers.2.feedforward.block": "",
    }


def test_dphubert_when_imported_is_saved_and_loaded_bit_equal(registry, tmp_path):
    imported = read_dphubert(reference().state_dict(), config(first=False, mode="group_norm"))
    model = model_of(imported, registry)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model", registry).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_dphubert_when_the_released_size_is_imported_counts_as_published(registry):
    channels = [220, 405, 411, 433, 391, 384, 230]
    heads = [6, 6, 7, 6, 5, 5, 4, 3, 3, 0, 0, 0]
    inner = [379, 379, 433, 758, 324, 324, 324, 541, 216, 216, 270, 709]
    rows = list(zip(channels, [10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2], strict=True))
    told = config(first=False, mode="group_norm") | {
        "extractor_conv_layer_config": rows,
        "encoder_embed_dim": 768,
        "encoder_pos_conv_kernel": 128,
        "encoder_pos_conv_groups": 16,
        "encoder_num_layers": 12,
        "encoder_use_attention": [count > 0 for count in heads],
        "encoder_use_feed_forward": [True] * 12,
        "encoder_num_heads": heads,
        "encoder_head_dim": 64,
        "encoder_ff_interm_features": inner,
    }
    model = model_of(read_dphubert(tensors_of_shapes(rows, heads, inner), told), registry)
    assert sum(parameter.numel() for parameter in model.parameters()) == 23_585_946


def tensors_of_shapes(rows, heads, inner):
    shapes = {"feature_extractor.dummy_weight": (rows[-1][0],)}
    inputs = 1
    for index, (outputs, kernel, _) in enumerate(rows):
        shapes[f"feature_extractor.conv_layers.{index}.conv.weight"] = (outputs, inputs, kernel)
        inputs = outputs
    affine = {
        "feature_extractor.conv_layers.0.layer_norm": (rows[0][0],),
        "encoder.feature_projection.layer_norm": (inputs,),
        "encoder.feature_projection.projection": (768, inputs),
        "encoder.transformer.layer_norm": (768,),
    }
    for index, (count, units) in enumerate(zip(heads, inner, strict=True)):
        layer = f"encoder.transformer.layers.{index}"
        affine |= {f"{layer}.layer_norm": (768,), f"{layer}.final_layer_norm": (768,)}
        affine[f"{layer}.feed_forward.intermediate_dense"] = (units, 768)
        affine[f"{layer}.feed_forward.output_dense"] = (768, units)
        if count:
            for part in "qkv":
                affine[f"{layer}.attention.{part}_proj"] = (64 * count, 768)
            affine[f"{layer}.attention.out_proj"] = (768, 64 * count)
    for name, shape in affine.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    position = "encoder.transformer.pos_conv_embed.conv"
    shapes |= {f"{position}.bias": (768,), f"{position}.weight_g": (1, 1, 128)}
    shapes[f"{position}.weight_v"] = (768, 48, 128)
    return {name: torch.ones(shape) for name, shape in shapes.items()}


def wavlm_config(**changes):
    told = config(first=False, mode="group_norm")
    del told["encoder_num_heads"], told["encoder_head_dim"]
    return told | {
        "extractor_conv_layer_config": [(12, 10, 5), (12, 3, 4), (12, 3, 2)],
        "encoder_total_num_heads": [HEADS] * LAYERS,
        "encoder_remaining_heads": KEPT_HEADS,
        "encoder_num_buckets": 32,
        "encoder_max_distance": 100,
        "encoder_use_feed_forward": [True] * LAYERS,
        "encoder_ff_interm_features": [INNER] * LAYERS,
        **changes,
    }


@pytest.fixture(scope="module")
def wavlm(small):
    return small(
        "WavLMModel",
        num_hidden_layers=LAYERS,
        intermediate_size=INNER,
        conv_dim=[12, 12, 12],
        num_buckets=32,
        max_bucket_distance=100,
    )


def silence(model):
    """Make the pruned heads of a whole WavLM add nothing, which is what pruning means."""
    with torch.no_grad():
        for layer, kept in zip(model.encoder.layers, KEPT_HEADS, strict=True):
            gone = torch.ones(HEADS, dtype=torch.bool)
            gone[kept] = False
            columns = gone.repeat_interleave(DIM // HEADS)
            layer.attention.out_proj.weight[:, columns] = 0
            if not kept:
                layer.attention.out_proj.bias.zero_()


def pruned_tensors(model):
    """Give the tensors of what is left of a WavLM, as DPWavLM's files hold them."""
    tensors = {}
    for name, value in model.state_dict().items():
        inner = "encoder.transformer." if name.startswith("encoder.") else ""
        name = name.replace("encoder.", inner, 1) if inner else name
        name = name.replace("feature_projection.", "encoder.feature_projection.")
        parts = name.split(".")
        if ".attention." in name and "rel_attn_embed" not in name:
            kept = KEPT_HEADS[int(parts[3])]
            if not kept:
                continue
            rows = [head * 8 + row for head in kept for row in range(8)]
            if parts[5] in ("q_proj", "k_proj", "v_proj"):
                value = value[rows]
            elif name.endswith("out_proj.weight"):
                value = value[:, rows]
        if name != "masked_spec_embed":
            tensors[name] = value
    return tensors


def test_dphubert_when_wavlm_is_imported_keeps_the_heads_that_remain(
    wavlm, registry, speech, states_of_huggingface, gap
):
    silence(wavlm)
    imported = read_dphubert(
        pruned_tensors(wavlm), wavlm_config(), {"frontend.legacy_padding": True}
    )
    assert imported.edits[0].plan["kept"]["encoder.layers.0.attention.heads"] == "0,2-3"
    model = model_of(imported, registry)
    with torch.no_grad():
        ours = model(speech.values, speech.lengths)
    assert gap(ours, states_of_huggingface(wavlm, speech)) < 1e-5


def test_dphubert_when_nothing_is_pruned_has_no_edit(registry):
    told = wavlm_config(
        encoder_use_attention=[True] * LAYERS,
        encoder_remaining_heads=[list(range(HEADS))] * LAYERS,
    )
    options = {
        **{k: v for k, v in told.items() if k.startswith("extractor") or "pos_conv" in k},
        **{k: v for k, v in told.items() if "dropout" in k or k.endswith(("buckets", "distance"))},
    }
    theirs = models.wavlm_model(
        **options,
        encoder_embed_dim=DIM,
        encoder_num_layers=LAYERS,
        encoder_num_heads=HEADS,
        encoder_ff_interm_features=INNER,
        encoder_layer_norm_first=False,
        encoder_layer_drop=0.0,
        aux_num_out=None,
    )
    imported = read_dphubert(theirs.state_dict(), told)
    assert imported.edits == ()
    assert imported.spec.frontend["channels"] == [12, 12, 12]
    model_of(imported, registry)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_embed_dim": None}, "without a usable"),
        ({"encoder_num_layers": 3}, "without a usable number of layers"),
        ({"extractor_mode": "none"}, "without a usable 'none'"),
        ({"encoder_use_attention": [True]}, "without a usable"),
    ],
)
def test_dphubert_when_its_configuration_is_odd_says_so(changes, message):
    told = {**config(first=False, mode="group_norm"), **changes}
    with pytest.raises(CheckpointError, match=message):
        read_dphubert(reference().state_dict(), told)


def test_dphubert_when_the_gates_were_not_carried_out_names_them():
    tensors = reference().state_dict()
    name = "feature_extractor.conv_layers.0.hard_concrete.log_alpha"
    with pytest.raises(CheckpointError, match=r"hard_concrete\.log_alpha, which no supported"):
        read_dphubert({**tensors, name: torch.ones(20)}, config(first=False, mode="group_norm"))
