from __future__ import annotations

import pytest

from speechlite.config.dnn_hmm import DnnHmmConfig, DnnHmmTask, TdnnTrainingOptions
from speechlite.config.stages import STAGES
from speechlite.core.errors import ConfigError


@pytest.mark.parametrize("name", ["", "a b", "../x", ".hidden", "\u00e9", "a/b", "a\n"])
def test_task_whose_name_is_no_file_name_is_refused(name):
    with pytest.raises(ConfigError, match="expected letters, digits.*; change task.name"):
        DnnHmmTask(name=name)


def test_task_name_may_have_dots_and_dashes():
    assert DnnHmmTask(name="hmm-2.0_b").name == "hmm-2.0_b"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", 0),
        ("clip_norm", -1.0),
        ("clip_norm", float("nan")),
        ("clip_norm", float("inf")),
        ("threads", -1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("batch_seconds", 0.0),
        ("batch_seconds", float("inf")),
    ],
)
def test_training_option_out_of_range_is_named(option, value):
    with pytest.raises(
        ConfigError, match=rf"{option}={value}, expected .*; change training.{option}"
    ):
        TdnnTrainingOptions(**{option: value})


def test_training_accelerator_of_another_name_is_refused():
    with pytest.raises(ConfigError, match=r"accelerator='tpu', expected auto, cpu or gpu; change"):
        TdnnTrainingOptions(accelerator="tpu")


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_training_cache_below_zero_is_refused(value):
    with pytest.raises(ConfigError, match="cache_gigabytes=.*; change training.cache_gigabytes"):
        TdnnTrainingOptions(cache_gigabytes=value)


def test_training_of_fewer_than_no_layers_is_refused():
    with pytest.raises(ConfigError, match="num_layers=-1, .*; change training.num_layers"):
        TdnnTrainingOptions(num_layers=-1)
    assert TdnnTrainingOptions(num_layers=0).num_layers == 0


def test_hmm_is_a_stage_of_its_own():
    assert STAGES["hmm"] is DnnHmmConfig
    assert set(STAGES) == {"pretrain", "compress", "evaluate", "profile", "hmm", "units"}
