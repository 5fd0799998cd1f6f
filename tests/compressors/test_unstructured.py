"""Pruning of single weights: what is kept, what is repaired, what is refused."""

import pytest
import torch
from torch import nn

from speechlite.compressors.binary import Binary
from speechlite.compressors.config import BinaryConfig, Int8Config, MagnitudeStructuredConfig
from speechlite.compressors.int8 import Int8
from speechlite.compressors.magnitude import Magnitude, Parp
from speechlite.compressors.magnitude_structured import MagnitudeStructured
from speechlite.compressors.obs import Obs, Wanda
from speechlite.compressors.pruning_config import (
    MagnitudeConfig,
    ObsConfig,
    ParpConfig,
    WandaConfig,
)
from speechlite.core.errors import ConfigError, PlanError
from speechlite.core.model import ModelSpec
from speechlite.core.types import Batch, Loss
from speechlite.engine.build import build_model
from speechlite.nn.sparse import SparseConv1d, SparseLinear
from speechlite.testing.fixtures import installed_registry, waves

REGISTRY = installed_registry()
SMALL = {"dim": 8, "layers": 2, "heads": 2, "feedforward": 16}
CONFORMER = {"name": "conformer", "kernel_size": 3}
TRANSFORMER = {"name": "transformer"}


def model_of(kind=CONFORMER, **encoder):
    torch.manual_seed(0)
    spec = ModelSpec(frontend={"name": "fbank", "num_mels": 8}, encoder=kind | SMALL | encoder)
    return build_model(spec, REGISTRY).eval()


def batch(**changes):
    sound = waves()
    return Batch(ids=("a-1", "a-2", "b-1"), waves=sound, speakers=("a", "a", "b"), **changes)


def carried_out(compressor, model, batches=(), loss=None):
    prepared = compressor.prepare(model)
    if compressor.needs_batches:
        compressor.calibrate(prepared, list(batches), loss)
    return compressor.restructure(prepared, compressor.plan(prepared))


def matrices(model):
    """Return weights of linear layers and convolutions by name, whole."""
    found = {}
    for name, part in model.named_modules():
        if isinstance(part, (SparseLinear, SparseConv1d)):
            found[name] = part.weight.dense().detach()
        elif isinstance(part, (nn.Linear, nn.Conv1d)) and name.startswith("encoder.layers"):
            found[name] = part.weight.detach()
    return found


def sparsity_of(model):
    weights = matrices(model).values()
    return sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)


def outputs(model):
    sound = waves()
    with torch.no_grad():
        return model(sound.values, sound.lengths).layers[-1]


ALL = {
    "magnitude": lambda **o: Magnitude(MagnitudeConfig(**o)),
    "parp": lambda **o: Parp(ParpConfig(**o)),
    "wanda": lambda **o: Wanda(WandaConfig(**o)),
    "obs": lambda **o: Obs(ObsConfig(**o)),
}


@pytest.mark.parametrize("name", ALL)
def test_every_layer_loses_the_part_that_was_asked_for(name):
    model = model_of()
    sparse = carried_out(ALL[name](sparsity=0.75), model, [batch()])
    for weight in matrices(sparse).values():
        assert int((weight == 0).sum()) == round(0.75 * weight.numel())
    assert sparsity_of(model) == 0


@pytest.mark.parametrize("name", ALL)
def test_a_second_pruning_keeps_the_zeros_of_the_first(name):
    once = carried_out(ALL[name](sparsity=0.5), model_of(), [batch()])
    twice = carried_out(ALL[name](sparsity=0.75), once, [batch()])
    assert sparsity_of(twice) == pytest.approx(0.75, abs=0.01)
    for before, after in zip(matrices(once).values(), matrices(twice).values(), strict=True):
        assert not bool(after[before == 0].any())


@pytest.mark.parametrize("name", ALL)
def test_less_sparsity_than_there_is_is_refused(name):
    once = carried_out(ALL[name](sparsity=0.75), model_of(), [batch()])
    with pytest.raises(PlanError, match="pruned already, sparsity=0.5 asks for less"):
        ALL[name](sparsity=0.5).prepare(once)


