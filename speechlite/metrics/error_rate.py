"""Word and character error rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version

from speechlite.core.head import Metric, UtteranceScore
from speechlite.core.types import Batch

__all__ = ["ErrorRate", "aligned_words"]


class ErrorRate(Metric):
    """Count substitutions, deletions and insertions by kaldialign's edit distance.

    Args:
        name: ``wer`` splits texts at spaces, ``cer`` into characters.
        reference_texts: gives the reference texts of a batch.
    """

    higher_is_better = False

    def __init__(self, name: str, reference_texts: Callable[[Batch], list[str]]) -> None:
        self.name = name
        self.reference_texts = reference_texts
        self.scorer = f"kaldialign {version('kaldialign')}"

    def score(self, predictions: Sequence[str], batch: Batch) -> list[UtteranceScore]:
        """Score the predictions of one batch.

        Args:
            predictions: hypothesis texts, one an utterance.
            batch: the batch with its reference labels.

        Returns:
            Errors and reference units of each utterance, with both texts.
        """
        references = self.reference_texts(batch)
        return [
            self._score_one(name, speaker, reference, hypothesis)
            for name, speaker, reference, hypothesis in zip(
                batch.ids, batch.speakers, references, predictions, strict=True
            )
        ]

    def _score_one(
        self, name: str, speaker: str, reference: str, hypothesis: str
    ) -> UtteranceScore:
        from kaldialign import edit_distance

        split = str.split if self.name == "wer" else list
        counts = edit_distance(split(reference), split(hypothesis))
        return UtteranceScore(
            id=name,
            speaker=speaker,
            numerator=float(counts["total"]),
            denominator=float(len(split(reference))),
            detail={
                "sub": counts["sub"],
                "del": counts["del"],
                "ins": counts["ins"],
                "reference": reference,
                "hypothesis": hypothesis,
            },
        )


def aligned_words(reference: str, hypothesis: str, *, gap: str = "*") -> list[tuple[str, str]]:
    """Return the words of two texts side by side.

    Args:
        reference: the words that were said.
        hypothesis: the words that were recognised.
        gap: what stands opposite a deletion or an insertion.

    Returns:
        Pairs of reference and hypothesis with the fewest differences.
    """
    from kaldialign import align

    return [(first, second) for first, second in align(reference.split(), hypothesis.split(), gap)]
