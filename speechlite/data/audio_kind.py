"""What a file called a recording really is, judged by its first bytes before any decoder runs."""

from __future__ import annotations

import stat
from pathlib import Path

from speechlite.core.errors import DataError

__all__ = ["check_kind"]

_EXTENSIONS = {".wav": "WAV", ".flac": "FLAC"}
_SOUND = ((b"fLaC", "FLAC"), (b"RIFF", "WAV"))
_OTHER = (
    (b"ID3", "an ID3 tag, as MP3 files do"),
    (b"\xff\xfb", "MP3 sound"),
    (b"\xff\xf3", "MP3 sound"),
    (b"\xff\xf2", "MP3 sound"),
    (b"\xff\xf1", "AAC sound"),
    (b"OggS", "an Ogg stream"),
    (b"NIST_1A", "a SPHERE header"),
    (b"RIFX", "a big-endian RIFX header"),
    (b"RF64", "an RF64 header"),
    (b"riff", "a Wave64 header"),
    (b"FORM", "an AIFF header"),
    (b".snd", "an AU header"),
    (b"caff", "a CAF header"),
    (b"#!AMR", "AMR sound"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip stream"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM header"),
)
_CONVERT = "convert the file to 16-bit FLAC when preparing the corpus"
_DOWNLOAD = "download the file again"


def check_kind(path: Path) -> str:
    """Tell WAV from FLAC by content and refuse everything else by its name.

    Args:
        path: a file that should be a recording.

    Returns:
        ``WAV`` or ``FLAC``.

    Raises:
        DataError: the file is missing, empty, not sound, of a kind that is not read, or has an
            extension of another kind.
    """
    head = _read_head(path)
    expected = _EXTENSIONS.get(path.suffix.lower())
    if expected is None:
        cause = f"has the extension {path.suffix!a}, .wav or .flac expected"
        raise DataError(cause, remedy=_CONVERT, path=path)
    for magic, kind in _SOUND:
        if head.startswith(magic) and kind == expected:
            return kind
        if head.startswith(magic):
            cause = f"is {kind} but is named {path.suffix}"
            raise DataError(cause, remedy="rename the file and its line in wav.scp", path=path)
    cause, remedy = _describe(head)
    raise DataError(f"{cause}, {expected} expected", remedy=remedy, path=path)


def _read_head(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            remedy = "name the recording itself"
            raise DataError("is not a regular file", remedy=remedy, path=path)
        with path.open("rb") as stream:
            head = stream.read(256)
    except (OSError, ValueError) as error:
        cause = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        remedy = "check the path in wav.scp and the file's permissions"
        raise DataError(cause, remedy=remedy, path=path) from error
    if not head:
        raise DataError("is empty (0 bytes)", remedy=_DOWNLOAD, path=path)
    return head


def _describe(head: bytes) -> tuple[str, str]:
    """Return what a file is that is neither WAV nor FLAC, and what to do about it."""
    for magic, name in _OTHER:
        if head.startswith(magic):
            return f"begins with {name}", _CONVERT
    if head[4:8] == b"ftyp":
        return "begins with an MP4 header", _CONVERT
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is a web page, not sound", _DOWNLOAD
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file", "fetch the file with 'git lfs pull'"
    if not head.strip(b"\0"):
        return "begins with zeros only", _DOWNLOAD
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "is text, not sound", _DOWNLOAD
    return "has an unknown header", _DOWNLOAD
