from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from speechlite.core.errors import DataError, EnvironmentProblem
from speechlite.data.corpora.ctm import read_ctm
from speechlite.data.corpora.mini import generate
from speechlite.data.corpora.mini.job import Job
from speechlite.data.corpora.mini.phones import ARPABET
from speechlite.data.corpora.mini.plan import plan_corpus
from speechlite.data.corpora.mini.pool import perform_jobs
from speechlite.data.corpora.mini.speakers import ACCENTS_OTHER

SUBSETS = ["dev-clean", "dev-other", "test-clean", "test-other", "train-clean-100"]
VOWELS = {"AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "UH", "UW"}
TIMES_OUT = 60


def transcripts(root):
    lines = [
        line
        for path in sorted((root / "LibriSpeech").rglob("*.trans.txt"))
        for line in path.read_text().splitlines()
    ]
    return dict(line.split(" ", 1) for line in lines)


def audio(root):
    return {path.stem: path for path in (root / "LibriSpeech").rglob("*.flac")}


def a_few_jobs():
    jobs = list(plan_corpus("tiny", seed=1).jobs())
    # Clean and babbled ones, from four accents.
    return [jobs[0], jobs[9], jobs[20], jobs[40], jobs[-1]]


def marks(root, kind):
    folder = root / "LibriSpeech" / "alignments"
    return {
        utterance: items
        for subset in SUBSETS
        for utterance, items in read_ctm(folder / f"{subset}.{kind}.ctm").items()
    }


def test_layout_when_generated_is_that_of_librispeech(tiny_root):
    library = tiny_root / "LibriSpeech"
    pattern = r"[a-z0-9-]+/(\d+)/(\d+)/\1-\2-\d{4}\.flac"
    names = [path.relative_to(library).as_posix() for path in library.rglob("*.flac")]
    assert len(names) == 56
    assert all(re.fullmatch(pattern, name) for name in names)
    assert sorted(p.name for p in library.iterdir() if p.is_dir()) == ["alignments", *SUBSETS]


def test_audio_when_generated_is_16_khz_mono_16_bit(tiny_root):
    infos = [soundfile.info(path) for path in audio(tiny_root).values()]
    assert {(i.samplerate, i.channels, i.subtype) for i in infos} == {(16000, 1, "PCM_16")}


def test_length_when_generated_is_four_to_six_minutes(tiny_root):
    seconds = sum(soundfile.info(path).duration for path in audio(tiny_root).values())
    assert 240 < seconds < 360


def test_forecast_when_compared_with_the_audio_is_right_within_a_tenth(tiny_root):
    seconds = sum(soundfile.info(path).duration for path in audio(tiny_root).values())
    expected = sum(s.expected_seconds() for s in plan_corpus("tiny", seed=1).subsets)
    assert expected == pytest.approx(seconds, rel=0.1)


def test_samples_when_generated_neither_clip_nor_vanish(tiny_root):
    for path in audio(tiny_root).values():
        peak = np.abs(soundfile.read(path, dtype="float32")[0]).max()
        assert 0.05 < peak < 0.99


def test_transcripts_when_generated_cover_the_audio(tiny_root):
    assert sorted(transcripts(tiny_root)) == sorted(audio(tiny_root))


def test_transcripts_when_generated_use_librispeechs_alphabet(tiny_root):
    assert all(re.fullmatch(r"[A-Z']+( [A-Z']+)*", t) for t in transcripts(tiny_root).values())


def test_words_when_aligned_are_the_transcript(tiny_root):
    said = {u: " ".join(m.token for m in items) for u, items in marks(tiny_root, "words").items()}
    assert said == transcripts(tiny_root)


def test_phones_when_aligned_lie_within_the_audio(tiny_root):
    paths = audio(tiny_root)
    for utterance, items in marks(tiny_root, "phones").items():
        assert items[0].start > 0.1
        assert items[-1].end < soundfile.info(paths[utterance]).duration - 0.1
        assert {mark.token for mark in items} <= ARPABET


def test_phones_when_compared_with_words_share_their_edges(tiny_root):
    phones = marks(tiny_root, "phones")
    for utterance, words in marks(tiny_root, "words").items():
        starts = {round(mark.start, 4) for mark in phones[utterance]}
        ends = {round(mark.end, 4) for mark in phones[utterance]}
        assert all(round(word.start, 4) in starts for word in words)
        assert all(round(word.end, 4) in ends for word in words)


def bursts(root):
    """Yield the times from the labelled start of a vowel to the sound's onset after a stop."""
    paths = audio(root)
    for utterance, items in marks(root, "phones").items():
        wave, rate = soundfile.read(paths[utterance])
        for first, stop in zip(items, items[1:], strict=False):
            if stop.token in ("P", "T", "K") and first.token in VOWELS:
                yield wave, rate, stop


def test_stops_when_measured_begin_with_their_closure(tiny_root):
    # The first 20 ms of a stop after a vowel are quieter than the 20 ms before it.
    falls = []
    for wave, rate, stop in bursts(tiny_root):
        edge, span = round(stop.start * rate), round(0.02 * rate)
        before = np.mean(wave[edge - span : edge] ** 2)
        after = np.mean(wave[edge + span // 4 : edge + span] ** 2)
        falls.append(10 * np.log10(before / after))
    assert len(falls) > 50
    assert np.median(falls) > 6.0


def high_to_low(wave):
    """Return the log ratio of energy above 3.5 kHz to that below 1.5 kHz, over 10 ms, every ms."""
    windows = np.lib.stride_tricks.sliding_window_view(wave, 160)[::16] * np.hanning(160)
    power = np.abs(np.fft.rfft(windows, axis=1)) ** 2
    return np.log(power[:, 35:].sum(1) / power[:, :15].sum(1))


def test_hissing_when_measured_begins_and_ends_where_it_is_labelled(tiny_root):
    paths, misses = audio(tiny_root), []
    for utterance, items in marks(tiny_root, "phones").items():
        wave, rate = soundfile.read(paths[utterance])
        for first, second in zip(items, items[1:], strict=False):
            kinds = [mark.token in ("S", "SH") for mark in (first, second)]
            vowel = second if kinds[0] else first
            if sum(kinds) != 1 or vowel.token not in VOWELS or second.start - first.end > 1e-3:
                continue
            begin = (first.start + first.end) / 2
            middle = (second.start + second.end) / 2
            ratio = high_to_low(wave[round(begin * rate) : round(middle * rate)])
            level = (np.median(ratio[:5]) + np.median(ratio[-5:])) / 2
            turn = np.argmax(ratio > level) if kinds[1] else np.argmax(ratio < level)
            misses.append(begin + (turn * 16 + 80) / rate - second.start)
    assert len(misses) > 50
    assert abs(np.median(misses)) < 0.005
    assert np.mean(np.abs(misses) < 0.02) > 0.9


def test_sentences_when_subsets_are_compared_are_disjoint(tiny_root):
    texts = list(transcripts(tiny_root).values())
    assert len(texts) == len(set(texts))


def test_speakers_when_listed_cover_the_readers_and_name_the_voice(tiny_root):
    library = tiny_root / "LibriSpeech"
    rows = [
        [field.strip() for field in line.split("|")]
        for line in (library / "SPEAKERS.TXT").read_text().splitlines()
        if not line.startswith(";")
    ]
    assert {row[0] for row in rows} == {path.parents[1].name for path in audio(tiny_root).values()}
    assert all(re.search(r"en.* \d+ Hz, eSpeak NG 1\.\d+", row[4]) for row in rows)


def test_files_when_generated_by_one_two_or_fresh_processes_are_equal(tmp_path):
    pytest.importorskip("espeakng_loader")
    jobs, found = a_few_jobs(), []
    for workers in (0, 1, 2):
        found.append(perform_jobs(jobs, tmp_path / str(workers), workers=workers)[0])
    assert found[0] == found[1] == found[2]


def test_files_when_order_is_reversed_are_equal(tmp_path):
    pytest.importorskip("espeakng_loader")
    jobs: list[Job] = a_few_jobs()
    forward = perform_jobs(jobs, tmp_path / "f", workers=1)[0]
    backward = perform_jobs(jobs[::-1], tmp_path / "b", workers=1)[0]
    assert forward == backward[::-1]


def test_words_when_said_in_every_accent_are_all_found(tmp_path):
    pytest.importorskip("espeakng_loader")
    jobs = list(plan_corpus("mini", seed=5).jobs())[:48]
    spoken = [
        replace(job, speaker=replace(job.speaker, accent=ACCENTS_OTHER[index % 8]))
        for index, job in enumerate(jobs)
    ]
    results = perform_jobs(spoken, tmp_path, workers=2)[0]
    said = [" ".join(word for _, _, word in result.words) for result in results]
    assert said == [job.transcript for job in spoken]


def test_corpus_when_there_returns_at_once(tiny_root, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    assert generate(tiny_root, size="tiny", seed=1) == tiny_root / "LibriSpeech"


def test_hash_when_another_run_generates_is_equal_and_for_another_seed_differs(tiny_root, tmp_path):
    generate(tmp_path / "same", size="tiny", seed=1, workers=1)
    generate(tmp_path / "other", size="tiny", seed=2, workers=2)
    hashes = [
        json.loads((root / "corpus.json").read_text())["sha256"]
        for root in (tiny_root, tmp_path / "same", tmp_path / "other")
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_progress_when_given_counts_every_utterance(tmp_path):
    pytest.importorskip("espeakng_loader")
    seen = []
    jobs = a_few_jobs()
    perform_jobs(jobs, tmp_path, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(count, len(jobs)) for count in range(1, len(jobs) + 1)]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"seed": 2}, "holds a synthetic corpus of seed 1, but seed 2 was asked for"),
        ({"size": "mini"}, "holds a synthetic corpus of size tiny, but size mini was asked for"),
    ],
)
def test_corpus_when_another_is_there_is_refused(tiny_root, wanted, message):
    with pytest.raises(DataError, match=message):
        generate(tiny_root, **{"size": "tiny", "seed": 1, **wanted})


def test_corpus_when_a_foreign_librispeech_is_there_is_refused(tmp_path):
    (tmp_path / "LibriSpeech").mkdir()
    with pytest.raises(DataError, match="LibriSpeech folder that this generator did not make"):
        generate(tmp_path, size="tiny")


def test_corpus_when_its_record_is_damaged_is_refused(tmp_path):
    (tmp_path / "LibriSpeech").mkdir()
    (tmp_path / "corpus.json").write_text("{")
    with pytest.raises(DataError, match=r"corpus.json: the record .* is not JSON"):
        generate(tmp_path, size="tiny")


def test_corpus_when_workers_are_negative_is_refused(tmp_path):
    with pytest.raises(DataError, match="-1 workers were asked for; ask for 0 or more"):
        generate(tmp_path, size="tiny", workers=-1)


def test_corpus_when_folder_is_a_file_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="the corpus cannot be written"):
        generate(tmp_path / "file" / "below", size="tiny")


