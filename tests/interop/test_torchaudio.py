from __future__ import annotations

from urllib.error import URLError

import pytest
import torch
from torchaudio import models, pipelines

from speechlite.core.errors import CheckpointError, EnvironmentProblem, UsageError
from speechlite.engine.importing import model_of
from speechlite.interop.sources import read_source
from speechlite.interop.torchaudio import read_module, read_torchaudio, torchaudio_names

LEGACY = {"frontend.legacy_padding": True}


def small(*, mode="group_norm", first=False, wavlm=False, aux=None, dim=32, heads=4):
    options = {
        "extractor_mode": mode,
        "extractor_conv_layer_config": [(12, 10, 5), (16, 3, 4), (20, 3, 2)],
        "extractor_conv_bias": mode == "layer_norm",
        "encoder_embed_dim": dim,
        "encoder_projection_dropout": 0.0,
        "encoder_pos_conv_kernel": 8,
        "encoder_pos_conv_groups": 4,
        "encoder_num_layers": 3,
        "encoder_num_heads": heads,
        "encoder_attention_dropout": 0.1,
        "encoder_ff_interm_features": 48,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.1,
        "encoder_layer_norm_first": first,
        "encoder_layer_drop": 0.05,
        "aux_num_out": aux,
    }
    if wavlm:
        bias = {"encoder_num_buckets": 32, "encoder_max_distance": 100}
        return models.wavlm_model(**options, **bias)
    return models.wav2vec2_model(**options)


def randomised(module):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return module.eval()


def states_of_torchaudio(model, waves_BT, lengths_B):
    """Compute what the layers give; the last one is the model's output."""
    with torch.no_grad():
        layers, _ = model.extract_features(waves_BT, lengths_B)
        output, _ = model(waves_BT, lengths_B)
    return (*layers[:-1], output)


@pytest.mark.parametrize("mode", ["group_norm", "layer_norm"])
@pytest.mark.parametrize("first", [False, True])
def test_torchaudio_when_imported_computes_the_same_in_padded_batches(
    mode, first, registry, speech, gap
):
    theirs = randomised(small(mode=mode, first=first))
    imported = read_module(theirs, LEGACY)
    assert (imported.assumed, imported.left_out) == ({}, {})
    with torch.no_grad():
        ours = model_of(imported, registry)(speech.values, speech.lengths)
    expected = states_of_torchaudio(theirs, speech.values, speech.lengths)
    assert gap(ours, (ours.layers[0], *expected)) < 1e-5


@pytest.mark.parametrize(("mode", "first"), [("group_norm", False), ("layer_norm", True)])
def test_torchaudio_when_wavlm_is_imported_computes_the_same(mode, first, registry, speech, gap):
    theirs = randomised(small(mode=mode, first=first, wavlm=True))
    chosen = {**LEGACY, "encoder.bias_distance": 100}
    with torch.no_grad():
        model = model_of(read_module(theirs, chosen), registry)
        for wave_T, length in zip(speech.values, speech.lengths, strict=True):
            # torchaudio's WavLM attends to padding where a batch has other masks
            wave_1T, length_1 = wave_T[None, :length], length[None]
            ours = model(wave_1T, length_1)
            expected = states_of_torchaudio(theirs, wave_1T, None)
            assert gap(ours, (ours.layers[0], *expected)) < 1e-5


def test_torchaudio_when_waveforms_are_normalised_computes_the_same(registry, speech, gap):
    from torchaudio.pipelines._wav2vec2.utils import _extend_model

    inner = randomised(small(mode="layer_norm", first=True))
    imported = read_module(_extend_model(inner, normalize_waveform=True))
    with torch.no_grad():
        ours = model_of(imported, registry)(speech.values, speech.lengths)
        normalised = torch.zeros_like(speech.values)
        for row, length in enumerate(speech.lengths):
            wave_T = speech.values[row, :length]
            normalised[row, :length] = torch.nn.functional.layer_norm(
                wave_T, wave_T.shape, eps=1e-7
            )
    expected = states_of_torchaudio(inner, normalised, speech.lengths)
    assert gap(ours, (ours.layers[0], *expected)) < 1e-5


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (models.hubert_base, 94_370_944),
        (models.wav2vec2_base, 94_370_944),
        (models.wavlm_base, 94_381_168),
        # with 787,200 of a projection, 387,072 of labels and 1,024 of masks: 316,609,408
        (models.hubert_large, 315_434_112),
        (models.wavlm_large, None),
    ],
)
def test_torchaudio_when_published_sizes_are_imported_counts_as_published(
    build, expected, registry
):
    with torch.device("meta"):
        theirs = build()
        imported = read_module(theirs)
        ours = model_of(imported, registry)
    count = sum(parameter.numel() for parameter in ours.parameters())
    assert count == sum(parameter.numel() for parameter in theirs.parameters())
    assert expected is None or count == expected


