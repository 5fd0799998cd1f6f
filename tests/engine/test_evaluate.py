from __future__ import annotations

import copy
import shutil
from itertools import cycle

import pytest
import torch
from made_runs import choice, evaluate_arguments, write_speech

from speechlite.config.compose import compose
from speechlite.core.errors import ConfigError, DataError
from speechlite.core.head import Search, UtteranceScore
from speechlite.data.frame_labels import label_frames
from speechlite.engine import evaluate as module
from speechlite.engine.build import build_model, model_spec
from speechlite.engine.dump import dump_features
from speechlite.engine.evaluate import SplitScore, evaluate
from speechlite.heads.phone import PhoneHead


@pytest.fixture
def config_of(registry, speech):
    def make(*further, data=speech):
        return compose("evaluate", registry=registry, overrides=evaluate_arguments(data, *further))

    return make


@pytest.fixture
def own(speech, tmp_path):
    shutil.copytree(speech, tmp_path / "speech")
    return tmp_path / "speech"


def numbers(evaluation):
    return [
        (score.id, score.numerator, score.denominator)
        for test in evaluation.tests
        for score in test.scores
    ]


def test_evaluation_when_repeated_is_bit_equal(registry, config_of, make_model):
    first, second = (evaluate(config_of(), make_model(), registry) for _ in range(2))
    assert first.tests == second.tests
    assert (first.dev, first.best_step) == (second.dev, second.best_step)


def test_evaluation_with_a_long_training_learns_the_task(registry, config_of, make_model):
    result = evaluate(config_of("training.max_steps=150"), make_model(), registry)
    # three tones of equal frequency: a third by guessing
    assert result.tests[0].value > 60


def test_evaluation_scores_every_utterance_once_in_order(registry, config_of, make_model, speech):
    (test,) = evaluate(config_of(), make_model(), registry).tests
    names = [line.split()[0] for line in (speech / "test" / "utt2spk").read_text().splitlines()]
    assert [score.id for score in test.scores] == sorted(names)
    assert (test.metric, test.unit, test.higher_is_better) == ("acc", "%", True)


def test_evaluation_of_two_test_directories_scores_each(registry, config_of, make_model, speech):
    config = config_of(f"task.test=[{speech / 'test'},{speech / 'dev'}]")
    result = evaluate(config, make_model(), registry)
    assert [test.split.name for test in result.tests] == ["test", "dev"]


def test_evaluation_with_the_dev_data_as_test_gives_the_dev_score(
    registry, config_of, make_model, speech
):
    result = evaluate(config_of(f"task.test=[{speech / 'dev'}]"), make_model(), registry)
    assert result.tests[0].value == result.dev


@pytest.mark.parametrize(("values", "best"), [([1, 5, 3], 4), ([5, 5, 1], 2), ([1, 2, 3], 6)])
def test_head_is_chosen_by_dev_and_never_by_test(
    registry, config_of, make_model, monkeypatch, values, best
):
    kept = {}
    pending = cycle(values)

    def score(self, split):
        if split.name == "test":
            kept["test"] = copy.deepcopy(self.head.state_dict())
            value = 0
        else:
            assert split.name == "dev"
            value = next(pending)
            kept[value] = kept.get(value) or copy.deepcopy(self.head.state_dict())
        scores = (UtteranceScore("u", "s", value, 100),)
        return SplitScore(split, "acc", "%", True, "x 1", scores)

    monkeypatch.setattr(module._HeadTraining, "score", score)
    result = evaluate(config_of(), make_model(), registry)
    assert (result.best_step, result.dev) == (best, max(values))
    expected = kept[max(values)]
    assert all(torch.equal(kept["test"][name], value) for name, value in expected.items())


@pytest.mark.parametrize("head", ["phone", "ctc"])
def test_evaluation_from_memory_agrees_with_one_that_computes_each_time(
    registry, config_of, make_model, head
):
    further = ("task.labels=characters", "head=ctc", "head.recurrent_layers=0")
    options = further if head == "ctc" else ()
    cached = evaluate(config_of(*options), make_model(), registry)
    fresh = evaluate(config_of(*options, "training.cache_gigabytes=0"), make_model(), registry)
    assert [n[::2] for n in numbers(cached)] == [n[::2] for n in numbers(fresh)]
    assert cached.dev == pytest.approx(fresh.dev, abs=2.0)


def test_evaluation_on_dumped_features_agrees_with_one_on_sound(
    registry, config_of, make_model, speech, tmp_path
):
    chosen = choice(registry, "frontend", "fbank", num_mels=8)
    dump_features(chosen, [speech / n for n in ("train", "dev", "test")], tmp_path, registry)
    sound = evaluate(config_of(), make_model(), registry)
    dumped = evaluate(config_of(), make_model(), registry, features=tmp_path)
    assert dumped.dev == pytest.approx(sound.dev, abs=2.0)


