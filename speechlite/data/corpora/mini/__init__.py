"""Generate a small synthetic corpus of English in LibriSpeech's layout, on the spot.

Importing this package loads neither eSpeak NG nor torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

__all__ = ["generate"]


def generate(
    root: Path,
    *,
    size: str = "mini",
    seed: int = 1,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Generate a corpus in LibriSpeech's layout, or return at once when it is there.

    The same size and seed give the same files bit for bit, whatever the number of workers. A run
    that is killed leaves nothing under the final name.

    Args:
        root: folder to hold the corpus; made where it is missing.
        size: "tiny" (5 minutes), "mini" (half an hour of training speech and four small sets) or
            "small" (two hours).
        seed: draws the speakers, the sentences and the recording conditions.
        workers: number of processes; None for one a core, 0 for a fresh process each utterance.
        progress: called with the number of finished utterances and of all.

    Returns:
        The folder ``root``/LibriSpeech.

    Raises:
        DataError: the size is unknown, the number of workers is negative, or the folder holds
            another corpus.
        EnvironmentProblem: eSpeak NG is not installed, or the folder cannot be written.
    """
    from speechlite.data.corpora.mini.generate import generate_corpus

    return generate_corpus(Path(root), size=size, seed=seed, workers=workers, progress=progress)
