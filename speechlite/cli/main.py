"""The entry point of the command line: find the verb, run it, turn errors into one line."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import NoReturn

from speechlite import __version__
from speechlite.core.errors import EnvironmentProblem, SpeechliteError, UsageError

__all__ = ["VERBS", "main"]

VERBS = {
    "data": "prepare, check and dump Kaldi-style data directories",
    "units": "cluster speech, and label every frame with its cluster",
    "pretrain": "train a model from unlabelled speech",
    "import": "turn another toolkit's checkpoint into a model",
    "export": "write a model for other toolkits",
    "compress": "make a model cheaper by one compressor",
    "evaluate": "train a head on a frozen model and score it",
    "hmm": "recognise speech by DNN-HMMs on the frames of frozen models",
    "profile": "measure what a model costs",
    "compare": "put result records side by side",
    "plugins": "list what is installed",
    "config": "print the configuration that a command would use",
}
"""Each verb, with its summary, is the module ``speechlite.cli.<verb>`` (for import, ``import_``):
``add_arguments(parser)`` declares its options, long ones with underscores, and ``run(args)``
returns the exit code."""

INTERRUPTED = 130
BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: the arguments after the program's name; None takes the process's own.

    Returns:
        The exit code: 0 done, 1 failed, 2 usage or configuration, 3 data, 4 lock, 5 plugin or
        environment, 130 interrupted, 141 output closed.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    traced = os.environ.get("SPEECHLITE_TRACE") == "1" or "--debug" in arguments
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except SystemExit as stop:
        return _exit_code(stop)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader is gone; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        return _report(error, traced=traced)
    return code


def _run(arguments: list[str]) -> int:
    verb_at = next((i for i, word in enumerate(arguments) if not word.startswith("-")), None)
    if verb_at is None:
        return _run_bare(arguments)
    _top_parser().parse_args(arguments[:verb_at])
    verb, rest = arguments[verb_at], arguments[verb_at + 1 :]
    if verb in VERBS:
        return _run_verb(verb, _with_underscores(rest))
    return _plugin_command(verb)(rest)


def _run_bare(arguments: list[str]) -> int:
    parser = _top_parser()
    parser.parse_args(arguments)
    parser.print_help(sys.stderr)
    return UsageError.exit_code


class _Parser(argparse.ArgumentParser):
    """Report wrong options as any other error: in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, remedy=f"see '{self.prog} --help'")


def _top_parser() -> argparse.ArgumentParser:
    verbs = "\n".join(f"  {verb:<10} {summary}" for verb, summary in VERBS.items())
    parser = _Parser(
        prog="speechlite",
        usage="speechlite [--debug] VERB ...",
        description="Make self-supervised speech models small and fast, and prove what that costs.",
        epilog=f"verbs:\n{verbs}\n\n"
        "'speechlite VERB --help' explains one; 'speechlite plugins' lists plugins' own commands.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"speechlite {__version__}")
    _add_debug(parser)
    return parser


def _add_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")


def _run_verb(verb: str, arguments: list[str]) -> int:
    # import is a word of the language
    name = "import_" if verb == "import" else verb
    module = importlib.import_module(f"speechlite.cli.{name}")
    parser = _Parser(
        prog=f"speechlite {verb}", description=f"{VERBS[verb].capitalize()}.", allow_abbrev=False
    )
    _add_debug(parser)
    module.add_arguments(parser)
    return int(module.run(_parsed(parser, arguments)) or 0)


def _parsed(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    # Intermixed parsing lets options stand among KEY=VALUE arguments, but loses what follows "--".
    if "--" in arguments:
        return parser.parse_args(arguments)
    try:
        return parser.parse_intermixed_args(arguments)
    except TypeError:
        # A parser with subcommands cannot mix options with positional arguments.
        return parser.parse_args(arguments)


def _with_underscores(arguments: list[str]) -> list[str]:
    """Spell ``--some-option`` as ``--some_option``, up to a lone ``--``."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    spelled = []
    for word in arguments[:end]:
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
        spelled.append(name + equals + value)
    return spelled + arguments[end:]


def _plugin_command(name: str) -> Callable[[list[str]], int]:
    from speechlite.cli.registry import open_registry

    registry = open_registry()
    command = registry.command(name)
    if command is None:
        offered = [c.name for plugin in registry.discovery.plugins for c in plugin.commands]
        close = get_close_matches(name, [*VERBS, *offered], n=3)
        hint = f", did you mean {' or '.join(close)}?" if close else ""
        raise UsageError(
            f"no command {name!r}{hint}",
            remedy=f"choose one of {', '.join([*VERBS, *sorted(offered)])}",
        )
    return registry.load_command(command)


def _exit_code(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print(stop.code, file=sys.stderr)
    return 1


def _report(error: Exception, *, traced: bool) -> int:
    if traced:
        traceback.print_exception(error)
    if isinstance(error, SpeechliteError):
        print(f"speechlite: error: {error}", file=sys.stderr)
        return error.exit_code
    cause = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, OSError):
        advice = "check that the path exists, may be accessed and has free space"
        print(f"speechlite: error: {cause}; {advice}", file=sys.stderr)
        return EnvironmentProblem.exit_code
    advice = "this is a bug; run again with --debug for the traceback, and report it"
    print(f"speechlite: error: {cause}; {advice}", file=sys.stderr)
    return 1
