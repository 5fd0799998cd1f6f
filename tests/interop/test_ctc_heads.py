"""Fine-tuned models of transformers, imported with their CTC heads."""

from __future__ import annotations

import json

import pytest
import torch

from speechlite.core.errors import CheckpointError
from speechlite.engine.checkpoint import load_model
from speechlite.engine.head_files import load_head
from speechlite.engine.importing import import_checkpoint
from speechlite.interop.ctc_heads import read_ctc_head

SYMBOLS = ["<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "'"]


def write(model, folder, symbols=SYMBOLS, **others):
    model.save_pretrained(folder)
    ids = {symbol: index for index, symbol in enumerate(symbols)}
    (folder / "vocab.json").write_text(json.dumps(ids))
    for name, content in others.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


@pytest.fixture
def fine_tuned(small):
    def build(name="Wav2Vec2ForCTC", **options):
        return small(name, vocab_size=8, pad_token_id=0, final_dropout=0.25, **options)

    return build


# transformers' WavLM mixes two kinds of masks, which torch warns of
@pytest.mark.filterwarnings("ignore:Support for mismatched")
@pytest.mark.parametrize("name", ["Wav2Vec2ForCTC", "HubertForCTC", "WavLMForCTC"])
def test_head_when_imported_says_what_transformers_says(
    name, fine_tuned, transformers, speech, registry, tmp_path
):
    theirs = fine_tuned(name)
    write(theirs, tmp_path / "theirs")
    # transformers counts padding in the group norm
    padding = {"frontend.legacy_padding": True}
    _, imported = import_checkpoint(
        str(tmp_path / "theirs"), tmp_path / "ours", registry, options=padding
    )
    assert "lm_head" not in imported.left_out
    model, own = load_model(tmp_path / "ours", registry), load_head(tmp_path / "ours", registry)
    assert own.labels.symbols == ("<blank>", "<s>", "</s>", "<unk>", " ", "E", "T", "'")
    assert own.head.config.dropout == 0.25
    valid_BT = torch.arange(speech.values.shape[1]) < speech.lengths[:, None]
    with torch.no_grad():
        logits = theirs(speech.values, attention_mask=valid_BT.long()).logits
        hidden = model(speech.values, speech.lengths)
        scores, lengths = own.head._log_probabilities(hidden)
        texts = own.head.predict(hidden)
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(tmp_path / "theirs" / "vocab.json"))
    for row, length in enumerate(lengths.tolist()):
        expected = logits[row, :length].log_softmax(-1)
        torch.testing.assert_close(scores[row, :length], expected, rtol=0, atol=1e-4)
        path = logits[row, :length].argmax(-1)
        assert texts[row].split() == tokenizer.decode(path).split()


def test_blank_that_is_not_first_comes_first(fine_tuned, registry, tmp_path):
    theirs = fine_tuned()
    theirs.config.pad_token_id = 7
    symbols = [*SYMBOLS[1:], "<pad>"]
    write(theirs, tmp_path / "theirs", symbols)
    import_checkpoint(str(tmp_path / "theirs"), tmp_path / "ours", registry)
    own = load_head(tmp_path / "ours", registry)
    assert own.labels.symbols[:2] == ("<blank>", "<s>")
    assert torch.equal(own.head.classifier.weight[0], theirs.lm_head.weight[7])
    assert torch.equal(own.head.classifier.bias[1:], theirs.lm_head.bias[:7])


def test_other_mark_of_words_and_added_symbols_are_read(fine_tuned, registry, tmp_path):
    symbols = ["<pad>", "_", *"ABCD"]
    others = {
        "tokenizer_config": {"word_delimiter_token": "_"},
        "added_tokens": {"<s>": 6, "</s>": 7},
    }
    write(fine_tuned(), tmp_path / "theirs", symbols, **others)
    import_checkpoint(str(tmp_path / "theirs"), tmp_path / "ours", registry)
    own = load_head(tmp_path / "ours", registry)
    assert own.labels.symbols == ("<blank>", " ", *"ABCD", "<s>", "</s>")


def test_model_without_symbols_is_imported_alone(fine_tuned, registry, tmp_path):
    fine_tuned().save_pretrained(tmp_path / "theirs")
    _, imported = import_checkpoint(str(tmp_path / "theirs"), tmp_path / "ours", registry)
    assert imported.left_out["lm_head"] == 8 * 33
    assert load_head(tmp_path / "ours", registry) is None


@pytest.mark.parametrize(
    ("symbols", "told", "why"),
    [
        (SYMBOLS[:-1], {}, "vocab.json names 7 of its 8 classes"),
        ([*SYMBOLS[:-1], " "], {}, "vocab.json has no single mark of words"),
        ([*SYMBOLS[:-1], "<blank>"], {}, "vocab.json has no single mark of words"),
        (SYMBOLS, {"pad_token_id": 8}, "pad_token_id is 8"),
        (SYMBOLS, {"pad_token_id": None}, "pad_token_id is None"),
        (SYMBOLS, {"final_dropout": 1.0}, "final_dropout is 1.0"),
    ],
)
def test_head_that_cannot_be_read_is_left_out_with_the_reason(
    symbols, told, why, fine_tuned, registry, tmp_path
):
    write(fine_tuned(), tmp_path / "theirs", symbols)
    path = tmp_path / "theirs" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | told))
    _, imported = import_checkpoint(str(tmp_path / "theirs"), tmp_path / "ours", registry)
    ((kind, count),) = [item for item in imported.left_out.items() if "lm_head" in item[0]]
    assert why in kind
    assert count == 8 * 33
    assert load_head(tmp_path / "ours", registry) is None


def test_layer_whose_biases_do_not_fit_is_left_out(fine_tuned, tmp_path):
    write(fine_tuned(), tmp_path)
    tensors = {"lm_head.weight": torch.zeros(8, 32), "lm_head.bias": torch.zeros(9)}
    head, why = read_ctc_head(tmp_path, tensors, {})
    assert (head, why) == (None, "its weights and biases do not fit")


def test_symbols_beyond_the_layer_and_marks_as_objects_are_read(fine_tuned, registry, tmp_path):
    others = {
        "added_tokens": {"<s2>": 8, "</s2>": 9},
        "tokenizer_config": {"word_delimiter_token": {"content": "|"}},
    }
    write(fine_tuned(), tmp_path / "theirs", **others)
    import_checkpoint(str(tmp_path / "theirs"), tmp_path / "ours", registry)
    own = load_head(tmp_path / "ours", registry)
    assert own.labels.symbols == ("<blank>", *SYMBOLS[1:4], " ", *SYMBOLS[5:])


@pytest.mark.parametrize("content", ["[]", "{"])
def test_damaged_symbols_are_refused(content, fine_tuned, registry, tmp_path):
    write(fine_tuned(), tmp_path / "theirs")
    (tmp_path / "theirs" / "vocab.json").write_text(content)
    with pytest.raises(CheckpointError, match="vocab.json"):
        import_checkpoint(str(tmp_path / "theirs"), tmp_path / "ours", registry)
