"""Frames of a model beside those of alignments, against a loop over all centres."""

from __future__ import annotations

import numpy as np
import pytest

from speechlite.core.errors import ConfigError
from speechlite.data.reader import KALDI_FRAMES, FrameGrid, frame_of
from speechlite.engine.dnn_hmm.acoustic_network import device_of, labels_at

GRIDS = [
    FrameGrid(16000, 160, 400),
    FrameGrid(16000, 320, 400),
    FrameGrid(16000, 640, 880),
    FrameGrid(8000, 80, 200),
    FrameGrid(16000, 240, 1040),
]


def nearest(target, source, num_target, num_source):
    """Try all source frames for each target frame; the earlier one wins a tie."""
    found = []
    for frame in range(num_target):
        centre = (frame * target.stride + target.min_samples / 2) / target.sample_rate
        distances = [
            abs((one * source.stride + source.min_samples / 2) / source.sample_rate - centre)
            for one in range(num_source)
        ]
        found.append(next(p for p, d in enumerate(distances) if d < min(distances) + 1e-9))
    return found


@pytest.mark.parametrize("target", GRIDS)
@pytest.mark.parametrize("source", GRIDS)
def test_frame_of_is_the_frame_with_the_nearest_centre(target, source):
    for num_target, num_source in ((30, 30), (31, 16), (16, 31), (9, 1), (1, 9), (40, 3)):
        found = frame_of(target, source, num_target=num_target, num_source=num_source)
        assert found.tolist() == nearest(target, source, num_target, num_source)


def test_frame_of_no_frames_is_empty():
    assert frame_of(GRIDS[0], GRIDS[1], num_target=0, num_source=5).shape == (0,)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("samples", [400, 1040, 1359, 1360, 1361, 16000, 16319])
@pytest.mark.parametrize("more", [-2, 0, 1])
def test_labels_at_takes_the_density_at_each_frame(grid, samples, more):
    at_rate = samples * grid.sample_rate // KALDI_FRAMES.sample_rate
    count = max(1, KALDI_FRAMES.num_frames(samples) + more)
    pdfs_L = np.arange(count, dtype=np.int32) * 7 % 50
    found = labels_at(grid, pdfs_L, at_rate)
    expected = nearest(grid, KALDI_FRAMES, grid.num_frames(at_rate), count)
    assert found.dtype == np.int64
    assert found.tolist() == [int(pdfs_L[place]) for place in expected]


def test_labels_at_on_the_grid_of_the_alignment_are_the_alignment():
    pdfs_L = np.array([3, 1, 4, 1, 5], np.int32)
    assert labels_at(KALDI_FRAMES, pdfs_L, 400 + 4 * 160 + 159).tolist() == pdfs_L.tolist()


def test_device_of_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert device_of("auto").type == device_of("cpu").type == "cpu"
    with pytest.raises(ConfigError, match=r"training.accelerator=gpu, and there is no GPU; set"):
        device_of("gpu")
