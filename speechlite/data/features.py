"""Features kept on disk: one safetensors shard for some hundred utterances, and an index.

Shapes: S frames, F features.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from speechlite.core.errors import DataError, EnvironmentProblem

__all__ = ["FeatureStore", "write_features"]

_INDEX = "features.json"
_SCHEMA = "speechlite.features/1"


def write_features(
    directory: Path,
    features: Iterable[tuple[str, Tensor]],
    *,
    facts: Mapping[str, Any],
    shard_utterances: int = 500,
) -> None:
    """Write features under a temporary name and rename the directory when it is complete.

    Args:
        directory: final name; an older store there is replaced.
        features: utterance ids with their features (S, F).
        facts: what the features were made with, kept in the index: frontend, data fingerprint.
        shard_utterances: utterances of a shard.

    Raises:
        EnvironmentProblem: if the directory is not writable or full; an older store stays.
    """
    temporary = directory.with_name(f".{directory.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        shards: dict[str, list[str]] = {}
        for number, chunk in enumerate(_chunks(features, shard_utterances)):
            name = f"shard-{number:05d}.safetensors"
            save_file({key: values_SF.contiguous() for key, values_SF in chunk}, temporary / name)
            shards[name] = [key for key, _ in chunk]
        index = {"schema": _SCHEMA, "facts": dict(facts), "shards": shards}
        (temporary / _INDEX).write_text(json.dumps(index, sort_keys=True), encoding="utf-8")
        if directory.exists():
            shutil.rmtree(directory)
        os.replace(temporary, directory)
    except (OSError, SafetensorError) as error:
        raise EnvironmentProblem(
            f"cannot be written: {error}",
            remedy="make sure that its parent is writable and has free space",
            path=directory,
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _chunks(
    features: Iterable[tuple[str, Tensor]], size: int
) -> Iterator[list[tuple[str, Tensor]]]:
    chunk: list[tuple[str, Tensor]] = []
    for item in features:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class FeatureStore:
    """Read features of single utterances, whole or in part.

    Args:
        directory: what ``write_features`` wrote.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        index = self._read_index()
        self.facts: dict[str, Any] = index["facts"]
        self._shard_of = {key: shard for shard, keys in index["shards"].items() for key in keys}
        self._open: dict[str, Any] = {}

    def _read_index(self) -> dict[str, Any]:
        path = self.directory / _INDEX
        remedy = "run the features stage again: ./run.sh --stage features --stop_stage features"
        if not path.is_file():
            raise DataError("there are no features", remedy=remedy, path=path)
        try:
            index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"not valid JSON: {error}", remedy=remedy, path=path) from None
        parts = (
            [index.get(name) for name in ("facts", "shards")] if isinstance(index, dict) else [0]
        )
        if not all(isinstance(part, dict) for part in parts) or index.get("schema") != _SCHEMA:
            raise DataError(f"not an index of schema {_SCHEMA}", remedy=remedy, path=path)
        return index

    def __contains__(self, utterance: str) -> bool:
        return utterance in self._shard_of

    def read(self, utterance: str, start: int = 0, frames: int | None = None) -> Tensor:
        """Return the features of an utterance.

        Args:
            utterance: its id.
            start: first frame.
            frames: frames to return; None goes to the end.

        Returns:
            (S, F), float32.

        Raises:
            DataError: if the utterance is not in the store, or its shard is damaged.
        """
        shard = self._shard_of.get(utterance)
        if shard is None:
            raise DataError(
                f"no features for utterance {utterance}",
                remedy="run the features stage again",
                path=self.directory,
            )
        try:
            if shard not in self._open:
                self._open[shard] = safe_open(self.directory / shard, framework="pt")
            rows = self._open[shard].get_slice(utterance)
            stop = rows.get_shape()[0] if frames is None else start + frames
            values_SF: Tensor = rows[start:stop]
        except (SafetensorError, OSError) as error:
            raise DataError(
                f"damaged: {error}",
                remedy="run the features stage again",
                path=self.directory / shard,
            ) from None
        return values_SF.to(torch.float32)

    def __getstate__(self) -> dict[str, Any]:
        # open files do not travel to a worker process; it opens its own
        return {**self.__dict__, "_open": {}}
