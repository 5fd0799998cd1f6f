"""The ``low_rank_saving`` command."""

from __future__ import annotations

import argparse

from speechlite.core.errors import UsageError

__all__ = ["run"]


def run(arguments: list[str]) -> int:
    """Print what factors of a rank save of a linear layer's weights.

    Args:
        arguments: what follows the command's name.

    Returns:
        The exit code.

    Raises:
        UsageError: if a number is below 1.
    """
    parser = argparse.ArgumentParser(
        prog="speechlite low_rank_saving",
        description="Print what factors of a rank save of a linear layer's weights.",
    )
    parser.add_argument("inputs", type=int, help="input width")
    parser.add_argument("outputs", type=int, help="output width")
    parser.add_argument("rank", type=int, help="rank of the factors")
    sizes = parser.parse_args(arguments)
    if min(sizes.inputs, sizes.outputs, sizes.rank) < 1:
        raise UsageError("a width or rank is below 1", remedy="give positive numbers")
    before = sizes.inputs * sizes.outputs
    after = sizes.rank * (sizes.inputs + sizes.outputs)
    print(f"{before} -> {after} weights ({after / before:.1%})")
    return 0