@pytest.mark.parametrize("name", ["magnitude", "wanda", "obs"])
def test_two_of_four_leaves_two_of_four_consecutive_inputs(name):
    model = model_of(TRANSFORMER)
    sparse = carried_out(ALL[name](pattern="2:4"), model, [batch()])
    for weight in matrices(sparse).values():
        assert bool(((weight.flatten(1).unflatten(1, (-1, 4)) == 0).sum(-1) == 2).all())


def test_tiles_go_together():
    model = model_of(TRANSFORMER)
    sparse = carried_out(Magnitude(MagnitudeConfig(pattern="4x1", sparsity=0.5)), model)
    for weight in matrices(sparse).values():
        zeros = (weight.unflatten(0, (-1, 4)) == 0).sum(1)
        assert set(zeros.flatten().tolist()) == {0, 4}


def test_pattern_that_does_not_divide_a_layer_is_refused():
    with pytest.raises(PlanError, match="3:7"):
        Magnitude(MagnitudeConfig(pattern="3:7")).prepare(model_of())


def test_magnitude_keeps_the_largest_weights():
    model = model_of()
    sparse = carried_out(Magnitude(MagnitudeConfig(sparsity=0.5)), model)
    for before, after in zip(matrices(model).values(), matrices(sparse).values(), strict=True):
        assert torch.equal(after[after != 0], before[after != 0])
        assert before[after != 0].abs().min() >= before[after == 0].abs().max()


def test_wanda_follows_weight_times_norm_of_input_in_each_row():
    model = model_of(TRANSFORMER, layers=1)
    leaf = model.get_submodule("encoder.layers.0.feedforward.expand")
    rows = []
    leaf.register_forward_pre_hook(lambda module, given: rows.append(given[0]))
    for row in range(3):
        sound = waves()
        length = sound.lengths[row]
        with torch.no_grad():
            model(sound.values[row : row + 1, :length], sound.lengths[row : row + 1])
    leaf._forward_pre_hooks.clear()
    norms = torch.cat([one.flatten(0, 1) for one in rows]).norm(dim=0)
    sparse = carried_out(Wanda(WandaConfig(sparsity=0.5, sequential=False)), model, [batch()])
    after = matrices(sparse)["encoder.layers.0.feedforward.expand"]
    saliency = leaf.weight.detach().abs() * norms
    for row, kept in zip(saliency, after != 0, strict=True):
        assert int(kept.sum()) == 4
        assert row[kept].min() > row[~kept].max()


def inputs_of(model):
    """Return what each layer is given, of all utterances one by one."""
    found = {}
    handles = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda module, given, name=name: found.setdefault(name, []).append(given[0])
        )
        for name in matrices(model)
    ]
    sound = waves()
    for row, length in enumerate(sound.lengths.tolist()):
        with torch.no_grad():
            model(sound.values[row : row + 1, :length], sound.lengths[row : row + 1])
    for handle in handles:
        handle.remove()
    return found


def layer_errors(model, other):
    """Return how far each layer's outputs move on the inputs of the model as it was."""
    errors = {}
    for name, given in inputs_of(model).items():
        layers = [one.get_submodule(name) for one in (model, other)]
        with torch.no_grad():
            errors[name] = sum(float((layers[0](x) - layers[1](x)).square().sum()) for x in given)
    return errors


def test_obs_moves_every_layer_less_than_magnitude_and_wanda():
    model = model_of(dim=32, feedforward=64)
    pruned = {
        name: carried_out(ALL[name](sparsity=0.6, **options), model, [batch()])
        for name, options in {
            "magnitude": {},
            "wanda": {"sequential": False},
            "obs": {"sequential": False},
        }.items()
    }
    errors = {name: layer_errors(model, other) for name, other in pruned.items()}
    assert len(errors["obs"]) > 10
    for name, error in errors["obs"].items():
        if name.endswith("depthwise"):
            # three weights a channel: there is little to repair with
            continue
        assert error <= errors["magnitude"][name]
        assert error <= errors["wanda"][name]


