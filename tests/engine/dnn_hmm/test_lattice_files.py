from __future__ import annotations

import math

import numpy as np
import pytest

from speechlite.core.errors import DataError
from speechlite.data.datadir import Utterance
from speechlite.engine.dnn_hmm.lattice_files import (
    read_lattices,
    write_error_report,
    write_lattices,
    write_nbest,
)
from speechlite.engine.dnn_hmm.scoring import score_words
from speechlite.engine.splits import Split
from speechlite.hmm.fst_arrays import FstArrays
from speechlite.hmm.lattice import ScoredLattice

NAMES = ("<eps>", "a", "\u00df\u8a9e", "c", "#0", "<s>", "</s>")
IDS = {name: number for number, name in enumerate(NAMES)}


class Lengths:
    """Score a word by how many stand before it."""

    def start(self):
        return 0

    def step(self, state, word):
        return state + 1, 0.5 * word + 0.25 * state

    def final(self, state):
        return 0.125 * state


def made_lattice(seed, states=6):
    generator = np.random.default_rng(seed)
    rows = [
        (src, word, src + 1 if word == 1 else int(generator.integers(src + 1, states)))
        for src in range(states - 1)
        for word in (1, 2, 3)
    ]
    src, word, dst = (np.array(column, np.int32) for column in zip(*rows, strict=True))
    weights = generator.uniform(-50, 50, len(rows)).astype(np.float32)
    finals = np.array([np.inf] * (states - 1) + [1.5], np.float32)
    finals[2] = 0.25
    return ScoredLattice.of(FstArrays(0, finals, src, word, word, weights, dst), Lengths())


def empty():
    """Make a lattice of silence alone."""
    none = np.zeros(0, np.int32)
    words = FstArrays(0, np.array([2.5], np.float32), none, none, none, none, none)
    return ScoredLattice.of(words, Lengths())


@pytest.fixture
def written(tmp_path):
    lattices = {f"u{seed}": made_lattice(seed) for seed in range(3)} | {"silent": empty()}
    path = tmp_path / "dev.lat"
    assert write_lattices(path, lattices, NAMES) == "dev.lat"
    return path, lattices


def test_lattices_when_read_again_score_and_rescore_alike(written):
    path, lattices = written
    found = read_lattices(path, IDS)
    assert found.keys() == lattices.keys()
    for name, lattice in lattices.items():
        for before, after in (
            (lattice, found[name]),
            (lattice.rescored(Lengths()), found[name].rescored(Lengths())),
        ):
            expected, again = (one.n_best(20, weight=0.7, penalty=0.1) for one in (before, after))
            assert [one.words for one in again] == [one.words for one in expected]
            costs = [one.cost for one in expected]
            assert [one.cost for one in again] == pytest.approx(costs, abs=1e-4)


def test_lattices_when_read_with_other_word_numbers_have_the_same_words(written):
    path, lattices = written
    shifted = {name: number + 10 for name, number in IDS.items()}
    (found,) = read_lattices(path, shifted)["u1"].best([1.0], [0.0])
    (expected,) = lattices["u1"].best([1.0], [0.0])
    assert [word - 10 for word in found.words] == list(expected.words)


def test_lattice_of_silence_keeps_its_cost(written):
    (best,) = read_lattices(written[0], IDS)["silent"].best([1.0], [0.0])
    assert best.words == ()
    assert best.cost == pytest.approx(2.5)


def test_lattices_without_an_utterance_are_an_empty_file(tmp_path):
    write_lattices(tmp_path / "none.lat", {}, NAMES)
    assert read_lattices(tmp_path / "none.lat", IDS) == {}


def test_lattices_of_no_file_name_the_step(tmp_path):
    with pytest.raises(DataError, match=r"none.lat: cannot be read .*; run the step decode"):
        read_lattices(tmp_path / "none.lat", IDS)


def test_lattices_that_are_no_text_say_so(tmp_path):
    (tmp_path / "x.lat").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"x.lat: cannot be read"):
        read_lattices(tmp_path / "x.lat", IDS)


@pytest.mark.parametrize("end", [-1, -2, -30, -100])
def test_lattices_that_were_cut_off_are_refused(written, end):
    path, _ = written
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(DataError, match=r"dev.lat: was cut off; run the step decode again"):
        read_lattices(path, IDS)


@pytest.mark.parametrize(
    "lines",
    [
        "0 1 a 1.0,2.0,\nx 1 a 1.0,2.0,",
        "0 1 unheard 1.0,2.0,\n1 0.0,0.0,",
        "0 1 a 1.0;2.0\n1 0.0,0.0,",
        "0 1 a nan,2.0,\n1 0.0,0.0,",
        "0 1 a 1.0,inf,\n1 0.0,0.0,",
        "0 1 a\n1 0.0,0.0,",
        "0 1 1.0,2.0,\n1 0.0,0.0,",
        "0 1 a b 1.0,2.0,\n1 0.0,0.0,",
        "0 0 a 1.0,2.0,\n0 0.0,0.0,",
        "0 1 a 1.0,2.0,\n1 0 a 1.0,2.0,\n1 0.0,0.0,",
        "-1 1 a 1.0,2.0,\n1 0.0,0.0,",
        "0 -1 a 1.0,2.0,\n1 0.0,0.0,",
        "1.5 1 a 1.0,2.0,",
        "0.0,0.0,",
    ],
)
def test_lattices_with_a_line_that_is_no_arc_name_the_utterance(tmp_path, lines):
    path = tmp_path / "dev.lat"
    path.write_text(f"good\n0 0.0,0.0,\n\nbad\n{lines}\n\n")
    with pytest.raises(DataError, match=r"dev.lat: utterance bad has no lattice of this lang \("):
        read_lattices(path, IDS)


def test_nbest_lists_sequences_by_rank_with_their_costs(tmp_path):
    lattice = made_lattice(4)
    name = write_nbest(tmp_path / "n.txt", {"u": lattice}, NAMES, count=3, weight=0.5, penalty=1.0)
    rows = [line.split(" ") for line in (tmp_path / name).read_text().splitlines()]
    expected = lattice.n_best(3, weight=0.5, penalty=1.0)
    assert [row[0] for row in rows] == ["u-1", "u-2", "u-3"]
    assert [row[2:] for row in rows] == [[NAMES[w] for w in one.words] for one in expected]
    assert [float(row[1]) for row in rows] == pytest.approx([h.cost for h in expected], abs=1e-4)
    assert all(math.isfinite(float(row[1])) for row in rows)


def test_error_report_puts_words_in_columns_and_errors_in_capitals(tmp_path):
    texts = {
        "u1": ("the cat sat", "the hat sat down"),
        "u2": ("\u00e4 b", "\u00e4"),
        "u3": ("x y", ""),
    }
    utterances = {
        name: Utterance(name, "s", tmp_path, None, None, text, 1.0, None)
        for name, (text, _) in texts.items()
    }
    split = Split("test", utterances, dict.fromkeys(texts, 1.0), ())
    score = score_words(split, {name: found for name, (_, found) in texts.items()})
    write_error_report(tmp_path / "errors.txt", score)
    blocks = (tmp_path / "errors.txt").read_text(encoding="utf-8").split("\n\n")
    assert blocks[:3] == [
        "u1 C=2 S=1 D=0 I=1\nREF: the CAT sat *\nHYP: the HAT sat DOWN",
        "u2 C=1 S=0 D=1 I=0\nREF: \u00e4 B\nHYP: \u00e4 *",
        "u3 C=0 S=0 D=2 I=0\nREF: X Y\nHYP: * *",
    ]
