"""Plugins that are broken, each in one way, with what must be said about it."""

from __future__ import annotations

from made_plugins import OFFERS_THIN, MadePlugin

_RETURN = "@hookimpl\ndef speechlite_components():\n    return "


def _plugin(name: str, source: str, **others: object) -> MadePlugin:
    return MadePlugin(f"broken-{name}", source, **others)  # type: ignore[arg-type]


BROKEN: dict[str, tuple[MadePlugin, str]] = {
    plugin.distribution: (plugin, cause)
    for plugin, cause in [
        (_plugin("absent-import", "import surely_absent\n"), "No module named 'surely_absent'"),
        (_plugin("syntax", "def (:\n"), "SyntaxError: invalid syntax"),
        (_plugin("raises", "raise ValueError('wrong\\nday')\n"), "ValueError: wrong day"),
        (_plugin("exits", "import sys\nsys.exit(3)\n"), "SystemExit: 3"),
        (_plugin("odd-exception", "class Odd(BaseException): pass\nraise Odd\n"), "Odd"),
        (_plugin("recursion", "def f(): f()\nf()\n"), "RecursionError: maximum recursion"),
        (
            _plugin(
                "unprintable",
                "class Bad(Exception):\n    def __str__(self): raise OSError\nraise Bad\n",
            ),
            "Bad",
        ),
        (_plugin("escapes", "raise OSError('\\x1b[31mred\\x07')\n"), "OSError: [31mred"),
        (_plugin("endless-message", "raise OSError('x' * 10**6)\n"), "xxx..."),
        (
            _plugin("absent-module", OFFERS_THIN, entry_points="[speechlite]\na = surely.absent\n"),
            "No module named 'surely'",
        ),
        (
            _plugin(
                "absent-attribute",
                OFFERS_THIN,
                entry_points="[speechlite]\na = broken_absent_attribute:plugin\n",
            ),
            "has no attribute 'plugin'",
        ),
        (
            _plugin("no-equals", OFFERS_THIN, entry_points="[speechlite]\nbroken_no_equals\n"),
            "entry_points.txt or METADATA cannot be read",
        ),
        (
            _plugin("not-utf8", OFFERS_THIN, entry_points=b"[speechlite]\n\xff = x\n"),
            "entry_points.txt or METADATA cannot be read: UnicodeDecodeError",
        ),
        (
            _plugin("hook-typo", "@hookimpl\ndef speechlite_component():\n    return []\n"),
            "unknown hook 'speechlite_component'",
        ),
        (
            _plugin(
                "extra-argument", "@hookimpl\ndef speechlite_result(result, extra):\n    pass\n"
            ),
            "Argument(s) {'extra'} are declared in the hookimpl but can not be found",
        ),
        (
            _plugin("undecorated", "def speechlite_components():\n    return []\n"),
            "speechlite_components() lacks the @hookimpl decorator",
        ),
        (_plugin("no-hook", "x = 1\n"), "broken_no_hook implements no hook"),
        (_plugin("hook-raises", _RETURN + "1 / 0\n"), "ZeroDivisionError: division by zero"),
        (_plugin("hook-exits", _RETURN + "exit(0)\n"), "SystemExit: 0"),
        (_plugin("gives-none", _RETURN + "None\n"), "speechlite_components() gave NoneType"),
        (_plugin("gives-text", _RETURN + "'thin'\n"), "speechlite_components() gave str"),
        (_plugin("gives-one", _RETURN + "component()\n"), "speechlite_components() gave Component"),
        (_plugin("gives-dicts", _RETURN + "[{'kind': 'encoder'}]\n"), "gave dict, expected"),
        (_plugin("gives-command", _RETURN + "[Command('a', 'b', 'c:d')]\n"), "gave Command"),
        (
            _plugin(
                "endless",
                "import itertools\n"
                + _RETURN
                + "(component(name=f'a{i}') for i in itertools.count())\n",
            ),
            "speechlite_components() gave more than 1000 records",
        ),
        (
            _plugin("halfway", _RETURN + "(component(name=n) for n in ['a', 1 / 0])\n"),
            "ZeroDivisionError",
        ),
        (_plugin("kind", _RETURN + "[component(kind='vocoder')]\n"), "has kind 'vocoder'"),
        (_plugin("name", _RETURN + "[component(name='Thin')]\n"), "has name 'Thin'"),
        (_plugin("target", _RETURN + "[component(target='a.b.C')]\n"), "has target='a.b.C'"),
        (_plugin("config", _RETURN + "[component(config='a b:C')]\n"), "has config='a b:C'"),
        (_plugin("summary", _RETURN + "[component(summary=None)]\n"), "summary=None"),
        (_plugin("wrong-fields", _RETURN + "[Component('encoder')]\n"), "TypeError: "),
        (_plugin("twice", _RETURN + "[component(), component()]\n"), "'thin' is offered twice"),
        (
            _plugin(
                "two-doors",
                OFFERS_THIN,
                entry_points="[speechlite]\na = broken_two_doors\nb = broken_two_doors_b\n",
                files={
                    "broken_two_doors_b.py": "from broken_two_doors import hookimpl, component\n"
                    + OFFERS_THIN
                },
            ),
            "encoder 'thin' is offered by another entry point of broken-two-doors too",
        ),
        (
            _plugin(
                "command-name",
                "@hookimpl\ndef speechlite_commands():\n    return [Command('A b', 'c', 'd:e')]\n",
            ),
            "command has name 'A b'",
        ),
        (
            _plugin(
                "command-target",
                "@hookimpl\ndef speechlite_commands():\n    return [Command('ab', 'c', 'd.e')]\n",
            ),
            "command 'ab' has target='d.e'",
        ),
        (
            _plugin(
                "command-summary",
                "@hookimpl\ndef speechlite_commands():\n    return [Command('ab', 1, 'd:e')]\n",
            ),
            "a Command has summary=1, expected a string",
        ),
    ]
}
