from __future__ import annotations

import numpy as np
import pytest
import soundfile

from speechlite.core.errors import DataError
from speechlite.data.corpora.phone_labels import read_phone_labels, read_phones
from speechlite.data.frame_labels import label_frames


def write(path, phones, seconds=0.5):
    path.mkdir()
    name = f"{path.name}-1"
    soundfile.write(path / f"{name}.wav", np.zeros(round(seconds * 16000)), 16000)
    (path / "wav.scp").write_text(f"{name} {path / name}.wav\n")
    (path / "utt2spk").write_text(f"{name} {path.name}\n")
    (path / "spk2utt").write_text(f"{path.name} {name}\n")
    if phones:
        lines = [f"{name} 1 {start:.2f} {length:.2f} {p}\n" for start, length, p in phones]
        (path / "phones.ctm").write_text("".join(lines))
    return path


def test_labels_are_the_phone_at_the_centre_of_each_frame(tmp_path):
    marks = [(0.05, 0.1, "B"), (0.15, 0.2, "A")]
    path = write(tmp_path / "d", marks)
    assert label_frames([path]) == [path / "phone_labels"]
    labels = read_phone_labels(path / "phone_labels")["d-1"]
    assert read_phones(path / "phones.txt") == {"SIL": 0, "A": 1, "B": 2}
    centres = [0.0125 + 0.01 * n for n in range(48)]
    expected = [
        next(({"A": 1, "B": 2}[p] for s, d, p in marks if s <= centre < s + d), 0)
        for centre in centres
    ]
    assert labels.tolist() == expected


def test_directories_labelled_together_have_one_inventory(tmp_path):
    first = write(tmp_path / "a", [(0.0, 0.5, "X")])
    second = write(tmp_path / "b", [(0.0, 0.5, "C")])
    label_frames([first, second])
    assert read_phones(first / "phones.txt") == read_phones(second / "phones.txt")
    assert set(read_phones(first / "phones.txt")) == {"SIL", "C", "X"}


def test_directories_without_alignments_are_passed_over(tmp_path):
    assert label_frames([write(tmp_path / "a", [])]) == []
    assert not (tmp_path / "a" / "phone_labels").exists()


def test_a_directory_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no: is no directory; name data directories"):
        label_frames([tmp_path / "no"])


def test_an_alignment_of_other_utterances_is_an_error(tmp_path):
    path = write(tmp_path / "a", [(0.0, 0.5, "X")])
    (path / "phones.ctm").write_text("other 1 0.00 0.50 X\n")
    with pytest.raises(DataError, match="utterance 'other' is not in utt2spk"):
        label_frames([path])
    assert not (path / "phone_labels").exists()
