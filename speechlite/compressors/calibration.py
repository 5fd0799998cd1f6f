"""What a model's layers are given when it hears calibration data.

Utterances pass one by one, without padding, so that none enters a statistic. Shapes: B batch, S
frames, G groups, N rows, K inputs of an output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from speechlite.compressors.forwards import EnoughError, Forwards, Watch, hear
from speechlite.compressors.unstructured import Leaf
from speechlite.core.errors import PlanError
from speechlite.core.model import SpeechModel
from speechlite.core.types import Batch, Padded
from speechlite.nn.grams import InputSum, unfolded_parts

__all__ = ["Heard", "Stages", "input_sums", "stages"]

_CACHED_BYTES = 4e9


@dataclass(frozen=True)
class Stages:
    """Say in which order layers are executed.

    Args:
        groups: names of layers to prune by the name of the module that holds them, in the order of
            execution: those of one of the encoder's layers together.
        calls: how often a forward executes each.
        inputs: a layer that is given the same tensor, for each; itself where there is none before.
    """

    groups: Mapping[str, tuple[str, ...]]
    calls: Mapping[str, int]
    inputs: Mapping[str, str]


class Heard:
    """Give every utterance of calibration data alone, as often as it is gone through.

    Features stay in memory, since what makes them is not pruned: up to some gigabytes, beyond which
    they are made anew.

    Args:
        model: the model, in eval mode.
        batches: padded utterances.
        keep: whether features may be kept; false where the layers that make them are pruned.
    """

    def __init__(self, model: SpeechModel, batches: Iterable[Batch], *, keep: bool) -> None:
        self.model = model
        self.batches = batches
        self.keep = keep
        self._kept: list[Batch] | None = None

    def __iter__(self) -> Iterator[Batch]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Batch] = []
        num_bytes = 0
        for one in _single_utterances(self.batches):
            if not self.keep:
                yield one
                continue
            features = self._features(one)
            num_bytes += features.values.numel() * features.values.element_size()
            kept.append(replace(one, waves=None, features=features))
            yield kept[-1]
            if num_bytes > _CACHED_BYTES:
                self.keep = False
                kept.clear()
        self._kept = kept or None

    def _features(self, one: Batch) -> Padded:
        here = one.to(next(self.model.parameters()).device)
        with torch.no_grad():
            return self.model.extract(here)


def _single_utterances(batches: Iterable[Batch]) -> Iterator[Batch]:
    for batch in batches:
        for row, name in enumerate(batch.ids):
            yield replace(
                batch,
                ids=(name,),
                waves=_row(batch.waves, row),
                features=_row(batch.features, row),
                labels={stream: _only(labels, row) for stream, labels in batch.labels.items()},
                speakers=batch.speakers[row : row + 1],
            )


def _row(padded: Padded | None, row: int) -> Padded | None:
    return None if padded is None else _only(padded, row)


def _only(padded: Padded, row: int) -> Padded:
    length = int(padded.lengths[row])
    return Padded(padded.values[row : row + 1, :length], padded.lengths[row : row + 1])


def stages(model: SpeechModel, leaves: Mapping[str, Leaf], heard: Heard) -> Stages:
    """Find out in which order layers are executed.

    Args:
        model: the model, in eval mode.
        leaves: the layers, by name.
        heard: calibration data, of which one utterance is heard.

    Returns:
        The order.

    Raises:
        PlanError: if there is no data, or a layer is not executed.
    """
    calls: dict[str, int] = {}
    inputs: dict[str, str] = {}
    seen: list[tuple[Tensor, str]] = []

    def note(name: str, leaf: nn.Module, given: tuple[Tensor, ...]) -> None:
        calls[name] = calls.get(name, 0) + 1
        same = [other for tensor, other in seen if tensor is given[0]]
        inputs.setdefault(name, same[0] if same and isinstance(leaf, nn.Linear) else name)
        seen.append((given[0], name))

    for batch in heard:
        hear(model, batch, {leaves[name]: partial(note, name) for name in leaves})
        break
    missing = [name for name in leaves if name not in calls]
    if missing:
        raise PlanError(
            f"the calibration data never reaches {missing[0]}",
            remedy="name calibration data in data.train, or leave the layer out by compressor.keep",
        )
    groups: dict[str, list[str]] = {}
    for name in calls:
        groups.setdefault(_group(name), []).append(name)
    return Stages({group: tuple(names) for group, names in groups.items()}, calls, inputs)


def _group(name: str) -> str:
    # up to the first number: the encoder's layer, or the block of a frontend
    parts = name.split(".")
    numbers = [index for index, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbers[0] + 1]) if numbers else name


def input_sums(
    leaves: Mapping[str, Leaf],
    order: Stages,
    heard: Heard,
    empty: Callable[[Leaf], InputSum],
    *,
    forwards: Forwards | None = None,
) -> dict[str, Tensor]:
    """Sum over calibration data what a method wants to know of each layer's inputs.

    Args:
        leaves: the layers to watch, by name.
        order: what ``stages`` returned for these layers and perhaps others.
        heard: calibration data.
        empty: makes the sum of a layer before its first input.
        forwards: where these layers belong to the next of its layers; None executes whole models.

    Returns:
        Totals of the sums by name; layers with the same input share a tensor.
    """
    # a layer that stands for another watches in its place where that is not asked for
    sources = {name: order.inputs[name] for name in leaves}
    watched = {sources[name]: leaves[sources[name]] for name in leaves if sources[name] in leaves}
    for name in leaves:
        if sources[name] not in watched:
            sources[name] = name
            watched[name] = leaves[name]
    sums = {name: empty(leaf) for name, leaf in watched.items()}
    left = [0]

    def take(name: str, leaf: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(leaf, (nn.Linear, nn.Conv1d))
        for rows_GNK in _rows(leaf, given[0].detach()):
            sums[name].add(rows_GNK)
        left[0] -= 1
        if not left[0]:
            raise EnoughError

    watchers: dict[nn.Module, Watch] = {leaf: partial(take, name) for name, leaf in watched.items()}
    for number, batch in enumerate(heard):
        left[0] = sum(order.calls[name] for name in watched)
        if forwards is None:
            hear(heard.model, batch, watchers)
            continue
        if not number:
            forwards.advance(batch)
        forwards.hear(number, batch, watchers)
    totals = {name: total.total() for name, total in sums.items()}
    return {name: totals[sources[name]] for name in leaves}


def _rows(leaf: Leaf, inputs: Tensor) -> Iterator[Tensor]:
    # (G, N, K), in parts
    if isinstance(leaf, nn.Linear):
        yield inputs.flatten(0, -2)[None]
        return
    assert not isinstance(leaf.padding, str)
    yield from unfolded_parts(
        inputs,
        torch.full((len(inputs),), inputs.shape[-1], device=inputs.device),
        kernel_size=leaf.kernel_size[0],
        stride=leaf.stride[0],
        padding=leaf.padding[0],
        dilation=leaf.dilation[0],
        groups=leaf.groups,
    )
