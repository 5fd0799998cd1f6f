"""The ``depth`` compressor: keep the first layers (shallow-layer inference)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from speechlite.compressors.config import DepthConfig
from speechlite.core.compressor import Compressor
from speechlite.core.errors import PlanError
from speechlite.core.model import SpeechModel

__all__ = ["Depth"]


class Depth(Compressor):
    """Keep a model's first layers and drop the others, without data or training.

    This is SLI(M) of Layer Reduction, section 2.4, made permanent.

    Args:
        config: the options.
    """

    def __init__(self, config: DepthConfig) -> None:
        self.layers = config.layers

    def plan(self, model: SpeechModel) -> dict[str, Any]:
        """Return how many layers stay.

        Args:
            model: the model to compress.

        Returns:
            ``{"layers": M}``.

        Raises:
            PlanError: if the model has no more layers than that.
        """
        if model.num_layers <= self.layers:
            raise PlanError(
                f"depth would keep {self.layers} layers of a model that has {model.num_layers}",
                remedy=f"choose compressor.layers below {model.num_layers}",
            )
        return {"layers": self.layers}

    def restructure(self, model: SpeechModel, plan: Mapping[str, Any]) -> SpeechModel:
        """Return a copy of the model with its first layers only.

        Args:
            model: the model that the plan was made for; not changed.
            plan: what ``plan`` returned.

        Returns:
            The shallower model.

        Raises:
            PlanError: if the plan does not fit the model.
        """
        layers = plan.get("layers")
        if type(layers) is not int or not 1 <= layers < model.num_layers:
            raise PlanError(
                f"the plan keeps {layers!r} layers of a model that has {model.num_layers}",
                remedy="use the plan with the model that it was made for",
            )
        shallow = copy.deepcopy(model)
        shallow.encoder.layers = shallow.encoder.layers[:layers]
        return shallow
