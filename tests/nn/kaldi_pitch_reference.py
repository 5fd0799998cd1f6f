"""Kaldi's pitch the slow way: float64 numpy and loops, straight from the published formulas.

Ghahremani et al. 2014, "A pitch extraction algorithm tuned for automatic speech recognition".
For 16 kHz only.
"""

from __future__ import annotations

import math

import numpy as np

RATE, LOW_RATE, WINDOW, SHIFT = 16000, 4000, 100, 40
FIRST_LAG, LAST_LAG = 8, 82
BALLAST, SOFT_MIN_F0 = 7000.0, 10.0
JUMP_COST = 0.1 * math.log(1.005) ** 2


def lag_grid() -> np.ndarray:
    """List the lags in seconds."""
    lags = []
    lag = 1 / 400
    while lag <= 1 / 50:
        lags.append(lag)
        lag *= 1.005
    return np.array(lags)


def sinc(time: float, cutoff: float, zeros: int) -> float:
    """Evaluate the Hann-windowed sinc."""
    if abs(time) >= zeros / (2 * cutoff):
        return 0.0
    hann = 0.5 * (1 + math.cos(2 * math.pi * cutoff / zeros * time))
    if time == 0:
        return 2 * cutoff * hann
    return math.sin(2 * math.pi * cutoff * time) / (math.pi * time) * hann


def low_pass(wave: np.ndarray) -> np.ndarray:
    """Resample to 4 kHz."""
    out = np.zeros(math.ceil(len(wave) / 4))
    for k in range(len(out)):
        for n in range(max(0, 4 * k - 8), min(len(wave), 4 * k + 9)):
            out[k] += wave[n] * sinc(k / LOW_RATE - n / RATE, 1000, 1) / RATE
    return out


def correlations(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the NCCF at integer lags, with and without the ballast."""
    signal = low_pass(wave.astype(np.float64))
    ballast = BALLAST * (WINDOW * np.var(signal)) ** 2
    num_frames = (len(signal) - WINDOW) // SHIFT + 1
    signal = np.concatenate([signal, np.zeros(WINDOW + LAST_LAG)])
    tracked = np.zeros((num_frames, LAST_LAG + 1 - FIRST_LAG))
    free = np.zeros_like(tracked)
    for t in range(num_frames):
        frame = signal[t * SHIFT : t * SHIFT + WINDOW + LAST_LAG]
        frame = frame - frame[:WINDOW].mean()
        for lag in range(FIRST_LAG, LAST_LAG + 1):
            first, second = frame[:WINDOW], frame[lag : lag + WINDOW]
            product, energies = first @ second, (first @ first) * (second @ second)
            if energies > 0:
                tracked[t, lag - FIRST_LAG] = product / math.sqrt(energies + ballast)
                free[t, lag - FIRST_LAG] = product / math.sqrt(energies)
    return tracked, free


def upsample(nccf: np.ndarray) -> np.ndarray:
    """Interpolate an NCCF at the lags of the grid."""
    lags = lag_grid()
    weights = np.zeros((len(lags), nccf.shape[1]))
    for i, lag in enumerate(lags):
        for m in range(nccf.shape[1]):
            weights[i, m] = sinc(lag - (FIRST_LAG + m) / LOW_RATE, 2000, 5) / LOW_RATE
    return nccf @ weights.T


def local_costs(tracked: np.ndarray) -> np.ndarray:
    """Compute Eq. 5 from the upsampled NCCF with ballast."""
    return 1 - tracked * (1 - SOFT_MIN_F0 * lag_grid())


def path_cost(costs: np.ndarray, path: np.ndarray, jump_cost: float = JUMP_COST) -> float:
    """Add up the local costs and jumps of a path."""
    return costs[np.arange(len(path)), path].sum() + jump_cost * (np.diff(path) ** 2).sum()


def viterbi(costs: np.ndarray, jump_cost: float = JUMP_COST) -> np.ndarray:
    """Find the cheapest path by trying every jump."""
    num_frames, num_states = costs.shape
    states = np.arange(num_states)
    total, back = costs[0].copy(), np.zeros((num_frames, num_states), int)
    for t in range(1, num_frames):
        before = total
        total = np.zeros(num_states)
        for i in range(num_states):
            arrivals = before + jump_cost * (states - i) ** 2
            back[t, i] = arrivals.argmin()
            total[i] = arrivals.min() + costs[t, i]
    path = [int(total.argmin())]
    for t in range(num_frames - 1, 0, -1):
        path.append(back[t, path[-1]])
    return np.array(path[::-1])


def voicing_probability(nccf: float) -> float:
    """Map an NCCF to a probability of voicing."""
    n = min(abs(nccf), 1.0)
    r = -5.2 + 5.4 * math.exp(7.5 * (n - 1)) + 4.8 * n - 2 * math.exp(-10 * n)
    return 1 / (1 + math.exp(-(r + 4.2 * math.exp(20 * (n - 1)))))


def features(nccf: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """Compute the three features, without noise on the delta."""
    num_frames = len(nccf)
    logs = np.log(pitch)
    out = np.zeros((num_frames, 3))
    for t in range(num_frames):
        window = range(max(0, t - 75), min(num_frames, t + 76))
        weights = [voicing_probability(nccf[u]) for u in window]
        mean = sum(w * logs[u] for w, u in zip(weights, window, strict=True)) / sum(weights)
        delta = sum(n * logs[min(max(t + n, 0), num_frames - 1)] / 10 for n in range(-2, 3))
        out[t] = 2 * ((1.0001 - nccf[t]) ** 0.15 - 1), 2 * (logs[t] - mean), 10 * delta
    return out
