"""Compare the log-mel filterbank with kaldi-native-fbank: python tools/bench/fbank.py."""

from __future__ import annotations

import argparse
import json

import kaldi_native_fbank as knf
import numpy as np
import torch
from paired import paired_ratio

from speechlite.nn.fbank import LogMelFilterbank

__all__ = ["main"]


def main() -> None:
    """Print one line of JSON: the ratio, the seconds of both sides and their largest difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utterances", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=11)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    samples = int(arguments.seconds * 16000)
    waves_BT = 0.1 * torch.randn(
        arguments.utterances, samples, generator=torch.Generator().manual_seed(0)
    )
    lengths_B = torch.full((arguments.utterances,), samples)
    bank = LogMelFilterbank()
    waves = [wave.numpy() for wave in waves_BT]
    measured = paired_ratio(
        lambda: bank(waves_BT, lengths_B),
        lambda: [_kaldi(wave) for wave in waves],
        repeats=arguments.repeats,
    )
    record = {"bench": "fbank", "peer": "kaldi-native-fbank", "threads": 1} | measured
    record |= {"audio_seconds": arguments.utterances * arguments.seconds}
    record |= {"largest_difference": _difference(bank, waves[0])}
    print(json.dumps(record))


def _kaldi(wave: np.ndarray) -> knf.OnlineFbank:
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 80
    bank = knf.OnlineFbank(options)
    bank.accept_waveform(16000, wave)
    bank.input_finished()
    return bank


def _difference(bank: LogMelFilterbank, wave: np.ndarray) -> float:
    ours_BSF, _ = bank(torch.from_numpy(wave).unsqueeze(0), torch.tensor([len(wave)]))
    kaldi = _kaldi(wave)
    frames = np.stack([kaldi.get_frame(index) for index in range(kaldi.num_frames_ready)])
    return float(np.abs(ours_BSF[0].numpy() - frames).max())


if __name__ == "__main__":
    main()
