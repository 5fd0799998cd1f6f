"""Data directories that must be accepted, as the content of their tables."""

from __future__ import annotations

from pathlib import Path

GOOD = {
    "wav.scp": "a-1 /audio/a-1.flac\na-2 /audio/a-2.flac\nb-1 /audio/b-1.wav\n",
    "utt2spk": "a-1 a\na-2 a\nb-1 b\n",
    "spk2utt": "a a-1 a-2\nb b-1\n",
    "text": "a-1 HELLO WORLD\na-2 IT'S ME\nb-1 BYE\n",
    "utt2dur": "a-1 1.5\na-2 2.0\nb-1 0.75\n",
    "utt2num_samples": "a-1 24000\na-2 32000\nb-1 12000\n",
    "spk2gender": "a f\nb m\n",
    "chap2reader": "a 103\nb 1034\n",
    "words.ctm": "a-1 1 0.10 0.40 HELLO\na-1 1 0.60 0.40 WORLD\nb-1 1 0.00 0.70 BYE\n",
    "phones.ctm": "a-1 1 0.10 0.10 HH\na-1 1 0.20 0.10 AH0\n",
}
SEGMENTED = {
    "wav.scp": "call-1 /audio/call-1.flac\ncall-2 /audio/call-2.flac\n",
    "reco2dur": "call-1 10.0\ncall-2 5.0\n",
    "segments": "a-1 call-1 0.0 1.5\na-2 call-1 2.25 4.25\nb-1 call-2 0.5 1.25\n",
    **{name: GOOD[name] for name in ("utt2spk", "spk2utt", "text", "utt2dur")},
}
MINIMAL = {name: GOOD[name] for name in ("wav.scp", "utt2spk", "spk2utt")}


def write_directory(path: Path, tables: dict[str, str]) -> Path:
    """Write tables as files and return their directory."""
    path.mkdir(parents=True, exist_ok=True)
    for name, content in tables.items():
        (path / name).write_bytes(content.encode("utf-8"))
    return path


def with_tables(base: dict[str, str], **changes: str) -> dict[str, str]:
    """Return tables with some replaced or added; ``__`` in a name stands for a dot."""
    return {**base, **{name.replace("__", "."): text for name, text in changes.items()}}


def renamed(base: dict[str, str], old: str, new: str) -> dict[str, str]:
    """Return tables with a piece of text replaced in all of them."""
    return {name: text.replace(old, new) for name, text in base.items()}


GOOD_DIRECTORIES = {
    "minimal": MINIMAL,
    "full": GOOD,
    "segmented": SEGMENTED,
    "segmented_without_lengths": {
        name: text for name, text in SEGMENTED.items() if name not in ("reco2dur", "utt2dur")
    },
    **{f"with_{name}": {**MINIMAL, name: GOOD[name]} for name in GOOD if name not in MINIMAL},
    "greek": with_tables(MINIMAL, text="a-1 \u03ba\u03b1\u03bb\u03ae\na-2 x\nb-1 y\n"),
    "accents": with_tables(MINIMAL, text="a-1 d\u00e9j\u00e0 vu\na-2 x\nb-1 y\n"),
    "persian_joiner": with_tables(MINIMAL, text="a-1 \u0645\u06cc\u200c\u062e\na-2 x\nb-1 y\n"),
    "chinese": with_tables(MINIMAL, text="a-1 \u4f60 \u597d\na-2 x\nb-1 y\n"),
    "emoji": with_tables(MINIMAL, text="a-1 \U0001f600\na-2 x\nb-1 y\n"),
    "accents_in_ids": renamed(GOOD, "b-1", "b-\u00e9"),
    "transcript_of_symbols": with_tables(MINIMAL, text="a-1 |\na-2 -\nb-1 <unk> [noise]\n"),
    "two_spaces_in_a_transcript": with_tables(MINIMAL, text="a-1 A  B\na-2 x\nb-1 y\n"),
    "space_in_path": renamed(MINIMAL, "/audio/", "/my audio/"),
    "apostrophe_in_path": renamed(MINIMAL, "/audio/", "/bob's/"),
    "dots_in_path": renamed(MINIMAL, "/audio/", "/v1..2/"),
    "tilde_in_path": renamed(MINIMAL, "/audio/", "/a~1/"),
    "whole_seconds": with_tables(MINIMAL, utt2dur="a-1 1\na-2 2\nb-1 3\n"),
    "long_decimals": with_tables(MINIMAL, utt2dur="a-1 1.50006250\na-2 2.000000\nb-1 3\n"),
    "ctm_confidence": with_tables(MINIMAL, words__ctm="a-1 1 0.0 0.5 A 0.98\na-1 1 0.5 0.0 B 1\n"),
    "one_utterance_a_speaker": {
        "wav.scp": "1 /a/1.wav\n10 /a/10.wav\n2 /a/2.wav\n",
        "utt2spk": "1 1\n10 10\n2 2\n",
        "spk2utt": "1 1\n10 10\n2 2\n",
    },
    "speaker_not_a_prefix": with_tables(
        MINIMAL, utt2spk="a-1 s1\na-2 s1\nb-1 s2\n", spk2utt="s1 a-1 a-2\ns2 b-1\n"
    ),
    "unknown_files_beside": with_tables(MINIMAL, README="anything\r\n", cmvn__scp="x ark:1\n"),
}
