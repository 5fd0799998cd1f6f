from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from speechlite.core.errors import DataError
from speechlite.engine.unit_quality import unit_quality

PHONES = {"a": [0] * 10 + [1] * 10, "b": [2] * 8 + [1] * 12}


@pytest.fixture
def data(tmp_path):
    lines = [f"{name} {' '.join(map(str, row))}\n" for name, row in PHONES.items()]
    (tmp_path / "phone_labels").write_text("".join(lines))
    return tmp_path


def test_quality_at_half_the_rate_is_that_of_every_second_phone(data):
    units = {
        "a": np.array([0, 0, 0, 1, 1, 1, 1, 1, 2, 2]),
        "b": np.array([2, 2, 2, 3, 1, 1, 1, 1, 1, 1]),
    }
    found = unit_quality(data, units, num_units=5, rate_hz=50.0)
    phones_N = np.array(PHONES["a"][::2] + PHONES["b"][::2])
    units_N = np.concatenate([units["a"], units["b"]])
    table = contingency_matrix(phones_N, units_N)
    shares = np.bincount(phones_N) / 20
    entropy = -np.sum(shares * np.log(shares))
    assert found["phone_purity"] == pytest.approx(table.max(0).sum() / 20)
    assert found["unit_purity"] == pytest.approx(table.max(1).sum() / 20)
    assert found["pnmi"] == pytest.approx(mutual_info_score(phones_N, units_N) / entropy)
    counted = {name: found[name] for name in ("frames", "utterances", "phones", "units")}
    assert counted == {"frames": 20, "utterances": 2, "phones": 3, "units": 4}


def test_quality_counts_only_utterances_that_have_phones(data):
    units = {"a": np.zeros(20, int), "x": np.zeros(7, int)}
    assert unit_quality(data, units, num_units=5, rate_hz=100.0)["frames"] == 20


def test_quality_without_phones_is_none(data, tmp_path):
    assert unit_quality(tmp_path / "no", {"a": np.zeros(2, int)}, num_units=5, rate_hz=50.0) is None
    assert unit_quality(data, {"x": np.zeros(2, int)}, num_units=5, rate_hz=50.0) is None


def test_quality_of_phones_of_other_audio_is_refused(data):
    with pytest.raises(DataError, match=r"utterance a has 0.20 s of phone labels and 0.40 s of un"):
        unit_quality(data, {"a": np.zeros(20, int)}, num_units=5, rate_hz=50.0)
