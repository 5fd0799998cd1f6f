from __future__ import annotations

import pytest
from made_plugins import CONFIG, OFFERS_THIN, MadePlugin, install, run_speechlite

from speechlite.core.component import Component
from speechlite.core.errors import ConfigError, PluginError
from speechlite.plugins.discovery import discover
from speechlite.plugins.registry import Registry

ENCODER = """\
from speechlite.core.model import Encoder


class Thin(Encoder):
    def forward(self, frames_BSD, lengths_B, *, num_layers=None):
        return None
"""
COMMAND = (
    "@hookimpl\ndef speechlite_commands():\n    return [Command('greet', 'say', '{target}')]\n"
)


def offers(**changes):
    arguments = ", ".join(f"{key}={value!r}" for key, value in changes.items())
    return OFFERS_THIN.replace("component()", f"component({arguments})")


@pytest.fixture
def registry_of(put):
    def make(*plugins):
        return Registry(discover(entry_points=put(plugins), environ={}))

    return make


def test_components_of_a_kind_gives_those_alone(registry_of):
    registry = registry_of(
        MadePlugin("one"), MadePlugin("two", offers(kind="head", name="tall")), MadePlugin("three")
    )
    assert {component.kind for component in registry.components("head")} == {"head"}
    assert len(registry.components()) == 3


def test_components_of_an_unknown_kind_lists_the_kinds(registry_of):
    with pytest.raises(ConfigError, match="no kind 'vocoder'; choose one of frontend, encoder"):
        registry_of().components("vocoder")


def test_get_with_a_bare_name_gives_the_component(registry_of):
    registry = registry_of(MadePlugin("one"))
    assert registry.get("encoder", "thin").target == "one:Thin"


@pytest.mark.parametrize("spelling", ["My.Dist/thin", "my-dist/thin", "MY_DIST/thin"])
def test_get_with_any_spelling_of_the_distribution_gives_the_component(registry_of, spelling):
    registry = registry_of(MadePlugin("My.Dist"))
    assert registry.get("encoder", spelling).name == "thin"


def test_get_with_a_name_of_two_distributions_lists_both_spellings(registry_of):
    registry = registry_of(MadePlugin("one"), MadePlugin("two"))
    expected = "encoder 'thin' is offered by 2 distributions; write one of one/thin, two/thin"
    with pytest.raises(PluginError, match=expected):
        registry.get("encoder", "thin")


def test_get_with_a_full_name_of_two_gives_the_right_one(registry_of):
    registry = registry_of(MadePlugin("one"), MadePlugin("two"))
    assert registry.get("encoder", "two/thin").target == "two:Thin"
    assert registry.spelling(registry.get("encoder", "two/thin")) == "two/thin"


def test_get_with_a_name_that_a_builtin_has_gives_the_builtin_no_priority(put):
    put([MadePlugin("one", offers(name="conformer"))])
    registry = Registry(discover(environ={}))
    with pytest.raises(PluginError, match="one/conformer, speechlite/conformer"):
        registry.get("encoder", "conformer")


def test_get_with_an_unknown_name_suggests_and_lists(registry_of):
    expected = "no encoder 'thim'; did you mean thin.; choose one of thin"
    with pytest.raises(ConfigError, match=expected):
        registry_of(MadePlugin("one")).get("encoder", "thim")


def test_get_with_an_unknown_name_names_the_broken_plugins(registry_of):
    registry = registry_of(MadePlugin("one"), MadePlugin("bad-one", "1 / 0"))
    expected = "broken plugins, which may have offered it: bad-one .ZeroDivisionError"
    with pytest.raises(ConfigError, match=expected):
        registry.get("encoder", "wide")


def test_get_from_a_broken_distribution_gives_its_cause(registry_of):
    registry = registry_of(MadePlugin("bad-one", "1 / 0"))
    with pytest.raises(PluginError, match="needs bad-one, which is broken: ZeroDivisionError"):
        registry.get("encoder", "bad-one/thin")


def test_spelling_of_an_unambiguous_component_is_bare(registry_of):
    registry = registry_of(MadePlugin("one"))
    assert registry.spelling(registry.get("encoder", "one/thin")) == "thin"


def test_distribution_of_a_stranger_is_refused(registry_of):
    stranger = Component("encoder", "a", "b:C", "d:E", "f")
    with pytest.raises(PluginError, match="encoder 'a' is offered by no plugin"):
        registry_of().distribution_of(stranger)


