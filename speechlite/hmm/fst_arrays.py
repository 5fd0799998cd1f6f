"""Finite-state transducers as numpy arrays, for everything that is a table lookup over all arcs.

Shapes: N states, A arcs.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from speechlite.core.errors import DataError, EnvironmentProblem
from speechlite.data.atomic import replace_file
from speechlite.hmm.wheels import load_wheels

__all__ = [
    "FstArrays",
    "LatticeArrays",
    "from_fst",
    "from_lattice",
    "read_fst",
    "to_fst",
    "write_fst",
]

_MAGIC = 2125659606
_VECTOR_PROPERTIES = 3
_ARC = np.dtype([("ilabel", "<i4"), ("olabel", "<i4"), ("weight", "<f4"), ("dst", "<i4")])
_CONST_STATE = np.dtype(
    [("final", "<f4"), ("pos", "<u4"), ("narcs", "<u4"), ("nieps", "<u4"), ("noeps", "<u4")]
)
_LATTICE_ARC = np.dtype(
    [("ilabel", "<i4"), ("olabel", "<i4"), ("graph", "<f4"), ("acoustic", "<f4"), ("dst", "<i4")]
)

T = TypeVar("T")
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FstArrays:
    """Hold a transducer over the tropical semiring, its arcs grouped by source state.

    Args:
        start: the start state.
        finals_N: final costs; infinite where a state is not final.
        src_A: source states, ascending.
        ilabel_A: input labels.
        olabel_A: output labels.
        weight_A: costs.
        dst_A: destination states.
    """

    start: int
    finals_N: Floats
    src_A: Ints
    ilabel_A: Ints
    olabel_A: Ints
    weight_A: Floats
    dst_A: Ints


@dataclass(frozen=True)
class LatticeArrays:
    """Hold a lattice: a transducer whose costs have two parts.

    Args:
        start: the start state.
        finals_N2: final costs, graph and acoustic; infinite where a state is not final.
        src_A: source states, ascending.
        ilabel_A: input labels.
        olabel_A: output labels.
        graph_A: costs of the graph: language model, transitions, pronunciations.
        acoustic_A: costs of the frames, scaled as in decoding.
        dst_A: destination states.
        is_complete: whether its paths end in final states of the graph, as they do unless the beam
            lost those; paths that are cut off are kept, as Kaldi's --allow-partial does.
    """

    start: int
    finals_N2: Floats
    src_A: Ints
    ilabel_A: Ints
    olabel_A: Ints
    graph_A: Floats
    acoustic_A: Floats
    dst_A: Ints
    is_complete: bool = True


def _through_file(write: Callable[[str], object], read: Callable[[str], T]) -> T:
    """Return what ``read`` makes of the file that ``write`` wrote; False says that it failed."""
    # memory rather than disk where the system has such a place; containers often give it little
    for folder in ("/dev/shm", None):  # noqa: S108
        try:
            with _scratch_file(folder) as name:
                if write(name) is not False:
                    return read(name)
        except OSError:
            continue
    raise EnvironmentProblem(
        f"a transducer does not fit into a temporary file in {tempfile.gettempdir()}",
        remedy="free space there, or set TMPDIR to a directory that has some",
    )


@contextmanager
def _scratch_file(folder: str | None) -> Iterator[str]:
    handle, name = tempfile.mkstemp(prefix="speechlite-", suffix=".fst", dir=folder)
    os.close(handle)
    try:
        yield name
    finally:
        Path(name).unlink(missing_ok=True)


def from_fst(fst: Any) -> FstArrays:
    """Return the arrays of a transducer.

    Args:
        fst: a ``kaldifst.StdVectorFst``.

    Returns:
        Its states and arcs.

    Raises:
        EnvironmentProblem: if no temporary file can hold it.
    """
    constant = load_wheels().kaldifst.StdConstFst(fst)
    content = _through_file(constant.write, _content)
    header, offset = _read_header(content)
    start, num_states, num_arcs = header
    states = np.frombuffer(content, _CONST_STATE, num_states, offset)
    arcs = np.frombuffer(content, _ARC, num_arcs, offset + states.nbytes)
    return FstArrays(
        start=start,
        finals_N=states["final"].copy(),
        src_A=np.repeat(np.arange(num_states, dtype=np.int32), states["narcs"]),
        ilabel_A=arcs["ilabel"].copy(),
        olabel_A=arcs["olabel"].copy(),
        weight_A=arcs["weight"].copy(),
        dst_A=arcs["dst"].copy(),
    )


def _content(name: str) -> bytes:
    return Path(name).read_bytes()


def _read_header(content: bytes) -> tuple[tuple[int, int, int], int]:
    """Return start, states and arcs of an OpenFst file, and where its states begin."""
    offset = 4
    for _ in range(2):
        (length,) = struct.unpack_from("<i", content, offset)
        offset += 4 + length
    _, _, _, start, num_states, num_arcs = struct.unpack_from("<iiQqqq", content, offset)
    return (start, num_states, num_arcs), offset + struct.calcsize("<iiQqqq")


def _header(arc_type: str, start: int, num_states: int) -> bytes:
    def text(word: str) -> bytes:
        return struct.pack("<i", len(word)) + word.encode()

    numbers = struct.pack("<iiQqqq", 2, 0, _VECTOR_PROPERTIES, start, num_states, 0)
    return struct.pack("<i", _MAGIC) + text("vector") + text(arc_type) + numbers


def to_fst(arrays: FstArrays) -> Any:
    """Return the transducer of arrays.

    Args:
        arrays: states and arcs.

    Returns:
        A ``kaldifst.StdVectorFst``.

    Raises:
        EnvironmentProblem: if no temporary file can hold it.
    """
    num_states = len(arrays.finals_N)
    counts = np.bincount(arrays.src_A, minlength=num_states).astype(np.int64)
    state = np.dtype([("final", "<f4"), ("narcs", "<i8")])
    # every state takes 12 bytes, then 16 for each of its arcs
    first_arc = np.cumsum(counts) - counts
    state_at = 12 * np.arange(num_states, dtype=np.int64) + 16 * first_arc
    arc_at = 12 * (arrays.src_A.astype(np.int64) + 1) + 16 * np.arange(len(arrays.src_A))
    body = np.zeros(12 * num_states + 16 * len(arrays.src_A), np.uint8)
    heads = np.zeros(num_states, state)
    heads["final"], heads["narcs"] = arrays.finals_N, counts
    _scatter(body, state_at, heads)
    arcs = np.zeros(len(arrays.src_A), _ARC)
    arcs["ilabel"], arcs["olabel"] = arrays.ilabel_A, arrays.olabel_A
    arcs["weight"], arcs["dst"] = arrays.weight_A, arrays.dst_A
    _scatter(body, arc_at, arcs)
    header = _header("standard", arrays.start, num_states)

    def write(name: str) -> None:
        with open(name, "wb") as stream:
            stream.write(header)
            stream.write(body.tobytes())

    return _through_file(write, load_wheels().kaldifst.StdVectorFst.read)


def _scatter(body: npt.NDArray[np.uint8], places: npt.NDArray[np.int64], rows: Any) -> None:
    width = rows.dtype.itemsize
    words = rows.view(np.uint32).reshape(len(rows), width // 4)
    # all places are multiples of four bytes
    target = body.view(np.uint32)
    for column in range(width // 4):
        target[places // 4 + column] = words[:, column]


def from_lattice(lattice: Any) -> LatticeArrays:
    """Return the arrays of a lattice.

    Args:
        lattice: a ``kaldifst.Lattice``.

    Returns:
        Its states and arcs.

    Raises:
        EnvironmentProblem: if no temporary file can hold it.
    """
    content = _through_file(lattice.write, _content)
    (start, num_states, _), offset = _read_header(content)
    finals = np.empty((num_states, 2), np.float32)
    counts = np.empty(num_states, np.int64)
    blocks = []
    for state in range(num_states):
        first, second, narcs = struct.unpack_from("<ffq", content, offset)
        finals[state], counts[state] = (first, second), narcs
        offset += 16
        blocks.append(content[offset : offset + 20 * narcs])
        offset += 20 * narcs
    arcs = np.frombuffer(b"".join(blocks), _LATTICE_ARC)
    return LatticeArrays(
        start=start,
        finals_N2=finals,
        src_A=np.repeat(np.arange(num_states, dtype=np.int32), counts),
        ilabel_A=arcs["ilabel"].copy(),
        olabel_A=arcs["olabel"].copy(),
        graph_A=arcs["graph"].copy(),
        acoustic_A=arcs["acoustic"].copy(),
        dst_A=arcs["dst"].copy(),
    )


def read_fst(path: Path) -> Any:
    """Read a transducer from a file of OpenFst's vector type.

    Args:
        path: the file.

    Returns:
        A ``kaldifst.StdVectorFst``.

    Raises:
        DataError: if there is no such file, or it holds something else.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(34)
    except OSError as error:
        raise DataError(
            f"cannot be read: {error.strerror}", remedy="run the step that makes it", path=path
        ) from None
    is_vector = head[:26] == _header("standard", 0, 0)[:26]
    # the flags say which symbol tables stand before the states
    if is_vector and any(head[30:]):
        raise DataError(
            "holds symbol tables, expected numbers alone",
            remedy="take them out with fstsymbols --clear_isymbols --clear_osymbols",
            path=path,
        )
    fst = load_wheels().kaldifst.StdVectorFst.read(str(path)) if is_vector else None
    if fst is None:
        raise DataError(
            "is not a transducer of OpenFst's type vector with standard arcs",
            remedy="make it again, or convert it with fstconvert --fst_type=vector",
            path=path,
        )
    return fst


def write_fst(path: Path, fst: Any) -> None:
    """Write a transducer to a file of OpenFst's vector type.

    Args:
        path: the file to write or replace.
        fst: a ``kaldifst.StdVectorFst``.

    Raises:
        EnvironmentProblem: if it cannot be written; ``path`` is then what it was before.
    """
    with replace_file(path) as stream:
        if not fst.write(stream.name):
            raise EnvironmentProblem(
                "cannot be written", remedy="make sure that there is free space", path=path
            )
