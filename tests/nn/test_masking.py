"""Masks over time: how much, where, what, and independence of the batch."""

from __future__ import annotations

from math import comb

import pytest
import torch
from scipy.stats import chisquare

from speechlite.nn.masking import alter_time, choose_blocks, choose_spans

LAYER_REDUCTION = {
    "ratio": 0.15,
    "block_frames": 7,
    "zero_probability": 0.8,
    "replace_probability": 0.1,
}


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _features(rows, frames=60, *, width=2):
    """Make features that tell row and frame."""
    numbers = torch.arange(1.0, rows * frames + 1).view(rows, frames, 1)
    return numbers.expand(rows, frames, width).clone()


def _alter(features_BSF, *, seed=0, names=None, lengths=None, **changes):
    names = names or tuple(f"utterance-{row}" for row in range(len(features_BSF)))
    lengths = lengths or [features_BSF.shape[1]] * len(features_BSF)
    options = {**LAYER_REDUCTION, **changes}
    return alter_time(features_BSF, torch.tensor(lengths), names, seed=seed, **options)


def _runs(chosen_S):
    """Return the lengths of runs of True."""
    text = "".join("x" if chosen else " " for chosen in chosen_S.tolist())
    return [len(run) for run in text.split()]


def test_blocks_when_chosen_for_many_utterances_then_about_15_percent_is_covered():
    generator = _generator()
    covered = [
        choose_blocks(1000, ratio=0.15, block_frames=7, generator=generator).float().mean()
        for _ in range(200)
    ]
    # 21 blocks of 7 frames at random starts leave (1 - 7 / 994) ** 21 of the frames alone
    assert abs(float(torch.stack(covered).mean()) - (1 - (1 - 7 / 994) ** 21)) < 0.005
    assert 0.13 < float(torch.stack(covered).mean()) < 0.15


def test_blocks_when_chosen_then_no_run_is_shorter_than_a_block():
    generator = _generator(1)
    for _ in range(50):
        chosen_S = choose_blocks(300, ratio=0.15, block_frames=7, generator=generator)
        assert min(_runs(chosen_S)) >= 7


def test_blocks_when_one_fits_then_every_start_is_equally_likely():
    generator = _generator(2)
    counts = torch.zeros(11)
    for _ in range(1100):
        chosen_S = choose_blocks(17, ratio=0.15, block_frames=7, generator=generator)
        assert int(chosen_S.sum()) == 7
        counts[int(chosen_S.nonzero()[0])] += 1
    assert chisquare(counts.numpy()).pvalue > 0.001


@pytest.mark.parametrize("frames", [1, 3, 6, 7])
def test_blocks_when_the_utterance_is_no_longer_than_one_then_all_of_it_is_chosen(frames):
    assert choose_blocks(frames, ratio=0.15, block_frames=7, generator=_generator()).all()


def test_blocks_when_the_utterance_is_short_then_one_block_is_still_chosen():
    chosen_S = choose_blocks(12, ratio=0.01, block_frames=7, generator=_generator())
    assert int(chosen_S.sum()) == 7


def test_blocks_when_all_starts_are_asked_for_then_all_frames_are_chosen():
    assert choose_blocks(20, ratio=1.0, block_frames=1, generator=_generator()).all()


def test_alteration_when_zeroed_then_chosen_frames_are_zero_and_others_stay():
    features_BSF = _features(3)
    altered_BSF, chosen_BS = _alter(features_BSF, zero_probability=1.0, replace_probability=0.0)
    assert (altered_BSF[chosen_BS] == 0).all()
    assert torch.equal(altered_BSF[~chosen_BS], features_BSF[~chosen_BS])


def test_alteration_when_kept_then_features_stay_and_frames_are_still_chosen():
    features_BSF = _features(3)
    altered_BSF, chosen_BS = _alter(features_BSF, zero_probability=0.0, replace_probability=0.0)
    assert torch.equal(altered_BSF, features_BSF)
    assert chosen_BS.any(1).all()


def test_alteration_when_replaced_then_frames_come_from_the_same_utterance_in_order():
    features_BSF = _features(40, 50)
    lengths = [50, 30] * 20
    altered_BSF, chosen_BS = _alter(
        features_BSF, lengths=lengths, zero_probability=0.0, replace_probability=1.0
    )
    shifts = set()
    for row, length in enumerate(lengths):
        frames = chosen_BS[row].nonzero()[:, 0]
        sources = altered_BSF[row, frames, 0] - features_BSF[row, 0, 0]
        shift = (sources - frames) % length
        assert (shift == shift[0]).all()
        assert torch.equal(altered_BSF[row, ~chosen_BS[row]], features_BSF[row, ~chosen_BS[row]])
        shifts.add(int(shift[0]))
    assert len(shifts) > 10


def test_alteration_when_drawn_for_many_utterances_then_policies_have_their_probabilities():
    features_BSF = _features(1000, 20, width=1)
    altered_BSF, chosen_BS = _alter(features_BSF)
    zeroed = (altered_BSF[..., 0] == 0).any(1)
    changed = (altered_BSF != features_BSF).flatten(1).any(1)
    counts = [int(zeroed.sum()), int((changed & ~zeroed).sum()), int((~changed).sum())]
    # one replacement in twenty has shift 0 and looks kept
    expected = [800.0, 100.0 * 19 / 20, 100.0 * 21 / 20]
    assert chisquare(counts, expected).pvalue > 0.001
    assert chosen_BS.any(1).all()