def test_torchaudio_when_a_model_recognises_counts_its_classifier(registry):
    imported = read_module(small(aux=7))
    assert imported.left_out == {"lm_head": 7 * 33}


def test_torchaudio_when_a_model_is_being_pretrained_counts_what_belongs_to_that(registry):
    from torchaudio.models.wav2vec2 import components

    plain = {"no_mask_overlap": False, "mask_channel_length": 10, "no_mask_channel_overlap": False}
    spans = {"mask_min_space": 1, "mask_channel_min_space": 1, "mask_channel_prob": 0.0}
    theirs = models.HuBERTPretrainModel(
        small(),
        components.MaskGenerator(
            32, 0.8, "static", 0.0, mask_length=10, mask_channel_selection="static",
            mask_channel_other=0.0, **plain, **spans,
        ),
        components.LogitGenerator(32, 504, 16, False, False),
        None,
    )  # fmt: skip
    named = torchaudio_names(theirs.state_dict(), source="it")
    assert named.left_out == {
        "mask_embedding": 32,
        "final_projection": 32 * 16 + 16,
        "label_embeddings": 504 * 16,
    }


@pytest.mark.parametrize(("mode", "first"), [("group_norm", False), ("layer_norm", True)])
def test_torchaudio_when_only_tensors_are_given_infers_the_rest(mode, first, registry, tmp_path):
    theirs = randomised(small(mode=mode, first=first, dim=64, heads=1))
    torch.save(theirs.state_dict(), tmp_path / "model.pt")
    imported = read_source(str(tmp_path / "model.pt"), chosen={"frontend.strides": [5, 4, 2]})
    assert imported.assumed == {
        "encoder.norm": "pre" if first else "post",
        "frontend.normalise": first,
        "encoder.heads": 1,
    }
    told = model_of(read_module(theirs), registry)
    ours = model_of(imported, registry)
    assert {**vars(ours.encoder.config), "layer_drop": 0.05} == vars(told.encoder.config)


def test_torchaudio_when_the_norm_is_chosen_goes_before_what_would_be_assumed(registry):
    tensors = small(mode="layer_norm", first=False).state_dict()
    chosen = {"encoder.norm": "post", "encoder.heads": 4, "frontend.strides": [5, 4, 2]}
    imported = read_torchaudio(tensors, chosen)
    assert "encoder.input_norm.weight" in imported.tensors
    assert "encoder.norm" not in imported.assumed


def test_torchaudio_when_a_bundle_is_named_fetches_it(monkeypatch, registry):
    theirs = small()
    monkeypatch.setattr(pipelines.Wav2Vec2Bundle, "get_model", lambda self: theirs)
    imported = read_source("HUBERT_BASE")
    assert imported.source == "torchaudio HUBERT_BASE"
    model_of(imported, registry)


@pytest.mark.parametrize("error", [URLError("no network"), RuntimeError("invalid hash value")])
def test_torchaudio_when_a_bundle_cannot_be_fetched_says_so_in_one_line(monkeypatch, error):
    def fail(self):
        raise error

    monkeypatch.setattr(pipelines.Wav2Vec2Bundle, "get_model", fail)
    with pytest.raises(EnvironmentProblem, match="HUBERT_BASE cannot be fetched.*connect to"):
        read_source("HUBERT_BASE")


@pytest.mark.parametrize("name", ["HUBERT_HUGE", "TACOTRON2_WAVERNN_CHAR_LJSPEECH"])
def test_torchaudio_when_no_bundle_has_the_name_lists_those_there_are(name):
    with pytest.raises(UsageError, match=f"{name} is no file.*HUBERT_BASE.*WAVLM_LARGE"):
        read_source(name)


def test_torchaudio_when_a_layer_is_missing_names_it(registry):
    theirs = small()
    tensors = theirs.state_dict()
    gone = {name: value for name, value in tensors.items() if "transformer.layers.1." not in name}
    chosen = {"encoder.heads": 4, "frontend.strides": [5, 4, 2]}
    with pytest.raises(CheckpointError, match=r"missing \['encoder\.layers\.1"):
        model_of(read_torchaudio(gone, chosen), registry)
