"""Read a pickle's data without running anything that it names.

A pickle is a program. Here it can build plain containers and tensors; whatever else it names is
replaced by an inert stand-in, which keeps what it was given and does nothing.
"""

from __future__ import annotations

import pickle  # noqa: S403 (only through an unpickler that resolves no name)
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import torch
from torch import Tensor

__all__ = ["Inert", "StorageKind", "load_inert", "plain"]

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Inert:
    """Stand in for a class or function that a pickle names.

    It can be called, filled and given a state, as unpickling does, and keeps all of it.

    Args:
        *args: anything.
        **kwargs: anything.
    """

    name = ""
    """The dotted name that the pickle gave."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        """Keep the arguments; unpickling may call this without the constructor."""
        self = super().__new__(cls)
        self.__dict__.update(args=args, state=kwargs or None, items=[], entries={})
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Inert:
        """Keep a call's arguments instead of carrying it out.

        Args:
            *args: anything.
            **kwargs: anything.

        Returns:
            Another stand-in.
        """
        return Inert(*args, **kwargs)

    def __setstate__(self, state: Any) -> None:
        self.__dict__["state"] = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.__dict__["entries"][key] = value

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def append(self, value: Any) -> None:
        """Keep one item.

        Args:
            value: anything.
        """
        self.__dict__["items"].append(value)

    def extend(self, values: Any) -> None:
        """Keep some items.

        Args:
            values: anything that can be iterated.
        """
        self.__dict__["items"].extend(values)

    add = append


class StorageKind:
    """Name the type of the numbers of a storage.

    Args:
        dtype: the type.
    """

    __slots__ = ("dtype",)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


class _RebuildTensor:
    # an instance without attributes, so that a pickle can change nothing of it
    __slots__ = ()

    def __call__(
        self, storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
    ) -> Tensor:
        if not isinstance(storage, Tensor):
            raise pickle.UnpicklingError("a tensor without a storage")
        if any(step < 0 for step in stride):
            raise pickle.UnpicklingError("a tensor with a negative stride")
        # as_strided refuses what would reach beyond the storage
        return storage.as_strided(size, stride, offset)


class _RebuildParameter:
    __slots__ = ()

    def __call__(self, data: Tensor, *_: Any) -> Tensor:
        return data


def _known_names() -> dict[tuple[str, str], Any]:
    names: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor"): _RebuildTensor(),
        ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
        ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
        ("torch._utils", "_rebuild_parameter_with_state"): _RebuildParameter(),
        ("torch", "Size"): torch.Size,
    }
    for module in ("builtins", "__builtin__"):
        names[module, "set"] = set
        names[module, "frozenset"] = frozenset
    for module in ("torch", "torch.cuda"):
        for name, dtype in _DTYPES.items():
            names[module, name] = StorageKind(dtype)
    return names


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: BinaryIO, load_storage: Callable[[Any], Tensor]) -> None:
        super().__init__(stream, encoding="utf-8")
        self._load_storage = load_storage
        self._names = _known_names()

    def find_class(self, module: str, name: str) -> Any:
        known = self._names.get((module, name))
        return known if known is not None else type("Inert", (Inert,), {"name": f"{module}.{name}"})

    def persistent_load(self, reference: Any) -> Tensor:
        return self._load_storage(reference)


def load_inert(stream: BinaryIO, load_storage: Callable[[Any], Tensor]) -> Any:
    """Read one pickle; no code that it names is found, imported or called.

    Args:
        stream: where the pickle begins.
        load_storage: gives the numbers (N,) that a persistent id names.

    Returns:
        The value, with ``Inert`` objects where the pickle names anything but containers and
        tensors.
    """
    return _Unpickler(stream, load_storage).load()


def plain(value: Any) -> Any:
    """Turn the stand-ins of configurations into plain values.

    Args:
        value: what ``load_inert`` gave, such as an argparse namespace or an OmegaConf node.

    Returns:
        Mappings, lists and scalars; None for a stand-in that holds none.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if not isinstance(value, Inert):
        return value
    state = value.__dict__["state"]
    if isinstance(state, Mapping):
        # OmegaConf keeps containers in _content and scalars in _val
        for key in ("_content", "_val"):
            if key in state:
                return plain(state[key])
        return plain(state)
    args = value.__dict__["args"]
    # an enumeration is its class called with the value
    return plain(args[0]) if len(args) == 1 else None