def test_config_class_gives_the_dataclass(registry_of):
    registry = registry_of(MadePlugin("one"))
    assert registry.config_class(registry.get("encoder", "thin"))().width == 4


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("class ThinConfig: pass\n", "is not a dataclass"),
        ("ThinConfig = ThinConfig()\n", "is not a dataclass"),
        ("@dataclass\nclass ThinConfig:\n    a: int = 1\n", "is not a frozen dataclass"),
        (
            "@dataclass(frozen=True)\nclass ThinConfig:\n    name: str = ''\n",
            "has the reserved option 'name'",
        ),
        ("del ThinConfig\n", "cannot be imported: AttributeError"),
    ],
)
def test_config_class_of_a_wrong_type_is_refused(registry_of, source, cause):
    registry = registry_of(MadePlugin("one", OFFERS_THIN + source))
    with pytest.raises(PluginError, match=f"encoder 'thin' of one cannot be used: .*{cause}"):
        registry.config_class(registry.get("encoder", "thin"))


def test_config_class_that_imports_torch_is_refused(tmp_path):
    files = {"torch.py": "", "one_config.py": "import torch\n" + CONFIG}
    plugin = MadePlugin("one", offers(config="one_config:ThinConfig"), files=files)
    folder = install(tmp_path / "site", [plugin])
    choices = ["frontend=fbank", "encoder=thin", "objective=reconstruction"]
    run = run_speechlite("config", "pretrain", *choices, folder=folder)
    assert run.returncode == 5
    assert "one_config:ThinConfig imports torch" in run.stderr


def test_load_gives_the_class(registry_of):
    registry = registry_of(
        MadePlugin("one", offers(target="one_torch:Thin"), files={"one_torch.py": ENCODER})
    )
    assert registry.load(registry.get("encoder", "thin")).__name__ == "Thin"


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        ("raise OSError('no library')\n", "cannot be imported: OSError: no library"),
        ("raise SystemExit(4)\n", "cannot be imported: SystemExit: 4"),
        ("x = 1\n", "cannot be imported: AttributeError"),
        ("Thin = 1\n", "is not a subclass of speechlite.core.model:Encoder"),
        ("class Thin: pass\n", "is not a subclass of speechlite.core.model:Encoder"),
        (
            "from speechlite.core.model import Encoder\nclass Thin(Encoder): pass\n",
            "lacks forward",
        ),
    ],
)
def test_load_of_a_failing_target_names_the_distribution(registry_of, target, cause):
    registry = registry_of(
        MadePlugin("one", offers(target="one_torch:Thin"), files={"one_torch.py": target})
    )
    expected = f"encoder 'thin' of one cannot be used: .*{cause}.*SPEECHLITE_TRACE=1"
    with pytest.raises(PluginError, match=expected):
        registry.load(registry.get("encoder", "thin"))


def test_load_when_the_user_interrupts_stops(registry_of):
    files = {"one_torch.py": "raise KeyboardInterrupt\n"}
    registry = registry_of(MadePlugin("one", offers(target="one_torch:Thin"), files=files))
    with pytest.raises(KeyboardInterrupt):
        registry.load(registry.get("encoder", "thin"))


def test_command_of_two_distributions_lists_both_spellings(registry_of):
    source = COMMAND.format(target="a:b")
    registry = registry_of(MadePlugin("one", source), MadePlugin("two", source))
    with pytest.raises(PluginError, match="command 'greet' .* write one of one/greet, two/greet"):
        registry.command("greet")
    assert registry.command("two/greet") is not None


def test_command_of_an_unknown_name_is_none(registry_of):
    assert registry_of().command("greet") is None


def test_load_command_gives_the_function(registry_of):
    source = COMMAND.format(target="one:greet") + "def greet(arguments):\n    return 7\n"
    registry = registry_of(MadePlugin("one", source))
    assert registry.load_command(registry.command("greet"))([]) == 7


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        ("surely_absent:a", "cannot be imported: ModuleNotFoundError"),
        ("one:x", "is not a function"),
    ],
)
def test_load_command_of_a_failing_target_is_refused(registry_of, target, cause):
    registry = registry_of(MadePlugin("one", COMMAND.format(target=target) + "x = 1\n"))
    with pytest.raises(PluginError, match=f"command 'greet'.*{cause}"):
        registry.load_command(registry.command("greet"))
