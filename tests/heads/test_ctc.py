"""The CTC head against enumeration of paths, torch's loss, and itertools."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from made_hidden import DIM, batch, descend, hidden
from torch import nn

from speechlite.core.errors import ConfigError, DataError
from speechlite.core.types import Hidden, LabelSpace
from speechlite.heads.config import CtcConfig
from speechlite.heads.ctc import BLANK, CtcHead, collapse
from speechlite.heads.ctc_labels import text_of

SPACE = LabelSpace("character", ("<blank>", " ", "a", "b"))
CLASSES = len(SPACE.symbols)


def _head(**options):
    torch.manual_seed(0)
    small = {"recurrent_layers": 0, "recurrent_dim": 4, "dropout": 0.0}
    config = CtcConfig(**{**small, **options})
    return CtcHead(config, dim=DIM, num_layers=3, labels=SPACE).eval()


def _scores(head, states):
    """Return the log-probabilities of a head without recurrent layers, layers being equal."""
    mean_BSD = torch.stack(states.layers).mean(0)
    return (mean_BSD @ head.classifier.weight.T + head.classifier.bias).log_softmax(-1)


def _slow_collapse(path):
    return [label for label, _ in itertools.groupby(path) if label != BLANK]


def test_collapse_when_itertools_groups_then_every_path_gives_the_same():
    for path in itertools.product(range(3), repeat=6):
        assert collapse(list(path)) == _slow_collapse(path)


@pytest.mark.parametrize(
    ("path", "labels"), [([], []), ([0, 0], []), ([1, 1], [1]), ([1, 0, 1], [1, 1])]
)
def test_collapse_when_written_out_then_a_blank_parts_equal_labels(path, labels):
    assert collapse(path) == labels


@pytest.mark.parametrize("labels", [[], [2], [2, 2], [2, 3], [1, 2, 1]])
def test_loss_when_all_paths_are_enumerated_then_it_is_equal(labels):
    head, states = _head(), hidden([5])
    scores_SC = _scores(head, states)[0].detach().double()
    likelihood = 0.0
    for path in itertools.product(range(CLASSES), repeat=5):
        if _slow_collapse(path) == labels:
            likelihood += math.exp(sum(float(scores_SC[s, c]) for s, c in enumerate(path)))
    loss = head.loss(states, batch("character", [labels]))
    torch.testing.assert_close(loss.sum.item(), -math.log(likelihood), atol=1e-4, rtol=1e-5)
    assert float(loss.weight) == len(labels)


def test_loss_when_torch_sums_it_then_a_padded_batch_is_equal():
    head, states = _head(), hidden([9, 5, 4])
    sequences = [[2, 3, 1, 2], [2], [3, 3]]
    loss = head.loss(states, batch("character", sequences))
    criterion = nn.CTCLoss(reduction="sum")
    flat = torch.tensor([label for sequence in sequences for label in sequence])
    expected = criterion(
        _scores(head, states).transpose(0, 1), flat, states.lengths, torch.tensor([4, 1, 2])
    )
    torch.testing.assert_close(loss.sum, expected)
    assert float(loss.weight) == 7


@pytest.mark.parametrize("recurrent_layers", [0, 1, 2])
@pytest.mark.parametrize("stack_frames", [1, 2, 3])
def test_head_when_batched_then_each_utterance_is_as_if_alone(recurrent_layers, stack_frames):
    head = _head(recurrent_layers=recurrent_layers, stack_frames=stack_frames)
    lengths, sequences = [13, 8, 7], [[2, 3], [1], [3]]
    together = head.loss(hidden(lengths, frames=17), batch("character", sequences))
    texts = head.predict(hidden(lengths, frames=17))
    total = 0.0
    for row, length in enumerate(lengths):
        states = hidden(lengths)
        alone = Hidden(
            tuple(layer[row : row + 1, :length] for layer in states.layers), torch.tensor([length])
        )
        total += head.loss(alone, batch("character", [sequences[row]])).sum.item()
        assert head.predict(alone) == [texts[row]]
    torch.testing.assert_close(together.sum.item(), total, atol=1e-4, rtol=1e-5)


def test_frames_when_stacked_then_neighbours_are_joined_and_the_last_is_filled_with_zeros():
    head, states = _head(stack_frames=2, layer="last"), hidden([5])
    frames_SD = states.layers[-1][0]
    joined = [torch.cat([frames_SD[0], frames_SD[1]]), torch.cat([frames_SD[2], frames_SD[3]])]
    joined.append(torch.cat([frames_SD[4], torch.zeros(DIM)]))
    scores_SC = head.classifier(torch.stack(joined)).log_softmax(-1)
    criterion = nn.CTCLoss(reduction="sum")
    expected = criterion(scores_SC, torch.tensor([2, 3]), torch.tensor(3), torch.tensor(2))
    torch.testing.assert_close(head.loss(states, batch("character", [[2, 3]])).sum, expected)


def test_prediction_when_the_best_path_is_set_then_its_text_comes_back():
    head = _head(layer="last")
    with torch.no_grad():
        head.classifier.weight.copy_(10 * torch.eye(CLASSES, DIM))
        head.classifier.bias.zero_()
    path = [1, 2, 2, 0, 2, 1, 0, 1, 3, 3, 1, 2]
    state_BSD = torch.eye(CLASSES, DIM)[torch.tensor([path])]
    # the last frame lies beyond the length; double and outer spaces go
    assert head.predict(Hidden((state_BSD,) * 3, torch.tensor([11]))) == ["aa b"]


@pytest.mark.parametrize(("frames", "labels"), [(2, [2, 3, 2]), (2, [2, 2]), (1, [2, 3])])
def test_loss_when_there_are_too_few_frames_then_the_utterance_is_named(frames, labels):
    message = (
        f"utterance u1 has {frames} frames for {len(labels)} labels, too few for CTC; "
        "leave the utterance out, or lower head.stack_frames"
    )
    with pytest.raises(DataError, match=message):
        _head().loss(hidden([9, frames]), batch("character", [[2], labels]))


def test_loss_when_weights_are_not_numbers_then_the_data_is_not_blamed():
    head = _head()
    with torch.no_grad():
        head.classifier.weight.fill_(torch.nan)
    assert torch.isnan(head.loss(hidden([9]), batch("character", [[2]])).sum)


def test_head_when_trained_on_a_toy_task_then_it_reads_the_text():
    head = _head(layer="last").train()
    states, given = hidden([20, 16]), batch("character", [[2, 3, 1, 2], [3, 2]])
    losses = descend(head, lambda: head.loss(states, given), steps=100, rate=1.0)
    assert losses[-1] < 0.3 * losses[0]
    scores = head.metric().score(head.eval().predict(states), given)
    assert [score.detail["reference"] for score in scores] == ["ab a", "ba"]
    assert [score.numerator for score in scores] == [0, 0]


def test_head_when_trained_then_every_parameter_gets_a_gradient():
    head = _head(recurrent_layers=2).train()
    head.loss(hidden([9, 6]), batch("character", [[2], [3, 1]])).sum.backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in head.parameters())


def test_head_when_dropout_is_on_then_only_training_is_random():
    head, states, given = _head(dropout=0.5), hidden([9]), batch("character", [[2]])
    assert torch.equal(head.loss(states, given).sum, head.loss(states, given).sum)
    head.train()
    assert not torch.equal(head.loss(states, given).sum, head.loss(states, given).sum)


def test_head_when_it_weighs_layers_then_it_needs_all_of_them():
    assert _head().needs_all_layers
    assert not _head(layer="last").needs_all_layers


def test_metric_when_asked_then_it_is_the_word_error_rate():
    assert _head().metric().name == "wer"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "all"}, "layer='all', expected weighted or last"),
        ({"stack_frames": 0}, "stack_frames=0, .*expected positive counts and 0 <= dropout < 1"),
        ({"recurrent_dim": 0}, "recurrent_dim=0, "),
        ({"recurrent_layers": -1}, "recurrent_layers=-1, .*; change the option of head that is"),
        ({"dropout": 1.0}, "dropout=1.0: expected"),
        ({"dropout": float("nan")}, "dropout=nan: expected"),
    ],
)
def test_config_when_out_of_range_then_it_says_what_is_expected(options, message):
    with pytest.raises(ConfigError, match=message):
        CtcConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search": "best"}, "search='best', expected greedy or beam; change head.search"),
        ({"beam_size": 0}, "beam_size=.0., expected finite numbers of at least 1; change head.be"),
        ({"beam_symbols": -1}, "beam_symbols=.-1., expected finite numbers of at least 0"),
        ({"beam_threshold": 0.0}, "beam_threshold=0.0, expected more than 0"),
        ({"beam_threshold": math.inf}, "beam_threshold=.inf., expected finite numbers"),
        ({"lm_weight": []}, "lm_weight=.., expected finite numbers of at least 0"),
        ({"lm_weight": [1.0, -1.0]}, "lm_weight=.1.0, -1.0., expected finite numbers of at least"),
        ({"word_score": [math.nan]}, "word_score=.nan., expected finite numbers; change head.word"),
        ({"language_model": "lm.arpa"}, "search=greedy does not read lm.arpa; set head.search=be"),
        ({"lexicon": "words"}, "search=greedy does not read words"),
        (
            {"search": "beam", "lexicon": "words", "lm_weight": [1.0, 2.0]},
            "lm_weight=.1.0, 2.0., but there are no words to weigh; set head.language_model",
        ),
        ({"search": "beam", "word_score": [0.0, 1.0]}, "word_score=.0.0, 1.0., but there are no"),
    ],
)
def test_config_when_the_search_is_out_of_range_then_it_says_what_is_expected(options, message):
    with pytest.raises(ConfigError, match=message):
        CtcConfig(**options)


def test_config_when_it_names_files_then_they_are_listed():
    config = CtcConfig(search="beam", language_model="a.arpa", lexicon="words")
    assert config.files == ("a.arpa", "words")
    assert CtcConfig().files == ()


def test_searches_when_greedy_then_the_only_one_is_the_best_path():
    head = _head()
    (search,) = head.searches()
    assert search.predict(hidden([9, 5])) == head.predict(hidden([9, 5]))
    assert search.facts == {}


def test_text_when_units_carry_the_mark_of_words_then_words_come_back():
    space = LabelSpace("subwords", ("<blank>", "_", "_he", "llo", "_you"), word_mark="_")
    assert text_of([2, 3, 1, 4], space) == "hello you"


def test_config_when_left_at_its_defaults_then_it_is_superbs():
    config = CtcConfig()
    assert (config.recurrent_layers, config.recurrent_dim, config.layer) == (2, 1024, "weighted")
