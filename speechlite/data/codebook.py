"""The codebook of discrete units: codewords in a safetensors file, described by a JSON file.

Shapes: C codewords, F features.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from speechlite.core.errors import DataError
from speechlite.data.atomic import replace_file
from speechlite.data.reader import FrameGrid

__all__ = [
    "DESCRIPTION",
    "MAKE",
    "Codebook",
    "read_codebook",
    "read_description",
    "write_codebook",
    "write_description",
]

DESCRIPTION = "codebook.json"
"""Name of the file that describes a codebook, beside ``codebook.safetensors``."""
MAKE = "make the units again with 'speechlite units'"
"""What to do about damaged files."""
_SCHEMAS = {"codebook": "speechlite.codebook/1", "units": "speechlite.units/1"}


@dataclass(frozen=True)
class Codebook:
    """Hold the codewords that units stand for.

    Args:
        codewords: float32 (C, F).
        grid: the frames that get a unit each.
        sha256: of the file of codewords.
        source: whose features they are, as plain values.
    """

    codewords: npt.NDArray[np.float32]
    grid: FrameGrid
    sha256: str
    source: Mapping[str, Any]


def write_codebook(
    directory: Path,
    codewords_CF: npt.NDArray[np.float32],
    *,
    grid: FrameGrid,
    source: Mapping[str, Any],
    fit: Mapping[str, Any],
) -> None:
    """Write a codebook.

    Args:
        directory: an existing folder.
        codewords_CF: the codewords.
        grid: the frames that will get a unit each.
        source: whose features they are, as plain values.
        fit: how they were found, as plain values.

    Raises:
        EnvironmentProblem: if the folder is not writable or full.
    """
    data = save({"codewords": np.ascontiguousarray(codewords_CF)})
    content = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "clusters": len(codewords_CF),
        "dim": codewords_CF.shape[1],
        "source": dict(source),
        "fit": dict(fit),
    }
    with replace_file(directory / "codebook.safetensors") as stream:
        stream.write(data)
    write_description(directory / DESCRIPTION, "codebook", grid=grid, content=content)


def read_codebook(directory: Path) -> Codebook:
    """Read a codebook.

    Args:
        directory: what ``write_codebook`` wrote to.

    Returns:
        The codebook.

    Raises:
        DataError: if a part is missing, damaged, empty or not what the other describes.
    """
    content, grid = read_description(directory / DESCRIPTION, "codebook")
    path = directory / "codebook.safetensors"
    try:
        data = path.read_bytes()
        codewords_CF = load(data)["codewords"]
    except (OSError, SafetensorError, KeyError) as error:
        cause = f"no codewords can be read ({type(error).__name__})"
        raise DataError(cause, remedy=MAKE, path=path) from None
    if hashlib.sha256(data).hexdigest() != content.get("sha256"):
        cause = f"the content does not have the SHA-256 that {DESCRIPTION} names"
        raise DataError(cause, remedy=MAKE, path=path)
    if codewords_CF.ndim != 2 or 0 in codewords_CF.shape:
        cause = f"the codebook is empty: codewords {codewords_CF.shape}"
        raise DataError(cause, remedy=MAKE, path=path)
    return Codebook(codewords_CF, grid, content["sha256"], content.get("source") or {})


def write_description(
    path: Path, kind: str, *, grid: FrameGrid, content: Mapping[str, Any]
) -> None:
    """Write what a codebook or units were made of.

    Args:
        path: the file.
        kind: codebook or units.
        grid: the frames that have a unit each.
        content: the rest, as plain values.

    Raises:
        EnvironmentProblem: if the file cannot be written.
    """
    described = {"schema": _SCHEMAS[kind], **_timing(grid), **content}
    with replace_file(path) as stream:
        stream.write(json.dumps(described, indent=1).encode() + b"\n")


def read_description(path: Path, kind: str) -> tuple[dict[str, Any], FrameGrid]:
    """Read what a codebook or units were made of.

    Args:
        path: the file.
        kind: codebook or units.

    Returns:
        Its content, and the frames that have a unit each.

    Raises:
        DataError: if it is missing, damaged or describes something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("is missing", remedy=MAKE, path=path) from None
    except (OSError, ValueError) as error:
        cause = f"cannot be read ({type(error).__name__})"
        raise DataError(cause, remedy=MAKE, path=path) from None
    if not isinstance(content, dict) or content.get("schema") != _SCHEMAS[kind]:
        raise DataError(f"not of schema {_SCHEMAS[kind]}", remedy=MAKE, path=path)
    return content, _grid(content, path)


def _timing(grid: FrameGrid) -> dict[str, float]:
    return {
        "rate_hz": grid.sample_rate / grid.stride,
        "sample_rate": grid.sample_rate,
        "stride_samples": grid.stride,
        "min_samples": grid.min_samples,
    }


def _grid(content: Mapping[str, Any], path: Path) -> FrameGrid:
    names = ("sample_rate", "stride_samples", "min_samples")
    values: list[Any] = [content.get(name) for name in names]
    if not all(type(value) is int and value > 0 for value in values):
        cause = "names no frames: sample_rate, stride_samples and min_samples are whole numbers"
        raise DataError(cause, remedy=MAKE, path=path)
    grid = FrameGrid(*values)
    rate_hz = grid.sample_rate / grid.stride
    if content.get("rate_hz") != rate_hz:
        cause = f"rate_hz is {content.get('rate_hz')}, its frames have {rate_hz}"
        raise DataError(cause, remedy=MAKE, path=path)
    return grid
