"""The drawing of an alignment."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from speechlite.core.errors import DataError
from speechlite.data.audio import write_flac
from speechlite.data.corpora.ctm import Mark, write_ctm
from speechlite.data.tables import write_table
from speechlite.engine.alignment_plot import plot_alignment


@pytest.fixture
def aligned(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 16000).astype(np.float32)
    write_flac(data / "a.flac", noise, sample_rate=16000)
    tables = {"wav.scp": "a.flac", "utt2spk": "s", "text": "NO"}
    for name, value in tables.items():
        write_table(data / name, {"s-a": value})
    write_table(data / "spk2utt", {"s": "s-a"})
    phones = [Mark(0.0, 0.2, "SIL", 1), Mark(0.2, 0.1, "N", 2), Mark(0.3, 0.4, "OW", 3)]
    write_ctm(tmp_path / "phones.ctm", {"s-a": phones})
    write_ctm(tmp_path / "words.ctm", {"s-a": [Mark(0.2, 0.5, "NO", 1)]})
    return tmp_path


def test_plot_when_drawn_is_svg_and_always_the_same(aligned):
    out = aligned / "a.svg"
    plot_alignment(aligned / "data", aligned, "s-a", out)
    first = out.read_bytes()
    assert ET.fromstring(first).tag.endswith("svg")
    plot_alignment(aligned / "data", aligned, "s-a", out)
    assert out.read_bytes() == first


def test_plot_when_the_utterance_is_unknown_names_what_there_is(aligned):
    with pytest.raises(DataError, match="has no utterance 's-b'; choose one of s-a"):
        plot_alignment(aligned / "data", aligned, "s-b", aligned / "a.svg")
    assert not (aligned / "a.svg").exists()


def test_plot_when_there_is_no_alignment_says_so(aligned):
    (aligned / "phones.ctm").unlink()
    with pytest.raises(DataError, match=r"phones\.ctm"):
        plot_alignment(aligned / "data", aligned, "s-a", aligned / "a.svg")
