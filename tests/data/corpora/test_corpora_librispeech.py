from __future__ import annotations

import sys
import types

import pytest
import soundfile
from make_library import make_library, write_audio, write_chapter, write_speakers

from speechlite.core.errors import DataError, EnvironmentProblem
from speechlite.data.corpora.librispeech import download_librispeech, prepare_librispeech
from speechlite.data.datadir import read_datadir
from speechlite.data.tables import read_table
from speechlite.data.validation import check_datadir


@pytest.fixture
def library(tmp_path):
    return make_library(tmp_path / "corpus")


def prepare(library, out, **options):
    return prepare_librispeech(library.parent, out, **options)


def test_directory_when_prepared_passes_every_check(library, tmp_path):
    (directory,) = prepare(library, tmp_path / "data")
    assert directory == tmp_path / "data" / "dev_clean"
    assert check_datadir(directory, audio=True) == []
    assert len(read_datadir(directory, need_text=True).utterances) == 4


def test_tables_when_prepared_name_chapters_as_speakers_and_their_readers(library, tmp_path):
    (directory,) = prepare(library, tmp_path)
    assert read_table(directory / "spk2gender") == {"1034-121119": "m", "19-198": "f"}
    assert read_table(directory / "chap2reader") == {"1034-121119": "1034", "19-198": "19"}
    assert read_table(directory / "utt2num_samples")["19-198-0001"] == "1616"
    assert float(read_table(directory / "utt2dur")["19-198-0001"]) == 0.101


def test_tables_when_prepared_are_sorted_by_bytes(library, tmp_path):
    (directory,) = prepare(library, tmp_path)
    for path in directory.iterdir():
        keys = [line.split()[0] for line in path.read_bytes().splitlines()]
        assert keys == sorted(keys)


def test_root_when_it_is_the_library_itself_is_accepted(library, tmp_path):
    assert prepare_librispeech(library, tmp_path)


def test_subset_when_no_chapter_is_transcribed_gets_no_text(tmp_path):
    library = tmp_path / "LibriSpeech"
    write_speakers(library, [("19", "F")])
    write_chapter(library, "train-clean-100", 19, 198, transcribed=False)
    (directory,) = prepare(library, tmp_path / "data")
    assert not (directory / "text").exists()
    assert check_datadir(directory, audio=True) == []


def test_subset_when_one_chapter_lacks_its_transcript_is_refused(library, tmp_path):
    (library / "dev-clean" / "19" / "198" / "19-198.trans.txt").unlink()
    with pytest.raises(DataError, match=r"19/198: has no 19-198.trans.txt, but other chapters"):
        prepare(library, tmp_path)


def test_transcript_when_audio_is_missing_is_refused_with_its_line(library, tmp_path):
    (library / "dev-clean" / "19" / "198" / "19-198-0001.flac").unlink()
    with pytest.raises(DataError, match=r"19-198.trans.txt:2: utterance 19-198-0001 has no audio"):
        prepare(library, tmp_path)


def test_audio_when_transcript_is_missing_is_refused(library, tmp_path):
    write_audio(library / "dev-clean" / "19" / "198" / "19-198-0007.flac")
    with pytest.raises(DataError, match=r"19-198-0007.flac: has no line in 19-198.trans.txt"):
        prepare(library, tmp_path)


def test_transcript_when_empty_is_refused_with_its_line(library, tmp_path):
    path = library / "dev-clean" / "19" / "198" / "19-198.trans.txt"
    path.write_text("19-198-0000 HELLO\n19-198-0001\n")
    with pytest.raises(DataError, match=r"19-198.trans.txt:2: .*has no value"):
        prepare(library, tmp_path)


def test_audio_when_in_the_wrong_chapter_is_refused(library, tmp_path):
    write_audio(library / "dev-clean" / "19" / "198" / "20-198-0007.flac")
    with pytest.raises(DataError, match=r"20-198-0007.flac: stands in chapter 19-198"):
        prepare(library, tmp_path)


def test_audio_when_damaged_is_refused(library, tmp_path):
    path = library / "dev-clean" / "19" / "198" / "19-198-0001.flac"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(DataError, match=r"19-198-0001.flac: "):
        prepare(library, tmp_path)


