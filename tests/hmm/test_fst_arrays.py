"""Transducers as arrays against the arcs that the library prints, and damaged files."""

from __future__ import annotations

import gc
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechlite.core.errors import DataError, EnvironmentProblem
from speechlite.hmm.fst_arrays import (
    FstArrays,
    from_fst,
    from_lattice,
    read_fst,
    to_fst,
    write_fst,
)
from speechlite.hmm.wheels import load_wheels

FIELDS = ("finals_N", "src_A", "ilabel_A", "olabel_A", "weight_A", "dst_A")


def arrays(start, finals, arcs):
    rows = sorted(arcs, key=lambda arc: arc[0])
    columns = [np.array([arc[c] for arc in rows], np.int32) for c in (0, 1, 2, 4)]
    weights = np.array([arc[3] for arc in rows], np.float32)
    return FstArrays(start, np.array(finals, np.float32), *columns[:3], weights, columns[3])


SMALL = arrays(
    1,
    [np.inf, 0.5, 0.0],
    [(1, 7, 8, 0.25, 2), (1, 0, 9, -1.5, 0), (2, 3, 0, 2.0, 2), (0, 1, 1, 0, 2)],
)


def printed(fst):
    """Read the text that the library prints: arcs by state, and final costs."""
    arcs, finals = [], {}
    for line in fst.to_str(show_weight_one=True).split("\n"):
        fields = line.split()
        if len(fields) > 2:
            src, dst, ilabel, olabel = map(int, fields[:4])
            arcs.append((src, ilabel, olabel, float(fields[4]) if fields[4:] else 0.0, dst))
        elif fields:
            finals[int(fields[0])] = float(fields[1]) if fields[1:] else 0.0
    return sorted(arcs), finals


def rows_of(fst):
    columns = (fst.src_A, fst.ilabel_A, fst.olabel_A, fst.weight_A, fst.dst_A)
    arcs = sorted(zip(*(column.tolist() for column in columns), strict=True))
    return arcs, {n: cost for n, cost in enumerate(fst.finals_N.tolist()) if cost < np.inf}


def assert_equal(first, second):
    assert first.start == second.start
    for name in FIELDS:
        assert getattr(first, name).dtype == getattr(second, name).dtype
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_arrays_when_turned_into_a_transducer_have_its_arcs_and_costs():
    fst = to_fst(SMALL)
    assert printed(fst) == rows_of(SMALL)
    assert fst.start == 1
    assert fst.num_states == 3


def test_transducer_when_compiled_from_text_has_the_arcs_of_the_text():
    fst = load_wheels().kaldifst.compile(s="0 1 1 2 0.5\n0 2 3 4\n1 2 0 0 -0.25\n2 1.5\n")
    arcs, finals = rows_of(from_fst(fst))
    assert arcs == [(0, 1, 2, 0.5, 1), (0, 3, 4, 0.0, 2), (1, 0, 0, -0.25, 2)]
    assert finals == {2: 1.5}


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_arrays_when_there_and_back_are_equal(data):
    num_states = data.draw(st.integers(1, 6))
    state = st.integers(0, num_states - 1)
    costs = st.floats(-9, 9, width=32) | st.just(np.inf)
    label = st.integers(0, 2**31 - 1)
    arcs = data.draw(st.lists(st.tuples(state, label, label, costs, state), max_size=9))
    finals = data.draw(st.lists(costs, min_size=num_states, max_size=num_states))
    given_arrays = arrays(data.draw(state), finals, arcs)
    assert_equal(from_fst(to_fst(given_arrays)), given_arrays)


def test_arrays_when_there_is_no_state_are_empty_both_ways():
    empty = from_fst(load_wheels().kaldifst.StdVectorFst())
    assert empty.start == -1
    assert [len(getattr(empty, name)) for name in FIELDS] == [0] * 6
    assert to_fst(empty).num_states == 0


def test_arrays_when_the_transducer_is_gone_stay():
    fst = to_fst(SMALL)
    kept = from_fst(fst)
    del fst
    gc.collect()
    kept.weight_A[:] += 0
    assert_equal(kept, SMALL)


def test_lattice_when_read_has_the_arcs_of_the_decoder():
    # two frames, two ways through each
    graph = to_fst(
        arrays(
            0, [np.inf, np.inf, 0.75], [(0, 1, 5, 0.5, 1), (0, 2, 6, 1.0, 1), (1, 1, 7, 0.25, 2)]
        )
    )
    scores = np.array([[-1.0, -2.0], [-3.0, -4.0]], np.float32)
    kd = load_wheels().kd
    decoder = kd.LatticeSimpleDecoder(
        graph, kd.LatticeSimpleDecoderConfig(beam=50, lattice_beam=50)
    )
    decoder.decode(kd.DecodableCtc(scores))
    lattice = from_lattice(decoder.get_raw_lattice()[1])
    rows = zip(
        lattice.ilabel_A.tolist(),
        lattice.olabel_A.tolist(),
        lattice.graph_A.tolist(),
        lattice.acoustic_A.tolist(),
        strict=True,
    )
    assert sorted(rows) == [(1, 5, 0.5, 1.0), (1, 7, 0.25, 3.0), (2, 6, 1.0, 2.0)]
    final = lattice.finals_N2[np.isfinite(lattice.finals_N2).all(1)]
    assert final.tolist() == [[0.75, 0.0]]
    assert (np.diff(lattice.src_A) >= 0).all()
    assert len(lattice.finals_N2) == 3
    # a path leads from the start through an arc of each frame
    first = lattice.dst_A[lattice.src_A == lattice.start]
    assert len(first) == 2
    assert np.isin(lattice.dst_A, np.arange(3)).all()


