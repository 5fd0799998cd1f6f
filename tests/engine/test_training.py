from __future__ import annotations

import copy

import pytest
import torch
from made_runs import pretrain_config, training_speech

from speechlite.core.errors import ConfigError, SpeechliteError
from speechlite.core.objective import Objective
from speechlite.core.types import Loss, stateless_seed
from speechlite.data.order import Position
from speechlite.engine import fitting
from speechlite.engine import training as training_module
from speechlite.engine.build import build_model, build_objective, model_spec
from speechlite.engine.fitting import fit
from speechlite.engine.training import (
    TrainingModule,
    _Requests,
    rank_and_world,
    rate_factor,
    summed,
)


def training(config, registry):
    torch.manual_seed(stateless_seed(config.trainer.seed, "weights"))
    model = build_model(model_spec(config.frontend, config.encoder), registry)
    objective = build_objective(config.objective, model, registry)
    speech = training_speech(config, model, registry)
    return TrainingModule(
        model, objective, optimizer=config.optimizer, trainer=config.trainer, speech=speech
    )


def slow_loop(module):
    """Train as the papers say, without Lightning: the reference."""
    options, schedule = module.trainer_options, module.optimizer_options
    model, objective = copy.deepcopy((module.model, module.objective))
    parameters = [*model.parameters(), *objective.parameters()]
    adam = torch.optim.Adam(
        parameters, betas=(schedule.beta1, schedule.beta2), eps=schedule.epsilon
    )
    batches = module.speech.order.stream(Position(0, 0))
    model.train(), objective.train()
    for step in range(1, options.max_steps + 1):
        peak = schedule.learning_rate * schedule.warmup_steps**0.5
        adam.param_groups[0]["lr"] = peak * min(step**-0.5, step * schedule.warmup_steps**-1.5)
        adam.zero_grad()
        for _ in range(options.accumulate):
            position, names = next(batches)
            seed = stateless_seed(options.seed, position.epoch, position.batch)
            crop = stateless_seed(options.seed, "crop", position.epoch)
            batch = module.speech.reader.read(names, seed=seed, crop_seed=crop)
            torch.manual_seed(stateless_seed(seed, "torch", 0))
            loss = objective(model, batch)
            (loss.sum / loss.weight / options.accumulate).backward()
        torch.nn.utils.clip_grad_norm_(parameters, schedule.clip_norm)
        adam.step()
    return torch.cat([p.detach().flatten() for p in parameters])


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("trainer.accumulate=2",),
        ("encoder.random_depth=[1,3]", "encoder.share_parameters=true"),
        ("encoder.random_depth=[1,3]", "trainer.accumulate=2"),
        ("optimizer.clip_norm=0.01",),
    ],
)
def test_fit_gives_the_weights_of_a_plain_loop(registry, speech, tmp_path, options):
    module = training(pretrain_config(registry, speech, *options), registry)
    expected = slow_loop(module)
    assert fit(module, tmp_path, validate=lambda step: None, description="x") == 0
    got = torch.cat([p.detach().flatten() for p in module.parameters()])
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_fit_validates_saves_and_ends_at_the_named_steps(registry, speech, tmp_path):
    module = training(pretrain_config(registry, speech, "trainer.max_steps=7"), registry)
    seen = []
    fit(module, tmp_path, validate=seen.append, description="x")
    assert seen == [3, 6, 7]
    saved = sorted(path.name[:14] for path in (tmp_path / "checkpoints").iterdir())
    assert saved == ["step-000000006", "step-000000007"]


def test_fit_calls_after_step_once_an_optimiser_step(registry, speech, tmp_path, monkeypatch):
    module = training(
        pretrain_config(registry, speech, "trainer.max_steps=3", "trainer.accumulate=2"), registry
    )
    seen = []
    monkeypatch.setattr(
        Objective,
        "after_step",
        lambda self, model, step: seen.append((model is module.model, step)),
    )
    fit(module, tmp_path, validate=lambda step: None, description="x")
    assert seen == [(True, 1), (True, 2), (True, 3)]


def test_fit_counts_the_audio_that_it_has_seen(registry, speech, tmp_path):
    module = training(pretrain_config(registry, speech, "trainer.max_steps=4"), registry)
    batches = module.speech.order.stream(Position(0, 0))
    seconds = 0.0
    for _ in range(4):
        position, names = next(batches)
        waves = module.speech.reader.read(names).waves
        seconds += float(waves.lengths.sum()) / 16000
    fit(module, tmp_path, validate=lambda step: None, description="x")
    assert module.audio_seconds == pytest.approx(seconds, rel=1e-6)


