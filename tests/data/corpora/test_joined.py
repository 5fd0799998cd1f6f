"""Sequences of short utterances."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from speechlite.core.errors import ConfigError, DataError
from speechlite.data.audio import read_wave, write_flac
from speechlite.data.corpora.joined import join_utterances
from speechlite.data.tables import read_table, write_table
from speechlite.data.validation import check_datadir

WORDS = ("ZERO", "ONE", "TWO")
RATE = 16000


@pytest.fixture
def digits(tmp_path):
    """Make two speakers with seven words each; a word is a constant level of its own."""
    folder = tmp_path / "digits"
    (folder / "audio").mkdir(parents=True)
    tables = {name: {} for name in ("wav.scp", "text", "utt2spk", "spk2utt")}
    for speaker in ("ann", "bob"):
        keys = [f"{speaker}-{number}" for number in range(7)]
        for number, key in enumerate(keys):
            level = np.full(1600 + 160 * number, 0.1 * (number + 1), np.float32)
            write_flac(folder / "audio" / f"{key}.flac", level, sample_rate=RATE)
            tables["wav.scp"][key] = f"audio/{key}.flac"
            tables["text"][key] = f"{WORDS[number % 3]}{number}"
            tables["utt2spk"][key] = speaker
        tables["spk2utt"][speaker] = " ".join(keys)
    for name, rows in tables.items():
        write_table(folder / name, rows)
    return folder


def joined(digits, **options):
    out = digits.parent / "strings"
    sizes = {"smallest": 3, "largest": 4, **options}
    count = join_utterances(digits, out, **sizes)
    return out, count


def test_join_when_done_writes_a_valid_directory_of_sequences_by_one_speaker(digits):
    out, count = joined(digits)
    assert check_datadir(out, audio=True) == []
    texts, speakers = read_table(out / "text"), read_table(out / "utt2spk")
    assert count == len(texts) == 4
    assert all(3 <= len(text.split()) <= 4 for text in texts.values())
    assert Counter(speakers.values()) == {"ann": 2, "bob": 2}


def test_join_when_repeated_uses_every_utterance_once_in_each_round(digits):
    out, _ = joined(digits, smallest=1, largest=3, repeats=2)
    words = Counter(word for text in read_table(out / "text").values() for word in text.split())
    # seven words of two speakers, twice
    assert set(words.values()) == {4}
    assert len(words) == 7


def test_join_when_it_writes_sound_then_the_words_stand_in_it_in_their_order(digits):
    out, _ = joined(digits)
    for key, text in read_table(out / "text").items():
        wave_T = read_wave(out / "audio" / f"{key}.flac")
        numbers = [int(word[-1]) for word in text.split()]
        # words are far louder than the gaps, and each has its own level
        levels = np.round(wave_T * 10).astype(int)
        heard = [int(level) for i, level in enumerate(levels) if level and level != levels[i - 1]]
        assert heard == [number + 1 for number in numbers]
        assert (levels > 0).sum() == sum(1600 + 160 * number for number in numbers)
        assert read_table(out / "utt2num_samples")[key] == str(len(wave_T))


def test_join_when_seeds_are_equal_then_the_result_is(digits):
    first = read_table(joined(digits)[0] / "text")
    assert read_table(joined(digits)[0] / "text") == first
    assert read_table(joined(digits, seed=2)[0] / "text") != first


@pytest.mark.parametrize(
    "options", [{"smallest": 0}, {"smallest": 5}, {"repeats": 0}], ids=["zero", "order", "never"]
)
def test_join_when_numbers_make_no_sense_refuses(digits, options):
    with pytest.raises(ConfigError, match="largest not below smallest"):
        joined(digits, **options)
    assert not (digits.parent / "strings").exists()


def test_join_when_there_are_no_transcripts_says_so(digits):
    (digits / "text").unlink()
    with pytest.raises(DataError, match="text"):
        joined(digits)
    assert not (digits.parent / "strings").exists()
