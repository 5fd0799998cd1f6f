"""The one place that opens sound: strict headers, whole reads, atomic writes; T is samples.

Only mono WAV and FLAC are read. Everything else is converted once, explicitly, when a corpus is
prepared, so that no later stage depends on which decoders a machine happens to have.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile as sf

from speechlite.core.errors import DataError
from speechlite.data.atomic import replace_file
from speechlite.data.audio_kind import check_kind
from speechlite.data.riff import read_wav_header
from speechlite.data.table_checks import MAX_SECONDS

__all__ = ["AudioInfo", "Wave", "read_info", "read_wave", "resample", "write_flac"]

Wave = npt.NDArray[np.float32]
"""Samples in [-1, 1] of one channel (T,)."""

MIN_SAMPLE_RATE = 4_000
MAX_SAMPLE_RATE = 192_000
# Beyond this a float file holds integers, or garbage, rather than samples in [-1, 1].
MAX_PEAK = 4.0
_FULL_SCALE = 0.9999
_MAX_CLIPPED_SHARE = 0.25
# In fewer samples a single loud vowel can be at full scale for that long.
_MIN_CLIPPED_SAMPLES = 1000
_SUBTYPES = ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
_COPY_AGAIN = "copy or download the file again"


@dataclass(frozen=True)
class AudioInfo:
    """Hold what the header of a sound file says, after it was checked.

    Args:
        path: the file.
        sample_rate: in Hz.
        num_frames: samples a channel; at least 1.
        num_channels: always 1 for a file that was accepted.
        format: ``WAV`` or ``FLAC``.
        subtype: coding of a sample, such as ``PCM_16``.
        size_bytes: size of the file.
    """

    path: Path
    sample_rate: int
    num_frames: int
    num_channels: int
    format: str
    subtype: str
    size_bytes: int

    @property
    def duration_seconds(self) -> float:
        """Return the length in seconds."""
        return self.num_frames / self.sample_rate


def read_info(path: str | Path) -> AudioInfo:
    """Read and check the header of a sound file without decoding the sound.

    Files cut short are found here: a WAV by its chunk sizes, a FLAC by decoding its last sample.

    Args:
        path: a mono WAV or FLAC file.

    Returns:
        The header.

    Raises:
        DataError: the file is missing, of another kind, damaged, empty, not mono or beyond the
            limits on duration and sample rate.
    """
    with _opened(Path(path)) as (info, sound):
        if info.format == "FLAC":
            _read_frames(info.path, sound, info.num_frames - 1, 1)
        return info


def read_wave(
    path: str | Path,
    *,
    sample_rate: int | None = None,
    offset_frames: int = 0,
    num_frames: int | None = None,
) -> Wave:
    """Read a recording, or a part of it, as float32 samples in [-1, 1].

    Args:
        path: a mono WAV or FLAC file.
        sample_rate: the rate in Hz that the caller needs; None takes any.
        offset_frames: first sample to read.
        num_frames: number of samples to read; None reads to the end.

    Returns:
        Samples of shape (T,), float32, finite.

    Raises:
        DataError: as for `read_info`; or the rate differs, the part is not inside the recording,
            or the samples are not finite, out of range or clipped throughout.
    """
    with _opened(Path(path)) as (info, sound):
        if sample_rate is not None and sample_rate != info.sample_rate:
            raise DataError(
                f"has {info.sample_rate} Hz, {sample_rate} Hz expected",
                remedy="resample the corpus when it is prepared, or choose a matching frontend",
                path=path,
            )
        count = info.num_frames - offset_frames if num_frames is None else num_frames
        if offset_frames < 0 or count < 1 or offset_frames + count > info.num_frames:
            raise DataError(
                f"samples {offset_frames} to {offset_frames + count} asked for, "
                f"the recording has {info.num_frames}",
                remedy="correct the segment's start and end",
                path=path,
            )
        wave_T = _read_frames(info.path, sound, offset_frames, count)
    _check_samples(info.path, wave_T)
    return wave_T


def resample(wave_T: Wave, *, orig_rate: int, new_rate: int) -> Wave:
    """Change the sample rate with a polyphase windowed-sinc filter.

    Args:
        wave_T: samples of shape (T,), float32.
        orig_rate: their rate in Hz.
        new_rate: the rate wanted in Hz.

    Returns:
        Samples of shape (ceil(T * new_rate / orig_rate),), float32; ``wave_T`` itself if the
        rates are equal.

    Raises:
        DataError: a rate is outside the limits.
    """
    for rate_hz in (orig_rate, new_rate):
        _check_rate(None, rate_hz)
    if orig_rate == new_rate:
        return wave_T
    # Imported here: it takes longer than all of a quick check of a data directory.
    from scipy.signal import resample_poly

    ratio = Fraction(new_rate, orig_rate)
    out_T = resample_poly(wave_T, ratio.numerator, ratio.denominator)
    return np.asarray(out_T, dtype=np.float32)


def write_flac(path: str | Path, wave_T: Wave, *, sample_rate: int) -> None:
    """Write a recording as 16-bit FLAC; the file appears complete or not at all.

    Samples read from a 16-bit file are written back exactly.

    Args:
        path: the file to write or replace; its name ends in ``.flac``.
        wave_T: samples of shape (T,), floating point in [-1, 1].
        sample_rate: in Hz.

    Raises:
        DataError: the samples are not of shape (T,), none, not finite or out of range; the rate
            is outside the limits; or the name does not end in ``.flac``.
        EnvironmentProblem: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".flac":
        raise DataError("is not a .flac name", remedy="name the file .flac", path=path)
    _check_rate(path, sample_rate)
    wave_T = np.asarray(wave_T)
    if wave_T.ndim != 1 or wave_T.size == 0 or wave_T.dtype.kind != "f":
        cause = f"samples of shape {wave_T.shape} and type {wave_T.dtype}"
        remedy = "give floating-point samples of shape (T,)"
        raise DataError(cause, remedy=remedy, path=path)
    if not float(np.abs(wave_T).max()) <= 1.0:
        cause = "samples to write are not finite numbers in [-1, 1]"
        raise DataError(cause, remedy="scale the samples first", path=path)
    # Scaled here by the factor that reading divides by; the codec's own differs by one part
    # in 32768, so that a copy would not be exact.
    pcm_T = np.clip(np.rint(wave_T * 32768.0), -32768, 32767).astype(np.int16)
    # Encoded in memory first: an error of the disk inside the codec's callback would be lost.
    encoded = io.BytesIO()
    sf.write(encoded, pcm_T, sample_rate, format="FLAC", subtype="PCM_16")
    with replace_file(path) as stream:
        stream.write(encoded.getbuffer())


