"""Bring other people's Kaldi-style directories into our form."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from speechlite.core.errors import DataError
from speechlite.data.audio import AudioInfo, read_info
from speechlite.data.corpora.directory import replace_datadir
from speechlite.data.tables import Table, read_table, scan_table, write_table

__all__ = ["prepare_kaldi"]

_DURATIONS = ("utt2dur", "utt2num_samples")


def prepare_kaldi(data_root: Path, out_dir: Path) -> list[Path]:
    """Write our form of every Kaldi-style directory in a folder.

    Paths in ``wav.scp`` become absolute. A relative one is looked for in the data directory, in
    its parent and in its parent's parent; Kaldi's own recipes write paths relative to the folder
    that a recipe runs in. Missing lengths are read from the audio; all other files are copied.

    Args:
        data_root: a data directory, or a folder of data directories: those that hold ``wav.scp``.
        out_dir: where to write directories of the same names; made where it is missing.

    Returns:
        The directories, sorted by name.

    Raises:
        DataError: there is no data directory, or ``wav.scp`` names a command, or audio that is
            missing or damaged; with file and line.
        EnvironmentProblem: ``out_dir`` cannot be written.
    """
    data_root = Path(data_root).absolute()
    sources = _sources(data_root)
    if not sources:
        raise DataError(
            "holds no Kaldi-style directory",
            remedy="name a folder in which the splits hold wav.scp",
            path=data_root,
        )
    written = []
    for source in sources:
        directory = Path(out_dir) / source.name
        with replace_datadir(directory) as folder:
            _prepare(source, folder)
        written.append(directory)
    return written


def _sources(data_root: Path) -> list[Path]:
    if (data_root / "wav.scp").is_file():
        return [data_root]
    if not data_root.is_dir():
        return []
    return sorted(path for path in data_root.iterdir() if (path / "wav.scp").is_file())


def _prepare(source: Path, folder: Path) -> None:
    table, problems = scan_table(source / "wav.scp", limit=1)
    if table is None:
        raise problems[0].error()
    audio = {key: _resolve(table, index) for index, key in enumerate(table.keys)}
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name != "wav.scp":
            shutil.copyfile(path, folder / path.name)
    write_table(folder / "wav.scp", {key: str(path) for key, path in audio.items()})
    if not all((folder / name).exists() for name in _DURATIONS):
        infos = {key: _read_info(table, index, audio) for index, key in enumerate(table.keys)}
        _write_durations(folder, infos)


def _resolve(table: Table, index: int) -> Path:
    value = table.values[index]
    if value.startswith("|") or value.endswith("|") or value.startswith("pipe:"):
        raise table.problem(
            index,
            f"{value!r} is a command to run, which is refused",
            "run it once and write the path of its output",
        ).error()
    folder = table.path.parent
    for base in (folder, folder.parent, folder.parent.parent):
        if (base / value).is_file():
            return base / value
    cause = f"{value!r} does not exist, seen from here or from the two folders above"
    raise table.problem(index, cause, "write the absolute path of the audio").error()


def _read_info(table: Table, index: int, audio: Mapping[str, Path]) -> AudioInfo:
    try:
        return read_info(audio[table.keys[index]])
    except DataError as error:
        # The fault is the audio's, but the line says which utterance it belongs to.
        cause = f"{error.path}: {error.cause}"
        raise table.problem(index, cause, error.remedy).error() from error


def _write_durations(folder: Path, infos: Mapping[str, AudioInfo]) -> None:
    seconds = {key: info.duration_seconds for key, info in infos.items()}
    rates = {key: info.sample_rate for key, info in infos.items()}
    if (folder / "segments").exists():
        spans = {key: row.split() for key, row in read_table(folder / "segments").items()}
        seconds = {key: float(end) - float(start) for key, (_, start, end) in spans.items()}
        rates = {key: rates[recording] for key, (recording, _, _) in spans.items()}
    rows = {
        "utt2dur": {key: f"{seconds[key]:.6f}" for key in seconds},
        "utt2num_samples": {key: str(round(seconds[key] * rates[key])) for key in seconds},
    }
    for name in _DURATIONS:
        if not (folder / name).exists():
            write_table(folder / name, rows[name])
