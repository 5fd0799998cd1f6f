"""Write a LibriSpeech-like folder of noise, for tests that only need its layout."""

from __future__ import annotations

import numpy as np
import soundfile


def write_audio(path, num_samples=1600, *, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(num_samples).integers(-999, 999, num_samples).astype(np.int16)
    soundfile.write(path, samples, rate)


def write_chapter(library, subset, reader, chapter, *, num_utterances=2, transcribed=True):
    folder = library / subset / str(reader) / str(chapter)
    ids = [f"{reader}-{chapter}-{number:04d}" for number in range(num_utterances)]
    for number, utterance in enumerate(ids):
        write_audio(folder / f"{utterance}.flac", 1600 + 16 * number)
    if transcribed:
        text = "".join(f"{utterance} HELLO THERE\n" for utterance in ids)
        (folder / f"{reader}-{chapter}.trans.txt").write_text(text)
    return folder


def write_speakers(library, rows):
    library.mkdir(parents=True, exist_ok=True)
    lines = [f"{reader} | {sex} | dev-clean | 0.1 | A | B\n" for reader, sex in rows]
    (library / "SPEAKERS.TXT").write_text(";ID |SEX| SUBSET |MINUTES| NAME\n" + "".join(lines))


def make_library(root):
    library = root / "LibriSpeech"
    write_speakers(library, [("19", "F"), ("1034", "M")])
    write_chapter(library, "dev-clean", 19, 198)
    write_chapter(library, "dev-clean", 1034, 121119)
    return library
