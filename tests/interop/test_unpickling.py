from __future__ import annotations

import argparse
import builtins
import contextlib
import io
import os
import pickle
import random
import struct
import subprocess
import zipfile
from collections import OrderedDict
from enum import Enum

import pytest
import torch

from speechlite.core.errors import CheckpointError
from speechlite.interop.torch_files import read_torch_file
from speechlite.interop.unpickling import Inert, load_inert, plain


class Calls:
    """Pickle as a call of a function, which plain unpickling would carry out."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class FromState:
    """Pickle as an object whose state is a call."""

    def __init__(self, call):
        self.call = call


class Mode(Enum):
    DEFAULT = "default"


def attacks(mark):
    touch = f"touch {mark}"
    return {
        "system": Calls(os.system, touch),
        "eval": Calls(eval, f"open({str(mark)!r}, 'w')"),
        "exec": Calls(exec, f"open({str(mark)!r}, 'w')"),
        "open": Calls(open, str(mark), "w"),
        "popen": Calls(subprocess.Popen, ["touch", str(mark)]),
        "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
        "load": Calls(pickle.loads, pickle.dumps(Calls(os.system, touch))),
        "state": FromState(Calls(os.system, touch)),
    }


@pytest.fixture(params=["zip", "legacy"])
def save(request, tmp_path):
    """Save a value by torch in one of the two formats; return the path."""

    def write(value, name="file.pt", protocol=2):
        path = tmp_path / name
        is_zip = request.param == "zip"
        torch.save(value, path, _use_new_zipfile_serialization=is_zip, pickle_protocol=protocol)
        return path

    return write


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", list(attacks("mark")))
def test_torch_file_when_its_pickle_is_a_program_runs_nothing(save, tmp_path, kind, protocol):
    mark = tmp_path / "mark"
    evil = attacks(mark)[kind]
    value = {"cfg": {"model": [evil]}, "args": argparse.Namespace(inner=evil), evil: 1}
    path = save({**value, "model": OrderedDict(weight=torch.ones(2))}, protocol=protocol)
    content = read_torch_file(path)
    plain(content["cfg"])
    assert torch.equal(content["model"]["weight"], torch.ones(2))
    assert not mark.exists()


def test_torch_file_when_its_pickle_is_a_program_would_run_under_pickle_itself(tmp_path):
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(attacks(mark)["system"]))
    assert mark.exists()


def test_torch_file_when_read_leaves_names_unresolved(tmp_path, monkeypatch):
    data = pickle.dumps(Calls(os.system, "true"))
    monkeypatch.setattr(builtins, "__import__", None)
    value = load_inert(io.BytesIO(data), None)
    monkeypatch.undo()
    assert isinstance(value, Inert)


@pytest.mark.parametrize(
    "program",
    [
        b"c_codecs\nencode\n.",
        b"ccollections\nOrderedDict\n}X\x01\x00\x00\x00ai\x01\x00\x00\x00sb.",
        b"ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.",
        b"ctorch\nFloatStorage\n}X\x01\x00\x00\x00aK\x01sb.",
    ],
)
def test_unpickling_when_a_state_is_put_on_a_known_name_changes_nothing(program):
    before = dict(vars(OrderedDict))
    with contextlib.suppress(AttributeError, TypeError, pickle.UnpicklingError):
        load_inert(io.BytesIO(program), None)
    assert dict(vars(OrderedDict)) == before


def test_torch_file_when_read_gives_what_torch_gives(save):
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    value = {
        "float": base,
        "view": base[1:3, ::2],
        "transposed": base.T,
        "half": torch.randn(3).half(),
        "bfloat16": torch.randn(3).bfloat16(),
        "long": torch.tensor([1, -2]),
        "bool": torch.tensor([True, False]),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(2.5),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "shape": torch.Size([2, 3]),
        "nested": [(1, "a", None), {"x": 2.5}, {3}, b"bytes"],
    }
    path = save(value)
    ours, theirs = read_torch_file(path), torch.load(path, weights_only=False)
    for name, tensor in theirs.items():
        if isinstance(tensor, torch.Tensor):
            assert ours[name].dtype == tensor.dtype
            assert torch.equal(ours[name], tensor.data), name
    assert ours["shape"] == theirs["shape"]
    assert ours["nested"][:3] == theirs["nested"][:3]


def test_torch_file_when_read_makes_configurations_plain(save):
    namespace = argparse.Namespace(
        layers=3, mode=Mode.DEFAULT, w2v_args=argparse.Namespace(convolutions="[(8, 10, 5)]")
    )
    content = read_torch_file(save({"args": namespace}))
    expected = {"layers": 3, "mode": "default", "w2v_args": {"convolutions": "[(8, 10, 5)]"}}
    assert plain(content["args"]) == expected


def test_torch_file_when_read_makes_omegaconf_plain(save):
    from omegaconf import OmegaConf

    node = OmegaConf.create({"model": {"layers": 3, "list": [1, 2]}, "name": "x"})
    content = read_torch_file(save({"cfg": node}))
    assert plain(content["cfg"]) == {"model": {"layers": 3, "list": [1, 2]}, "name": "x"}


def test_plain_when_a_stand_in_holds_nothing_gives_none():
    assert plain([Inert(), Inert(1, 2)]) == [None, None]


def refuse(path, message):
    with pytest.raises(CheckpointError, match=f"not a file of torch.save, or damaged: {message}"):
        read_torch_file(path)


@pytest.mark.parametrize("content", [b"", b"plain text", b"\x80\x02}q\x00.", b"PK\x03\x04broken"])
def test_torch_file_when_it_is_something_else_says_so(tmp_path, content):
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    refuse(path, ".")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_torch_file_when_it_is_cut_off_says_so(save, part):
    path = save({"weight": torch.randn(200), "other": torch.randn(300)})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    refuse(path, ".")


@pytest.mark.parametrize("seed", range(100))
def test_torch_file_when_bytes_are_wrong_raises_nothing_else(save, seed):
    path = save({"args": argparse.Namespace(a=1), "model": {"weight": torch.randn(20, 3)}})
    data, chance = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    with contextlib.suppress(CheckpointError):
        read_torch_file(path)


def test_torch_file_when_it_may_not_be_read_says_so(tmp_path):
    refuse(tmp_path, "Is a directory")


def rewrite(path, **changes):
    """Write the members of a zip file again, some with other content."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression=changes.pop("compression", 0)) as archive:
        for name, content in members.items():
            archive.writestr(name, changes.get(name.rpartition("/")[2], content))