def test_evaluation_on_features_of_another_frontend_is_an_error(
    registry, config_of, make_model, speech, tmp_path
):
    chosen = choice(registry, "frontend", "fbank", num_mels=9)
    dump_features(chosen, [speech / n for n in ("train", "dev", "test")], tmp_path, registry)
    with pytest.raises(DataError, match="the features were made by"):
        evaluate(config_of(), make_model(), registry, features=tmp_path)


def test_evaluation_of_words_counts_reference_words(registry, config_of, make_model, speech):
    config = config_of("task.labels=characters", "head=ctc", "head.recurrent_layers=0")
    (test,) = evaluate(config, make_model(), registry).tests
    words = sum(
        len(line.split()) - 1 for line in (speech / "test" / "text").read_text().splitlines()
    )
    assert sum(score.denominator for score in test.scores) == words
    assert (test.metric, test.higher_is_better) == ("wer", False)


def test_evaluation_with_chapters_scores_readers(registry, config_of, make_model, own):
    (own / "test" / "chap2reader").write_text("tests0 7\ntests1 8\n")
    (test,) = evaluate(config_of(data=own), make_model(), registry).tests
    assert {score.speaker for score in test.scores} == {"7", "8"}


def test_evaluation_leaves_the_model_as_it_was(registry, config_of, make_model):
    model = make_model()
    before = copy.deepcopy(model.state_dict())
    evaluate(config_of(), model, registry)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_evaluation_without_a_split_is_an_error(registry, config_of, make_model, name):
    with pytest.raises(ConfigError, match=f"task.{name} names no data directory"):
        evaluate(config_of(f"task.{name}=[]"), make_model(), registry)


def test_evaluation_where_one_id_is_two_recordings_is_an_error(
    registry, config_of, make_model, own
):
    write_speech(own / "elsewhere" / "train", utterances=4, seed=77)
    config = config_of(f"task.test=[{own / 'elsewhere' / 'train'}]", data=own)
    with pytest.raises(DataError, match="is another one in train than elsewhere in the task"):
        evaluate(config, make_model(), registry)


def test_evaluation_of_test_directories_of_one_name_is_an_error(
    registry, config_of, make_model, own
):
    twin = write_speech(own / "twin" / "test", utterances=2, seed=78, speakers=1)
    for table in twin.iterdir():
        if table.suffix != ".flac":
            table.write_text(table.read_text().replace("tests0", "twins0"))
    for sound in twin.glob("*.flac"):
        sound.rename(sound.with_name(sound.name.replace("tests0", "twins0")))
    label_frames([own / name for name in ("train", "dev", "test", "twin/test")])
    config = config_of(f"task.test=[{own / 'test'},{twin}]", data=own)
    with pytest.raises(ConfigError, match="two data directories are called test"):
        evaluate(config, make_model(), registry)


def test_evaluation_where_an_utterance_has_no_labels_is_an_error(
    registry, config_of, make_model, own
):
    lines = (own / "test" / "phone_labels").read_text().splitlines()
    (own / "test" / "phone_labels").write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(DataError, match=f"utterance {lines[0].split()[0]} has no phones labels"):
        evaluate(config_of(data=own), make_model(), registry)


def test_evaluation_where_labels_do_not_fit_the_frames_is_an_error(
    registry, config_of, make_model, own
):
    lines = (own / "train" / "phone_labels").read_text().splitlines()
    short = [" ".join(line.split()[:20]) for line in lines]
    (own / "train" / "phone_labels").write_text("\n".join(short) + "\n")
    with pytest.raises(DataError, match="has 19 phones labels for"):
        evaluate(config_of(data=own), make_model(), registry)


@pytest.fixture
def half_rate_model(registry):
    """Give a model of 50 frames a second; labels have 100."""
    torch.manual_seed(0)
    spec = model_spec(
        choice(registry, "frontend", "conv_waveform", channels=[4] * 7),
        choice(registry, "encoder", "transformer", dim=8, layers=1, heads=2, feedforward=8),
    )
    return build_model(spec, registry).eval()


