from __future__ import annotations

import pytest
from make_library import write_audio

from speechlite.core.errors import DataError, UsageError
from speechlite.data.corpora.kaldi import prepare_kaldi
from speechlite.data.corpora.parts import draw_part, split_by_speaker
from speechlite.data.tables import read_table
from speechlite.data.validation import check_datadir


def write_tables(folder, tables):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in tables.items():
        (folder / name).write_text(text)


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "corpus"
    for speaker in ("ann", "bob", "cid"):
        write_audio(root / "wav" / f"{speaker}.flac", 8000, rate=8000)
    tables = {
        "wav.scp": "ann-1 wav/ann.flac\nbob-1 wav/bob.flac\ncid-1 wav/cid.flac\n",
        "utt2spk": "ann-1 ann\nbob-1 bob\ncid-1 cid\n",
        "spk2utt": "ann ann-1\nbob bob-1\ncid cid-1\n",
        "spk2gender": "ann f\nbob m\ncid m\n",
        "text": "ann-1 ONE\nbob-1 TWO\ncid-1 THREE\n",
    }
    write_tables(root / "data" / "train", tables)
    return root


def prepare(corpus, out):
    return prepare_kaldi(corpus / "data", out)


def change(corpus, name, text):
    (corpus / "data" / "train" / name).write_text(text)


def test_directory_when_paths_are_relative_to_its_parents_passes_every_check(corpus, tmp_path):
    (directory,) = prepare(corpus, tmp_path / "out")
    assert check_datadir(directory, audio=True) == []
    assert read_table(directory / "wav.scp")["ann-1"] == str(corpus / "wav" / "ann.flac")


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_path_when_relative_to_a_folder_above_is_found(corpus, tmp_path, depth):
    folder = [corpus / "data" / "train", corpus / "data", corpus][depth]
    write_audio(folder / "sound" / "x.flac")
    change(corpus, "wav.scp", "ann-1 sound/x.flac\nbob-1 wav/bob.flac\ncid-1 wav/cid.flac\n")
    (directory,) = prepare(corpus, tmp_path / "out")
    assert read_table(directory / "wav.scp")["ann-1"] == str(folder / "sound" / "x.flac")


def test_lengths_when_missing_are_read_from_the_audio(corpus, tmp_path):
    (directory,) = prepare(corpus, tmp_path / "out")
    assert read_table(directory / "utt2num_samples")["ann-1"] == "8000"
    assert float(read_table(directory / "utt2dur")["ann-1"]) == 1.0


def test_lengths_when_given_are_kept(corpus, tmp_path):
    change(corpus, "utt2dur", "ann-1 1.00\nbob-1 1.00\ncid-1 1.00\n")
    (directory,) = prepare(corpus, tmp_path / "out")
    assert read_table(directory / "utt2dur")["ann-1"] == "1.00"


def test_lengths_when_there_are_segments_are_those_of_the_segments(corpus, tmp_path):
    change(corpus, "wav.scp", "rec wav/ann.flac\n")
    change(corpus, "segments", "ann-1 rec 0.0 0.25\nbob-1 rec 0.25 0.5\ncid-1 rec 0.5 1.0\n")
    (directory,) = prepare(corpus, tmp_path / "out")
    assert check_datadir(directory, audio=True) == []
    assert read_table(directory / "utt2num_samples")["cid-1"] == "4000"


def test_root_when_it_is_a_data_directory_is_accepted(corpus, tmp_path):
    (directory,) = prepare_kaldi(corpus / "data" / "train", tmp_path / "out")
    assert directory.name == "train"


@pytest.mark.parametrize("command", ["sox a.wav -t wav - |", "| cat", "pipe:cat a.wav"])
def test_command_when_in_wav_scp_is_refused_with_its_line(corpus, tmp_path, command):
    change(corpus, "wav.scp", f"ann-1 wav/ann.flac\nbob-1 {command}\ncid-1 wav/cid.flac\n")
    with pytest.raises(DataError, match=r"wav.scp:2: .* is a command to run, which is refused"):
        prepare(corpus, tmp_path / "out")