@pytest.fixture
def zipped(tmp_path):
    path = tmp_path / "file.pt"
    torch.save({"weight": torch.zeros(6)}, path)
    return path


def test_torch_file_when_an_archive_has_no_pickle_says_so(tmp_path):
    path = tmp_path / "file.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/other", b"")
    refuse(path, "no data.pkl")


def test_torch_file_when_bytes_are_ordered_otherwise_says_so(zipped):
    rewrite(zipped, byteorder=b"big")
    refuse(zipped, "not of little-endian")


def test_torch_file_when_a_storage_is_too_short_says_so(zipped):
    rewrite(zipped, **{"0": b"1234"})
    refuse(zipped, "file/data/0 does not hold 6 numbers of torch.float32")


def test_torch_file_when_storages_are_compressed_refuses_them(zipped):
    rewrite(zipped, compression=zipfile.ZIP_DEFLATED)
    refuse(zipped, "file/data/0 does not hold")


def tensor_program(*, storage="FloatStorage", tag="storage", size=6, stride=1, count=6, view=None):
    """Write a pickle that rebuilds a tensor from one storage."""

    class Known:
        def __init__(self, module, name):
            self.text = f"c{module}\n{name}\n".encode()

    def pushed(value):
        if isinstance(value, Known):
            return value.text
        if isinstance(value, tuple):
            return b"(" + b"".join(map(pushed, value)) + b"t"
        return pickle.dumps(value, 0)[:-1]

    reference = (tag, Known("torch", storage), "0", "cpu", count, *([view] if view else []))
    rebuild = Known("torch._utils", "_rebuild_tensor_v2").text
    arguments = b"(" + pushed(reference) + b"Q" + pushed(0) + pushed((size,)) + pushed((stride,))
    return rebuild + arguments + pushed(False) + pushed(None) + b"tR."


def test_torch_file_when_a_pickle_is_written_by_hand_reads_it(zipped):
    rewrite(zipped, **{"data.pkl": tensor_program()})
    assert torch.equal(read_torch_file(zipped), torch.zeros(6))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 7}, ".*out of bounds"),
        ({"stride": 2}, ".*out of bounds"),
        ({"stride": -1}, "a tensor with a negative stride"),
        ({"storage": "QInt8Storage"}, "a storage of an unknown type"),
        ({"tag": "module"}, "a reference to anything but a storage"),
        ({"count": -6}, "a storage of an unknown type"),
        ({"view": ("0", 0, 6)}, "a view of a storage"),
    ],
)
def test_torch_file_when_a_tensor_is_forged_refuses_it(zipped, changes, message):
    rewrite(zipped, **{"data.pkl": tensor_program(**changes)})
    refuse(zipped, message)


def test_torch_file_when_a_tensor_has_no_storage_refuses_it(zipped):
    program = b"ctorch._utils\n_rebuild_tensor_v2\n(I0\nI0\n(I1\nt(I1\ntI00\nNtR."
    rewrite(zipped, **{"data.pkl": program})
    refuse(zipped, "a tensor without a storage")


@pytest.fixture
def legacy(tmp_path):
    path = tmp_path / "file.pt"
    value = {"weight": torch.zeros(6)}
    torch.save(value, path, _use_new_zipfile_serialization=False)
    return path


def replaced(path, old, new):
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


def test_torch_file_when_the_older_format_has_another_version_says_so(legacy):
    replaced(legacy, pickle.dumps(1001, 2), pickle.dumps(1002, 2))
    refuse(legacy, "an unknown version")


def test_torch_file_when_the_older_format_is_of_another_order_says_so(legacy):
    replaced(legacy, b"little_endianq\x02\x88", b"little_endianq\x02\x89")
    refuse(legacy, "not of little-endian")


def test_torch_file_when_the_older_format_claims_more_than_it_has_says_so(legacy):
    replaced(legacy, b"K\x06N", b"J\x00\x00\x00\x40N")
    refuse(legacy, "storages that are larger than the file")


def test_torch_file_when_the_older_format_has_another_size_says_so(legacy):
    replaced(legacy, struct.pack("<q", 6), struct.pack("<q", 5))
    refuse(legacy, "a storage of another size")


def test_torch_file_when_the_older_format_has_a_storage_where_none_belongs_says_so(legacy):
    legacy.write_bytes(tensor_program())
    refuse(legacy, "a storage where none belongs")


def test_torch_file_when_the_older_format_lacks_storages_says_so(legacy):
    data = legacy.read_bytes()
    at = data.rindex(b"\x80\x02]")
    legacy.write_bytes(data[:at] + pickle.dumps([], 2))
    refuse(legacy, "storages other than those")