def test_evaluation_of_a_model_of_half_the_rate_scores_each_of_its_frames(
    registry, config_of, half_rate_model, speech
):
    (test,) = evaluate(config_of(), half_rate_model, registry).tests
    rows = [line.split() for line in (speech / "test" / "utt2num_samples").read_text().splitlines()]
    frames = {name: (int(samples) - 400) // 320 + 1 for name, samples in rows}
    assert {score.id: score.denominator for score in test.scores} == frames


def test_labels_at_half_the_rate_are_those_of_the_nearest_frames(
    registry, config_of, half_rate_model, speech, monkeypatch
):
    seen = {}

    def note(splits, model, features, labels):
        seen.update(labels["phones"])
        return original(splits, model, features, labels)

    original = module._reader
    monkeypatch.setattr(module, "_reader", note)
    evaluate(config_of(), half_rate_model, registry)
    for line in (speech / "test" / "phone_labels").read_text().splitlines():
        name, *labels = line.split()
        # frames of 25 ms at both rates, so that every other one has the same place
        assert seen[name].tolist() == [int(label) for label in labels[::2]][: len(seen[name])]


def test_evaluation_where_labels_do_not_fit_a_model_of_half_the_rate_is_an_error(
    registry, config_of, half_rate_model, own
):
    lines = (own / "train" / "phone_labels").read_text().splitlines()
    short = [" ".join(line.split()[:10]) for line in lines]
    (own / "train" / "phone_labels").write_text("\n".join(short) + "\n")
    with pytest.raises(DataError, match="has 9 phones labels for"):
        evaluate(config_of(data=own), half_rate_model, registry)


def test_score_of_a_split_is_a_ratio_of_sums(registry, config_of, make_model, speech):
    scores = (UtteranceScore("a", "s", 1, 4), UtteranceScore("b", "s", 5, 6))
    assert SplitScore(None, "acc", "%", True, "x", scores).value == pytest.approx(60.0)
    assert SplitScore(None, "acc", "%", True, "x", ()).value == 0.0


ARPA = """\\data\\
ngram 1=6
ngram 2=1

\\1-grams:
-9\t<unk>
-99\t<s>\t0
-1\t</s>
-0.5\tAB\t0
-0.5\tCA\t0
-0.5\tBC\t0

\\2-grams:
-0.4\t<s> AB

\\end\\
"""
WORDS = ("head=ctc", "head.recurrent_layers=0", "head.stack_frames=2", "training.max_steps=40")


@pytest.mark.parametrize("labels", ["characters", "subwords"])
def test_evaluation_with_a_beam_takes_the_weights_that_are_best_on_dev(
    registry, config_of, make_model, own, labels
):
    (own / "lm.arpa").write_text(ARPA)
    stream = (f"task.labels={labels}", *(["task.subword_units=6"] if labels == "subwords" else []))
    beam = ("head.search=beam", f"head.language_model={own / 'lm.arpa'}", "head.beam_size=20")
    dev_as_test = f"task.test=[{own / 'dev'}]"
    model = make_model()

    def run(*further):
        options = (*WORDS, *stream, dev_as_test, *further)
        return evaluate(config_of(*options, data=own), model, registry)

    scores = {}
    for word_score in (-1000.0, 1.0):
        result = run(*beam, f"head.word_score=[{word_score}]")
        assert (result.search["word_score"], result.search["words"]) == (word_score, 3)
        assert "dev" not in result.search
        scores[word_score] = result.tests[0].value
    best = min(scores, key=scores.__getitem__)
    assert len(set(scores.values())) == 2
    for grid in ("-1000.0,1.0", "1.0,-1000.0"):
        chosen = run(*beam, f"head.word_score=[{grid}]")
        assert chosen.search["word_score"] == best
        assert chosen.search["dev"] == chosen.tests[0].value == scores[best]
    greedy = run()
    # weights of the head are chosen by the best path, whatever the search
    assert (greedy.dev, greedy.best_step) == (chosen.dev, chosen.best_step)
    assert greedy.search == {}
    assert greedy.labels["stream"] == labels
    words = {
        word for score in chosen.tests[0].scores for word in score.detail["hypothesis"].split()
    }
    assert words <= {"AB", "CA", "BC"}


def test_evaluation_takes_the_search_with_the_higher_score_where_more_is_better(
    registry, config_of, make_model, monkeypatch
):
    def searches(self):
        def wrong(hidden):
            return [0 * row for row in self.predict(hidden)]

        return (Search(wrong, {"name": "wrong"}), Search(self.predict, {"name": "right"}))

    monkeypatch.setattr(PhoneHead, "searches", searches)
    result = evaluate(config_of("training.max_steps=60"), make_model(), registry)
    assert result.search == {"name": "right", "dev": result.dev}


def test_evaluation_with_a_language_model_that_is_missing_ends_before_training(
    registry, config_of, make_model, monkeypatch
):
    monkeypatch.setattr(module.FrozenModel, "fill", None)
    config = config_of(
        *WORDS, "task.labels=characters", "head.search=beam", "head.language_model=none.arpa"
    )
    with pytest.raises(DataError, match="none.arpa: cannot be read: No such file"):
        evaluate(config, make_model(), registry)


def test_evaluation_of_subwords_scores_words(registry, config_of, make_model, own):
    config = config_of(*WORDS, "task.labels=subwords", "task.subword_units=6", data=own)
    (test,) = evaluate(config, make_model(), registry).tests
    rows = (own / "test" / "text").read_text().splitlines()
    references = dict(row.split(" ", 1) for row in rows)
    assert {score.id: score.detail["reference"] for score in test.scores} == references


def test_evaluation_of_subwords_without_transcripts_is_an_error(
    registry, config_of, make_model, own
):
    (own / "dev" / "text").unlink()
    config = config_of(*WORDS, "task.labels=subwords", "task.subword_units=6", data=own)
    with pytest.raises(DataError, match="text"):
        evaluate(config, make_model(), registry)
