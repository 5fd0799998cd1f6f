"""Forwards of a model of which only some layers matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from speechlite.core.model import SpeechModel
from speechlite.core.types import Batch

__all__ = ["EnoughError", "Forwards", "Watch", "hear"]

_KEPT_BYTES = 6e9
Watch = Callable[[nn.Module, tuple[Any, ...]], None]
"""Called with a module and its inputs before it is executed."""


class EnoughError(Exception):
    """Raised by a watcher to end a forward whose further layers matter to nobody."""


def hear(
    model: SpeechModel,
    batch: Batch,
    watchers: Mapping[nn.Module, Watch],
) -> None:
    """Let a model hear speech while some of its modules are watched.

    Args:
        model: the model, in eval mode.
        batch: speech.
        watchers: what is called, by module.
    """
    device = next(model.parameters()).device
    handles = [module.register_forward_pre_hook(watch) for module, watch in watchers.items()]
    try:
        # not inference mode, in which layers may go ways that no hook sees
        with torch.no_grad():
            model.encode(model.extract(batch.to(device)))
    except EnoughError:
        pass
    finally:
        for handle in handles:
            handle.remove()


class Forwards:
    """Execute, of layers that are pruned one after the other, only those that can have changed.

    The inputs of the layer that is being pruned stay in memory, up to some gigabytes. When the next
    one is pruned, forwards begin with them at the layer pruned last: those before it hand their
    inputs on. Each layer's first utterance is heard in both ways, and where they differ, as in an
    encoder that adds earlier states later, whole forwards go on.

    Args:
        model: the model, in eval mode.
        layers: names of modules in the order in which they are executed.
    """

    def __init__(self, model: SpeechModel, layers: Sequence[str]) -> None:
        self._model = model
        self._layers = [model.get_submodule(name) for name in layers]
        self._depth = -1
        # inputs of the layer that is pruned now, and of the one before until they are used, by
        # utterance
        self._inputs: list[Tensor] | None = None
        self._before: list[Tensor] | None = None
        self._num_bytes = 0
        # earlier layers whose outputs look like their inputs: they need not be executed
        self._idle: list[nn.Module] = []

    @property
    def begin_late(self) -> bool:
        """Whether forwards begin at the layer before the current one."""
        return self._before is not None

    def advance(self, first: Batch) -> None:
        """Go on to the next layer.

        Args:
            first: the first utterance.
        """
        self._depth += 1
        self._before, self._inputs = self._inputs, []
        if self._before is not None and not self._agree(first):
            self._before = None
        if self._before is None:
            self._num_bytes = 0

    def hear(
        self,
        number: int,
        batch: Batch,
        watchers: Mapping[nn.Module, Watch],
    ) -> None:
        """Let the model hear an utterance, as far as watchers want.

        Args:
            number: which utterance, from 0 on; each comes once for each layer, in the same order.
            batch: the utterance.
            watchers: what is called, by module.
        """
        handle = self._layers[self._depth].register_forward_pre_hook(self._keep)
        try:
            with self._started(number):
                hear(self._model, batch, watchers)
        finally:
            handle.remove()
        if self._before is not None:
            self._num_bytes -= self._before[number].nbytes
            # no slice, which would hold on to the whole
            self._before[number] = self._before[number].new_empty(0)
        # one input an utterance: a layer that is called never or more than once has none to keep
        if self._inputs is not None and (
            len(self._inputs) != number + 1 or self._num_bytes > _KEPT_BYTES
        ):
            self._num_bytes -= sum(one.nbytes for one in self._inputs)
            self._inputs = None

    def _keep(self, layer: nn.Module, given: tuple[Any, ...]) -> None:
        if self._inputs is not None and given and isinstance(given[0], Tensor):
            self._inputs.append(given[0].detach())
            self._num_bytes += given[0].nbytes

    @contextmanager
    def _started(self, number: int) -> Iterator[None]:
        if self._before is None:
            yield
            return
        values = self._before[number]

        def enter(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            return (values, *given[1:])

        with ExitStack() as stack:
            stack.callback(self._layers[self._depth - 1].register_forward_pre_hook(enter).remove)
            for layer in self._idle:
                stack.enter_context(_handing_on(layer))
            yield

    def _agree(self, first: Batch) -> bool:
        layer, earlier = self._layers[self._depth], self._layers[: self._depth - 1]
        heard: list[Tensor] = []
        calls: dict[nn.Module, int] = {}
        idle: set[nn.Module] = set()

        def take(_: nn.Module, given: tuple[Any, ...]) -> None:
            heard.append(given[0])
            raise EnoughError

        def compare(module: nn.Module, given: tuple[Any, ...], made: Any) -> None:
            calls[module] = calls.get(module, 0) + 1
            if given and isinstance(made, Tensor) and made.shape == given[0].shape:
                idle.add(module)

        with ExitStack() as stack:
            for module in earlier:
                stack.callback(module.register_forward_hook(compare).remove)
            hear(self._model, first, {layer: take})
        self._idle = [module for module in idle if calls[module] == 1]
        with self._started(0):
            hear(self._model, first, {layer: take})
        return len(heard) == 2 and torch.equal(*heard)


@contextmanager
def _handing_on(layer: nn.Module) -> Iterator[None]:
    layer.forward = lambda values, *_, **__: values
    try:
        yield
    finally:
        del layer.forward
