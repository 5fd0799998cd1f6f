"""The header of a WAV file, read strictly: what it promises must be what the file holds.

The usual decoder reads a WAV that was cut short as a shorter recording and says nothing, so the
chunks are walked here and their sizes compared with the size of the file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from speechlite.core.errors import DataError

__all__ = ["WavHeader", "read_wav_header"]

_MAX_CHUNKS = 1000
_EXTENSIBLE = 0xFFFE
# Writers that stream put a placeholder where they cannot know the size yet.
_PLACEHOLDER_BYTES = 0x7FFFF000
_COPY_AGAIN = "copy or download the file again"
_REWRITE = "write the file again with a tool that closes its header"


@dataclass(frozen=True)
class WavHeader:
    """Hold what a WAV header says, checked against the size of the file.

    Args:
        format_tag: 1 for PCM, 3 for IEEE float, 6 and 7 for A-law and mu-law.
        num_channels: channels.
        sample_rate: in Hz.
        bits_per_sample: bits a sample of one channel.
        num_frames: samples a channel.
    """

    format_tag: int
    num_channels: int
    sample_rate: int
    bits_per_sample: int
    num_frames: int


def read_wav_header(path: Path) -> WavHeader:
    """Read the header of a WAV file and compare its sizes with the file's.

    Args:
        path: a file that begins with ``RIFF``.

    Returns:
        The header.

    Raises:
        DataError: the file is cut short, has bytes too many, or its chunks make no sense.
    """
    size_bytes = path.stat().st_size
    with path.open("rb") as stream:
        _check_riff(path, stream, size_bytes)
        chunks = _walk_chunks(path, stream, size_bytes)
        if b"fmt " not in chunks:
            raise DataError("has no fmt chunk before its sound", remedy=_REWRITE, path=path)
        if b"data" not in chunks:
            raise DataError("has no data chunk", remedy=_COPY_AGAIN, path=path)
        offset, length = chunks[b"fmt "]
        stream.seek(offset)
        return _parse_format(path, stream.read(min(length, 40)), chunks[b"data"][1])


def _check_riff(path: Path, stream: BinaryIO, size_bytes: int) -> None:
    head = stream.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise DataError("has no RIFF/WAVE header", remedy=_COPY_AGAIN, path=path)
    claimed_bytes = struct.unpack("<I", head[4:8])[0] + 8
    if claimed_bytes >= _PLACEHOLDER_BYTES and claimed_bytes > size_bytes:
        cause = f"header claims {claimed_bytes} bytes, the file has {size_bytes}: never closed"
        raise DataError(cause, remedy=_REWRITE, path=path)
    if claimed_bytes > size_bytes:
        cause = f"header claims {claimed_bytes} bytes, the file has {size_bytes}: cut short"
        raise DataError(cause, remedy=_COPY_AGAIN, path=path)
    # One byte more is the padding that some writers leave out of the count.
    if claimed_bytes < size_bytes - 1:
        cause = f"{size_bytes - claimed_bytes} bytes follow the end that the header claims"
        raise DataError(cause, remedy=_REWRITE, path=path)


def _walk_chunks(path: Path, stream: BinaryIO, size_bytes: int) -> dict[bytes, tuple[int, int]]:
    """Return (offset, length) in bytes of each chunk; ``fmt`` counts only before ``data``."""
    chunks: dict[bytes, tuple[int, int]] = {}
    offset = 12
    for _ in range(_MAX_CHUNKS):
        stream.seek(offset)
        head = stream.read(8)
        if len(head) < 8:
            return chunks
        name, length = head[:4], struct.unpack("<I", head[4:])[0]
        if offset + 8 + length > size_bytes:
            cause = (
                f"{name.decode('ascii', 'replace')!a} chunk claims {length} bytes, "
                f"{size_bytes - offset - 8} are there"
            )
            raise DataError(f"{cause}: cut short", remedy=_COPY_AGAIN, path=path)
        if name in (b"data", b"fmt ") and name in chunks:
            raise DataError(f"has two {name.decode()!a} chunks", remedy=_REWRITE, path=path)
        if not (name == b"fmt " and b"data" in chunks):
            chunks[name] = (offset + 8, length)
        # Chunks of odd length are padded to an even one.
        offset += 8 + length + length % 2
    raise DataError(f"has more than {_MAX_CHUNKS} chunks", remedy=_REWRITE, path=path)


def _parse_format(path: Path, fmt: bytes, data_bytes: int) -> WavHeader:
    if len(fmt) < 16:
        raise DataError("has a fmt chunk under 16 bytes", remedy=_REWRITE, path=path)
    tag, channels, rate, _, align, bits = struct.unpack("<HHIIHH", fmt[:16])
    if tag == _EXTENSIBLE:
        if len(fmt) < 40:
            cause = "has an extensible format of under 40 bytes"
            raise DataError(cause, remedy=_REWRITE, path=path)
        tag = struct.unpack("<H", fmt[24:26])[0]
    if channels == 0 or align == 0:
        raise DataError("has a header without channels", remedy=_REWRITE, path=path)
    if tag in (1, 3, 6, 7) and align != channels * ((bits + 7) // 8):
        cause = f"header says {bits} bits and {channels} channels but {align} bytes a frame"
        raise DataError(cause, remedy=_REWRITE, path=path)
    if data_bytes % align:
        cause = f"data chunk of {data_bytes} bytes is not a whole number of {align}-byte frames"
        raise DataError(cause, remedy=_COPY_AGAIN, path=path)
    return WavHeader(tag, channels, rate, bits, data_bytes // align)
