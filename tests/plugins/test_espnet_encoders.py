"""ESPnet's encoders as components; B batch, S frames, D width, H heads."""

from __future__ import annotations

import copy
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from speechlite.core.errors import ConfigError, EnvironmentProblem
from speechlite.nn.pruning import cut

PLUGIN = Path(__file__).parents[2] / "plugins" / "speechlite-espnet"
ENCODERS = ["e_branchformer", "branchformer", "espnet_conformer"]
LENGTHS = torch.tensor([11, 5])


@pytest.fixture(autouse=True)
def _plugin_on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGIN))


def config_of(name, **options):
    from speechlite_espnet import config

    classes = {
        "e_branchformer": config.EBranchformerConfig,
        "branchformer": config.BranchformerConfig,
        "espnet_conformer": config.ConformerConfig,
    }
    kernel = {"kernel_size": 3} if name == "espnet_conformer" else {"gating_kernel": 3}
    width = {"feedforward": 12} if name == "espnet_conformer" else {"gating": 12}
    sizes = {"dim": 8, "layers": 3, "heads": 2, **kernel, **width}
    return classes[name](**{**sizes, **options})


def built(name, **options):
    pytest.importorskip("espnet2")
    from speechlite_espnet.branchformer import BranchformerEncoder
    from speechlite_espnet.conformer import ConformerEncoder
    from speechlite_espnet.e_branchformer import EBranchformerEncoder

    classes = dict(
        zip(ENCODERS, [EBranchformerEncoder, BranchformerEncoder, ConformerEncoder], strict=True)
    )
    torch.manual_seed(0)
    return classes[name](config_of(name, **options)).eval()


def espnet_twin(name, *, macaron=True, merge="concat"):
    pytest.importorskip("espnet2")
    from espnet.nets.pytorch_backend.transformer.embedding import RelPositionalEncoding
    from espnet2.asr.encoder.branchformer_encoder import BranchformerEncoder
    from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
    from espnet2.asr.encoder.e_branchformer_encoder import EBranchformerEncoder

    torch.manual_seed(0)
    common = {"attention_heads": 2, "num_blocks": 3, "input_layer": None, "rel_pos_type": "latest"}
    gating = {"cgmlp_linear_units": 12, "cgmlp_conv_kernel": 3}
    if name == "espnet_conformer":
        feedforward = {"linear_units": 12, "macaron_style": macaron}
        return ConformerEncoder(8, 8, cnn_module_kernel=3, **feedforward, **common).eval()
    if name == "e_branchformer":
        feedforward = {"use_ffn": True, "macaron_ffn": macaron, "linear_units": 1024}
        merge_kernel = {"merge_conv_kernel": 31}
        return EBranchformerEncoder(8, 8, **merge_kernel, **feedforward, **gating, **common).eval()
    twin = BranchformerEncoder(8, 8, merge_method=merge, **gating, **common)
    # ESPnet's own choice for an input of the model's width gives attention no positions
    twin.embed = RelPositionalEncoding(8, 0.0)
    return twin.eval()


def vary(*modules):
    for module in modules:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def frames(seed=0):
    return torch.randn(2, 11, 8, generator=torch.Generator().manual_seed(seed))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("e_branchformer", {"macaron": True}),
        ("e_branchformer", {"macaron": False}),
        ("branchformer", {"merge": "concat"}),
        ("branchformer", {"merge": "learned_ave"}),
        ("branchformer", {"merge": "fixed_ave"}),
        ("espnet_conformer", {"macaron": True}),
        ("espnet_conformer", {"macaron": False}),
    ],
)
def test_encoder_without_padding_gives_what_espnet_gives(name, options):
    encoder, twin = built(name, **options), espnet_twin(name, **options)
    vary(encoder.layers, twin.encoders)
    full = torch.tensor([11, 11])
    hidden, (expected_BSD, lengths_B, _) = encoder(frames(), full), twin(frames(), full)
    torch.testing.assert_close(hidden.layers[-1], expected_BSD, atol=1e-5, rtol=1e-5)
    assert hidden.lengths.tolist() == lengths_B.tolist() == [11, 11]
    assert count(encoder) == count(twin)