def test_fit_when_the_loss_is_no_number_stops_with_advice(registry, speech, tmp_path):
    module = training(pretrain_config(registry, speech), registry)
    with torch.no_grad():
        module.objective.predictor.bias.fill_(float("nan"))
    with pytest.raises(SpeechliteError, match="the loss is nan at step 0; lower"):
        fit(module, tmp_path, validate=lambda step: None, description="x")


def test_fit_when_memory_runs_out_says_what_to_lower(registry, speech, tmp_path, monkeypatch):
    module = training(pretrain_config(registry, speech), registry)

    def starve(*args):
        raise MemoryError("no memory")

    monkeypatch.setattr(module.objective, "forward", starve)
    with pytest.raises(SpeechliteError, match="out of memory: no memory; lower data.batch_seconds"):
        fit(module, tmp_path, validate=lambda step: None, description="x")


@pytest.mark.parametrize(
    "option", ["trainer.precision=64-bit", "trainer.accelerator=abacus", "trainer.accelerator=gpu"]
)
def test_fit_when_lightning_refuses_an_option_is_a_config_error(registry, speech, tmp_path, option):
    if option.endswith("gpu") and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    module = training(pretrain_config(registry, speech, option), registry)
    with pytest.raises(ConfigError, match="Lightning refuses the trainer options"):
        fit(module, tmp_path, validate=lambda step: None, description="x")


def test_fit_restores_the_handlers_of_signals(registry, speech, tmp_path):
    module = training(pretrain_config(registry, speech, "trainer.max_steps=1"), registry)
    before = [fitting.signal.getsignal(number) for number in fitting._SIGNALS]
    fit(module, tmp_path, validate=lambda step: None, description="x")
    assert [fitting.signal.getsignal(number) for number in fitting._SIGNALS] == before


@pytest.mark.parametrize("warmup", [1, 7, 8000])
def test_noam_rate_follows_the_formula_of_the_paper(warmup):
    for step in (1, 2, 6, 7, 8, 100, 8000, 9000):
        # Vaswani et al. 2017, Eq. 3, divided by its value at the end of warm-up
        expected = min(step**-0.5, step * warmup**-1.5) / warmup**-0.5
        found = rate_factor(step - 1, schedule="noam", warmup_steps=warmup, max_steps=10000)
        assert found == pytest.approx(expected)


def test_linear_rate_rises_to_its_peak_and_falls_to_nearly_zero():
    rates = [
        rate_factor(step, schedule="linear", warmup_steps=4, max_steps=10) for step in range(10)
    ]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    # six further steps share the way down from the peak
    assert rates[4:] == pytest.approx([6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7])


def test_constant_rate_stays_at_its_peak():
    rates = [rate_factor(s, schedule="constant", warmup_steps=2, max_steps=9) for s in range(9)]
    assert rates == [0.5] + [1.0] * 8


def test_rank_and_world_in_a_single_process_are_zero_and_one():
    assert rank_and_world() == (0, 1)


def test_summed_in_a_single_process_is_a_copy_without_a_gradient():
    value = torch.ones(2, requires_grad=True)
    copied = summed(value)
    assert not copied.requires_grad
    copied += 1
    assert torch.equal(value.detach(), torch.ones(2))


def test_loss_when_the_weight_is_zero_is_finite(registry, speech, tmp_path, monkeypatch):
    module = training(pretrain_config(registry, speech, "trainer.max_steps=1"), registry)

    def nothing(model, batch):
        total = sum(p.sum() for p in module.parameters()) * 0.0
        return Loss(sum=total, weight=torch.tensor(0.0))

    monkeypatch.setattr(module.objective, "forward", nothing)
    fit(module, tmp_path, validate=lambda step: None, description="x")
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_batches_shared_by_two_processes_are_those_of_one(registry, speech, monkeypatch):
    module = training(pretrain_config(registry, speech), registry)
    order = module.speech.order

    def shares(rank, world):
        monkeypatch.setattr(training_module, "rank_and_world", lambda: (rank, world))
        return list(_Requests(order, seed=1, start=Position(0, 0), done=0, total=12))

    whole, first, second = shares(0, 1), shares(0, 2), shares(1, 2)
    for one, a, b in zip(whole, first, second, strict=True):
        assert sorted(one.names) == sorted(a.names + b.names)
        assert one.seed == a.seed == b.seed
        assert one.position == a.position == b.position


def test_batches_with_fewer_utterances_than_processes_are_an_error(registry, speech, monkeypatch):
    module = training(pretrain_config(registry, speech, "data.batch_seconds=1.0"), registry)
    monkeypatch.setattr(training_module, "rank_and_world", lambda: (1, 2))
    requests = _Requests(module.speech.order, seed=1, start=Position(0, 0), done=0, total=12)
    with pytest.raises(ConfigError, match="utterances cannot be shared by 2 processes; raise data"):
        list(requests)
