from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from speechlite.metrics.units import count_pairs, phone_purity, pnmi, unit_purity


@pytest.fixture
def labels():
    generator = torch.Generator().manual_seed(0)
    phones_N = torch.randint(0, 7, (400,), generator=generator)
    # units that follow the phones in part; unit 4 and phone 7 never occur
    noise_N = torch.randint(0, 4, (400,), generator=generator)
    units_N = torch.where(torch.rand(400, generator=generator) < 0.6, phones_N % 4, noise_N)
    return phones_N, units_N


@pytest.fixture
def counts(labels):
    return count_pairs(*labels, num_phones=8, num_units=5)


def test_count_pairs_counts_as_a_loop_does(labels, counts):
    slow_PU = torch.zeros(8, 5, dtype=torch.int64)
    for phone, unit in zip(*(row.tolist() for row in labels), strict=True):
        slow_PU[phone, unit] += 1
    assert torch.equal(counts, slow_PU)


def most_frequent_share(given, wanted):
    """Return the accuracy of guessing ``wanted`` as the most frequent one beside ``given``."""
    hits = 0
    for value in set(given):
        found = [b for a, b in zip(given, wanted, strict=True) if a == value]
        hits += max(found.count(other) for other in set(found))
    return hits / len(given)


def test_purities_are_the_accuracy_of_the_most_frequent_partner(labels, counts):
    phones, units = (row.tolist() for row in labels)
    assert phone_purity(counts) == pytest.approx(most_frequent_share(units, phones))
    assert unit_purity(counts) == pytest.approx(most_frequent_share(phones, units))


def test_pnmi_is_the_mutual_information_over_the_entropy_of_phones(labels, counts):
    phones_N, units_N = (row.numpy() for row in labels)
    shares = np.bincount(phones_N) / len(phones_N)
    entropy = -np.sum(shares * np.log(shares))
    assert pnmi(counts) == pytest.approx(mutual_info_score(phones_N, units_N) / entropy)


def test_pnmi_of_units_that_tell_everything_is_1_and_of_those_that_tell_nothing_0():
    assert pnmi(torch.diag(torch.tensor([3, 2, 5]))) == pytest.approx(1)
    assert pnmi(torch.tensor([[2, 4], [3, 6]])) == pytest.approx(0, abs=1e-12)


def test_pnmi_of_one_phone_is_0():
    assert pnmi(torch.tensor([[3, 1], [0, 0]])) == 0
