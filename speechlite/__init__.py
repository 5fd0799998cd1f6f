"""Make self-supervised speech models small and fast, and prove what that costs."""

from __future__ import annotations

from pluggy import HookimplMarker

from speechlite.core.component import Component

__all__ = ["Component", "__version__", "hookimpl"]

__version__ = "0.1.0"

hookimpl = HookimplMarker("speechlite")
"""Marks a function of a plugin as the implementation of the hook of its name."""
