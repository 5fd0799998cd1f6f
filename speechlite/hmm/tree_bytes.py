"""Kaldi's decision trees, as the bytes of its ``tree`` files.

The wheels build monophone trees only, but read any tree from its bytes: a token is its text and a
space, an int32 is the byte 4 and four bytes, a uint32 the byte 252 and four bytes.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechlite.core.errors import DataError
from speechlite.hmm.wheels import load_wheels

__all__ = ["PDF_CLASS", "Leaf", "Node", "Split", "monophone_tree", "open_tree", "tree_bytes"]

PDF_CLASS = -1
"""Key of the state of a phone; 0, 1, 2 are the phones on the left, in the centre, on the right."""
_BINARY = b"\0B"


@dataclass(frozen=True)
class Leaf:
    """End a path in a probability density.

    Args:
        pdf: its number.
    """

    pdf: int


@dataclass(frozen=True)
class Split:
    """Ask whether a key's value is in a set.

    Args:
        key: what is asked for.
        values: the set.
        yes: what follows if it is.
        no: what follows if not.
    """

    key: int
    values: frozenset[int]
    yes: Node
    no: Node


Node = Leaf | Split
"""A tree over phones in context."""


def _token(text: str) -> bytes:
    return text.encode() + b" "


def _int(value: int) -> bytes:
    return b"\x04" + struct.pack("<i", value)


def _node(node: Node) -> bytes:
    if isinstance(node, Leaf):
        return _token("CE") + _int(node.pdf)
    values = sorted(node.values)
    packed = b"\x04" + struct.pack(f"<i{len(values)}i", len(values), *values)
    parts = [_token("SE"), _int(node.key), packed, _token("{"), _node(node.yes), _node(node.no)]
    return b"".join([*parts, _token("}")])


def _table(key: int, children: Sequence[bytes | None]) -> bytes:
    head = _token("TE") + _int(key) + b"\xfc" + struct.pack("<I", len(children)) + _token("(")
    return head + b"".join(child or _token("NULL") for child in children) + _token(")")


def tree_bytes(roots: Mapping[int, Sequence[Node]]) -> bytes:
    """Write a triphone tree.

    Args:
        roots: for each phone the tree of each of its pdf-classes.

    Returns:
        The content of a Kaldi ``tree`` file without its first two bytes.
    """
    phones: list[bytes | None] = [None] * (max(roots) + 1)
    for phone, classes in roots.items():
        phones[phone] = _table(PDF_CLASS, [_node(node) for node in classes])
    head = _token("ContextDependency") + _int(3) + _int(1) + _token("ToPdf")
    return head + _table(1, phones) + _token("EndContextDependency")


def open_tree(content: bytes, *, path: Path | None = None) -> Any:
    """Return Kaldi's tree of some bytes.

    Args:
        content: a ``tree`` file, with or without its first two bytes.
        path: where they came from, for error messages.

    Returns:
        A ``kaldi_hmm_gmm.ContextDependency``.

    Raises:
        DataError: if the bytes are no tree.
    """
    khg = load_wheels().khg
    body = content.removeprefix(_BINARY)
    try:
        _check(body)
        tree = khg.ContextDependency.__new__(khg.ContextDependency)
        tree.__setstate__((np.frombuffer(body, np.int8).tolist(),))
    except (ValueError, struct.error, RuntimeError):
        raise DataError(
            "is not a decision tree in Kaldi's binary form",
            remedy="name a 'tree' file of a Kaldi or speechlite acoustic model",
            path=path,
        ) from None
    return tree


def _check(body: bytes) -> None:
    """Refuse damaged bytes, of which some crash Kaldi's own reader."""
    place = _skip(body, 0, _token("ContextDependency"))
    for _ in range(2):
        _, place = _read_int(body, place)
    pdfs: set[int] = set()
    place = _check_map(body, _skip(body, place, _token("ToPdf")), pdfs)
    _skip(body, place, _token("EndContextDependency"))
    if pdfs != set(range(len(pdfs))):
        raise ValueError("densities are missing")


def _check_map(body: bytes, place: int, pdfs: set[int]) -> int:
    """Add the densities of a map to ``pdfs``, and return where it ends."""
    kind, (value, place) = body[place : place + 3], _read_int(body, place + 3)
    if kind == _token("CE"):
        pdfs.add(value)
        return place
    if kind == _token("TE"):
        (size,) = struct.unpack_from("<I", body, _skip(body, place, b"\xfc"))
        place = _skip(body, place + 5, _token("("))
        for _ in range(size):
            empty = body.startswith(_token("NULL"), place)
            place = place + 5 if empty else _check_map(body, place, pdfs)
        return _skip(body, place, _token(")"))
    if kind != _token("SE"):
        raise ValueError("no such map")
    size, place = _read_int(body, place)
    place = _skip(body, place + 4 * max(size, 0), _token("{"))
    return _skip(body, _check_map(body, _check_map(body, place, pdfs), pdfs), _token("}"))


def _skip(body: bytes, place: int, expected: bytes) -> int:
    if not body.startswith(expected, place):
        raise ValueError("something else stands here")
    return place + len(expected)


def _read_int(body: bytes, place: int) -> tuple[int, int]:
    (value,) = struct.unpack_from("<i", body, _skip(body, place, b"\x04"))
    return value, place + 5


def monophone_tree(groups: Sequence[Sequence[int]], topology: Any) -> bytes:
    """Build a tree that looks at the phone alone.

    Args:
        groups: phones that share densities.
        topology: Kaldi's topology.

    Returns:
        The content of a ``tree`` file without its first two bytes.
    """
    tree = load_wheels().khg.monophone_context_dependency_shared(
        phone_classes=[list(group) for group in groups],
        phone2num_pdf_classes=topology.get_phone_to_num_pdf_classes(),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tree"
        tree.write(True, str(path))
        return path.read_bytes().removeprefix(_BINARY)
