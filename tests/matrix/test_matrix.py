"""Any encoder x any compressor x any head, and chains of compressors."""

from __future__ import annotations

import pytest
import torch
from made_pairs import (
    REGISTRY,
    binary,
    builtin,
    choice,
    compressed,
    hidden_of,
    model_of,
    pair,
    reloaded,
    small,
    train_one_step,
)

from speechlite.core.errors import SpeechliteError
from speechlite.core.types import Batch, Padded
from speechlite.engine.build import build_compressor, build_head
from speechlite.engine.profile import count_macs, count_parameters
from speechlite.testing.fixtures import label_space

ENCODERS, COMPRESSORS, HEADS = builtin("encoder"), builtin("compressor"), builtin("head")
NO_UNITS = r"the model declares no units to prune .*; choose an encoder with prune groups"
REPLACED = r"is sparse or of few bits, and has no whole units to prune; prune widths first"
REFUSED = {
    ("identity", "depth"): "depth would keep 2 layers of a model that has 0",
    ("identity", "l0_structured"): NO_UNITS,
    ("identity", "magnitude_structured"): NO_UNITS,
    (
        "identity",
        "student",
    ): r"changes \['feedforward'\] of IdentityConfig, which has no such options",
    ("identity", "binary"): r"no linear layer and no convolution in \['encoder.layers'\]",
    ("identity", "int8"): r"no linear layer in \['frontend', 'encoder'\] is left",
    **{
        ("identity", name): r"no linear layer and no convolution in \['encoder.layers'\] can be"
        for name in ("magnitude", "parp", "wanda", "obs")
    },
}
SMALLER = ("depth", "l0_structured", "magnitude_structured", "student")
PAIRS = [(e, c) for e in ENCODERS for c in COMPRESSORS if (e, c) not in REFUSED]
SECONDS = 0.5


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_reloads(model, directory):
    loaded = reloaded(model, directory)
    assert loaded.edits == model.edits
    for own, other in zip(hidden_of(model).layers, hidden_of(loaded).layers, strict=True):
        assert bool(torch.isfinite(own).all())
        assert torch.equal(own, other)


@pytest.mark.parametrize(("encoder", "compressor"), sorted(REFUSED))
def test_pair_when_the_model_lacks_what_it_takes_then_it_says_so(encoder, compressor):
    with pytest.raises(SpeechliteError, match=REFUSED[encoder, compressor]):
        compressed(model_of(encoder), small(compressor))


def test_distillation_when_the_model_has_no_parameters_then_it_is_refused():
    model = model_of("identity")
    with pytest.raises(SpeechliteError, match="no parameters that distillation could train"):
        train_one_step(model, model_of("identity"), build_compressor(DEPTH, REGISTRY))


def test_matrix_when_listed_then_every_component_is_in_it():
    assert {"conformer", "transformer", "squeezeformer", "sparseformer"} < set(ENCODERS)
    assert {"binary", "int8", "l0_structured", *SMALLER} <= set(COMPRESSORS)
    assert {"phone", "ctc", "tdnn"} <= set(HEADS)
    assert len(PAIRS) == (len(ENCODERS) - 1) * len(COMPRESSORS)


@pytest.mark.parametrize(("encoder", "compressor"), PAIRS)
def test_pair_when_trained_and_compressed_then_it_reloads_bit_equal(encoder, compressor):
    made = pair(encoder, compressor)
    assert [edit.compressor["name"] for edit in made.loaded.edits] == [compressor]
    expected = made.hidden.layers
    for own, other in zip(expected, hidden_of(made.loaded).layers, strict=True):
        assert bool(torch.isfinite(own).all())
        assert torch.equal(own, other)


@pytest.mark.parametrize(("encoder", "compressor"), PAIRS)
def test_pair_when_profiled_then_widths_and_depths_shrink_and_bits_do_not(encoder, compressor):
    made = pair(encoder, compressor)
    before, after = (count_parameters(model)["total"] for model in (made.before, made.after))
    macs_before, macs_after = (count_macs(model, SECONDS) for model in (made.before, made.after))
    if compressor in SMALLER:
        assert 0 < after < before
        assert 0 < macs_after < macs_before
    else:
        # the same weights and the same products, at other precisions
        assert after >= before
        assert macs_after == macs_before


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("encoder", "compressor"), PAIRS)
def test_head_when_given_the_states_of_a_compressed_model_then_it_trains(encoder, compressor, head):
    made = pair(encoder, compressor)
    torch.manual_seed(0)
    built = build_head(
        choice("head", head),
        REGISTRY,
        dim=made.after.dim,
        num_layers=made.after.num_layers + 1,
        labels=label_space(),
    )
    loss = built.train().loss(made.hidden, labelled(built.label_layout, made.hidden.lengths))
    loss.sum.backward()
    assert bool(torch.isfinite(loss.sum))
    assert float(loss.weight) > 0
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name