def test_padding_never_enters_the_statistics():
    model = model_of()
    one = [
        Batch(
            ids=("a-1",),
            waves=type(waves())(
                waves().values[row : row + 1, : waves().lengths[row]],
                waves().lengths[row : row + 1],
            ),
        )
        for row in range(3)
    ]
    padded = carried_out(Obs(ObsConfig(sparsity=0.5)), model, [batch()])
    alone = carried_out(Obs(ObsConfig(sparsity=0.5)), model, one)
    for first, second in zip(matrices(padded).values(), matrices(alone).values(), strict=True):
        torch.testing.assert_close(first, second)


def squares(model, heard):
    last = model.encode(model.extract(heard)).layers[-1]
    return Loss(sum=last.square().sum(), weight=torch.tensor(float(len(last))))


def test_sized_allocation_meets_the_total_and_ranked_differs_by_layer():
    options = {"sparsity": 0.6, "alpha": 0.2, "probes": 1}
    sized = carried_out(
        Obs(ObsConfig(allocation="sized", **options)), model_of(), [batch()], squares
    )
    total = sum(weight.numel() for weight in matrices(sized).values())
    assert sum(int((w == 0).sum()) for w in matrices(sized).values()) == round(0.6 * total)
    ranked = carried_out(
        Obs(ObsConfig(allocation="ranked", **options)), model_of(), [batch()], squares
    )
    parts = [float((w == 0).float().mean()) for w in matrices(ranked).values()]
    assert min(parts) == pytest.approx(0.4, abs=0.03)
    assert max(parts) == pytest.approx(0.8, abs=0.03)
    assert sum(parts) / len(parts) == pytest.approx(0.6, abs=0.01)


def test_mixed_sparsity_without_a_loss_is_refused():
    compressor = Obs(ObsConfig(allocation="ranked"))
    with pytest.raises(ConfigError, match="allocation=ranked measures sensitivities under a loss"):
        compressor.calibrate(compressor.prepare(model_of()), [batch()])


def test_calibration_without_data_is_refused():
    compressor = Obs(ObsConfig())
    with pytest.raises(PlanError, match="the calibration data never reaches encoder.layers.0"):
        compressor.calibrate(compressor.prepare(model_of()), [])


def test_parp_lets_pruned_weights_come_back_until_the_next_pruning():
    parp = Parp(ParpConfig(sparsity=0.5, every_steps=2))
    prepared = parp.prepare(model_of())
    assert sparsity_of(prepared) == pytest.approx(0.5, abs=0.01)
    with torch.no_grad():
        for weight in matrices(prepared).values():
            weight.add_(1.0)
    parp.after_step(prepared, 1)
    assert sparsity_of(prepared) < 0.01
    parp.after_step(prepared, 2)
    assert sparsity_of(prepared) == pytest.approx(0.5, abs=0.01)


def test_layers_that_are_kept_stay_as_they_are():
    sparse = carried_out(Magnitude(MagnitudeConfig(keep=[r"\.attention\."])), model_of())
    kinds = {name: type(part) for name, part in sparse.named_modules() if name.endswith("query")}
    assert set(kinds.values()) == {nn.Linear}


