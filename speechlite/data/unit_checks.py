"""Find what is wrong with units: all problems with file and line, none repeated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechlite.core.errors import DataError
from speechlite.data.codebook import DESCRIPTION, read_codebook
from speechlite.data.datadir import read_datadir
from speechlite.data.problems import Problem, more, shown
from speechlite.data.reader import UtteranceReader
from speechlite.data.units import UNITS, UnitFacts, misfit, read_facts, scan_units

__all__ = ["lint_units", "unit_directories"]

_LARGEST_MISFIT = 2
_MAKE = "make the units again, from this audio"


def unit_directories(path: Path) -> list[Path]:
    """Return the directories of units that a path stands for.

    Args:
        path: the folder of a codebook, or one directory of units.

    Returns:
        The directories of units in the folder, sorted; else the path itself.

    Raises:
        DataError: if the folder holds a codebook and nothing else.
    """
    if not (path / DESCRIPTION).is_file():
        return [path]
    found = sorted(file.parent for file in path.glob(f"*/{UNITS}"))
    if not found:
        cause = "holds a codebook, and no units"
        raise DataError(cause, remedy="run 'speechlite units' to its end", path=path)
    return found


def lint_units(directories: Sequence[Path], *, limit: int = 50) -> list[Problem]:
    """Return everything that is wrong with units that are to be used together.

    Each utterance must have as many units as its audio has frames, give or take 2; all units must
    be of one codebook, which lies in the parent of each directory.

    Args:
        directories: directories of units, such as those of training and validation data.
        limit: the most problems to collect of a directory; at least 1.

    Returns:
        Problems in the order of the directories.
    """
    problems: list[Problem] = []
    first: UnitFacts | None = None
    for directory in directories:
        try:
            facts = read_facts(directory)
        except DataError as error:
            problems.append(_problem(error))
            continue
        first = facts if first is None else first
        other = misfit(directory, facts, sha256=first.codebook_sha256, grid=first.grid)
        problems += [] if other is None else [other]
        problems += _lint_one(directory, facts, limit)[:limit]
    return problems


def _lint_one(directory: Path, facts: UnitFacts, limit: int) -> list[Problem]:
    try:
        codebook = read_codebook(directory.parent)
    except DataError as error:
        return [_problem(error)]
    other = misfit(directory, facts, sha256=codebook.sha256, grid=codebook.grid)
    problems = [] if other is None else [other]
    units, lines, faults = scan_units(
        directory / UNITS, num_units=len(codebook.codewords), limit=limit
    )
    problems += faults
    # a file that stopped at its first faults has too few utterances
    if len(faults) < limit and (units or not faults):
        counts = {name: (lines[name], len(labels_L)) for name, labels_L in units.items()}
        problems += _misfits(directory / UNITS, facts, counts, is_whole=not faults)
    return problems


def _misfits(
    path: Path, facts: UnitFacts, counts: dict[str, tuple[int, int]], *, is_whole: bool
) -> list[Problem]:
    try:
        utterances = {item.id: item for item in read_datadir(facts.data).utterances}
        reader = UtteranceReader(utterances, facts.grid)
        frames = {name: facts.grid.num_frames(reader.num_samples(name)) for name in utterances}
    except DataError as error:
        return [_problem(error)]
    problems = []
    for name, (line, count) in counts.items():
        if name not in frames:
            cause = f"utterance {shown(name)} is not in {shown(str(facts.data))}"
            problems.append(Problem(path, line, cause, _MAKE))
        elif abs(count - frames[name]) > _LARGEST_MISFIT:
            cause = f"utterance {shown(name)} has {count} units for {frames[name]} frames"
            problems.append(Problem(path, line, cause, _MAKE))
    # an utterance too short for a few frames may have none
    absent = sorted(n for n, c in frames.items() if c > _LARGEST_MISFIT and n not in counts)
    if absent and is_whole:
        cause = f"utterance {shown(absent[0])} has no units{more(len(absent))}"
        problems.append(Problem(path, None, cause, _MAKE))
    return problems


def _problem(error: DataError) -> Problem:
    return Problem(error.path or Path(), error.line, error.cause, error.remedy)
