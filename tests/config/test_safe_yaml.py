from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from speechlite.config.safe_yaml import check_interpolation, check_yaml, load_document, load_yaml
from speechlite.core.errors import ConfigError

PLAIN = st.text("0123456789+-.eE_:xobnyaftrulsNYTF~ ", min_size=1, max_size=8)


@pytest.fixture
def write(tmp_path):
    def put(text):
        path = tmp_path / "a.yaml"
        path.write_text(text)
        return path

    return put


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# only a comment\n", None),
        ("a: 1\n", {"a": 1}),
        ("a: -0\nb: +3\n", {"a": 0, "b": 3}),
        ("a: 1.5\nb: 1e-3\nc: .5\nd: 5.\n", {"a": 1.5, "b": 0.001, "c": 0.5, "d": 5.0}),
        ("a: .inf\nb: -.inf\n", {"a": math.inf, "b": -math.inf}),
        ("a: true\nb: False\n", {"a": True, "b": False}),
        ("a: null\nb: ~\nc:\n", {"a": None, "b": None, "c": None}),
        ("a: 'no'\nb: \"0123\"\nc: '12:30'\n", {"a": "no", "b": "0123", "c": "12:30"}),
        ("a: nothing\nb: a b\n", {"a": "nothing", "b": "a b"}),
        ("a: ${b.c}\nb: ${.d}x${e}\n", {"a": "${b.c}", "b": "${.d}x${e}"}),
        ("a: [1, [2], {b: 3}]\n", {"a": [1, [2], {"b": 3}]}),
        ("a: |\n  b\n  c\n", {"a": "b\nc\n"}),
        ("---\na: 1\n...\n", {"a": 1}),
        ("'1': a\n", {"1": "a"}),
        ("- a\n- b\n", ["a", "b"]),
    ],
)
def test_load_yaml_of_unambiguous_text_gives_its_values(write, text, value):
    assert load_yaml(write(text)) == value


@settings(deadline=None)
@given(text=PLAIN)
def test_load_yaml_of_a_plain_scalar_agrees_with_omegaconf_or_refuses(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("yaml") / "a.yaml"
    path.write_text(f"a: {text}\n")
    try:
        ours = load_yaml(path)
    except ConfigError:
        return
    theirs = OmegaConf.to_container(OmegaConf.load(path))
    assert ours == theirs
    assert repr(ours) == repr(theirs)


def test_load_document_gives_the_line_of_each_key(write):
    document = load_document(write("# c\na:\n  b: 1\n  c: [{d: 2}]\n"))
    lines = {("a",): 2, ("a", "b"): 3, ("a", "c"): 4, ("a", "c", "0", "d"): 4}
    assert document.lines == lines


def test_load_yaml_of_an_absent_file_says_so(tmp_path):
    with pytest.raises(ConfigError, match="absent.yaml: cannot be read: No such file"):
        load_yaml(tmp_path / "absent.yaml")


def test_load_yaml_of_a_folder_says_so(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_yaml(tmp_path)


def test_load_yaml_of_a_file_above_the_limit_is_refused(write):
    path = write("a: 12345\n")
    assert load_yaml(path, max_bytes=9) == {"a": 12345}
    with pytest.raises(ConfigError, match="has more than 8 bytes"):
        load_yaml(path, max_bytes=8)


@pytest.mark.parametrize("trap", ["a: no", "a: 010", "a: 1:30", "on: 1", "a: [y]", "- {a: Off}"])
def test_check_yaml_of_a_trap_names_the_line(write, trap):
    with pytest.raises(ConfigError, match="a.yaml:2: .* to some readers|a.yaml:2: .* take for"):
        check_yaml(write(f"# first\n{trap}\n"))


@pytest.mark.parametrize("number", ["0b101", "-0o17", "0xBeef", "0X1_0"])
def test_load_yaml_of_a_number_in_another_base_says_so(write, number):
    with pytest.raises(ConfigError, match=f"{number} is a number in another base"):
        load_yaml(write(f"a: {number}\n"))


@pytest.mark.parametrize("text", ["0b80c1ad", "0b2", "0o8", "0xyz"])
def test_load_yaml_of_a_text_that_begins_like_a_number_in_another_base_reads_it(write, text):
    assert load_yaml(write(f"a: {text}\n")) == {"a": text}


def test_check_yaml_of_good_text_says_nothing(write):
    assert check_yaml(write("a: 1\n")) is None


@pytest.mark.parametrize("text", ["a", "$a", "{a}", "${a}", "${a.b_1}", "${..a}", "x${a}y${b}"])
def test_check_interpolation_of_plain_references_finds_nothing(text):
    assert check_interpolation(text) is None


@pytest.mark.parametrize(
    "text", ["${oc.env:A}", "${a:b}", "${${a}}", "${a", "${}", "${a b}", "${a[0]}", "${ a}"]
)
def test_check_interpolation_of_anything_else_gives_it(text):
    assert check_interpolation(f"x{text}").startswith("${")