@pytest.mark.parametrize("name", ENCODERS)
def test_hidden_states_when_collected_are_those_between_espnets_layers(name):
    encoder, twin = built(name), espnet_twin(name)
    seen = []
    for layer in twin.encoders:
        layer.register_forward_hook(lambda _, __, output: seen.append(output[0][0]))
    full = torch.tensor([11, 11])
    hidden = encoder(frames(), full).layers
    twin(frames(), full)
    assert torch.equal(hidden[0], frames())
    for state, expected in zip(hidden[1:-1], seen[:-1], strict=True):
        torch.testing.assert_close(state, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("merge", ["concat", "learned_ave"])
def test_encoder_with_padding_gives_what_each_utterance_alone_gives(name, merge):
    encoder = built(name, **({"merge": merge} if name == "branchformer" else {}))
    vary(encoder)
    dirty_BSD = frames()
    dirty_BSD[1, 5:] = float("nan")
    together = encoder(dirty_BSD, LENGTHS).layers
    alone = encoder(frames()[1:, :5], LENGTHS[1:]).layers
    for state, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(state[1, :5], expected[0], atol=1e-5, rtol=1e-5)
        assert not state[1, 5:].any()


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_with_an_empty_utterance_gives_finite_states_and_gradients(name):
    encoder = built(name).train()
    hidden = encoder(frames(), torch.tensor([11, 0])).layers
    hidden[-1].pow(3).sum().backward()
    assert all(bool(state.isfinite().all()) for state in hidden)
    assert all(bool(parameter.grad.isfinite().all()) for parameter in encoder.parameters())


def test_batch_norm_in_training_counts_valid_frames_only():
    one, other = (built("espnet_conformer", dropout=0.0, attention_dropout=0.0) for _ in range(2))
    for encoder in (one, other):
        encoder.dropout.probability = 0.0
        encoder.train()
    padded_BSD = torch.nn.functional.pad(frames()[:, :5], (0, 0, 0, 6), value=9.0)
    one(padded_BSD, torch.tensor([5, 5]))
    other(frames()[:, :5], torch.tensor([5, 5]))
    for (name, buffer), expected in zip(one.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(buffer, expected, msg=name)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_after_a_training_step_can_be_copied(name):
    encoder = built(name).train()
    encoder(frames(), LENGTHS).layers[-1].sum().backward()
    copied = copy.deepcopy(encoder)
    assert count(copied) == count(encoder)
    assert not any(module._forward_pre_hooks for module in copied.modules())


@pytest.mark.parametrize("name", ENCODERS)
def test_heads_when_cut_take_espnets_count_along(name):
    encoder = built(name)
    groups = {group.name: group for group in encoder.prune_groups()}
    (heads,) = (group for name, group in groups.items() if re.match("layers.1.*heads", name))
    before = count(encoder)
    cut(encoder, list(groups.values()), {heads.name: [1]})
    encoder(frames(), LENGTHS)
    attention = encoder.get_submodule(heads.name.rpartition(".")[0])
    assert (attention.h, attention.d_k) == (1, 4)
    # four projections and that of the positions, three biases, two position biases
    assert before - count(encoder) == 4 * 8 * 5 + 3 * 4 + 2 * 4


@pytest.mark.parametrize("name", ENCODERS)
def test_units_when_none_is_left_give_the_bias_and_blocks_nothing(name):
    encoder = built(name)
    vary(encoder)
    smaller = copy.deepcopy(encoder)
    emptied = [group for group in encoder.prune_groups() if group.size > 1]
    for group in emptied:
        group.gate(torch.zeros(group.size))
    cut(smaller, smaller.prune_groups(), {group.name: [] for group in emptied})
    for state, expected in zip(
        smaller(frames(), LENGTHS).layers, encoder(frames(), LENGTHS).layers, strict=True
    ):
        torch.testing.assert_close(state, expected, atol=1e-5, rtol=1e-5)
    left = {group.name.rpartition(".")[2] for group in smaller.prune_groups()}
    assert left <= {"block"}


def test_groups_of_an_e_branchformer_layer_name_its_four_blocks():
    names = [group.name for group in built("e_branchformer").prune_groups()]
    assert names[:7] == [
        "layers.0.layer.feed_forward_macaron.feedforward.units",
        "layers.0.layer.feed_forward_macaron.feedforward.block",
        "layers.0.layer.attn.attention.heads",
        "layers.0.layer.attn.attention.block",
        "layers.0.layer.cgmlp.mlp.block",
        "layers.0.layer.feed_forward.feedforward.units",
        "layers.0.layer.feed_forward.feedforward.block",
    ]
    assert len(names) == 21


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_with_shared_parameters_has_those_of_one_layer(name):
    shared, plain = built(name, share_parameters=True), built(name, layers=1)
    assert count(shared) == count(plain)
    assert len(shared(frames(), LENGTHS).layers) == 4


def test_e_branchformer_without_feedforward_has_attention_and_gating_only():
    encoder = built("e_branchformer", feedforward=0)
    names = {group.name.split(".")[3] for group in encoder.prune_groups()}
    assert names == {"attn", "cgmlp"}


class Layers(torch.nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, frames_BSD, lengths_B):
        return self.encoder(frames_BSD, lengths_B).layers


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_when_exported_gives_the_same_for_other_lengths(name):
    module = Layers(built(name)).requires_grad_(False)
    vary(module)
    free = (
        {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},
        {0: torch.export.Dim.DYNAMIC},
    )
    example = torch.randn(3, 17, 8), torch.tensor([17, 9, 5])
    exported = torch.export.export(module, example, dynamic_shapes=free).module()
    for state, expected in zip(exported(frames(), LENGTHS), module(frames(), LENGTHS), strict=True):
        torch.testing.assert_close(state, expected, atol=1e-5, rtol=1e-5)


def test_layer_drop_in_training_repeats_the_state_before():
    encoder = built("branchformer", layer_drop=0.99).train()
    torch.manual_seed(1)
    states = encoder(frames(), LENGTHS).layers
    assert torch.equal(states[1], states[2])


def test_random_depth_when_drawn_stays_in_its_range():
    encoder = built("espnet_conformer", random_depth=[1, 2])
    assert {encoder.draw_depth(seed) for seed in range(20)} == {1, 2}


def test_espnet_imports_when_espnet_prints_and_logs_leaves_no_trace(capsys, monkeypatch):
    from speechlite_espnet.quiet import espnet_imports

    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with espnet_imports():
        print("Failed to import Flash Attention")
        logging.info("Gradient checkpoint layers: []")
    assert capsys.readouterr().out == ""
    assert logging.getLogger().handlers == []


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_when_built_leaves_output_and_loggers_alone(name, capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    built(name)
    assert capsys.readouterr().out == ""
    assert logging.getLogger().handlers == []


@pytest.mark.parametrize(
    ("name", "options", "cause"),
    [
        ("e_branchformer", {"dim": 9}, "expected positive numbers with dim even"),
        ("branchformer", {"heads": 3}, "a multiple of heads"),
        ("espnet_conformer", {"dropout": 1.0}, "dropout=1.0, expected a probability"),
        ("espnet_conformer", {"layer_drop": -0.1}, "layer_drop=-0.1, expected a probability"),
        ("e_branchformer", {"random_depth": [2, 9]}, "expected .low, high. with"),
        ("e_branchformer", {"gating": 7}, "gating=7, expected an even width"),
        ("branchformer", {"gating_kernel": 4}, "gating_kernel=4, expected an odd kernel"),
        ("e_branchformer", {"merge_kernel": 0}, "merge_kernel=0, expected an odd kernel"),
        ("espnet_conformer", {"kernel_size": 2}, "kernel_size=2, expected an odd kernel"),
        ("e_branchformer", {"feedforward": -1}, "feedforward=-1, expected a width, or 0"),
        ("espnet_conformer", {"feedforward": 0}, "feedforward=0, expected a positive width"),
        ("branchformer", {"merge": "sum"}, "merge='sum', gating_weight=0.5: expected concat"),
        ("branchformer", {"gating_weight": 1.0}, "and a share 0 < w < 1"),
    ],
)
def test_options_out_of_range_are_refused(name, options, cause):
    with pytest.raises(ConfigError, match=cause):
        config_of(name, **options)


def test_encoder_without_espnet_names_the_remedy(monkeypatch):
    for module in ("espnet2", "espnet2.asr", "espnet2.asr.encoder"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "speechlite_espnet.e_branchformer", raising=False)
    from speechlite_espnet.e_branchformer import EBranchformerEncoder

    with pytest.raises(EnvironmentProblem, match="ESPnet cannot be imported: .*pip install"):
        EBranchformerEncoder(config_of("e_branchformer"))


def test_plugin_and_its_options_when_imported_load_neither_torch_nor_espnet():
    script = (
        "import sys, speechlite_espnet, speechlite_espnet.config\n"
        "assert len(speechlite_espnet.speechlite_components()) == 3\n"
        "assert not {'torch', 'espnet', 'espnet2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=PLUGIN, check=True)