def test_corpus_when_wheel_is_missing_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "espeakng_loader.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match=r"run pip install 'speechlite\[synth\]'"):
        generate(tmp_path / "out", size="tiny", workers=2)
    assert not (tmp_path / "out" / "LibriSpeech").exists()


def test_jobs_when_audio_cannot_be_written_say_so(tmp_path):
    pytest.importorskip("espeakng_loader")
    (tmp_path / "root").write_text("a file where a folder should be")
    with pytest.raises(EnvironmentProblem, match="the corpus cannot be written"):
        perform_jobs(a_few_jobs(), tmp_path / "root", workers=1)


def test_jobs_when_an_audio_file_cannot_be_written_say_so(tmp_path):
    pytest.importorskip("espeakng_loader")
    job = a_few_jobs()[0]
    (tmp_path / job.path).mkdir(parents=True)
    with pytest.raises(EnvironmentProblem, match=r"cannot be written \(.*Is a directory"):
        perform_jobs([job], tmp_path, workers=1)


def test_jobs_when_system_cannot_fork_are_refused(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "fork")
    with pytest.raises(EnvironmentProblem, match="this system cannot fork processes"):
        perform_jobs(a_few_jobs(), tmp_path, workers=2)


def test_jobs_when_a_worker_dies_raise(tmp_path):
    pytest.importorskip("espeakng_loader")
    job = a_few_jobs()[0]
    broken = replace(job, speaker=replace(job.speaker, accent="no-such-accent"))
    with pytest.raises(RuntimeError, match="a worker of the synthetic corpus ended with status 1"):
        perform_jobs([broken], tmp_path, workers=1)


def test_corpus_when_killed_half_way_leaves_nothing_and_is_swept_by_the_next_run(tmp_path):
    pytest.importorskip("espeakng_loader")
    code = (
        "import sys; from pathlib import Path; from speechlite.data.corpora.mini import generate; "
        "generate(Path(sys.argv[1]), size='mini', workers=1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    deadline = time.monotonic() + TIMES_OUT
    while not list(tmp_path.rglob("*.flac")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(tmp_path.glob(".generating-*"))
    assert not (tmp_path / "LibriSpeech").exists()
    # At once, while the killed run's worker may still be writing.
    generate(tmp_path, size="tiny", workers=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".generating.lock",
        "LibriSpeech",
        "corpus.json",
    ]
