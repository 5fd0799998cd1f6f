"""What every encoder does alike: padding, depth, sharing, gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from small_encoders import DIM, KINDS, STACKS, build, frames

from speechlite.core.errors import ConfigError


def _eval(kind, **changes):
    return build(kind, **changes).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_encoder_when_batched_then_each_utterance_is_as_if_alone(kind):
    encoder, lengths = _eval(kind), [9, 4, 1]
    with torch.no_grad():
        batched = encoder(*frames(lengths)).layers
        for row, length in enumerate(lengths):
            frames_1SD = frames(lengths)[0][row : row + 1, :length]
            alone = encoder(frames_1SD, torch.tensor([length])).layers
            for ours_BSD, alone_1SD in zip(batched, alone, strict=True):
                torch.testing.assert_close(
                    ours_BSD[row : row + 1, :length], alone_1SD, atol=1e-5, rtol=1e-5
                )
                assert (ours_BSD[row, length:] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_encoder_when_there_is_nan_beyond_the_lengths_then_nothing_changes(kind, training):
    results = []
    for padding in (0.0, torch.nan):
        encoder = build(kind).train(training)
        frames_BSD, lengths_B = frames([7, 3], padding=padding)
        torch.manual_seed(2)
        layers = encoder(frames_BSD, lengths_B).layers
        if training and list(encoder.parameters()):
            layers[-1].square().sum().backward()
            assert all(torch.isfinite(p.grad).all() for p in encoder.parameters())
        results.append(layers)
    for clean_BSD, dirty_BSD in zip(*results, strict=True):
        assert torch.equal(clean_BSD, dirty_BSD)


@pytest.mark.parametrize("kind", KINDS)
def test_encoder_when_padding_grows_in_training_then_valid_frames_stay(kind):
    lengths = [7, 3]
    options = {} if kind == "identity" else {"dropout": 0.0, "attention_dropout": 0.0}
    frames_BSD, lengths_B = frames(lengths)
    longer_BSD = torch.nn.functional.pad(frames_BSD, (0, 0, 0, 5))
    short = build(kind, **options)(frames_BSD, lengths_B).layers
    long = build(kind, **options)(longer_BSD, lengths_B).layers
    for short_BSD, long_BSD in zip(short, long, strict=True):
        torch.testing.assert_close(long_BSD[:, :7], short_BSD, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", STACKS)
def test_encoder_when_shallow_then_states_are_the_first_of_a_full_forward(kind):
    encoder = _eval(kind)
    full = encoder(*frames([6, 4]))
    shallow = encoder(*frames([6, 4]), num_layers=2)
    assert (len(full.layers), len(shallow.layers)) == (4, 3)
    assert torch.equal(shallow.layers[0], full.layers[0])
    assert torch.equal(shallow.layers[1], full.layers[1])
    # only the last state has passed the final norm, which a post-norm stack lacks
    valid_BS = torch.arange(6) < torch.tensor([[6], [4]])
    final_norm = getattr(encoder, "final_norm", None) or torch.nn.Identity()
    expected_BSD = final_norm(full.layers[2])
    if getattr(encoder, "restoration", None) is not None:
        # of a reduced stack only the last state is brought back by a learned convolution
        rate = encoder.config.time_reduction
        expected_BSD = encoder.restoration(expected_BSD[:, ::rate].mT).mT[:, :6]
    torch.testing.assert_close(shallow.layers[2][valid_BS], expected_BSD[valid_BS])


@pytest.mark.parametrize("kind", STACKS)
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_encoder_when_shallow_then_deeper_layers_do_no_work(kind, depth):
    encoder = _eval(kind)
    calls = []
    for layer in set(encoder.layers):
        layer.register_forward_hook(lambda *_: calls.append(1))
    encoder(*frames([6]), num_layers=depth)
    assert len(calls) == depth


@pytest.mark.parametrize("kind", KINDS)
def test_encoder_when_asked_for_more_layers_than_it_has_then_it_says_so(kind):
    encoder = _eval(kind)
    deepest = len(encoder.layers)
    for depth in (-1, deepest + 1):
        with pytest.raises(ConfigError, match=f"num_layers is {depth}, expected 0 to {deepest}"):
            encoder(*frames([3]), num_layers=depth)


@pytest.mark.parametrize("kind", KINDS)
def test_encoder_when_run_then_inputs_are_unchanged_and_lengths_agree(kind):
    encoder, (frames_BSD, lengths_B) = _eval(kind), frames([6, 2], padding=3.0)
    before_BSD = frames_BSD.clone()
    hidden = encoder(frames_BSD, lengths_B)
    assert torch.equal(frames_BSD, before_BSD)
    assert hidden.lengths.tolist() == [6, 2]
    assert {state_BSD.shape for state_BSD in hidden.layers} == {(2, 6, DIM)}


@pytest.mark.parametrize("kind", STACKS)
def test_encoder_when_trained_then_every_parameter_gets_a_gradient(kind):
    encoder = build(kind)
    torch.manual_seed(0)
    encoder(*frames([9, 5])).layers[-1].pow(3).sum().backward()
    missing = {name for name, p in encoder.named_parameters() if not p.grad.abs().max() > 0}
    assert missing == set()


@pytest.mark.parametrize("kind", STACKS)
def test_encoder_when_training_then_dropout_is_random_and_eval_is_not(kind):
    encoder, inputs = build(kind), frames([6, 4])
    assert not torch.equal(encoder(*inputs).layers[-1], encoder(*inputs).layers[-1])
    encoder.eval()
    assert torch.equal(encoder(*inputs).layers[-1], encoder(*inputs).layers[-1])


@pytest.mark.parametrize("kind", ["conformer", "macaron", "transformer"])
def test_encoder_when_layers_are_shared_then_one_set_of_parameters_remains(kind):
    sizes = [
        sum(parameter.numel() for parameter in build(kind, share_parameters=shared).parameters())
        for shared in (False, True)
    ]
    layer = sum(parameter.numel() for parameter in build(kind).layers[0].parameters())
    assert sizes[0] - sizes[1] == 2 * layer


@pytest.mark.parametrize("kind", ["shared_conformer", "shared_transformer"])
@pytest.mark.parametrize("training", [True, False])
def test_gradient_when_layers_are_shared_then_it_is_the_sum_over_depths(kind, training):
    """Check Eq. 6 of Layer Reduction against a copy that has its own parameters at each depth."""
    options = {"dropout": 0.0, "attention_dropout": 0.0}
    shared = build(kind, **options).train(training)
    copied = build(kind, **options, share_parameters=False).train(training)
    for layer in copied.layers:
        layer.load_state_dict(copy.deepcopy(shared.layers[0].state_dict()))
    copied.final_norm.load_state_dict(shared.final_norm.state_dict())
    for encoder in (shared, copied):
        encoder(*frames([8, 5])).layers[-1].pow(3).sum().backward()
    for name, parameter in shared.layers[0].named_parameters():
        summed = sum(layer.get_parameter(name).grad for layer in copied.layers)
        torch.testing.assert_close(parameter.grad, summed, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", ["conformer", "transformer"])
def test_depth_when_the_encoder_draws_it_then_it_is_within_its_range(kind):
    encoder = build(kind, random_depth=[2, 3])
    assert {encoder.draw_depth(seed) for seed in range(100)} == {2, 3}
    assert build(kind).draw_depth(0) is None


def test_depth_when_there_are_no_layers_then_none_is_drawn():
    assert build("identity").draw_depth(0) is None


@pytest.mark.parametrize("kind", KINDS)
def test_encoder_when_its_state_is_loaded_elsewhere_then_outputs_are_bit_equal(kind):
    encoder, other = build(kind), build(kind)
    for tensor in encoder.parameters():
        tensor.detach().mul_(1.5)
    other.load_state_dict(encoder.state_dict())
    ours = encoder.eval()(*frames([5, 2])).layers[-1]
    assert torch.equal(other.eval()(*frames([5, 2])).layers[-1], ours)
