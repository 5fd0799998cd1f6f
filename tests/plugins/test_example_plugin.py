"""The example plugin, as a stranger would ship it; B batch, S frames, D width."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from speechlite.core.errors import ConfigError, DataError, PlanError, UsageError
from speechlite.core.model import Frontend, ModelSpec, SpeechModel
from speechlite.core.types import Batch, Hidden, LabelSpace, Padded

EXAMPLE = Path(__file__).parents[2] / "plugins" / "speechlite-example"
LENGTHS = torch.tensor([7, 3, 0])


class Frames(Frontend):
    sample_rate, stride, min_samples, num_features = 4, 4, 4, 4

    def __init__(self, dim):
        super().__init__()
        self.projection = nn.Linear(4, dim)

    def extract(self, waves_BT, lengths_B):
        return waves_BT.unflatten(1, (-1, 4)), lengths_B // 4

    def project(self, features_BSF):
        return self.projection(features_BSF)


@pytest.fixture(autouse=True)
def _example_on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    torch.manual_seed(0)


@pytest.fixture
def encoder():
    from speechlite_example.config import GruConfig
    from speechlite_example.gru import GruEncoder

    return GruEncoder(GruConfig(dim=6, layers=3)).eval()


@pytest.fixture
def model(encoder):
    return SpeechModel(Frames(6), encoder, spec=ModelSpec({}, {})).eval()


@pytest.fixture
def low_rank():
    from speechlite_example.config import LowRankConfig
    from speechlite_example.low_rank import LowRank

    return lambda energy: LowRank(LowRankConfig(energy=energy))


@pytest.fixture
def head():
    from speechlite_example.config import MeanLinearConfig
    from speechlite_example.mean_linear import MeanLinearHead

    labels = LabelSpace("speaker", ("a", "b", "c"))
    return MeanLinearHead(MeanLinearConfig(layer="last"), dim=4, num_layers=1, labels=labels)


def batch_of(*labels, lengths=None):
    ids = tuple(f"u{i}" for i in range(len(labels)))
    counts = torch.ones(len(labels), dtype=torch.int64) if lengths is None else lengths
    stream = Padded(torch.tensor(labels)[:, None], counts)
    return Batch(ids=ids, labels={"speaker": stream}, speakers=ids)


def test_gru_with_padding_gives_what_each_utterance_alone_gives(encoder):
    frames_BSD = torch.randn(3, 9, 6)
    hidden = encoder(frames_BSD, LENGTHS)
    for row, length in enumerate([7, 3]):
        alone = encoder(frames_BSD[row : row + 1, :length], LENGTHS[row : row + 1])
        for layer, expected in zip(hidden.layers, alone.layers, strict=True):
            torch.testing.assert_close(layer[row, :length], expected[0])


def test_gru_beyond_the_lengths_is_zero_whatever_stands_there(encoder):
    frames_BSD = torch.randn(3, 9, 6)
    frames_BSD[1, 3:] = float("nan")
    with torch.no_grad():
        hidden = encoder(frames_BSD, LENGTHS)
    assert all(float(layer[1, 3:].abs().sum()) == 0 for layer in hidden.layers)
    assert all(float(layer[2].abs().sum()) == 0 for layer in hidden.layers)


@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_gru_with_a_depth_gives_that_many_hidden_states(encoder, num_layers):
    hidden = encoder(torch.randn(3, 9, 6), LENGTHS, num_layers=num_layers)
    assert [tuple(layer.shape) for layer in hidden.layers] == [(3, 9, 6)] * (num_layers + 1)


def test_gru_with_any_layer_removed_still_runs(encoder):
    del encoder.layers[1]
    assert len(encoder(torch.randn(3, 9, 6), LENGTHS).layers) == 3


def test_gru_in_training_gives_every_parameter_a_gradient(encoder):
    hidden = encoder.train()(torch.randn(3, 9, 6), LENGTHS)
    sum((layer * torch.randn_like(layer)).sum() for layer in hidden.layers).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in encoder.parameters())


@pytest.mark.parametrize("options", [{"dim": 3}, {"dim": 0}, {"layers": 0}, {"dropout": 1.0}])
def test_gru_config_out_of_range_is_refused(options):
    from speechlite_example.config import GruConfig

    with pytest.raises(ConfigError, match="expected an even width, at least one layer"):
        GruConfig(**options)


@pytest.mark.parametrize("energy", [0.0, 1.5])
def test_low_rank_config_out_of_range_is_refused(energy):
    from speechlite_example.config import LowRankConfig

    with pytest.raises(ConfigError, match="expected 0 < energy <= 1"):
        LowRankConfig(energy=energy)


def test_mean_linear_config_with_another_layer_is_refused():
    from speechlite_example.config import MeanLinearConfig

    with pytest.raises(ConfigError, match="expected weighted or last"):
        MeanLinearConfig(layer="first")


def test_factorised_at_any_rank_is_as_near_as_the_cut_values_allow():
    from speechlite_example.low_rank import factorised

    linear = nn.Linear(7, 5)
    values = torch.linalg.svdvals(linear.weight)
    for rank in range(1, 6):
        thin, wide = factorised(linear, rank=rank)
        error = torch.linalg.norm(linear.weight - wide.weight @ thin.weight)
        torch.testing.assert_close(error, values[rank:].norm(), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(wide.bias, linear.bias)


def test_rank_for_of_known_values_keeps_the_asked_share():
    from speechlite_example.low_rank import rank_for

    linear = nn.Linear(3, 3)
    with torch.no_grad():
        linear.weight.copy_(torch.diag(torch.tensor([3.0, 2.0, 1.0])))
    shares = {0.6: 1, 0.65: 2, 0.9: 2, 0.95: 3, 1.0: 3}
    assert {energy: rank_for(linear, energy=energy) for energy in shares} == shares


def test_low_rank_of_a_thin_weight_changes_no_output(model, low_rank):
    with torch.no_grad():
        for layer in model.encoder.layers:
            layer.project.weight.copy_(torch.outer(torch.randn(6), torch.randn(6)))
    compressor = low_rank(0.999999)
    plan = compressor.plan(model)
    smaller = compressor.restructure(model, plan)
    waves, lengths = torch.randn(2, 36), torch.tensor([36, 12])
    expected, got = model(waves, lengths).layers[-1], smaller(waves, lengths).layers[-1]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    assert set(plan["ranks"].values()) == {1}


def test_low_rank_saves_the_weights_that_the_ranks_say(model, low_rank):
    compressor = low_rank(0.5)
    plan = compressor.plan(model)
    before = sum(parameter.numel() for parameter in model.parameters())
    smaller = compressor.restructure(model, plan)
    linears = dict(model.named_modules())
    saved = sum(
        linears[name].weight.numel()
        - rank * (linears[name].in_features + linears[name].out_features)
        for name, rank in plan["ranks"].items()
    )
    assert sum(parameter.numel() for parameter in smaller.parameters()) == before - saved
    assert saved > 0


def test_low_rank_on_fresh_weights_takes_a_checkpoint_strictly(model, low_rank):
    from speechlite_example.config import GruConfig
    from speechlite_example.gru import GruEncoder

    compressor = low_rank(0.5)
    plan = compressor.plan(model)
    smaller = compressor.restructure(model, plan)
    fresh = SpeechModel(Frames(6), GruEncoder(GruConfig(dim=6, layers=3)), spec=model.spec)
    rebuilt = compressor.restructure(fresh.eval(), plan)
    rebuilt.load_state_dict(smaller.state_dict(), strict=True)
    waves, lengths = torch.randn(2, 36), torch.tensor([36, 12])
    assert torch.equal(rebuilt(waves, lengths).layers[-1], smaller(waves, lengths).layers[-1])


def test_low_rank_leaves_the_model_as_it_was(model, low_rank):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    low_rank(0.5).restructure(model, low_rank(0.5).plan(model))
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_low_rank_of_a_shared_layer_replaces_it_at_every_place(model, low_rank):
    model.encoder.layers[1].project = model.encoder.layers[0].project
    smaller = low_rank(0.5).restructure(model, {"ranks": {"encoder.layers.0.project": 1}})
    first, second = (smaller.encoder.layers[i].project for i in (0, 1))
    assert first is second
    assert isinstance(first, nn.Sequential)


def test_low_rank_that_saves_nothing_is_refused(model, low_rank):
    with pytest.raises(PlanError, match="makes no linear layer of the model smaller; lower"):
        low_rank(1.0).plan(model)


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({}, "the plan names no ranks"),
        ({"ranks": []}, "the plan names no ranks"),
        ({"ranks": {"encoder.x": 1}}, "names 'encoder.x', which is no linear layer"),
        ({"ranks": {"encoder.final_norm": 1}}, "'encoder.final_norm', which is no linear layer"),
        ({"ranks": {"frontend.projection": 0}}, "rank 0, expected 1 to 4"),
        ({"ranks": {"frontend.projection": 5}}, "rank 5, expected 1 to 4"),
        ({"ranks": {"frontend.projection": True}}, "rank True, expected 1 to 4"),
    ],
)
def test_low_rank_with_a_plan_that_does_not_fit_is_refused(model, low_rank, plan, says):
    with pytest.raises(PlanError, match=says):
        low_rank(0.5).restructure(model, plan)


def test_mean_linear_gives_the_cross_entropy_of_the_mean(head):
    frames_BSD = torch.randn(2, 5, 4)
    frames_BSD[1, 3:] = 0
    hidden = Hidden((frames_BSD,), torch.tensor([5, 3]))
    means = [frames_BSD[0].mean(0), frames_BSD[1, :3].mean(0)]
    expected = -sum(
        torch.log_softmax(head.classifier(mean), 0)[label]
        for mean, label in zip(means, [2, 0], strict=True)
    )
    loss = head.loss(hidden, batch_of(2, 0))
    torch.testing.assert_close(loss.sum, expected)
    assert float(loss.weight) == 2
    assert head.predict(hidden) == [int(head.classifier(mean).argmax()) for mean in means]


def test_mean_linear_metric_counts_hits(head):
    scores = head.metric().score([2, 1], batch_of(2, 0))
    assert [(s.id, s.numerator, s.denominator) for s in scores] == [("u0", 1, 1), ("u1", 0, 1)]


def test_mean_linear_with_another_number_of_labels_is_refused(head):
    hidden = Hidden((torch.randn(2, 5, 4),), torch.tensor([5, 3]))
    with pytest.raises(DataError, match="utterance u1 has 3 speaker labels, expected 1"):
        head.loss(hidden, batch_of(2, 0, lengths=torch.tensor([1, 3])))


def test_command_prints_the_saving(capsys):
    from speechlite_example.command import run

    assert run(["10", "20", "2"]) == 0
    assert capsys.readouterr().out == "200 -> 60 weights (30.0%)\n"


def test_command_with_a_number_below_1_is_refused():
    from speechlite_example.command import run

    with pytest.raises(UsageError, match="a width or rank is below 1"):
        run(["10", "20", "0"])


def test_the_plugin_offers_what_its_readme_lists():
    import speechlite_example

    readme = (EXAMPLE / "README.md").read_text()
    offered = [f"{c.kind} | `{c.name}`" for c in speechlite_example.speechlite_components()]
    offered += [f"command | `{c.name}`" for c in speechlite_example.speechlite_commands()]
    assert all(f"| {line} |" in readme for line in offered)