def test_audio_when_missing_is_refused_with_its_line(corpus, tmp_path):
    (corpus / "wav" / "bob.flac").unlink()
    with pytest.raises(DataError, match=r"wav.scp:2: 'wav/bob.flac' does not exist"):
        prepare(corpus, tmp_path / "out")


def test_audio_when_damaged_is_refused_with_its_line(corpus, tmp_path):
    (corpus / "wav" / "bob.flac").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"wav.scp:2: .*bob.flac"):
        prepare(corpus, tmp_path / "out")


def test_wav_scp_when_unsorted_is_refused_with_its_line(corpus, tmp_path):
    change(corpus, "wav.scp", "bob-1 wav/bob.flac\nann-1 wav/ann.flac\n")
    with pytest.raises(DataError, match=r"wav.scp:2: "):
        prepare(corpus, tmp_path / "out")


def test_root_when_it_holds_no_data_directory_is_refused(tmp_path):
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match="holds no Kaldi-style directory"):
            prepare_kaldi(root, tmp_path / "out")


def split(corpus, tmp_path, test=("bob",), dev=("cid",)):
    (directory,) = prepare(corpus, tmp_path / "out")
    return split_by_speaker(directory, tmp_path / "split", test_speakers=test, dev_speakers=dev)


def test_split_when_made_shares_no_speaker_and_passes_every_check(corpus, tmp_path):
    directories = split(corpus, tmp_path)
    assert [directory.name for directory in directories] == ["train", "dev", "test"]
    assert [list(read_table(d / "spk2utt")) for d in directories] == [["ann"], ["cid"], ["bob"]]
    assert all(check_datadir(directory, audio=True) == [] for directory in directories)


def test_split_when_there_are_no_dev_speakers_has_two_parts(corpus, tmp_path):
    assert [d.name for d in split(corpus, tmp_path, dev=())] == ["train", "test"]


def test_split_when_there_are_marks_and_segments_divides_them(corpus, tmp_path):
    change(corpus, "wav.scp", "r1 wav/ann.flac\nr2 wav/bob.flac\n")
    change(corpus, "segments", "ann-1 r1 0.0 0.25\nbob-1 r2 0.25 0.5\ncid-1 r2 0.5 1.0\n")
    change(corpus, "words.ctm", "ann-1 1 0.0 0.1 ONE\nbob-1 1 0.1 0.1 TWO\n")
    train, _, test = split(corpus, tmp_path)
    assert list(read_table(train / "wav.scp")) == ["r1"]
    assert (test / "words.ctm").read_text() == "bob-1 1 0.1000 0.1000 TWO\n"
    assert all(check_datadir(directory, audio=True) == [] for directory in (train, test))


def test_split_when_speaker_is_unknown_is_refused(corpus, tmp_path):
    with pytest.raises(DataError, match=r"no speaker 'eve'; choose among ann, bob, cid"):
        split(corpus, tmp_path, test=["eve"])


def test_split_when_sets_share_a_speaker_is_refused(corpus, tmp_path):
    with pytest.raises(DataError, match="speaker 'bob' is in both"):
        split(corpus, tmp_path, dev=["bob"])


@pytest.mark.parametrize(
    ("test", "dev", "empty"),
    [((), ("ann",), "test"), (("ann", "bob"), ("cid",), "training")],
)
def test_split_when_a_set_would_be_empty_is_refused(corpus, tmp_path, test, dev, empty):
    with pytest.raises(DataError, match=f"the {empty} set would be empty"):
        split(corpus, tmp_path, test=test, dev=dev)


def test_split_when_a_table_has_other_keys_is_refused(corpus, tmp_path):
    change(corpus, "notes", "eve hello\n")
    with pytest.raises(DataError, match=r"notes: 'eve' is neither an utterance nor a speaker"):
        split(corpus, tmp_path)


@pytest.fixture
def many(tmp_path):
    """Return a directory of two speakers with ten utterances of a second each."""
    root = tmp_path / "many"
    names = [f"{speaker}-{number}" for speaker in ("ann", "bob") for number in range(10)]
    for name in names:
        write_audio(root / "wav" / f"{name}.flac", 8000, rate=8000)
    tables = {
        "wav.scp": "".join(f"{name} wav/{name}.flac\n" for name in names),
        "utt2spk": "".join(f"{name} {name[:3]}\n" for name in names),
        "spk2utt": f"ann {' '.join(names[:10])}\nbob {' '.join(names[10:])}\n",
        "text": "".join(f"{name} ONE\n" for name in names),
    }
    write_tables(root / "data" / "train", tables)
    (directory,) = prepare(root, tmp_path / "all")
    return directory


