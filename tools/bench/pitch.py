"""Compare the pitch features with the filterbank on one thread: python tools/bench/pitch.py.

torchaudio no longer carries Kaldi's own pitch, so the peers are filterbanks: Kaldi's C++ pitch
costs about 7 times Kaldi's filterbank, which would be a ratio of about 0.14 to the first peer.
"""

from __future__ import annotations

import argparse
import json

import kaldi_native_fbank as knf
import numpy as np
import torch
from paired import paired_ratio

from speechlite.nn.fbank import LogMelFilterbank
from speechlite.nn.pitch import KaldiPitch

__all__ = ["main"]


def main() -> None:
    """Print one line of JSON a peer: Kaldi's filterbank, then our own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utterances", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    samples = int(arguments.seconds * 16000)
    waves_BT = _voices(arguments.utterances, samples)
    lengths_B = torch.full((arguments.utterances,), samples)
    waves = [wave.numpy() for wave in waves_BT]
    tracker, bank = KaldiPitch(), LogMelFilterbank()
    peers = {
        "kaldi-native-fbank (80 mel bins)": lambda: [_kaldi_fbank(wave) for wave in waves],
        "speechlite LogMelFilterbank (80 mel bins)": lambda: bank(waves_BT, lengths_B),
    }
    for name, peer in peers.items():
        measured = paired_ratio(
            lambda: tracker(waves_BT, lengths_B), peer, repeats=arguments.repeats
        )
        record = {"bench": "pitch", "peer": name, "threads": 1} | measured
        record |= {"audio_seconds": arguments.utterances * arguments.seconds}
        print(json.dumps(record))


def _voices(num_utterances: int, samples: int) -> torch.Tensor:
    """Make noisy harmonic tones whose pitch wanders, one a row."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.randn(num_utterances, samples, generator=generator).cumsum(1)
    f0_hz = 150 * torch.exp(steps * 2e-3).clamp(0.5, 2)
    phase = 2 * torch.pi * f0_hz.cumsum(1) / 16000
    tones = sum(torch.sin(order * phase) / order for order in range(1, 8))
    return 0.1 * tones + 0.01 * torch.randn(num_utterances, samples, generator=generator)


def _kaldi_fbank(wave: np.ndarray) -> int:
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 80
    bank = knf.OnlineFbank(options)
    bank.accept_waveform(16000, wave)
    bank.input_finished()
    return bank.num_frames_ready


if __name__ == "__main__":
    main()
