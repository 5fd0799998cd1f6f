"""Sound in and out: good files exactly, everything else with one line that names the cause."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from bad_audio import (
    BAD_AUDIO,
    NUM_SAMPLES,
    RATE_HZ,
    BadAudio,
    encoded,
    fmt_chunk,
    pcm,
    speech,
    wav_of_chunks,
)

from speechlite.core.errors import DataError, EnvironmentProblem
from speechlite.data.audio import read_info, read_wave, resample, write_flac
from speechlite.data.audio_checks import write_hashes
from speechlite.data.riff import WavHeader
from speechlite.data.validation import check_datadir

IDS = [bad.name for bad in BAD_AUDIO]
READABLE = ("hash", "samples or hash")


@pytest.mark.parametrize("bad", BAD_AUDIO, ids=IDS)
def test_read_when_the_file_is_bad_then_one_line_says_why(bad: BadAudio, tmp_path: Path) -> None:
    path = tmp_path / f"u.{bad.extension}"
    path.write_bytes(bad.content())
    if bad.found_by == "hash" or (bad.found_by == "samples or hash" and bad.extension == "wav"):
        assert len(read_wave(path, sample_rate=RATE_HZ)) > 0
        return
    with pytest.raises(DataError, match=bad.match) as caught:
        read_wave(path, sample_rate=RATE_HZ)
    assert caught.value.exit_code == 3
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).count("; ") == 1
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("bad", BAD_AUDIO, ids=IDS)
def test_check_with_hashes_when_a_recording_is_bad_then_exactly_one_problem(
    bad: BadAudio, tmp_path: Path
) -> None:
    path = tmp_path / f"u.{bad.extension}"
    path.write_bytes(encoded(bad.extension))
    (tmp_path / "a.flac").write_bytes(encoded("flac"))
    tables = {
        "wav.scp": f"a a.flac\nu {path.name}\n",
        "utt2spk": "a s\nu s\n",
        "spk2utt": "s a u\n",
    }
    for name, content in tables.items():
        (tmp_path / name).write_text(content)
    write_hashes(tmp_path)
    assert check_datadir(tmp_path, audio=True, hash=True) == []
    path.write_bytes(bad.content())
    (problem,) = check_datadir(tmp_path, audio=True, hash=True)
    assert problem.path == path
    assert str(problem).isprintable()


@pytest.mark.parametrize(
    "bad", [b for b in BAD_AUDIO if b.found_by == "header"], ids=lambda bad: bad.name
)
def test_info_when_the_header_is_bad_then_it_is_refused(bad: BadAudio, tmp_path: Path) -> None:
    path = tmp_path / f"u.{bad.extension}"
    path.write_bytes(bad.content())
    with pytest.raises(DataError, match=bad.match):
        read_info(path)


def test_bad_audio_when_counted_then_there_are_forty_kinds_of_each_format() -> None:
    counts = Counter(bad.extension for bad in BAD_AUDIO)
    assert len(set(IDS)) == len(IDS)
    assert counts["wav"] >= 40
    assert counts["flac"] >= 40


EXTENSIBLE = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE_HZ, 32000, 2, 16, 22, 16, 4) + bytes.fromhex(
    "0100000000001000800000aa00389b71"
)
SAMPLES = (b"data", pcm())
GOOD_WAVS = {
    "plain": wav_of_chunks(fmt_chunk(), SAMPLES),
    "extensible": wav_of_chunks((b"fmt ", EXTENSIBLE), SAMPLES),
    "list_before": wav_of_chunks(fmt_chunk(), (b"LIST", b"INFOISFT\x04\0\0\0test"), SAMPLES),
    "odd_chunk_before": wav_of_chunks(fmt_chunk(), (b"note", b"odd"), SAMPLES),
    "chunks_after": wav_of_chunks(fmt_chunk(), SAMPLES, (b"id3 ", b"ID3\3\0\0\0\0\0\0\0")),
    "padded_uncounted": wav_of_chunks(fmt_chunk(), SAMPLES) + b"\0",
}


@pytest.mark.parametrize("name", GOOD_WAVS)
def test_read_when_a_wav_is_unusual_but_right_then_its_samples(name: str, tmp_path: Path) -> None:
    path = tmp_path / "u.wav"
    path.write_bytes(GOOD_WAVS[name])
    expected_T = np.frombuffer(pcm(), "<i2") / np.float32(32768)
    assert np.array_equal(read_wave(path), expected_T)


@pytest.mark.parametrize(
    ("extension", "subtype", "tolerance"),
    [
        ("wav", "PCM_16", 1e-4),
        ("wav", "PCM_24", 1e-6),
        ("wav", "PCM_32", 1e-7),
        ("wav", "FLOAT", 1e-7),
        ("wav", "DOUBLE", 1e-7),
        ("wav", "ULAW", 0.02),
        ("wav", "ALAW", 0.02),
        ("flac", "PCM_16", 1e-4),
        ("flac", "PCM_24", 1e-6),
    ],
)
def test_read_when_the_coding_is_allowed_then_the_samples_return(
    extension: str, subtype: str, tolerance: float, tmp_path: Path
) -> None:
    path = tmp_path / f"U.{extension.upper()}"
    path.write_bytes(encoded(extension, subtype=subtype))
    wave_T = read_wave(path)
    assert wave_T.dtype == np.float32
    assert np.abs(wave_T - speech()).max() < tolerance


@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_read_when_there_is_one_sample_then_it_returns(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"u.{extension}"
    path.write_bytes(encoded(extension, np.array([0.25])))
    assert read_wave(path).tolist() == [0.25]


@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_info_when_the_file_is_good_then_it_says_what_was_written(
    extension: str, tmp_path: Path
) -> None:
    path = tmp_path / f"u.{extension}"
    path.write_bytes(encoded(extension))
    info = read_info(path)
    assert (info.path, info.sample_rate, info.num_frames) == (path, RATE_HZ, NUM_SAMPLES)
    assert (info.num_channels, info.format, info.subtype) == (1, extension.upper(), "PCM_16")
    assert info.size_bytes == path.stat().st_size
    assert info.duration_seconds == 1.5


@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_read_when_a_part_is_asked_for_then_it_is_that_part(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"u.{extension}"
    path.write_bytes(encoded(extension))
    whole_T = read_wave(path)
    assert np.array_equal(read_wave(path, offset_frames=5000, num_frames=700), whole_T[5000:5700])
    assert np.array_equal(read_wave(path, offset_frames=23000), whole_T[23000:])


@pytest.mark.parametrize(
    ("offset", "count"), [(-1, 5), (0, 0), (24000, None), (23000, 1001), (0, 24001), (5, -2)]
)
def test_read_when_the_part_is_outside_then_it_is_refused(
    offset: int, count: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "u.flac"
    path.write_bytes(encoded("flac"))
    with pytest.raises(DataError, match="asked for, the recording has 24000"):
        read_wave(path, offset_frames=offset, num_frames=count)


def test_read_when_the_extension_is_unknown_then_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "u.sph"
    path.write_bytes(encoded("wav"))
    with pytest.raises(DataError, match=r"has the extension '.sph', .wav or .flac expected"):
        read_wave(path)


def test_read_when_the_file_is_absent_then_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_wave(tmp_path / "u.flac")


def test_read_when_the_path_is_a_pipe_then_it_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "u.wav")
    with pytest.raises(DataError, match="is not a regular file"):
        read_info(tmp_path / "u.wav")


def test_read_when_the_decoder_counts_otherwise_then_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "u.wav"
    path.write_bytes(encoded("wav"))
    header = WavHeader(1, 1, RATE_HZ, 16, NUM_SAMPLES + 1)
    monkeypatch.setattr("speechlite.data.audio.read_wav_header", lambda path: header)
    with pytest.raises(DataError, match="header claims 24001 samples, 24000 are read"):
        read_info(path)


def test_read_when_the_decoder_stops_early_then_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "u.wav"
    path.write_bytes(encoded("wav"))
    monkeypatch.setattr(sf.SoundFile, "read", lambda self, count, dtype: np.zeros(count - 1))
    with pytest.raises(DataError, match="cut short: 23999 of 24000 samples are there"):
        read_wave(path)


def test_read_when_a_wav_is_cut_anywhere_then_it_is_never_silent(tmp_path: Path) -> None:
    content = encoded("wav", speech(500))
    path = tmp_path / "u.wav"
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(DataError):
            read_info(path)


def test_info_when_a_flac_is_cut_anywhere_then_it_is_never_silent(tmp_path: Path) -> None:
    content = encoded("flac", speech(6000))
    path = tmp_path / "u.flac"
    for size in range(0, len(content), 37):
        path.write_bytes(content[:size])
        with pytest.raises(DataError):
            read_info(path)


def test_read_when_a_flac_has_a_flipped_bit_then_it_is_never_silently_wrong(tmp_path: Path) -> None:
    content = encoded("flac", speech(6000))
    path = tmp_path / "u.flac"
    path.write_bytes(content)
    expected_T = read_wave(path)
    first_frame = content.index(b"\xff\xf8")
    for offset in range(first_frame, len(content), 41):
        path.write_bytes(content[:offset] + bytes([content[offset] ^ 4]) + content[offset + 1 :])
        try:
            wave_T = read_wave(path)
        except DataError:
            continue
        assert np.array_equal(wave_T, expected_T)


def test_flac_when_written_and_read_then_sixteen_bit_samples_are_exact(tmp_path: Path) -> None:
    pcm_T = np.array([-32768, -32767, -1, 0, 1, 2, 12345, 32767], dtype=np.int16)
    wave_T = pcm_T.astype(np.float32) / 32768
    write_flac(tmp_path / "u.flac", wave_T, sample_rate=16000)
    assert np.array_equal(sf.read(tmp_path / "u.flac", dtype="int16")[0], pcm_T)
    assert np.array_equal(read_wave(tmp_path / "u.flac", sample_rate=16000), wave_T)


def test_flac_when_written_then_nothing_else_is_left(tmp_path: Path) -> None:
    write_flac(tmp_path / "u.flac", speech(100).astype(np.float32), sample_rate=8000)
    write_flac(tmp_path / "u.flac", speech(200).astype(np.float32), sample_rate=8000)
    assert [path.name for path in tmp_path.iterdir()] == ["u.flac"]
    assert read_info(tmp_path / "u.flac").num_frames == 200


@pytest.mark.parametrize(
    ("wave_T", "match"),
    [
        (np.zeros((2, 100), np.float32), r"samples of shape \(2, 100\)"),
        (np.zeros(0, np.float32), r"samples of shape \(0,\)"),
        (np.zeros(100, np.int16), "type int16"),
        (np.full(100, np.nan, np.float32), "not finite numbers"),
        (np.full(100, 1.01, np.float32), r"in \[-1, 1\]"),
    ],
)
def test_flac_when_the_samples_cannot_be_kept_then_nothing_is_written(
    wave_T: np.ndarray, match: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=match):
        write_flac(tmp_path / "u.flac", wave_T, sample_rate=16000)
    assert list(tmp_path.iterdir()) == []


def test_flac_when_the_name_is_not_flac_then_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not a .flac name"):
        write_flac(tmp_path / "u.wav", np.zeros(9, np.float32), sample_rate=16000)


def test_flac_when_the_rate_is_out_of_range_then_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sample rate of 100 Hz"):
        write_flac(tmp_path / "u.flac", np.zeros(9, np.float32), sample_rate=100)


def test_flac_when_the_directory_is_absent_then_the_environment_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="cannot be written: No such file"):
        write_flac(tmp_path / "no/u.flac", np.zeros(9, np.float32), sample_rate=16000)


@pytest.mark.parametrize(("orig", "new"), [(8000, 16000), (16000, 8000), (44100, 16000)])
def test_resample_when_a_tone_is_given_then_it_is_the_same_tone(orig: int, new: int) -> None:
    tone_T = np.sin(2 * np.pi * 440 * np.arange(orig) / orig).astype(np.float32)
    out_T = resample(tone_T, orig_rate=orig, new_rate=new)
    expected_T = np.sin(2 * np.pi * 440 * np.arange(new) / new)
    assert out_T.dtype == np.float32
    assert len(out_T) == new
    assert np.abs(out_T - expected_T)[200:-200].max() < 5e-3


def test_resample_when_the_rates_are_equal_then_nothing_changes() -> None:
    wave_T = speech(100).astype(np.float32)
    assert resample(wave_T, orig_rate=8000, new_rate=8000) is wave_T


def test_resample_when_a_rate_is_out_of_range_then_it_is_refused() -> None:
    with pytest.raises(DataError, match="sample rate of 0 Hz"):
        resample(np.zeros(9, np.float32), orig_rate=0, new_rate=8000)


def test_audio_when_imported_then_torch_is_not() -> None:
    program = "import sys; import speechlite.data.audio; print('torch' in sys.modules)"
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.strip() == "False"