@pytest.mark.parametrize(
    ("share", "count"), [(0.001, 1), (0.05, 1), (0.33, 7), (0.96, 20), (1, 20)]
)
def test_share_when_drawn_is_reached_and_passes_every_check(many, tmp_path, share, count):
    assert draw_part(many, tmp_path / "part", share=share) == count
    assert check_datadir(tmp_path / "part", audio=True) == []
    assert len(read_table(tmp_path / "part" / "text")) == count


def test_symbols_of_phone_labels_are_kept_whole(many, tmp_path):
    (many / "phones.txt").write_text("AA 0\nSIL 1\n")
    draw_part(many, tmp_path / "part", share=0.5)
    assert (tmp_path / "part" / "phones.txt").read_text() == "AA 0\nSIL 1\n"


def test_smaller_share_when_drawn_is_part_of_a_larger_one_and_seeds_differ(many, tmp_path):
    def drawn(name, share, seed=1):
        draw_part(many, tmp_path / name, share=share, seed=seed)
        return set(read_table(tmp_path / name / "utt2spk"))

    assert drawn("small", 0.25) < drawn("large", 0.6)
    assert drawn("small", 0.25) != drawn("other", 0.25, seed=2)


def test_part_that_would_take_the_place_of_its_source_is_refused(many, tmp_path):
    before = read_table(many / "utt2spk")
    with pytest.raises(UsageError, match="would take the place of the directory"):
        draw_part(many, many / ".." / many.name, share=0.5)
    with pytest.raises(UsageError, match="would take the place of the directory"):
        split_by_speaker(many, many.parent, test_speakers=["ann"], dev_speakers=[])
    assert read_table(many / "utt2spk") == before


@pytest.mark.parametrize("length", ["long", "nan", "-1", None])
def test_length_that_is_none_is_refused(many, tmp_path, length):
    lengths = read_table(many / "utt2dur")
    lengths["bob-3"] = length
    rows = [f"{key} {value}\n" for key, value in lengths.items() if value is not None]
    (many / "utt2dur").write_text("".join(rows))
    with pytest.raises(DataError, match=r"utt2dur: utterance bob-3 has the length"):
        draw_part(many, tmp_path / "part", share=0.5)
    assert not (tmp_path / "part").exists()


def test_table_of_no_drawn_utterance_is_left_out(many, tmp_path):
    first = next(iter(read_table(many / "utt2spk")))
    assert draw_part(many, tmp_path / "one", share=0.01) == 1
    (drawn,) = read_table(tmp_path / "one" / "utt2spk")
    other = first if first != drawn else "bob-9"
    (many / "text").write_text(f"{other} ONE\n")
    draw_part(many, tmp_path / "part", share=0.01)
    assert not (tmp_path / "part" / "text").exists()


@pytest.mark.parametrize("share", [0.0, -1.0, 1.1, float("nan")])
def test_share_when_there_is_none_such_is_refused(many, tmp_path, share):
    with pytest.raises(UsageError, match="share is"):
        draw_part(many, tmp_path / "part", share=share)
    assert not (tmp_path / "part").exists()


def test_real_directories_when_prepared_pass_every_check(real_data, tmp_path):
    directories = prepare_kaldi(real_data / "fsdd" / "data", tmp_path / "fsdd")
    directories += prepare_kaldi(real_data / "ljspeech" / "data", tmp_path / "ljspeech")
    assert [directory.name for directory in directories] == ["test", "train", "all"]
    assert all(check_datadir(directory, audio=True) == [] for directory in directories)


def test_real_digits_when_split_by_speaker_share_none(real_data, tmp_path):
    _, train = prepare_kaldi(real_data / "fsdd" / "data", tmp_path / "fsdd")
    parts = split_by_speaker(
        train, tmp_path / "split", test_speakers=["lucas"], dev_speakers=["george"]
    )
    assert [len(read_table(part / "text")) for part in parts] == [900, 450, 450]