def test_lattice_when_empty_has_empty_arrays():
    empty = from_lattice(load_wheels().kaldifst.Lattice())
    assert empty.start == -1
    assert empty.finals_N2.shape == (0, 2)
    assert len(empty.src_A) == len(empty.acoustic_A) == 0


def test_file_when_written_and_read_is_equal(tmp_path):
    path = tmp_path / "\u00e9t\u00e9 G.fst"
    write_fst(path, to_fst(SMALL))
    assert_equal(from_fst(read_fst(path)), SMALL)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_file_when_missing_or_a_directory_says_so(tmp_path):
    with pytest.raises(DataError, match=r"no.fst: cannot be read: No such file.*; run the step"):
        read_fst(tmp_path / "no.fst")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_fst(tmp_path)


def test_file_when_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "cut.fst"
    write_fst(path, to_fst(SMALL))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut.fst: is not a transducer of OpenFst's type"):
            read_fst(path)


@pytest.mark.parametrize("kind", ["text", "noise", "const", "lattice"])
def test_file_when_it_is_something_else_is_refused(tmp_path, kind):
    path, fst = tmp_path / "x.fst", load_wheels().kaldifst
    if kind == "text":
        path.write_text("0 1 1 1\n1\n" * 20)
    elif kind == "noise":
        path.write_bytes(bytes(range(256)))
    elif kind == "const":
        fst.StdConstFst(to_fst(SMALL)).write(str(path))
    else:
        fst.Lattice().write(str(path))
    with pytest.raises(DataError, match=r"x.fst: is not a transducer of OpenFst's type vector.*; "):
        read_fst(path)


def test_file_when_it_holds_symbol_tables_is_refused(tmp_path):
    fst = load_wheels().kaldifst
    table = fst.SymbolTable()
    for name in ("<eps>", "a"):
        table.add_symbol(name)
    named = fst.compile(
        s="0 1 a a 0.5\n1\n", isymbols=table, osymbols=table, keep_isymbols=True, keep_osymbols=True
    )
    named.write(str(tmp_path / "named.fst"))
    with pytest.raises(
        DataError, match=r"named.fst: holds symbol tables, expected numbers alone; "
    ):
        read_fst(tmp_path / "named.fst")


def test_file_when_the_directory_is_missing_says_so(tmp_path):
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        write_fst(tmp_path / "no" / "G.fst", to_fst(SMALL))


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from speechlite.core.errors import EnvironmentProblem
from speechlite.hmm.fst_arrays import FstArrays, from_fst, to_fst, write_fst
num = 3000
ints = np.arange(num, dtype=np.int32)
arrays = FstArrays(0, np.zeros(num, np.float32), ints, ints, ints, np.zeros(num, np.float32), ints)
fst = to_fst(arrays)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
out = Path(sys.argv[1])
for work in (lambda: to_fst(arrays), lambda: from_fst(fst), lambda: write_fst(out, fst)):
    try:
        work()
        print("done")
    except EnvironmentProblem as error:
        print(error)
print(sorted(p.name for p in out.parent.iterdir()), out.read_text())
"""


def test_transducers_when_files_cannot_grow_say_so_and_leave_the_old_file(tmp_path):
    # a limit on the size of files stands for a full disk
    out = tmp_path / "G.fst"
    out.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(out)], capture_output=True, text=True, check=True
    )
    to, back, write, left = done.stdout.splitlines()
    assert "a transducer does not fit into a temporary file in" in to
    assert "free space there, or set TMPDIR" in to
    assert back == to
    assert "G.fst: cannot be written" in write
    assert left == "['G.fst'] old"


def test_transducers_when_shared_memory_is_missing_use_the_temporary_directory(
    monkeypatch, tmp_path
):
    import tempfile

    made, real = [], tempfile.mkstemp

    def mkstemp(*, dir=None, **options):
        made.append(dir)
        if dir == "/dev/shm":
            raise OSError(28, "No space left on device")
        return real(dir=tmp_path, **options)

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    assert_equal(from_fst(to_fst(SMALL)), SMALL)
    assert made == ["/dev/shm", None] * 2
    assert not list(tmp_path.iterdir())
