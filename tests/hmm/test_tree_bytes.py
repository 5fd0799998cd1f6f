"""Decision trees as bytes: Kaldi finds what a walk over our own nodes finds."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from gmm_made import phonology

from speechlite.core.errors import DataError
from speechlite.hmm.tree_bytes import (
    PDF_CLASS,
    Leaf,
    Split,
    monophone_tree,
    open_tree,
    tree_bytes,
)

ROOTS = {
    1: [Leaf(0), Leaf(1)],
    2: [
        Split(
            0,
            frozenset({1, 300}),
            Leaf(2),
            Split(2, frozenset({0, 2, 4}), Leaf(3), Split(1, frozenset({2}), Leaf(4), Leaf(5))),
        ),
        Leaf(6),
    ],
    4: [
        Split(2, frozenset({2}), Leaf(7), Leaf(8)),
        Split(PDF_CLASS, frozenset({1}), Leaf(1), Leaf(9)),
    ],
}


def _walk(node, context, pdf_class):
    while isinstance(node, Split):
        value = pdf_class if node.key == PDF_CLASS else context[node.key]
        node = node.yes if value in node.values else node.no
    return node.pdf


def test_tree_bytes_when_kaldi_computes_all_contexts_then_it_walks_as_we_do():
    tree = open_tree(tree_bytes(ROOTS))
    assert (tree.context_width, tree.central_position, tree.num_pdfs) == (3, 1, 10)
    for context in itertools.product([0, 1, 2, 4, 300], [1, 2, 4], [0, 1, 2, 4]):
        for pdf_class in range(2):
            expected = _walk(ROOTS[context[1]][pdf_class], context, pdf_class)
            assert tree.compute(list(context), pdf_class) == (True, expected)


@pytest.mark.parametrize("phone", [0, 3, 5])
def test_tree_bytes_when_a_phone_is_not_in_it_then_kaldi_finds_nothing(phone):
    assert not open_tree(tree_bytes(ROOTS)).compute([1, phone, 1], 0)[0]


def test_tree_bytes_when_kaldi_writes_its_tree_then_the_bytes_are_the_same(tmp_path: Path):
    content = tree_bytes(ROOTS)
    open_tree(content).write(True, str(tmp_path / "tree"))
    assert (tmp_path / "tree").read_bytes() == b"\0B" + content
    # a file opens with its first two bytes, too
    assert open_tree(b"\0B" + content).num_pdfs == 10


def test_monophone_tree_when_asked_then_it_looks_at_phone_and_state_alone():
    sound = phonology()
    groups = sound.group_ids(sound.lang.groups)
    tree = open_tree(monophone_tree(groups, sound.topology))
    assert (tree.context_width, tree.central_position) == (1, 0)
    classes = sound.topology.get_phone_to_num_pdf_classes()
    found = [
        tree.compute([phone], pdf_class)
        for (phone,) in groups
        for pdf_class in range(classes[phone])
    ]
    assert all(ok for ok, _ in found)
    assert sorted(pdf for _, pdf in found) == list(range(tree.num_pdfs))


def test_monophone_tree_when_phones_share_then_so_do_their_densities():
    sound = phonology()
    silence, *speech = sound.group_ids(sound.lang.groups)[1:]
    together = [phone for group in speech for phone in group]
    tree = open_tree(monophone_tree([[1], silence, together], sound.topology))
    assert tree.num_pdfs == 5 + 5 + 3
    assert len({tree.compute([phone], 1)[1] for phone in together}) == 1


def test_open_tree_when_bytes_are_cut_anywhere_then_data_error():
    content = tree_bytes(ROOTS)
    for end in range(len(content)):
        with pytest.raises(DataError, match="is not a decision tree"):
            open_tree(content[:end])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0B",
        b"\xff\xfe\xfd",
        b"not a tree at all",
        tree_bytes(ROOTS).replace(b"ToPdf", b"ToPdg"),
        tree_bytes(ROOTS).replace(b"CE \x04\x02", b"CE \x05\x02"),
        tree_bytes(ROOTS).replace(b"CE \x04\x02", b"CEf\x04\x02"),
        tree_bytes(ROOTS).replace(b"CE \x04\x02\0\0\0", b"NULL "),
        tree_bytes(ROOTS).replace(b"CE \x04\x02\0\0\0", b"CE \x04\xff\xff\xff\xff"),
        tree_bytes(ROOTS).replace(b"\xfc\x05\0\0\0", b"\xfc\xff\xff\xff\xff"),
        tree_bytes(ROOTS).replace(b"SE \x04\0\0\0\0\x04\x02", b"SE \x04\0\0\0\0\x04\xff"),
    ],
    ids=range(11),
)
def test_open_tree_when_bytes_are_damaged_then_data_error_and_no_crash(content):
    with pytest.raises(DataError, match="exp/tree: is not a decision tree .*; name a 'tree' file"):
        open_tree(content, path=Path("exp/tree"))