@contextmanager
def _opened(path: Path) -> Iterator[tuple[AudioInfo, Any]]:
    """Open a file whose kind and header were checked."""
    kind = check_kind(path)
    wav_header = read_wav_header(path) if kind == "WAV" else None
    try:
        sound = sf.SoundFile(str(path))
    except (sf.SoundFileError, RuntimeError, OSError) as error:
        cause = f"cannot be opened as sound: {_reason(error)}"
        raise DataError(cause, remedy=_COPY_AGAIN, path=path) from error
    with sound:
        info = _checked_info(path, sound)
        if wav_header is not None and wav_header.num_frames != info.num_frames:
            cause = f"header claims {wav_header.num_frames} samples, {info.num_frames} are read"
            raise DataError(cause, remedy=_COPY_AGAIN, path=path)
        yield info, sound


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).rstrip(".")


def _check_rate(path: Path | None, rate_hz: int) -> None:
    if not MIN_SAMPLE_RATE <= rate_hz <= MAX_SAMPLE_RATE:
        raise DataError(
            f"sample rate of {rate_hz} Hz, {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz expected",
            remedy="correct the header or resample the file",
            path=path,
        )


def _checked_info(path: Path, sound: Any) -> AudioInfo:
    if sound.channels != 1:
        cause = f"has {sound.channels} channels, 1 expected"
        remedy = "write each channel to a file of its own, or mix them, when preparing"
        raise DataError(cause, remedy=remedy, path=path)
    _check_rate(path, sound.samplerate)
    if sound.subtype not in _SUBTYPES:
        cause = f"samples are coded as {sound.subtype}, one of {', '.join(_SUBTYPES)} expected"
        raise DataError(cause, remedy="convert the file to 16-bit FLAC", path=path)
    if sound.frames < 1:
        raise DataError("holds no samples", remedy="remove the recording", path=path)
    if sound.frames > MAX_SECONDS * sound.samplerate:
        cause = f"header claims {sound.frames / sound.samplerate:.3g} s of sound"
        remedy = f"split recordings over {MAX_SECONDS:.0f} s or repair the header"
        raise DataError(cause, remedy=remedy, path=path)
    size_bytes = path.stat().st_size
    return AudioInfo(
        path, sound.samplerate, sound.frames, 1, sound.format, sound.subtype, size_bytes
    )


def _read_frames(path: Path, sound: Any, offset_frames: int, num_frames: int) -> Wave:
    try:
        sound.seek(offset_frames)
        wave_T = sound.read(num_frames, dtype="float32")
    except (sf.SoundFileError, RuntimeError) as error:
        cause = f"sound is cut short or damaged: {_reason(error)}"
        raise DataError(cause, remedy=_COPY_AGAIN, path=path) from error
    if len(wave_T) != num_frames:
        cause = f"sound is cut short: {len(wave_T)} of {num_frames} samples are there"
        raise DataError(cause, remedy=_COPY_AGAIN, path=path)
    return np.asarray(wave_T, dtype=np.float32)


def _check_samples(path: Path, wave_T: Wave) -> None:
    low, high = float(wave_T.min()), float(wave_T.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        cause = "has samples that are not finite (NaN or infinite)"
        raise DataError(cause, remedy="make the file again", path=path)
    peak = max(-low, high)
    if peak > MAX_PEAK:
        cause = f"has samples up to {peak:.6g}, about [-1, 1] expected"
        raise DataError(cause, remedy="divide the samples by full scale", path=path)
    if peak >= _FULL_SCALE and len(wave_T) >= _MIN_CLIPPED_SAMPLES:
        share = float(np.mean(np.abs(wave_T) >= _FULL_SCALE))
        if share > _MAX_CLIPPED_SHARE:
            cause = f"is clipped: {share:.0%} of the samples are at full scale"
            raise DataError(cause, remedy="make the file again at a lower level", path=path)
