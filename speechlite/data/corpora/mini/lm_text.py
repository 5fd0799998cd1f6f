"""Write text of the synthetic corpus's grammar to estimate language models from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from speechlite.data.atomic import replace_file
from speechlite.data.corpora.mini.text import ScriptWriter

__all__ = ["write_lm_text"]

_OTHER_STREAM = 1_000_003
"""Distance from the corpus's seed, so that the text is not that of the corpus."""


def write_lm_text(
    path: Path, *, num_utterances: int, seed: int, held_out: Iterable[str] = ()
) -> int:
    """Write the transcripts of utterances that nobody says, one a line.

    Words that training never has are not in it, as they are not in the training transcripts.

    Args:
        path: the file to write or replace.
        num_utterances: lines to write.
        seed: the same seed writes the same text.
        held_out: transcripts of development and test data; a line that shares a sentence with one
            of them is left out.

    Returns:
        Number of lines left out.
    """
    writer = ScriptWriter(seed + _OTHER_STREAM)
    known = "|".join(f" {text} " for text in held_out)
    left_out = written = 0
    with replace_file(path) as stream:
        while written < num_utterances:
            script = writer.write(held_out=False)
            if any(f" {_transcript(sentence)} " in known for sentence in script.sentences):
                left_out += 1
                continue
            stream.write(f"{' '.join(script.words)}\n".encode())
            written += 1
    return left_out


def _transcript(sentence: str) -> str:
    return " ".join(sentence.replace(",", " ").replace(".", " ").upper().split())