def labelled(layout, frame_lengths_B):
    """Return labels that fit a number of frames, whatever they belong to."""
    few = {"sequence": torch.tensor([6, 4, 3]), "utterance": torch.ones(3, dtype=torch.int64)}
    lengths_B = few.get(layout, frame_lengths_B)
    values_BL = torch.randint(2, 5, (3, int(lengths_B.max())))
    valid_BL = torch.arange(values_BL.shape[1]) < lengths_B[:, None]
    labels = {"labels": Padded(values_BL * valid_BL, lengths_B)}
    return Batch(ids=("a-1", "a-2", "b-1"), speakers=("a", "a", "b"), labels=labels)


L0, DEPTH, INT8, BINARY = (
    choice("compressor", name) for name in ("l0_structured", "depth", "int8", "binary")
)
UNPACKED = binary(weight_bits=1, activation_bits=8, pack=False)
CHAINS = {
    "l0-binary": (L0, BINARY),
    "l0-int8": (L0, INT8),
    "w1a8-w1a1": (UNPACKED, BINARY),
    "w1a8-w1a1-of-other-layers": (UNPACKED, binary(keep=["layers.0"])),
    "depth-binary": (DEPTH, BINARY),
    "binary-depth": (BINARY, DEPTH),
    "int8-depth": (INT8, DEPTH),
    "binary-int8": (BINARY, INT8),
    "w1a8-depth-w1a1": (UNPACKED, DEPTH, BINARY),
}
STACKS = [name for name in ENCODERS if name != "identity"]


@pytest.mark.parametrize("encoder", STACKS)
@pytest.mark.parametrize("chain", CHAINS)
def test_chain_when_carried_out_then_it_reloads_bit_equal(encoder, chain, tmp_path):
    model = model_of(encoder)
    for chosen in CHAINS[chain]:
        model = compressed(model, chosen)
    assert [edit.compressor["name"] for edit in model.edits] == [c.name for c in CHAINS[chain]]
    assert_reloads(model, tmp_path)


@pytest.mark.parametrize("encoder", STACKS)
def test_binary_when_linear_layers_have_eight_bits_then_it_takes_what_is_left(encoder, tmp_path):
    model = compressed(pair(encoder, "int8").after, BINARY)
    leaves = model.edits[-1].plan["leaves"]
    assert {name.rpartition(".")[2] for name in leaves} <= {"products", "depthwise"}
    assert_reloads(model, tmp_path)


def test_binary_when_nothing_is_left_of_a_model_of_eight_bits_then_it_says_so():
    with pytest.raises(SpeechliteError, match="no linear layer and no convolution"):
        compressed(pair("transformer", "int8").after, binary(attention=False))


@pytest.mark.parametrize("encoder", STACKS)
@pytest.mark.parametrize("first", ["binary", "int8"])
def test_replacement_when_done_twice_then_it_is_refused(encoder, first):
    model = pair(encoder, first).after
    if encoder == "squeezeformer" and first == "binary":
        # its reduction stands outside of the layers
        assert compressed(model, INT8).edits[-1].compressor["name"] == "int8"
    with pytest.raises(SpeechliteError, match="no linear layer"):
        compressed(model, choice("compressor", first))


@pytest.mark.parametrize("first", ["binary", "int8"])
@pytest.mark.parametrize("second", ["l0_structured", "magnitude_structured"])
def test_width_pruning_when_part_of_a_block_was_replaced_then_it_is_refused(first, second):
    model = compressed(
        model_of("transformer"), choice("compressor", first, keep=["output", "contract"])
    )
    with pytest.raises(SpeechliteError, match="prune widths before layers are replaced"):
        compressed(model, choice("compressor", second))


@pytest.mark.parametrize("encoder", STACKS)
@pytest.mark.parametrize("first", [BINARY, INT8], ids=["binary", "int8"])
@pytest.mark.parametrize("second", ["l0_structured", "magnitude_structured"])
def test_width_pruning_when_layers_were_replaced_then_it_is_refused(encoder, first, second):
    model = pair(encoder, first.name).after
    with pytest.raises(SpeechliteError, match=REPLACED):
        compressed(model, choice("compressor", second))