def _plan(name, kept):
    return {"kept": {name: kept}, "pruned": {name: 0}, "pattern": "unstructured"}


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"kept": {}}, "expected kept, pruned and pattern"),
        (_plan("encoder.layers.9.x", 3), "no module"),
        (_plan("encoder.layers.0.attention.query", 10**6), "the plan keeps 1000000 and prunes 0"),
        (_plan("encoder.layers.0.attention.query", -1), "no counts"),
    ],
)
def test_foreign_plan_is_refused(plan, message):
    with pytest.raises(PlanError, match=message):
        Magnitude(MagnitudeConfig()).restructure(model_of(), plan)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MagnitudeConfig(sparsity=1.0), "sparsity=1.0"),
        (lambda: MagnitudeConfig(pattern="4:4"), "pattern='4:4'"),
        (lambda: MagnitudeConfig(pattern="some"), "pattern='some'"),
        (lambda: MagnitudeConfig(parts=[]), "parts="),
        (lambda: MagnitudeConfig(keep=["("]), "no regular expression"),
        (lambda: ParpConfig(every_steps=0), "every_steps=0"),
        (lambda: ObsConfig(precision="int8"), "precision='int8'"),
        (lambda: ObsConfig(allocation="even"), "allocation='even'"),
        (lambda: ObsConfig(allocation="sized", sparsity=0.95), "alpha=0.1 about sparsity=0.95"),
        (lambda: ObsConfig(allocation="sized", pattern="2:4"), "fixes the sparsity"),
        (lambda: ObsConfig(damping=0.0), "damping=0.0"),
        (lambda: ObsConfig(probes=0), "probes=0"),
    ],
)
def test_option_out_of_range_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("first", ["obs", "magnitude"])
@pytest.mark.parametrize("second", ["wanda", "obs", "magnitude"])
@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "2x1"])
def test_zeros_of_one_method_are_not_stored_by_the_next(first, second, pattern):
    once = carried_out(ALL[first](sparsity=0.5), model_of(TRANSFORMER), [batch()])
    outputs(once)
    twice = carried_out(ALL[second](sparsity=0.6, pattern=pattern), once, [batch()])
    for name, part in twice.named_modules():
        if isinstance(part, SparseLinear):
            before = once.get_submodule(name).weight.kept()
            assert bool(before[part.weight.kept()].all())
            assert bool(part.weight.values.all())


@pytest.mark.parametrize("name", ["magnitude", "parp"])
def test_training_under_a_compressor_leaves_earlier_zeros(name):
    once = carried_out(ALL["magnitude"](sparsity=0.5), model_of())
    compressor = ALL[name](sparsity=0.75)
    prepared = compressor.prepare(once)
    with torch.no_grad():
        for weight in matrices(prepared).values():
            weight.add_(1.0)
    compressor.after_step(prepared, 1)
    for before, after in zip(matrices(once).values(), matrices(prepared).values(), strict=True):
        assert not bool(after[before == 0].any())


def test_uniform_sparsity_counts_what_is_sparser_already():
    mixed = carried_out(
        Obs(ObsConfig(sparsity=0.6, allocation="ranked", alpha=0.3, probes=1)),
        model_of(),
        [batch()],
        squares,
    )
    again = carried_out(Magnitude(MagnitudeConfig(sparsity=0.7)), mixed)
    assert sparsity_of(again) == pytest.approx(0.7, abs=1e-3)


def test_layer_without_a_gradient_has_no_sensitivity():
    def first_state(model, heard):
        state = model.encode(model.extract(heard), num_layers=1).layers[-1]
        return Loss(sum=state.square().sum(), weight=torch.tensor(1.0))

    compressor = Obs(ObsConfig(allocation="ranked", probes=1))
    with pytest.raises(PlanError, match="the loss has no gradient in encoder.layers.1"):
        compressor.calibrate(compressor.prepare(model_of()), [batch()], first_state)


def test_codes_are_not_pruned_and_sparse_layers_get_no_codes_without_a_zero():
    codes = carried_out(Int8(Int8Config()), model_of())
    with pytest.raises(PlanError, match="holds codes of few bits, which cannot be pruned"):
        Magnitude(MagnitudeConfig()).prepare(codes)
    sparse = carried_out(Magnitude(MagnitudeConfig()), model_of())
    with pytest.raises(PlanError, match="has sparse layers, and codes of few bits have no zeros"):
        Binary(BinaryConfig()).prepare(sparse)


@pytest.mark.parametrize(
    "first", [lambda: Magnitude(MagnitudeConfig()), lambda: Int8(Int8Config())]
)
def test_widths_are_pruned_before_single_weights_and_codes(first):
    changed = carried_out(first(), model_of(TRANSFORMER))
    with pytest.raises(PlanError, match="is sparse or of few bits, .*; prune widths first"):
        carried_out(MagnitudeStructured(MagnitudeStructuredConfig(target=0.5)), changed)


def test_tiles_that_do_not_fit_a_group_are_refused_before_anything_is_heard():
    with pytest.raises(PlanError, match=r"depthwise: .*; choose another compressor.pattern"):
        Obs(ObsConfig(pattern="4x1")).prepare(model_of())
