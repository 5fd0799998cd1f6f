from __future__ import annotations

import importlib
import subprocess
import sys
from types import SimpleNamespace

import pytest
from made_plugins import MadePlugin, install, run_speechlite

from speechlite import __version__
from speechlite.cli.main import VERBS, main
from speechlite.core.errors import ConfigError, DataError, LockError, PluginError

GREET = """\
@hookimpl
def speechlite_commands():
    return [Command("greet", "say hello", "greeter:greet")]


def greet(arguments):
    print("hello", *arguments)
    return 7
"""


@pytest.fixture
def verb(monkeypatch):
    """Put a made-up module in the place of the verb ``profile``."""

    def put(run):
        def add_arguments(parser):
            parser.add_argument("--out_dir")
            parser.add_argument("words", nargs="*")

        module = SimpleNamespace(add_arguments=add_arguments, run=run)
        monkeypatch.setitem(sys.modules, "speechlite.cli.profile", module)

    return put


def raiser(error):
    def run(args):
        raise error

    return run


def test_main_with_version_prints_it(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"speechlite {__version__}\n"


def test_main_with_help_names_every_verb_with_its_summary(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text and summary in text for name, summary in VERBS.items())


def test_main_without_arguments_prints_help_and_exits_2(capsys):
    assert main([]) == 2
    assert "usage: speechlite" in capsys.readouterr().err


def test_main_with_an_unknown_option_exits_2(capsys):
    assert main(["--vers"]) == 2
    assert "unrecognized arguments: --vers" in capsys.readouterr().err


def test_main_with_an_unknown_verb_suggests_and_exits_2(capsys):
    assert main(["pretrian"]) == 2
    assert "no command 'pretrian', did you mean pretrain?" in capsys.readouterr().err


def test_main_with_a_verb_returns_its_code(verb):
    verb(lambda args: 3)
    assert main(["profile"]) == 3


def test_main_with_a_verb_that_returns_nothing_returns_0(verb):
    verb(lambda args: None)
    assert main(["profile"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--out_dir", "a-b", "x", "y"],
        ["--out-dir", "a-b", "x", "y"],
        ["--out_dir=a-b", "x", "y"],
        ["--out-dir=a-b", "x", "y"],
        ["x", "--out-dir", "a-b", "y"],
        ["x", "y", "--debug", "--out-dir", "a-b"],
    ],
)
def test_main_with_any_spelling_of_an_option_reads_it(verb, arguments):
    seen = []
    verb(lambda args: seen.append((args.out_dir, args.words)))
    main(["profile", *arguments])
    assert seen == [("a-b", ["x", "y"])]


def test_main_with_a_lone_double_dash_leaves_what_follows(verb):
    seen = []
    verb(lambda args: seen.append(args.words))
    main(["profile", "--", "--a-b"])
    assert seen == [["--a-b"]]


@pytest.mark.parametrize("arguments", [["--out_di", "x"], ["--out-dir"], ["--nothing"]])
def test_main_with_wrong_options_of_a_verb_exits_2(verb, arguments):
    verb(lambda args: 0)
    assert main(["profile", *arguments]) == 2


@pytest.mark.parametrize(
    ("kind", "code"), [(ConfigError, 2), (DataError, 3), (LockError, 4), (PluginError, 5)]
)
def test_main_with_a_user_error_prints_one_line_and_its_code(verb, capsys, kind, code):
    verb(raiser(kind("a is b", remedy="make it c", path="f", line=3)))
    assert main(["profile"]) == code
    assert capsys.readouterr().err == "speechlite: error: f:3: a is b; make it c\n"


@pytest.mark.parametrize("arguments", [["--debug", "profile"], ["profile", "--debug"]])
def test_main_with_debug_shows_the_traceback_too(verb, capsys, arguments):
    verb(raiser(DataError("a", remedy="b")))
    assert main(arguments) == 3
    text = capsys.readouterr().err
    assert text.startswith("Traceback")
    assert text.endswith("speechlite: error: a; b\n")


def test_main_with_trace_in_the_environment_shows_the_traceback(verb, capsys, monkeypatch):
    monkeypatch.setenv("SPEECHLITE_TRACE", "1")
    verb(raiser(DataError("a", remedy="b")))
    main(["profile"])
    assert capsys.readouterr().err.startswith("Traceback")


def test_main_with_a_bug_says_so_in_one_line(verb, capsys):
    verb(raiser(KeyError("x\ny")))
    assert main(["profile"]) == 1
    expected = (
        "speechlite: error: KeyError: 'x\\ny'; this is a bug; run again with --debug for the "
        "traceback, and report it\n"
    )
    assert capsys.readouterr().err == expected


def test_main_when_interrupted_returns_130(verb):
    verb(raiser(KeyboardInterrupt()))
    assert main(["profile"]) == 130


@pytest.mark.parametrize(
    ("given", "code", "says"), [(4, 4, ""), (None, 0, ""), ("stop", 1, "stop\n")]
)
def test_main_with_an_exit_inside_a_verb_returns_its_code(verb, capsys, given, code, says):
    verb(raiser(SystemExit(given)))
    assert main(["profile"]) == code
    assert capsys.readouterr().err == says


def test_main_with_a_closed_output_is_silent():
    command = f"{sys.executable} -m speechlite plugins --json | head -c 1; exit ${{PIPESTATUS[0]}}"
    script = f"for i in 1 2 3 4 5; do {command}; done"
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert run.stderr == ""
    assert run.returncode in (0, 141)


def test_main_with_a_plugins_command_runs_it_with_untouched_arguments(tmp_path):
    folder = install(tmp_path / "site", [MadePlugin("greeter", GREET)])
    run = run_speechlite("greet", "--a-b", "c", folder=folder)
    assert (run.returncode, run.stdout, run.stderr) == (7, "hello --a-b c\n", "")


def test_main_with_a_plugins_command_by_its_full_name_runs_it(tmp_path):
    folder = install(tmp_path / "site", [MadePlugin("greeter", GREET)])
    assert run_speechlite("greeter/greet", folder=folder).returncode == 7


def test_main_with_a_plugin_that_offers_a_verb_of_ours_keeps_ours(tmp_path):
    folder = install(
        tmp_path / "site", [MadePlugin("greeter", GREET.replace('"greet"', '"plugins"'))]
    )
    assert "speechlite.builtin" in run_speechlite("plugins", folder=folder).stdout
    assert run_speechlite("greeter/plugins", folder=folder).returncode == 7


@pytest.mark.parametrize("verb_name", ["plugins", "config"])
def test_verbs_keep_the_form_that_main_expects(verb_name):
    module = importlib.import_module(f"speechlite.cli.{verb_name}")
    assert callable(module.add_arguments)
    assert callable(module.run)
