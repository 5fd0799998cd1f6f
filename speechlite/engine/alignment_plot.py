"""Draw an utterance's alignment: spectrogram, phones and words in time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechlite.core.errors import DataError
from speechlite.data.atomic import replace_file
from speechlite.data.audio import read_wave
from speechlite.data.corpora.ctm import Mark, read_ctm
from speechlite.data.datadir import read_datadir
from speechlite.engine.figure_canvas import COLOURS, WIDTH, canvas, svg_text

__all__ = ["plot_alignment"]

_RATE = 16000
_WINDOW, _STEP = 400, 80
_SILENCE = "SIL"


def plot_alignment(directory: Path, alignment: Path, utterance: str, out: Path) -> None:
    """Draw the alignment of an utterance.

    Args:
        directory: the data directory.
        alignment: the directory with ``phones.ctm`` and ``words.ctm``.
        utterance: its id.
        out: the SVG file to write or replace.

    Raises:
        DataError: if the utterance is not in the data or not aligned.
    """
    known = {item.id: item for item in read_datadir(directory).utterances}
    phones, words = (read_ctm(alignment / name) for name in ("phones.ctm", "words.ctm"))
    for source, found in ((directory, known), (alignment, phones)):
        if utterance not in found:
            raise DataError(
                f"has no utterance {utterance!r}",
                remedy=f"choose one of {', '.join(sorted(found)[:5])} ...",
                path=source,
            )
    wave_T = read_wave(known[utterance].audio_path, sample_rate=_RATE)
    with canvas((1.6 * WIDTH, 4.0), rows=2) as (figure, axes):
        _draw_sound(axes[0, 0], wave_T)
        _draw_marks(axes[1, 0], words.get(utterance, []), phones[utterance])
        axes[1, 0].set_xlim(0, len(wave_T) / _RATE)
        axes[0, 0].set_title(utterance)
        text = svg_text(figure)
    with replace_file(out) as stream:
        stream.write(text.encode())


def _draw_sound(panel: Any, wave_T: np.ndarray) -> None:
    windows = np.lib.stride_tricks.sliding_window_view(wave_T, _WINDOW)[::_STEP]
    power = np.square(np.abs(np.fft.rfft(windows * np.hanning(_WINDOW), axis=1)))
    decibels = 10 * np.log10(power.T + 1e-10)
    panel.imshow(
        decibels,
        origin="lower",
        aspect="auto",
        cmap="Greys",
        vmin=decibels.max() - 80,
        extent=(0, len(wave_T) / _RATE, 0, _RATE / 2000),
    )
    panel.set_ylabel("kHz")
    panel.grid(visible=False)


def _draw_marks(panel: Any, words: Sequence[Mark], phones: Sequence[Mark]) -> None:
    for height, marks in ((1, words), (0, phones)):
        for number, mark in enumerate(mark for mark in marks if mark.token != _SILENCE):
            colour = COLOURS[number % 2]
            panel.add_patch(_box(mark, height, colour))
            panel.text(
                mark.start + mark.duration / 2,
                height + 0.5,
                mark.token,
                ha="center",
                va="center",
                fontsize=9 if height else 6,
                rotation=0 if height else 90,
            )
    panel.set_ylim(0, 2)
    panel.set_yticks([0.5, 1.5], ["phones", "words"])
    panel.set_xlabel("seconds")
    panel.grid(visible=False)


def _box(mark: Mark, height: int, colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((mark.start, height), mark.duration, 1, alpha=0.25, color=colour, linewidth=0)
