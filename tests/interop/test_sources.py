from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from speechlite.core.errors import CheckpointError, UsageError
from speechlite.interop.sources import read_source


@pytest.fixture(scope="module")
def theirs(small):
    return small("HubertModel", hidden_size=64, num_attention_heads=1)


CHOSEN = {"frontend.strides": [5, 4, 2]}


def test_source_when_a_format_is_unknown_lists_those_there_are():
    with pytest.raises(UsageError, match="no format 'onnx'.*auto, huggingface, torchaudio"):
        read_source("x", format="onnx")


@pytest.mark.parametrize("name", ["gone.pt", "gone/folder", "gone.safetensors"])
def test_source_when_a_path_is_missing_says_so(name):
    with pytest.raises(UsageError, match=f"no file or folder {name}"):
        read_source(name)


def test_source_when_a_name_is_no_path_of_the_asked_format_says_so():
    with pytest.raises(UsageError, match="no file or folder HUBERT_BASE"):
        read_source("HUBERT_BASE", format="fairseq")


def test_source_when_it_is_of_another_format_says_which(theirs, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(theirs.state_dict(), path)
    with pytest.raises(CheckpointError, match="is of format huggingface, asked for was fairseq"):
        read_source(str(path), format="fairseq")
    theirs.save_pretrained(tmp_path / "folder")
    with pytest.raises(CheckpointError, match="is of format huggingface, asked for was dphubert"):
        read_source(str(tmp_path / "folder"), format="dphubert")


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state}])
def test_source_when_a_file_holds_a_state_dict_reads_it(theirs, tmp_path, wrap):
    path = tmp_path / "model.pt"
    torch.save(wrap(theirs.state_dict()), path)
    imported = read_source(str(path), format="huggingface", chosen=CHOSEN)
    assert torch.equal(
        imported.tensors["frontend.projection.linear.weight"],
        theirs.feature_projection.projection.weight,
    )


@pytest.mark.parametrize("content", [[1, 2], {"weight": 1}, {}, {1: torch.ones(1)}, torch.ones(2)])
def test_source_when_a_file_holds_no_tensors_by_name_says_what_it_holds(tmp_path, content):
    path = tmp_path / "model.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"model\.pt: holds \w+, expected tensors by name"):
        read_source(str(path))
