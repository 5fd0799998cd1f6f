"""Discrete units of frames on disk, for each data directory.

The folder of a codebook holds, for every data directory, ``<name>/units`` with one utterance a
line, ``utterance unit unit ...``, and ``<name>/units.json``, which names the codebook.

Shapes: L labels, S frames.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from speechlite.core.errors import DataError
from speechlite.core.types import LabelSpace
from speechlite.data.atomic import replace_file
from speechlite.data.codebook import MAKE, read_codebook, read_description, write_description
from speechlite.data.problems import Problem, shown
from speechlite.data.reader import FrameGrid

__all__ = [
    "FACTS",
    "UNITS",
    "UnitFacts",
    "labels_at_frames",
    "misfit",
    "read_facts",
    "read_units",
    "scan_units",
    "write_units",
]

UNITS = "units"
"""Name of the label stream, and of the files."""
FACTS = "units.json"
"""Name of the file beside the units that says what they were made of."""
_LINE = re.compile(r"(\S+)((?: [0-9]{1,9})+)")

Labels = npt.NDArray[np.int16]


@dataclass(frozen=True)
class UnitFacts:
    """Hold what the units of a data directory were made of.

    Args:
        codebook_sha256: hash of the codewords.
        grid: the frames that have a unit each.
        data: the data directory.
    """

    codebook_sha256: str
    grid: FrameGrid
    data: Path


def labels_at_frames(
    labels_L: npt.NDArray[Any],
    num_frames: int,
    *,
    label_rate_hz: float,
    frame_rate_hz: float,
) -> npt.NDArray[Any]:
    """Bring labels of one rate to the frames of another.

    Frame s takes label ``s * label_rate_hz / frame_rate_hz``, rounded (halves up), or the last
    one where there is none.

    Args:
        labels_L: labels of an utterance; at least one.
        num_frames: frames that want a label.
        label_rate_hz: labels a second.
        frame_rate_hz: frames a second.

    Returns:
        (S,) labels, one for each frame.
    """
    frames_S = np.arange(num_frames)
    indices_S = np.floor(frames_S * (label_rate_hz / frame_rate_hz) + 0.5).astype(np.int64)
    labels_S: npt.NDArray[Any] = labels_L[np.minimum(indices_S, len(labels_L) - 1)]
    return labels_S


def write_units(directory: Path, units: Mapping[str, Labels], *, facts: UnitFacts) -> None:
    """Write the units of a data directory.

    Args:
        directory: an existing folder, named like the data directory, in that of the codebook.
        units: units by utterance; at least one of each.
        facts: what they were made of.

    Raises:
        EnvironmentProblem: if the folder is not writable or full.
    """
    with replace_file(directory / UNITS) as stream:
        for utterance in sorted(units):
            stream.write(f"{utterance} {' '.join(map(str, units[utterance]))}\n".encode())
    content = {"codebook_sha256": facts.codebook_sha256, "data": str(facts.data)}
    write_description(directory / FACTS, "units", grid=facts.grid, content=content)


def read_facts(directory: Path) -> UnitFacts:
    """Read what the units of a data directory were made of.

    Args:
        directory: what ``write_units`` wrote to.

    Returns:
        The facts.

    Raises:
        DataError: if they are missing or damaged.
    """
    path = directory / FACTS
    content, grid = read_description(path, "units")
    sha256, data = content.get("codebook_sha256"), content.get("data")
    if not isinstance(sha256, str) or not isinstance(data, str):
        cause = "names no codebook, or no data directory"
        raise DataError(cause, remedy=MAKE, path=path)
    return UnitFacts(sha256, grid, Path(data))


def read_units(
    directory: Path, splits: Sequence[str]
) -> tuple[LabelSpace, dict[str, Labels], float]:
    """Read the units of some data directories.

    Args:
        directory: folder of the codebook.
        splits: names of the data directories; at least one.

    Returns:
        The codewords as classes of the stream ``units``, the units by utterance, and how many
        units a second has.

    Raises:
        DataError: if a file is missing, damaged or of another codebook, or two splits share an
            utterance.
    """
    codebook = read_codebook(directory)
    num_units = len(codebook.codewords)
    units: dict[str, Labels] = {}
    for split in splits:
        facts = read_facts(directory / split)
        problem = misfit(directory / split, facts, sha256=codebook.sha256, grid=codebook.grid)
        if problem is not None:
            raise problem.error()
        found, _, problems = scan_units(directory / split / UNITS, num_units=num_units, limit=1)
        if problems:
            raise problems[0].error()
        shared = units.keys() & found.keys()
        if shared:
            raise DataError(
                f"utterance {shown(min(shared))} is in two of the splits {list(splits)}",
                remedy="name each split once",
                path=directory / split / UNITS,
            )
        units.update(found)
    symbols = tuple(str(unit) for unit in range(num_units))
    rate_hz = codebook.grid.sample_rate / codebook.grid.stride
    return LabelSpace(UNITS, symbols), units, rate_hz


def misfit(directory: Path, facts: UnitFacts, *, sha256: str, grid: FrameGrid) -> Problem | None:
    """Tell whether units belong to a codebook.

    Args:
        directory: folder of the units.
        facts: what they were made of.
        sha256: hash of the codebook that they should have.
        grid: the frames that they should have.

    Returns:
        The problem, or None.
    """
    remedy = "make the units of all splits by one 'speechlite units'"
    if facts.codebook_sha256 != sha256:
        cause = f"units of codebook {shown(facts.codebook_sha256[:8])}, expected {sha256[:8]!r}"
        return Problem(directory / FACTS, None, cause, remedy)
    if facts.grid != grid:
        cause = f"units of {_said(facts.grid)}, expected {_said(grid)}"
        return Problem(directory / FACTS, None, cause, remedy)
    return None


def _said(grid: FrameGrid) -> str:
    return f"{grid.min_samples} samples every {grid.stride} at {grid.sample_rate} Hz"


def scan_units(
    path: Path, *, num_units: int, limit: int = 50
) -> tuple[dict[str, Labels], dict[str, int], list[Problem]]:
    """Read a file of units and collect its faults.

    Args:
        path: the file.
        num_units: codewords of the codebook.
        limit: the most problems to collect.

    Returns:
        The units and the 1-based line of each utterance without fault, and the problems.
    """
    units: dict[str, Labels] = {}
    lines: dict[str, int] = {}
    problems: list[Problem] = []
    try:
        with path.open(encoding="utf-8", newline="\n") as stream:
            for number, text in enumerate(stream, start=1):
                utterance, labels_L, fault = _parse(text.removesuffix("\n"), num_units)
                if fault is None and utterance in units:
                    fault = (f"utterance {shown(utterance)} stands twice", "keep one")
                if fault is not None:
                    problems.append(Problem(path, number, *fault))
                else:
                    units[utterance], lines[utterance] = labels_L, number
                if len(problems) == limit:
                    break
    except (OSError, UnicodeDecodeError) as error:
        cause = f"no units can be read ({type(error).__name__})"
        problems.append(Problem(path, None, cause, MAKE))
    if not units and not problems:
        problems.append(Problem(path, None, "is empty", MAKE))
    return units, lines, problems


def _parse(text: str, num_units: int) -> tuple[str, Labels, tuple[str, str] | None]:
    nothing: Labels = np.zeros(0, dtype=np.int16)
    match = _LINE.fullmatch(text)
    if match is None:
        cause = f"not 'utterance unit unit ...': {shown(text)}"
        return "", nothing, (cause, "write whole numbers from 0 with one space between")
    labels_L = np.fromstring(match[2], dtype=np.int64, sep=" ")
    if labels_L.max() >= num_units:
        cause = f"unit {labels_L.max()}, the codebook has 0 to {num_units - 1}"
        return match[1], nothing, (cause, MAKE)
    return match[1], labels_L.astype(np.int16), None
