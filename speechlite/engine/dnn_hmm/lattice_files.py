"""Word lattices, n-best lists and error reports as text files.

A lattice has Kaldi's text form of compact lattices: the utterance, a line
``from to word graph,acoustic,`` for each arc, a line ``state graph,acoustic,`` where it ends, and
an empty line. Costs are those of the language model and of all the rest; there are no alignments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from speechlite.core.errors import DataError
from speechlite.data.atomic import replace_file
from speechlite.engine.evaluate import SplitScore
from speechlite.hmm.lattice import ScoredLattice
from speechlite.metrics.error_rate import aligned_words

__all__ = ["read_lattices", "write_error_report", "write_lattices", "write_nbest"]


def write_lattices(path: Path, lattices: Mapping[str, ScoredLattice], names: Sequence[str]) -> str:
    """Write lattices.

    Args:
        path: the file to write or replace.
        lattices: by utterance.
        names: word of each id.

    Returns:
        The file's name.
    """
    with replace_file(path) as stream:
        for utterance in sorted(lattices):
            stream.write(f"{utterance}\n".encode())
            for line in _lines(lattices[utterance], names):
                stream.write(line.encode())
            stream.write(b"\n")
    return path.name


def _lines(lattice: ScoredLattice, names: Sequence[str]) -> Iterator[str]:
    rows = zip(
        lattice.src_A.tolist(),
        lattice.dst_A.tolist(),
        lattice.word_A.tolist(),
        lattice.model_A.tolist(),
        lattice.acoustic_A.tolist(),
        strict=True,
    )
    for src, dst, word, model, acoustic in rows:
        costs = f"{model:.6f},{acoustic:.6f},"
        yield f"{src} {dst} {names[word]} {costs}\n" if word >= 0 else f"{src} {costs}\n"


def read_lattices(path: Path, ids: Mapping[str, int]) -> dict[str, ScoredLattice]:
    """Read lattices.

    Args:
        path: what ``write_lattices`` wrote.
        ids: id of each word.

    Returns:
        Lattices by utterance.

    Raises:
        DataError: if the file is missing or malformed.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot be read ({error})", remedy="run the step decode", path=path
        ) from None
    if content and not content.endswith("\n\n"):
        raise DataError("was cut off", remedy="run the step decode again", path=path)
    found: dict[str, ScoredLattice] = {}
    for block in content.split("\n\n"):
        lines = block.split("\n")
        if lines[0]:
            try:
                found[lines[0]] = _lattice(lines[1:], ids)
            except (ValueError, KeyError, IndexError) as error:
                raise DataError(
                    f"utterance {lines[0]} has no lattice of this lang ({error})",
                    remedy="run the step decode again",
                    path=path,
                ) from None
    return found


def _lattice(lines: Sequence[str], ids: Mapping[str, int]) -> ScoredLattice:
    rows = []
    left: set[int] = set()
    for line in lines:
        *places, costs = line.split()
        model, acoustic, _ = costs.split(",")
        states = [int(place) for place in places[:2]]
        left.add(states[0])
        # with states in this order the lattice goes forward in time
        backward = states[-1] in left and len(states) > 1
        finite = math.isfinite(float(model) + float(acoustic))
        if len(places) not in (1, 3) or min(states) < 0 or backward or not finite:
            raise ValueError(f"{line!r} is no arc")
        arc = (states[1], ids[places[2]]) if len(places) == 3 else (-1, -1)
        rows.append((states[0], *arc, float(acoustic), float(model)))
    table = np.array(rows, np.float64).reshape(-1, 5)
    src_A, dst_A, word_A = (table[:, column].astype(np.int32) for column in (0, 1, 2))
    end = int(max(src_A.max(initial=0), dst_A.max(initial=0))) + 1
    dst_A[dst_A < 0] = end
    return ScoredLattice(src_A, dst_A, word_A, table[:, 3], table[:, 4], end + 1)


def write_nbest(
    path: Path,
    lattices: Mapping[str, ScoredLattice],
    names: Sequence[str],
    *,
    count: int,
    weight: float,
    penalty: float,
) -> str:
    """Write the best sequences of words of each utterance.

    Args:
        path: the file to write or replace; lines ``utterance-rank cost words``.
        lattices: by utterance.
        names: word of each id.
        count: hypotheses of an utterance.
        weight: factor on the language model's cost.
        penalty: cost of a word.

    Returns:
        The file's name.
    """
    with replace_file(path) as stream:
        for utterance in sorted(lattices):
            found = lattices[utterance].n_best(count, weight=weight, penalty=penalty)
            for rank, hypothesis in enumerate(found, start=1):
                words = " ".join(names[word] for word in hypothesis.words)
                stream.write(f"{utterance}-{rank} {hypothesis.cost:.4f} {words}\n".encode())
    return path.name


def write_error_report(path: Path, score: SplitScore) -> str:
    """Write reference and hypothesis of each utterance one above the other, errors in capitals.

    Args:
        path: the file to write or replace.
        score: the scored words.

    Returns:
        The file's name.
    """
    with replace_file(path) as stream:
        for one in score.scores:
            detail = one.detail
            pairs = aligned_words(detail["reference"], detail["hypothesis"])
            upper, lower = _columns(pairs)
            correct = sum(reference == found for reference, found in pairs)
            counts = f"C={correct} S={detail['sub']} D={detail['del']} I={detail['ins']}"
            text = f"{one.id} {counts}\nREF: {upper}\nHYP: {lower}\n\n"
            stream.write(text.encode())
    return path.name


def _columns(pairs: Sequence[tuple[str, str]]) -> tuple[str, str]:
    upper, lower = [], []
    for reference, found in pairs:
        spelled = str.lower if reference == found else str.upper
        first, second = spelled(reference), spelled(found)
        width = max(len(first), len(second))
        upper.append(first.ljust(width))
        lower.append(second.ljust(width))
    return " ".join(upper).rstrip(), " ".join(lower).rstrip()