def test_alteration_when_the_batch_is_composed_otherwise_then_an_utterance_stays():
    features_BSF = _features(6)
    names = tuple("abcdef")
    together_BSF, chosen_BS = _alter(features_BSF, names=names, seed=9)
    for row in (4, 0, 2):
        longer_1SF = torch.nn.functional.pad(features_BSF[row : row + 1], (0, 0, 0, 30))
        alone_1SF, alone_1S = _alter(longer_1SF, names=(names[row],), lengths=[60], seed=9)
        assert torch.equal(alone_1SF[0, :60], together_BSF[row])
        assert torch.equal(alone_1S[0, :60], chosen_BS[row])


def test_alteration_when_the_seed_or_the_id_changes_then_other_frames_are_chosen():
    features_BSF = _features(1, 500)
    _, first = _alter(features_BSF, seed=1, names=("a",))
    _, again = _alter(features_BSF, seed=1, names=("a",))
    _, other_seed = _alter(features_BSF, seed=2, names=("a",))
    _, other_name = _alter(features_BSF, seed=1, names=("b",))
    assert torch.equal(first, again)
    assert not torch.equal(first, other_seed)
    assert not torch.equal(first, other_name)


def test_alteration_when_frames_are_padded_then_none_of_them_is_chosen_or_changed():
    features_BSF = _features(4)
    lengths = [60, 20, 3, 0]
    altered_BSF, chosen_BS = _alter(features_BSF, lengths=lengths)
    for row, length in enumerate(lengths):
        assert not chosen_BS[row, length:].any()
        assert torch.equal(altered_BSF[row, length:], features_BSF[row, length:])
    assert not chosen_BS[3].any()


def test_alteration_when_done_then_the_input_is_unchanged_and_global_randomness_untouched():
    features_BSF = _features(5)
    before = features_BSF.clone()
    state = torch.get_rng_state()
    _alter(features_BSF)
    assert torch.equal(features_BSF, before)
    assert torch.equal(torch.get_rng_state(), state)


def _spans(lengths, *, names=None, seed=0, num_frames=None, **changes):
    options = {"probability": 0.08, "span_frames": 10, "min_spans": 2, **changes}
    names = names or tuple(f"utterance-{row}" for row in range(len(lengths)))
    return choose_spans(
        torch.tensor(lengths), num_frames or max(lengths), names, seed=seed, **options
    )


def test_spans_begin_at_as_many_frames_as_expected():
    # spans of one frame can be counted; 0.08 * 56 is rounded up in 48 of 100 utterances
    counts = _spans([56] * 2000, span_frames=1).sum(1)
    assert set(counts.tolist()) == {4, 5}
    assert (
        chisquare([int((counts == 4).sum()), int((counts == 5).sum())], [1040, 960]).pvalue > 0.001
    )


def test_spans_of_long_utterances_cover_about_half_of_the_frames():
    covered = _spans([1000] * 200).float().mean()
    # 80 distinct starts of 991; a frame is left alone if none of those up to 9 before it is chosen
    before = [min(frame, 990) - max(frame - 9, 0) + 1 for frame in range(1000)]
    alone = sum(comb(991 - starts, 80) / comb(991, 80) for starts in before) / 1000
    assert abs(float(covered) - (1 - alone)) < 0.005


def test_spans_are_at_least_as_long_as_asked_for():
    for chosen_S in _spans([300] * 50):
        assert min(_runs(chosen_S)) >= 10


def test_spans_begin_at_every_frame_with_equal_probability():
    chosen_BS = _spans([20] * 1100, probability=0.01, min_spans=1)
    assert (chosen_BS.sum(1) == 10).all()
    starts = chosen_BS.int().argmax(1)
    assert chisquare(torch.bincount(starts, minlength=11).numpy()).pvalue > 0.001


@pytest.mark.parametrize(("length", "num_spans"), [(50, 3), (2, 2), (1, 1)])
def test_spans_are_as_many_as_asked_for_where_there_are_places(length, num_spans):
    chosen_BS = _spans([length] * 20, probability=0.001, span_frames=1, min_spans=3)
    assert (chosen_BS.sum(1) == num_spans).all()


@pytest.mark.parametrize(("length", "span"), [(1, 1), (2, 1), (3, 1), (9, 4), (19, 9), (20, 10)])
def test_span_of_a_short_utterance_is_half_as_long_as_that(length, span):
    chosen_BS = _spans([length] * 20, probability=0.001, min_spans=0)
    assert [_runs(chosen_S) for chosen_S in chosen_BS] == [[span]] * 20


def test_spans_lie_within_the_lengths():
    lengths = [60, 20, 3, 0]
    chosen_BS = _spans(lengths, num_frames=80)
    assert chosen_BS.shape == (4, 80)
    for chosen_S, length in zip(chosen_BS, lengths, strict=True):
        assert not chosen_S[length:].any()
        assert chosen_S.any() == (length > 0)


def test_spans_of_an_utterance_do_not_depend_on_its_batch():
    names = tuple("abcdef")
    together_BS = _spans([60] * 6, names=names, seed=9)
    for row in (4, 0, 2):
        alone_1S = _spans([60], names=(names[row],), seed=9, num_frames=90)
        assert torch.equal(alone_1S[0, :60], together_BS[row])


def test_spans_change_with_the_seed_and_the_utterance():
    first, again = (_spans([500], names=("a",), seed=1) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, _spans([500], names=("a",), seed=2))
    assert not torch.equal(first, _spans([500], names=("b",), seed=1))


def test_spans_leave_global_randomness_untouched():
    state = torch.get_rng_state()
    _spans([100, 50])
    assert torch.equal(torch.get_rng_state(), state)
