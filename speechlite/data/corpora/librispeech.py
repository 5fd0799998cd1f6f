"""Prepare Kaldi-style directories from LibriSpeech's layout, real or synthetic.

As in Kaldi's recipes a "speaker" is a reader in a chapter (``<reader>-<chapter>``): its id is a
prefix of its utterances' ids, so that all files sort alike. ``chap2reader`` tells who read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from speechlite.core.errors import DataError
from speechlite.data.audio import AudioInfo, read_info
from speechlite.data.corpora.ctm import Mark, read_ctm, write_ctm
from speechlite.data.corpora.directory import replace_datadir
from speechlite.data.corpora.librispeech_download import download_librispeech
from speechlite.data.tables import scan_table, write_table

__all__ = ["download_librispeech", "prepare_librispeech"]

_SUFFIXES = (".flac", ".wav")
_ALIGNMENTS = "alignments"
_NUM_THREADS = 4
# Room for the rounding of times to 0.1 ms.
_TIME_TOLERANCE_SECONDS = 1e-3


@dataclass(frozen=True)
class _Chapter:
    id: str
    reader: str
    folder: Path
    audio: Mapping[str, Path]
    text: Mapping[str, str] | None


def prepare_librispeech(
    root: Path,
    out_dir: Path,
    *,
    subsets: Sequence[str] | None = None,
    alignments: Path | None = None,
) -> list[Path]:
    """Write a Kaldi-style directory for each subset of a LibriSpeech.

    A subset of which no chapter has a transcript gets no ``text``.

    Args:
        root: the folder ``LibriSpeech``, or the one that holds it.
        out_dir: where to write ``train_clean_100`` and the others; made where it is missing.
        subsets: names such as "train-clean-100"; None for all that are there.
        alignments: folder with ``<subset>.phones.ctm`` and ``<subset>.words.ctm``; by default the
            folder ``alignments`` of the corpus, if there is one.

    Returns:
        The directories, in the order of the subsets.

    Raises:
        DataError: a subset, a reader, a transcript, an audio file or an alignment is missing,
            superfluous or damaged; with file and line.
        EnvironmentProblem: ``out_dir`` cannot be written.
    """
    library = _library(Path(root).absolute())
    names = _subsets(library, subsets)
    genders = _read_genders(library / "SPEAKERS.TXT")
    if alignments is not None and not alignments.is_dir():
        raise DataError(
            "there is no such folder of alignments",
            remedy="name a folder with <subset>.phones.ctm files, or leave it out",
            path=alignments,
        )
    marks_folder = library / _ALIGNMENTS if alignments is None else alignments
    written = []
    for name in names:
        chapters = _read_subset(library / name)
        directory = Path(out_dir) / name.replace("-", "_")
        with replace_datadir(directory) as folder:
            infos = _write_tables(folder, chapters)
            _write_genders(folder, chapters, genders=genders, path=library / "SPEAKERS.TXT")
            _write_alignments(folder, marks_folder, subset=name, infos=infos)
        written.append(directory)
    return written


def _library(root: Path) -> Path:
    for folder in (root / "LibriSpeech", root):
        if (folder / "SPEAKERS.TXT").is_file():
            return folder
    raise DataError(
        "holds no LibriSpeech: there is no SPEAKERS.TXT in it or in its folder LibriSpeech",
        remedy="name the folder that the archives of LibriSpeech were unpacked in",
        path=root,
    )


def _subsets(library: Path, wanted: Sequence[str] | None) -> list[str]:
    found = sorted(
        folder.name
        for folder in library.iterdir()
        if folder.is_dir() and folder.name.startswith(("train-", "dev-", "test-"))
    )
    names = found if wanted is None else list(wanted)
    for name in names:
        if name not in found:
            raise DataError(
                f"there is no subset {name!r}",
                remedy=f"choose among {', '.join(found) or 'none'}",
                path=library,
            )
    if not names:
        raise DataError(
            "no subset was found or asked for",
            remedy="unpack an archive such as train-clean-100.tar.gz here",
            path=library,
        )
    return names


def _read_genders(path: Path) -> dict[str, str]:
    genders: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith(";") or not line.strip():
            continue
        fields = [field.strip() for field in line.split("|", 4)]
        if len(fields) != 5 or fields[1] not in ("F", "M"):
            raise DataError(
                f"not a reader: {line!r}",
                remedy="write 'ID | F or M | SUBSET | MINUTES | NAME'",
                path=path,
                line=number,
            )
        genders[fields[0]] = fields[1].lower()
    return genders


def _read_subset(folder: Path) -> list[_Chapter]:
    folders = [path for reader in _folders(folder) for path in _folders(reader)]
    chapters = [_read_chapter(path) for path in folders]
    if not chapters:
        raise DataError("holds no chapter", remedy="unpack the subset's archive again", path=folder)
    silent = [chapter for chapter in chapters if chapter.text is None]
    if silent and len(silent) < len(chapters):
        raise DataError(
            f"has no {silent[0].id}.trans.txt, but other chapters of the subset have theirs",
            remedy="restore the transcript, or remove all of them to use the audio alone",
            path=silent[0].folder,
        )
    # By id, not by folder: "100-1" sorts after "1-1" in byte order, "1000" before "1-".
    return sorted(chapters, key=lambda chapter: chapter.id)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name.isdigit())


def _read_chapter(folder: Path) -> _Chapter:
    reader = folder.parent.name
    chapter = f"{reader}-{folder.name}"
    audio = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in _SUFFIXES}
    if not audio:
        raise DataError("the chapter holds no audio", remedy="remove the empty folder", path=folder)
    for name, path in audio.items():
        if not name.startswith(f"{chapter}-"):
            raise DataError(
                f"stands in chapter {chapter}, which its name does not begin with",
                remedy="move the file to its own chapter",
                path=path,
            )
    transcript = folder / f"{chapter}.trans.txt"
    text = _read_transcript(transcript, audio) if transcript.exists() else None
    return _Chapter(chapter, reader, folder, audio, text)


def _read_transcript(path: Path, audio: Mapping[str, Path]) -> dict[str, str]:
    table, problems = scan_table(path, limit=1)
    if table is None:
        raise problems[0].error()
    for index, utterance in enumerate(table.keys):
        if utterance not in audio:
            cause = f"utterance {utterance} has no audio"
            raise table.problem(index, cause, "restore the file or remove the line").error()
    silent = sorted(set(audio) - set(table.keys))
    if silent:
        raise DataError(
            f"has no line in {path.name}",
            remedy="add the transcript or remove the audio",
            path=audio[silent[0]],
        )
    return dict(zip(table.keys, table.values, strict=True))


def _write_tables(folder: Path, chapters: Sequence[_Chapter]) -> dict[str, AudioInfo]:
    audio = {name: path for chapter in chapters for name, path in chapter.audio.items()}
    infos = _read_headers(audio)
    write_table(folder / "wav.scp", {name: str(path) for name, path in audio.items()})
    write_table(folder / "utt2spk", {name: c.id for c in chapters for name in c.audio})
    write_table(folder / "spk2utt", {c.id: " ".join(sorted(c.audio)) for c in chapters})
    write_table(folder / "chap2reader", {c.id: c.reader for c in chapters})
    counts = {name: str(info.num_frames) for name, info in infos.items()}
    write_table(folder / "utt2num_samples", counts)
    seconds = {name: f"{info.duration_seconds:.6f}" for name, info in infos.items()}
    write_table(folder / "utt2dur", seconds)
    text = {name: line for c in chapters for name, line in (c.text or {}).items()}
    if text:
        write_table(folder / "text", text)
    return infos


def _read_headers(audio: Mapping[str, Path]) -> dict[str, AudioInfo]:
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        return dict(zip(audio, threads.map(read_info, audio.values()), strict=True))


def _write_genders(
    folder: Path, chapters: Iterable[_Chapter], *, genders: Mapping[str, str], path: Path
) -> None:
    rows = {}
    for chapter in chapters:
        if chapter.reader not in genders:
            raise DataError(
                f"reader {chapter.reader} of {chapter.folder} is not listed",
                remedy="use the SPEAKERS.TXT that belongs to this audio",
                path=path,
            )
        rows[chapter.id] = genders[chapter.reader]
    write_table(folder / "spk2gender", rows)


def _write_alignments(
    folder: Path, source: Path, *, subset: str, infos: Mapping[str, AudioInfo]
) -> None:
    for kind in ("phones", "words"):
        path = source / f"{subset}.{kind}.ctm"
        if path.is_file():
            marks = read_ctm(path)
            _check_marks(marks, infos, path=path)
            write_ctm(folder / f"{kind}.ctm", marks)


def _check_marks(
    marks: Mapping[str, Sequence[Mark]], infos: Mapping[str, AudioInfo], *, path: Path
) -> None:
    for utterance, items in marks.items():
        if utterance not in infos:
            cause = f"utterance {utterance} has no audio"
            remedy = "use the alignments that belong to this audio"
            raise DataError(cause, remedy=remedy, path=path, line=items[0].line)
        seconds = infos[utterance].duration_seconds
        if items[-1].end > seconds + _TIME_TOLERANCE_SECONDS:
            cause = f"ends at {items[-1].end:.4f} s, but the audio has {seconds:.4f} s"
            remedy = "use the alignments that belong to this audio"
            raise DataError(cause, remedy=remedy, path=path, line=items[-1].line)
