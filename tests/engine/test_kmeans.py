from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from speechlite.config.units import KMeansOptions
from speechlite.core.errors import DataError
from speechlite.engine.kmeans import fit_codewords, nearest_codewords

OPTIONS = KMeansOptions(clusters=4, batch_frames=64, starts=3, max_epochs=10)


@pytest.fixture
def blobs():
    generator = np.random.default_rng(0)
    centres_CF = np.array([[0, 0], [5, 0], [0, 5], [5, 5]])
    noise_NF = generator.normal(size=(600, 2)) * 0.3
    return (centres_CF[generator.integers(0, 4, 600)] + noise_NF).astype(np.float32)


def test_fit_of_separate_blobs_finds_their_centres(blobs):
    fit = fit_codewords(blobs, OPTIONS, seed=1, threads=1)
    exact = KMeans(4, n_init=5, random_state=0).fit(blobs)
    distances = cdist(fit.codewords, exact.cluster_centers_)
    assert distances.min(0).max() < 0.1
    assert fit.distance == pytest.approx(exact.inertia_ / 600, rel=0.2)


def test_fit_with_one_seed_is_the_same_and_with_another_not(blobs):
    first, again, other = (fit_codewords(blobs, OPTIONS, seed=s, threads=1) for s in (1, 1, 2))
    assert np.array_equal(first.codewords, again.codewords)
    assert first.steps == again.steps
    assert not np.array_equal(first.codewords, other.codewords)


def test_fit_without_progress_ends_before_the_last_epoch(blobs):
    options = KMeansOptions(clusters=4, batch_frames=64, starts=1, max_epochs=100, patience=3)
    assert fit_codewords(blobs, options, seed=1, threads=1).steps < 100 * 600 // 64


def test_fit_of_as_many_frames_as_clusters_takes_each(blobs):
    fit = fit_codewords(blobs[:4], OPTIONS, seed=1, threads=1)
    assert fit.codewords.shape == (4, 2)
    assert np.isfinite(fit.codewords).all()


def test_fit_of_fewer_frames_than_clusters_is_refused(blobs):
    with pytest.raises(DataError, match="3 frames for 4 clusters; raise kmeans.fit_share"):
        fit_codewords(blobs[:3], OPTIONS, seed=1, threads=1)


def test_fit_reads_one_batch_of_a_file_at_a_time(tmp_path, monkeypatch):
    rows = []
    frames_NF = np.memmap(tmp_path / "f", np.float32, "w+", shape=(20000, 8))
    frames_NF[:] = np.random.default_rng(0).normal(size=frames_NF.shape)

    class Counted(np.memmap):
        def __getitem__(self, indices):
            rows.append(np.size(indices))
            return np.asarray(super().__getitem__(indices))

    options = KMeansOptions(clusters=4, batch_frames=100, starts=2, max_epochs=1, patience=5)
    fit_codewords(frames_NF.view(Counted), options, seed=1, threads=1)
    assert max(rows) == 100


def test_nearest_codewords_are_those_of_a_slow_search():
    generator = torch.Generator().manual_seed(0)
    # far from the origin, where single precision would not tell them apart
    frames_SF = torch.randn(50, 6, generator=generator) + 1000
    codewords_CF = torch.randn(9, 6, generator=generator) + 1000
    slow_SC = cdist(frames_SF.double().numpy(), codewords_CF.double().numpy(), "sqeuclidean")
    units_S, distances_S = nearest_codewords(frames_SF, codewords_CF)
    assert units_S.tolist() == slow_SC.argmin(1).tolist()
    assert np.allclose(distances_S.numpy(), slow_SC.min(1), atol=1e-6)
