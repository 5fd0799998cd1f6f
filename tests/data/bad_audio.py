"""Over forty kinds of damaged or foreign files under the name of a WAV and of a FLAC recording."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import soundfile as sf

RATE_HZ = 16000
NUM_SAMPLES = 24000
FORMATS = ("wav", "flac")


@dataclass(frozen=True)
class BadAudio:
    """Name a kind of damage, how it is made and what the message must say.

    ``found_by`` is ``header`` if `read_info` refuses the file, ``samples`` if only a whole read
    does, and ``hash`` if nothing but the stored hash can tell.
    """

    kind: str
    extension: str
    content: Callable[[], bytes]
    match: str
    found_by: str = "header"

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.extension}"


def speech(num_samples: int = NUM_SAMPLES) -> np.ndarray:
    """Return smooth noise of a plausible level, shape (num_samples,), float64."""
    noise_T = np.random.default_rng(7).standard_normal(num_samples)
    return 0.1 * np.convolve(noise_T, np.ones(8) / 8, mode="same")


def encoded(
    extension: str, wave: np.ndarray | None = None, *, rate_hz: int = RATE_HZ, subtype: str = ""
) -> bytes:
    """Return a good file as bytes."""
    stream = io.BytesIO()
    wave = speech() if wave is None else wave
    sf.write(stream, wave, rate_hz, format=extension.upper(), subtype=subtype or "PCM_16")
    return stream.getvalue()


def wav_of_chunks(*chunks: tuple[bytes, bytes], riff_bytes: int | None = None) -> bytes:
    """Return a RIFF file made of (name, body) chunks, padded to even lengths."""
    body = b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for name, data in chunks
    )
    size = 4 + len(body) if riff_bytes is None else riff_bytes
    return b"RIFF" + struct.pack("<I", size) + b"WAVE" + body


def fmt_chunk(
    *, tag: int = 1, channels: int = 1, rate_hz: int = RATE_HZ, bits: int = 16, align: int = 0
) -> tuple[bytes, bytes]:
    """Return a fmt chunk of 16 bytes."""
    align = align or channels * bits // 8
    return b"fmt ", struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * align, align, bits)


def pcm() -> bytes:
    """Return 16-bit little-endian samples of the good recording."""
    return (speech() * 32767).astype("<i2").tobytes()


def _patched(content: bytes, offset: int, new: bytes) -> bytes:
    return content[:offset] + new + content[offset + len(new) :]


def _flac_header(*, channels: int = 1, rate_hz: int = RATE_HZ, bits: int = 16, total: int) -> bytes:
    """Return the good FLAC with other facts in its STREAMINFO."""
    facts = rate_hz << 44 | (channels - 1) << 41 | (bits - 1) << 36 | total
    return _patched(encoded("flac"), 18, facts.to_bytes(8, "big"))


def _many(kind: str, match: str, content: bytes) -> list[BadAudio]:
    return [BadAudio(kind, extension, lambda: content, match) for extension in FORMATS]


def _each(
    kind: str, match: str, make: Callable[[str], bytes], found_by: str = "header"
) -> list[BadAudio]:
    return [
        BadAudio(kind, extension, lambda e=extension: make(e), match, found_by)
        for extension in FORMATS
    ]


FOREIGN = [
    *_many("empty", "is empty", b""),
    *_many("web_page", "is a web page", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"),
    *_many("web_page_late", "is a web page", b"\n\n  <HTML><title>Sign in</title></HTML>\n"),
    *_many("xml_error", "is a web page", b'<?xml version="1.0"?><Error>AccessDenied</Error>'),
    *_many("text", "is text, not sound", b"HELLO WORLD\n" * 100),
    *_many("json", "is text, not sound", b'{"error": "quota exceeded"}'),
    *_many("lfs_pointer", "Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\n"),
    *_many("zeros", "begins with zeros", bytes(48044)),
    *_many("garbage", "unknown header", bytes(range(137, 250)) * 400),
    *_many("mp3_tagged", "an ID3 tag", b"ID3\x04\0\0\0\0\0\0" + b"\xff\xfb\x90\0" * 200),
    *_many("mp3", "MP3 sound", b"\xff\xfb\x90\x64" + bytes(4000)),
    *_many("aac", "AAC sound", b"\xff\xf1\x50\x80" + bytes(4000)),
    *_many("ogg", "Ogg stream", b"OggS\0\x02" + bytes(4000)),
    *_many("mp4", "MP4 header", b"\0\0\0\x20ftypM4A " + bytes(4000)),
    *_many("webm", "Matroska", b"\x1a\x45\xdf\xa3" + bytes(4000)),
    *_many("sphere", "SPHERE", b"NIST_1A\n   1024\n" + bytes(4000)),
    *_many("aiff", "AIFF", b"FORM\0\0\x10\0AIFF" + bytes(4000)),
    *_many("au", "AU header", b".snd\0\0\0\x18" + bytes(4000)),
    *_many("rf64", "RF64", b"RF64\xff\xff\xff\xffWAVEds64" + bytes(4000)),
    *_many("big_endian", "RIFX", b"RIFX\0\0\x10\0WAVEfmt " + bytes(4000)),
    *_many("wave64", "Wave64", b"riff\x2e\x91\xcf\x11" + bytes(4000)),
    *_many("zip", "zip archive", b"PK\x03\x04" + bytes(4000)),
    *_many("gzip", "gzip stream", b"\x1f\x8b\x08" + bytes(4000)),
    *_each("id3_before", "an ID3 tag", lambda e: b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + encoded(e)),
    BadAudio("other_kind", "wav", lambda: encoded("flac"), "is FLAC but is named .wav"),
    BadAudio("other_kind", "flac", lambda: encoded("wav"), "is WAV but is named .flac"),
]
CUT = [
    *_each("cut_in_half", "cut short", lambda e: encoded(e)[: len(encoded(e)) // 2]),
    *_each("cut_one_byte", "cut short", lambda e: encoded(e)[:-1]),
    *_each("cut_tail", "cut short", lambda e: encoded(e)[:-4096]),
    *_each("cut_to_magic", "header|cannot be opened", lambda e: encoded(e)[:4]),
    *_each("cut_in_header", "cut short|cannot be opened", lambda e: encoded(e)[:20]),
    *_each(
        "cut_to_header",
        "cut short|cannot be opened",
        lambda e: encoded(e)[: 44 if e == "wav" else 42],
    ),
]
CONTENT = [
    *_each(
        "stereo", "has 2 channels, 1 expected", lambda e: encoded(e, np.stack([speech()] * 2, 1))
    ),
    *_each(
        "six_channels",
        "has 6 channels, 1 expected",
        lambda e: encoded(e, np.stack([speech()] * 6, 1)),
    ),
    *_each("rate_too_low", "sample rate of 2000 Hz", lambda e: encoded(e, rate_hz=2000)),
    *_each("rate_too_high", "sample rate of 384000 Hz", lambda e: encoded(e, rate_hz=384000)),
    *_each("other_rate", "8000 Hz", lambda e: encoded(e, rate_hz=8000), "rate"),
    BadAudio("no_samples", "wav", lambda: encoded("wav", np.zeros(0)), "holds no samples"),
    BadAudio(
        "no_samples",
        "flac",
        lambda: _flac_header(total=0)[:42],
        "no samples|header claims|cannot be opened",
    ),
    BadAudio("eight_bit", "wav", lambda: encoded("wav", subtype="PCM_U8"), "coded as PCM_U8"),
    BadAudio("eight_bit", "flac", lambda: encoded("flac", subtype="PCM_S8"), "coded as PCM_S8"),
    *_each("clipped", "is clipped", lambda e: encoded(e, np.sign(speech())), "samples"),
    *_each(
        "zeroed_block",
        "damaged|content differs",
        lambda e: _patched(encoded(e), 20000, bytes(512)),
        "samples or hash",
    ),
    *_each(
        "flipped_bit",
        "damaged|content differs",
        lambda e: _patched(encoded(e), 20001, bytes([encoded(e)[20001] ^ 16])),
        "samples or hash",
    ),
    *_each(
        "swapped_blocks",
        "damaged|content differs",
        lambda e: (
            encoded(e)[:9000] + encoded(e)[9500:10000] + encoded(e)[9000:9500] + encoded(e)[10000:]
        ),
        "samples or hash",
    ),
    *_each("other_recording", "content differs", lambda e: encoded(e, -speech()), "hash"),
    *_each("shorter_recording", "content differs", lambda e: encoded(e, speech(9000)), "hash"),
]
FLAC_HEADERS = [
    BadAudio("unknown_length", "flac", lambda: _flac_header(total=0), "header claims|no samples"),
    BadAudio("claims_hours", "flac", lambda: _flac_header(total=2**36 - 1), "header claims"),
    BadAudio("claims_more", "flac", lambda: _flac_header(total=48000), "cut short|damaged"),
    BadAudio("claims_none", "flac", lambda: _patched(encoded("flac"), 8, bytes(18)), "."),
    BadAudio("no_stream_info", "flac", lambda: b"fLaC" + encoded("flac")[42:], "."),
]
WAV_HEADERS = [
    BadAudio(
        "nan", "wav", lambda: encoded("wav", _with(np.nan), subtype="FLOAT"), "finite", "samples"
    ),
    BadAudio(
        "infinite",
        "wav",
        lambda: encoded("wav", _with(np.inf), subtype="FLOAT"),
        "finite",
        "samples",
    ),
    BadAudio(
        "nan_double",
        "wav",
        lambda: encoded("wav", _with(np.nan), subtype="DOUBLE"),
        "finite",
        "samples",
    ),
    BadAudio(
        "integers_in_float",
        "wav",
        lambda: encoded("wav", speech() * 32768, subtype="FLOAT"),
        r"samples up to .*, about \[-1, 1\] expected",
        "samples",
    ),
    BadAudio("adpcm", "wav", lambda: encoded("wav", subtype="IMA_ADPCM"), "coded as IMA_ADPCM"),
    BadAudio(
        "streamed_header",
        "wav",
        lambda: _patched(_patched(encoded("wav"), 4, b"\xff" * 4), 40, b"\xff" * 4),
        "never closed",
    ),
    BadAudio(
        "two_gigabytes",
        "wav",
        lambda: _patched(_patched(encoded("wav"), 4, b"\x24\xf0\xff\x7f"), 40, b"\0\xf0\xff\x7f"),
        "never closed",
    ),
    BadAudio(
        "data_claims_more",
        "wav",
        lambda: _patched(encoded("wav"), 40, struct.pack("<I", 96000)),
        "chunk claims 96000 bytes, 48000 are there",
    ),
    BadAudio("bytes_after", "wav", lambda: encoded("wav") + bytes(100), "100 bytes follow the end"),
    BadAudio("two_joined", "wav", lambda: encoded("wav") * 2, "48044 bytes follow the end"),
    BadAudio("no_fmt", "wav", lambda: wav_of_chunks((b"data", pcm())), "no fmt chunk"),
    BadAudio(
        "fmt_after_data",
        "wav",
        lambda: wav_of_chunks((b"data", pcm()), fmt_chunk()),
        "no fmt chunk",
    ),
    BadAudio("no_data", "wav", lambda: wav_of_chunks(fmt_chunk()), "no data chunk"),
    BadAudio(
        "two_data_chunks",
        "wav",
        lambda: wav_of_chunks(fmt_chunk(), (b"data", pcm()), (b"data", pcm())),
        "two 'data' chunks",
    ),
    BadAudio(
        "short_fmt", "wav", lambda: wav_of_chunks((b"fmt ", bytes(8)), (b"data", pcm())), "under 16"
    ),
    BadAudio(
        "short_extensible",
        "wav",
        lambda: wav_of_chunks(fmt_chunk(tag=0xFFFE), (b"data", pcm())),
        "extensible format of under 40",
    ),
    BadAudio(
        "no_channels",
        "wav",
        lambda: wav_of_chunks(fmt_chunk(channels=0, align=2), (b"data", pcm())),
        "without channels",
    ),
    BadAudio(
        "wrong_align",
        "wav",
        lambda: wav_of_chunks(fmt_chunk(align=4), (b"data", pcm())),
        "16 bits and 1 channels but 4 bytes a frame",
    ),
    BadAudio(
        "odd_data",
        "wav",
        lambda: wav_of_chunks(fmt_chunk(), (b"data", pcm()[:-1])),
        "not a whole number of 2-byte frames",
    ),
    BadAudio(
        "many_chunks",
        "wav",
        lambda: wav_of_chunks(fmt_chunk(), (b"data", pcm()), *[(b"junk", b"")] * 1100),
        "more than 1000 chunks",
    ),
    BadAudio("not_wave", "wav", lambda: _patched(encoded("wav"), 8, b"AVI "), "no RIFF/WAVE"),
]


def _with(value: float) -> np.ndarray:
    wave_T = speech()
    wave_T[len(wave_T) // 2] = value
    return wave_T


BAD_AUDIO = [*FOREIGN, *CUT, *CONTENT, *FLAC_HEADERS, *WAV_HEADERS]
