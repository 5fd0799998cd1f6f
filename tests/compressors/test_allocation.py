"""Allocation of sparsity: SparseWAV's Eqs. 6 and 7, and the form that keeps the total."""

import pytest

from speechlite.compressors.allocation import allocate
from speechlite.core.errors import PlanError

SIZES = {"q": 100, "k": 100, "v": 100, "o": 100, "up": 400, "down": 400}
SENSITIVE = {"q": 1.0, "k": 6.0, "v": 3.0, "o": 2.0, "up": 5.0, "down": 4.0}
NONE = dict.fromkeys(SIZES, 0)


def test_without_sensitivities_every_matrix_loses_the_same_part():
    counts = allocate(SIZES, NONE, sparsity=0.75)
    assert counts == {name: 3 * size // 4 for name, size in SIZES.items()}


def test_ranked_parts_follow_the_paper():
    counts = allocate(SIZES, NONE, sparsity=0.75, sensitivities=SENSITIVE, alpha=0.1)
    # Eq. 7 with rank 0 for k, the most sensitive one
    ranks = {"k": 0, "up": 1, "down": 2, "v": 3, "o": 4, "q": 5}
    expected = {name: 0.65 + 0.2 * rank / 5 for name, rank in ranks.items()}
    assert counts == {name: round(expected[name] * size) for name, size in SIZES.items()}
    # the mean of the parts is what was asked for, the part of all weights is not
    assert sum(counts[n] / SIZES[n] for n in SIZES) / len(SIZES) == pytest.approx(0.75, abs=2e-3)
    assert sum(counts.values()) != round(0.75 * sum(SIZES.values()))


def test_the_bound_of_the_paper_is_reached_where_the_large_matrices_are_the_sensitive_ones():
    # papers: 85 % of the unweighted mean may be 81.6 % of all weights in a base model
    sizes = {f"a{n}": 768 * 768 for n in range(48)} | {f"f{n}": 4 * 768 * 768 for n in range(24)}
    sensitive = {name: float(name[0] == "f") + 0.001 * i for i, name in enumerate(sizes)}
    counts = allocate(
        sizes, dict.fromkeys(sizes, 0), sparsity=0.85, sensitivities=sensitive, alpha=0.1
    )
    assert sum(counts.values()) / sum(sizes.values()) == pytest.approx(0.816, abs=1e-3)


@pytest.mark.parametrize("sparsity", [0.5, 0.75, 0.85, 0.9])
def test_sized_parts_reach_the_total_to_the_last_weight(sparsity):
    counts = allocate(
        SIZES, NONE, sparsity=sparsity, sensitivities=SENSITIVE, alpha=0.1, by_size=True
    )
    assert sum(counts.values()) == round(sparsity * sum(SIZES.values()))
    parts = {name: counts[name] / SIZES[name] for name in SIZES}
    assert sorted(parts, key=parts.get) == sorted(SENSITIVE, key=lambda n: -SENSITIVE[n])


def test_what_is_pruned_already_stays_pruned_and_the_total_is_kept():
    zeros = NONE | {"k": 80}
    counts = allocate(SIZES, zeros, sparsity=0.75, sensitivities=SENSITIVE, alpha=0.1, by_size=True)
    assert counts["k"] == 80
    assert sum(counts.values()) == 900


def test_a_single_matrix_gets_the_asked_sparsity():
    counts = allocate({"a": 40}, {"a": 0}, sparsity=0.5, sensitivities={"a": 3.0}, alpha=0.1)
    assert counts == {"a": 20}


def test_less_sparsity_than_there_is_is_refused():
    with pytest.raises(PlanError, match=r"75.0% of the weights are pruned already, sparsity=0.5"):
        allocate({"a": 40, "b": 40}, {"a": 30, "b": 30}, sparsity=0.5)
