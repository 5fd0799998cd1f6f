from __future__ import annotations

import json
import os

import pytest
import torch
from torchaudio import models

from speechlite.cli.main import main
from speechlite.engine.checkpoint import load_model
from speechlite.plugins.discovery import discover
from speechlite.plugins.registry import Registry


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Give a file with a small recognising model of torchaudio."""
    torch.manual_seed(0)
    model = models.wav2vec2_model(
        extractor_mode="group_norm",
        extractor_conv_layer_config=[(12, 10, 5), (16, 3, 4)],
        extractor_conv_bias=False,
        encoder_embed_dim=32,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=8,
        encoder_pos_conv_groups=4,
        encoder_num_layers=2,
        encoder_num_heads=4,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=24,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=False,
        encoder_layer_drop=0.0,
        aux_num_out=5,
    )
    path = tmp_path_factory.mktemp("theirs") / "model.pt"
    torch.save(model.state_dict(), path)
    return path


SHAPE = ("encoder.heads=4", "frontend.strides=[5,4]")


@pytest.fixture
def ours(theirs, tmp_path, capsys):
    assert main(["import", str(theirs), *SHAPE, "--out_dir", str(tmp_path / "ours")]) == 0
    capsys.readouterr()
    return tmp_path / "ours"


def test_import_when_a_file_is_given_says_what_was_read_assumed_and_left_out(
    theirs, tmp_path, capsys
):
    out = tmp_path / "ours"
    assert main(["import", str(theirs), *SHAPE, "--out-dir", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    count = sum(value.numel() for value in torch.load(theirs).values()) - 5 * 33
    assert lines == [
        f"torchaudio model.pt: {count:,} parameters",
        "left out: lm_head, 165",
        "assumed: encoder.norm=post",
        "assumed: frontend.normalise=False",
        str(out),
    ]


@pytest.mark.parametrize("flag", [[], ["--legacy_padding"]])
def test_import_when_padding_is_to_count_records_it(theirs, tmp_path, flag):
    out = tmp_path / "ours"
    assert main(["import", str(theirs), *SHAPE, "--out_dir", str(out), *flag]) == 0
    model = load_model(out, Registry(discover()))
    assert model.frontend.config.legacy_padding == bool(flag)


def test_import_when_something_is_wrong_says_so_in_one_line_and_writes_nothing(
    theirs, tmp_path, refuse
):
    out = tmp_path / "ours"
    error = refuse(["import", theirs, "--out_dir", out], 3)
    assert "does not tell encoder.heads" in error
    error = refuse(["import", theirs, *SHAPE, "encoder.head=4", "--out_dir", out], 2)
    assert "head" in error
    error = refuse(["import", theirs, "--format", "fairseq", "--out_dir", out], 3)
    assert "is of format torchaudio, asked for was fairseq" in error
    error = refuse(["import", tmp_path / "gone.pt", "--out_dir", out], 2)
    assert "no file or folder" in error
    assert os.listdir(tmp_path) == []


def test_export_when_asked_for_huggingface_writes_a_folder(ours, tmp_path, capsys):
    out = tmp_path / "theirs"
    words = ["export", "--model", ours, "--format", "huggingface", "--family", "wav2vec2"]
    assert main([str(word) for word in [*words, "--out", out]]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert json.loads((out / "config.json").read_text())["model_type"] == "wav2vec2"


def test_export_when_something_is_wrong_says_so_in_one_line(ours, tmp_path, refuse):
    words = ["export", "--model", ours, "--out", tmp_path / "out"]
    assert "no format 'kaldi'" in refuse([*words, "--format", "kaldi"], 2)
    error = refuse([*words, "--format", "huggingface", "--family", "wavlm"], 3)
    assert "wavlm without a relative position bias; export it with --format onnx" in error
    assert os.listdir(tmp_path) == ["ours"]
