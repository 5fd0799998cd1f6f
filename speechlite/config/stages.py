"""The stages that can be configured."""

from __future__ import annotations

from collections.abc import Mapping

from speechlite.config.dnn_hmm import DnnHmmConfig
from speechlite.config.schema import (
    CompressConfig,
    EvaluateConfig,
    PretrainConfig,
    ProfileConfig,
)
from speechlite.config.units import UnitsConfig

__all__ = ["STAGES"]

STAGES: Mapping[str, type] = {
    "pretrain": PretrainConfig,
    "compress": CompressConfig,
    "evaluate": EvaluateConfig,
    "profile": ProfileConfig,
    "hmm": DnnHmmConfig,
    "units": UnitsConfig,
}
"""The options of each stage, by the name of its verb."""