def test_output_when_preparing_fails_is_not_there(library, tmp_path):
    write_speakers(library, [("19", "F")])
    with pytest.raises(DataError):
        prepare(library, tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_chapter_when_without_audio_is_refused(library, tmp_path):
    (library / "dev-clean" / "19" / "199").mkdir()
    with pytest.raises(DataError, match=r"19/199: the chapter holds no audio"):
        prepare(library, tmp_path)


def test_subset_when_without_chapters_is_refused(library, tmp_path):
    (library / "test-clean").mkdir()
    with pytest.raises(DataError, match=r"test-clean: holds no chapter"):
        prepare(library, tmp_path)


def test_subset_when_unknown_names_those_that_are_there(library, tmp_path):
    with pytest.raises(DataError, match=r"no subset 'dev-other'; choose among dev-clean"):
        prepare(library, tmp_path, subsets=["dev-other"])


def test_subsets_when_none_is_asked_for_are_refused(library, tmp_path):
    with pytest.raises(DataError, match="no subset was found or asked for"):
        prepare(library, tmp_path, subsets=[])


def test_root_when_it_holds_no_library_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds no LibriSpeech: there is no SPEAKERS.TXT"):
        prepare_librispeech(tmp_path, tmp_path / "data")


def test_speakers_when_reader_is_missing_are_refused(library, tmp_path):
    write_speakers(library, [("19", "F")])
    with pytest.raises(DataError, match=r"SPEAKERS.TXT: reader 1034 of .* is not listed"):
        prepare(library, tmp_path)


@pytest.mark.parametrize("row", ["19 | X | dev-clean | 0.1 | A", "19 | F | dev-clean"])
def test_speakers_when_damaged_are_refused_with_their_line(library, tmp_path, row):
    (library / "SPEAKERS.TXT").write_text(f";ID\n{row}\n")
    with pytest.raises(DataError, match=r"SPEAKERS.TXT:2: not a reader: '19 \| "):
        prepare(library, tmp_path)


def write_alignment(folder, line):
    folder.mkdir(exist_ok=True)
    (folder / "dev-clean.phones.ctm").write_text(line)


def test_alignments_when_there_are_brought_along(library, tmp_path):
    write_alignment(library / "alignments", "19-198-0000 1 0.01 0.02 AH\n")
    (directory,) = prepare(library, tmp_path)
    assert (directory / "phones.ctm").read_text() == "19-198-0000 1 0.0100 0.0200 AH\n"
    assert check_datadir(directory, audio=True) == []


def test_alignments_when_in_another_folder_are_found(library, tmp_path):
    write_alignment(tmp_path / "mine", "19-198-0000 1 0.01 0.02 AH\n")
    (directory,) = prepare(library, tmp_path / "data", alignments=tmp_path / "mine")
    assert (directory / "phones.ctm").exists()


def test_alignments_when_folder_is_missing_are_refused(library, tmp_path):
    with pytest.raises(DataError, match=r"mine: there is no such folder of alignments"):
        prepare(library, tmp_path / "data", alignments=tmp_path / "mine")


def test_alignments_when_utterance_is_unknown_are_refused_with_their_line(library, tmp_path):
    write_alignment(library / "alignments", "19-198-0000 1 0 0.02 AH\n20-1-0000 1 0 0.02 AH\n")
    with pytest.raises(DataError, match=r"phones.ctm:2: utterance 20-1-0000 has no audio"):
        prepare(library, tmp_path)


def test_alignments_when_longer_than_the_audio_are_refused_with_their_line(library, tmp_path):
    write_alignment(library / "alignments", "19-198-0000 1 0.09 0.02 AH\n")
    message = r"phones.ctm:1: ends at 0.1100 s, but the audio has 0.1000 s"
    with pytest.raises(DataError, match=message):
        prepare(library, tmp_path)


def test_mini_corpus_when_prepared_passes_every_check(tiny_root, tmp_path):
    directories = prepare_librispeech(tiny_root, tmp_path)
    assert len(directories) == 5
    for directory in directories:
        assert check_datadir(directory, audio=True) == []
        assert (directory / "phones.ctm").exists()
        assert (directory / "words.ctm").exists()


def test_real_corpus_when_prepared_has_251_readers_and_no_text(real_data, tmp_path):
    (directory,) = prepare_librispeech(real_data / "librispeech", tmp_path)
    assert check_datadir(directory, audio=True) == []
    assert len(set(read_table(directory / "chap2reader").values())) == 251
    assert sorted(read_table(directory / "spk2gender").values()).count("f") == 125
    assert not (directory / "text").exists()
    seconds = sum(map(float, read_table(directory / "utt2dur").values()))
    assert seconds / 3600 == pytest.approx(0.872, abs=5e-4)


def fake_torchaudio(monkeypatch, download):
    datasets = types.ModuleType("torchaudio.datasets")
    datasets.LIBRISPEECH = download
    monkeypatch.setitem(sys.modules, "torchaudio", types.ModuleType("torchaudio"))
    monkeypatch.setitem(sys.modules, "torchaudio.datasets", datasets)


def test_download_when_it_succeeds_moves_the_subset_into_place(tmp_path, monkeypatch):
    def download(root, *, url, download):
        from pathlib import Path

        write_chapter(Path(root) / "LibriSpeech", url, 19, 198)
        write_speakers(Path(root) / "LibriSpeech", [("19", "F")])

    fake_torchaudio(monkeypatch, download)
    library = download_librispeech(tmp_path, subsets=["dev-clean", "test-clean"])
    assert sorted(path.name for path in library.iterdir()) == [
        "SPEAKERS.TXT",
        "dev-clean",
        "test-clean",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["LibriSpeech"]
    assert soundfile.info(library / "dev-clean/19/198/19-198-0000.flac").frames == 1600


def test_download_when_subset_is_there_does_nothing(library, monkeypatch):
    fake_torchaudio(monkeypatch, None)
    assert download_librispeech(library.parent, subsets=["dev-clean"]) == library


def test_download_when_there_is_no_network_names_host_and_remedy(tmp_path, monkeypatch):
    def download(root, *, url, download):
        raise OSError("Name or service not known")

    fake_torchaudio(monkeypatch, download)
    message = r"dev-clean cannot be downloaded from www.openslr.org .*unpack dev-clean.tar.gz"
    with pytest.raises(EnvironmentProblem, match=message):
        download_librispeech(tmp_path, subsets=["dev-clean"])
    assert not (tmp_path / "LibriSpeech" / "dev-clean").exists()


def test_download_when_checksum_is_wrong_says_so(tmp_path, monkeypatch):
    def download(root, *, url, download):
        raise RuntimeError("The hash of the file does not match")

    fake_torchaudio(monkeypatch, download)
    with pytest.raises(DataError, match=r"archive of dev-clean .* is damaged"):
        download_librispeech(tmp_path, subsets=["dev-clean"])


def test_download_when_subset_is_unknown_names_the_subsets(tmp_path):
    with pytest.raises(DataError, match=r"no subset 'dev'; choose among dev-clean, dev-other"):
        download_librispeech(tmp_path, subsets=["dev"])
