"""Make self-supervised speech models small and fast, and prove what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pluggy import HookimplMarker

from speechlite.core.component import Component

if TYPE_CHECKING:
    from speechlite.core.model import SpeechModel

__all__ = ["Component", "__version__", "hookimpl", "load_model"]

__version__ = "0.1.0"

hookimpl = HookimplMarker("speechlite")
"""Marks a function of a plugin as the implementation of the hook of its name."""


def load_model(directory: str | Path) -> SpeechModel:
    """Load a checkpoint: build its model, carry its compressions out again, take its weights.

    Args:
        directory: what ``speechlite pretrain``, ``compress`` or ``import`` wrote.

    Returns:
        The model in eval mode, on the CPU; call it with waves (B, T) and their lengths (B,).

    Raises:
        CheckpointError: if anything is missing, damaged or does not fit.
        PluginError: if a component is not installed.
    """
    # torch is imported when a model is loaded, not before
    from speechlite.engine import checkpoint
    from speechlite.plugins.discovery import discover
    from speechlite.plugins.registry import Registry

    return checkpoint.load_model(Path(directory), Registry(discover()))
