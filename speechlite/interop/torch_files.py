"""Read what ``torch.save`` wrote, in both of its formats, without running any of it."""

from __future__ import annotations

import pickle  # noqa: S403 (for the names of its errors)
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from speechlite.core.errors import CheckpointError
from speechlite.interop.unpickling import StorageKind, load_inert

__all__ = ["read_torch_file"]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_DAMAGED = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
)
_REMEDY = "take another copy of the file, or write it again by torch.save"


def read_torch_file(path: Path) -> Any:
    """Return what a file of ``torch.save`` holds, on the CPU; nothing in it is executed.

    Args:
        path: a file of the zip format or of the older one.

    Returns:
        The saved value; anything but containers, scalars and tensors is an ``Inert`` object.

    Raises:
        CheckpointError: if it is no such file, or is damaged.
    """
    try:
        with path.open("rb") as stream:
            if zipfile.is_zipfile(stream):
                return _read_zip(stream)
            stream.seek(0)
            return _read_legacy(stream, path.stat().st_size)
    except _DAMAGED as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise CheckpointError(
            f"not a file of torch.save, or damaged: {reason}", remedy=_REMEDY, path=path
        ) from None


def _read_zip(stream: BinaryIO) -> Any:
    with zipfile.ZipFile(stream) as archive:
        names = [name for name in archive.namelist() if name.count("/") <= 1]
        pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError("no data.pkl in the archive")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("not of little-endian byte order")
        storages: dict[str, Tensor] = {}

        def load_storage(reference: Any) -> Tensor:
            dtype, key, count = _storage_reference(reference)
            if key not in storages:
                storages[key] = _zip_storage(archive, f"{root}data/{key}", dtype, count)
            return storages[key]

        with archive.open(pickles[0]) as data:
            return load_inert(data, load_storage)  # type: ignore[arg-type]  # read, readline


def _storage_reference(reference: Any) -> tuple[torch.dtype, str, int]:
    if (
        not isinstance(reference, tuple)
        or len(reference) not in (5, 6)
        or reference[0] != "storage"
    ):
        raise ValueError("a reference to anything but a storage")
    kind, key, count = reference[1], reference[2], reference[4]
    if not isinstance(kind, StorageKind) or not isinstance(count, int) or count < 0:
        raise ValueError("a storage of an unknown type")
    if len(reference) == 6 and reference[5] is not None:
        raise ValueError("a view of a storage, as only versions of torch before 0.4 wrote")
    return kind.dtype, str(key), count


def _zip_storage(archive: zipfile.ZipFile, name: str, dtype: torch.dtype, count: int) -> Tensor:
    entry = archive.getinfo(name)
    # stored as they are: what a file makes us allocate is bounded by its own size
    is_stored = entry.compress_type == zipfile.ZIP_STORED
    if not is_stored or entry.file_size != count * dtype.itemsize:
        raise ValueError(f"{name} does not hold {count} numbers of {dtype}")
    if count == 0:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(archive.read(entry)), dtype=dtype)


def _read_legacy(stream: BinaryIO, size_bytes: int) -> Any:
    # four pickles (magic number, version, system, value), the storages' keys, then their numbers
    if load_inert(stream, _no_storage) != _LEGACY_MAGIC:
        raise ValueError("no magic number at the start")
    if load_inert(stream, _no_storage) != _LEGACY_PROTOCOL:
        raise ValueError("an unknown version")
    system = load_inert(stream, _no_storage)
    if not isinstance(system, dict) or not system.get("little_endian", True):
        raise ValueError("not of little-endian byte order")
    storages: dict[str, Tensor] = {}

    def load_storage(reference: Any) -> Tensor:
        dtype, key, count = _storage_reference(reference)
        if key not in storages:
            reserved = sum(storage.nbytes for storage in storages.values())
            if reserved + count * dtype.itemsize > size_bytes:
                raise ValueError("storages that are larger than the file")
            storages[key] = torch.empty(count, dtype=dtype)
        return storages[key]

    value = load_inert(stream, load_storage)
    keys = [str(key) for key in load_inert(stream, _no_storage)]
    if sorted(keys) != sorted(storages):
        raise ValueError("storages other than those that are referred to")
    for key in keys:
        _fill(storages[key], stream)
    return value


def _no_storage(reference: Any) -> Tensor:
    raise ValueError("a storage where none belongs")


def _fill(storage: Tensor, stream: BinaryIO) -> None:
    count = int.from_bytes(stream.read(8), "little")
    if count != len(storage):
        raise ValueError("a storage of another size than its reference says")
    if count == 0:
        return
    # readinto is not in the type BinaryIO, though every binary file has it
    buffer = storage.view(torch.uint8).numpy().data
    if stream.readinto(buffer) != len(buffer):  # type: ignore[attr-defined]
        raise ValueError("the file ends too early")
