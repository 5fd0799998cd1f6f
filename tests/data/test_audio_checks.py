"""Recordings against tables: what is absent, damaged or of another length is named once."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from good_directories import GOOD, SEGMENTED, renamed, write_directory

from speechlite.core.errors import DataError
from speechlite.data.audio_checks import write_hashes
from speechlite.data.validation import Problem, check_datadir


def _speech(num_samples: int, seed: int = 0) -> np.ndarray:
    noise_T = np.random.default_rng(seed).standard_normal(num_samples)
    return 0.05 * np.convolve(noise_T, np.ones(8) / 8, mode="same")


@pytest.fixture
def sounding(tmp_path: Path) -> Path:
    """Return the good directory with recordings of the lengths that its tables say."""
    (tmp_path / "audio").mkdir()
    tables = renamed(GOOD, "/audio/", "audio/")
    for line, count in zip(tables["wav.scp"].splitlines(), (24000, 32000, 12000), strict=True):
        sf.write(tmp_path / line.split(" ")[1], _speech(count), 16000, subtype="PCM_16")
    return write_directory(tmp_path, tables)


@pytest.fixture
def segmented(tmp_path: Path) -> Path:
    """Return the good directory with segments and its recordings."""
    (tmp_path / "audio").mkdir()
    for name, seconds in (("call-1", 10), ("call-2", 5)):
        sf.write(tmp_path / f"audio/{name}.flac", _speech(16000 * seconds), 16000)
    return write_directory(tmp_path, renamed(SEGMENTED, "/audio/", "audio/"))


def _one(directory: Path, **options: bool) -> Problem:
    (problem,) = check_datadir(directory, audio=True, **options)
    return problem


def test_audio_check_when_everything_fits_then_nothing_is_found(sounding: Path) -> None:
    assert check_datadir(sounding, audio=True) == []


def test_audio_check_when_segments_fit_then_nothing_is_found(segmented: Path) -> None:
    assert check_datadir(segmented, audio=True) == []


def test_audio_check_when_an_absolute_recording_is_absent_then_its_line(tmp_path: Path) -> None:
    problem = _one(write_directory(tmp_path, GOOD))
    assert (problem.path.name, problem.line) == ("wav.scp", 1)
    assert problem.cause == "recording '/audio/a-1.flac' does not exist (and 2 more)"


def test_audio_check_when_a_recording_is_damaged_then_its_file(sounding: Path) -> None:
    path = sounding / "audio/a-2.flac"
    path.write_bytes(path.read_bytes()[:-100])
    problem = _one(sounding)
    assert problem.path == path
    assert "cut short" in problem.cause


def test_audio_check_when_a_float_file_hides_nan_then_it_is_found(sounding: Path) -> None:
    wave_T = _speech(12000)
    wave_T[6000] = np.nan
    sf.write(sounding / "audio/b-1.wav", wave_T, 16000, subtype="FLOAT")
    assert "not finite" in _one(sounding).cause


def test_audio_check_when_a_rate_differs_then_one_line(sounding: Path) -> None:
    sf.write(sounding / "audio/b-1.wav", _speech(6000), 8000)
    (sounding / "utt2num_samples").unlink()
    problem = _one(sounding)
    assert (problem.path.name, problem.line) == ("wav.scp", 3)
    assert problem.cause == "b-1.wav has 8000 Hz, the first recording 16000 Hz"


def test_audio_check_when_utt2dur_differs_then_its_line(sounding: Path) -> None:
    (sounding / "utt2num_samples").unlink()
    (sounding / "utt2dur").write_text("a-1 1.5\na-2 2.1\nb-1 0.75\n")
    problem = _one(sounding)
    assert (problem.path.name, problem.line) == ("utt2dur", 2)
    assert "lasts 2.1 s here but 2 s by its header" in problem.cause


def test_audio_check_when_utt2num_samples_differs_by_one_then_its_line(sounding: Path) -> None:
    (sounding / "utt2num_samples").write_text("a-1 24000\na-2 32001\nb-1 12000\n")
    problem = _one(sounding)
    assert (problem.path.name, problem.line) == ("utt2num_samples", 2)
    assert "has 32001 samples here but 32000" in problem.cause


def test_audio_check_when_a_segment_leaves_the_recording_then_its_line(segmented: Path) -> None:
    for name in ("reco2dur", "utt2dur"):
        (segmented / name).unlink()
    (segmented / "segments").write_text("a-1 call-1 0 1\na-2 call-1 2 10.5\nb-1 call-2 0 5\n")
    problem = _one(segmented)
    assert (problem.path.name, problem.line) == ("segments", 2)
    assert "end 10.5 s is beyond the recording's 10 s" in problem.cause


def test_audio_check_when_a_transcript_is_bad_then_the_audio_is_checked_too(sounding: Path) -> None:
    (sounding / "text").write_text("a-1\na-2 X\nb-1 Y\n")
    (sounding / "audio/b-1.wav").write_bytes(b"")
    found = [(p.path.name, p.line) for p in check_datadir(sounding, audio=True)]
    assert found == [("text", 1), ("b-1.wav", None)]


def test_hash_check_when_one_sample_changed_then_its_file(sounding: Path) -> None:
    write_hashes(sounding)
    assert check_datadir(sounding, audio=True, hash=True) == []
    path = sounding / "audio/b-1.wav"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    assert check_datadir(sounding, audio=True) == []
    problem = _one(sounding, hash=True)
    assert (problem.path, problem.cause) == (path, "content differs from its hash in wav.sha256")


def test_hash_check_when_there_are_no_hashes_then_one_problem(sounding: Path) -> None:
    problem = _one(sounding, hash=True)
    assert (problem.path.name, problem.cause) == ("wav.sha256", "does not exist")


def test_hash_check_when_a_hash_is_malformed_then_its_line_only(sounding: Path) -> None:
    write_hashes(sounding)
    path = sounding / "wav.sha256"
    path.write_text(path.read_text().replace("a-1 ", "a-1 z"))
    problem = _one(sounding, hash=True)
    assert (problem.path, problem.line) == (path, 1)
    assert "64 lower-case hexadecimal digits expected" in problem.cause


def test_hashes_when_written_then_they_are_those_of_sha256sum(sounding: Path) -> None:
    write_hashes(sounding)
    command = ["sha256sum", "audio/a-1.flac"]
    output = subprocess.run(command, cwd=sounding, capture_output=True, text=True, check=True)
    assert (sounding / "wav.sha256").read_text().split()[:2] == ["a-1", output.stdout.split()[0]]


def test_hash_check_when_the_disk_fails_then_the_recording_is_a_problem(
    sounding: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_hashes(sounding)

    def fail() -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(hashlib, "sha256", fail)
    causes = [problem.cause for problem in check_datadir(sounding, hash=True)]
    assert causes == ["cannot be read: Input/output error"] * 3


def test_hashes_when_a_recording_is_absent_then_none_are_written(tmp_path: Path) -> None:
    write_directory(tmp_path, GOOD)
    with pytest.raises(DataError, match="does not exist"):
        write_hashes(tmp_path)
    assert not (tmp_path / "wav.sha256").exists()
