"""Configurations that are wrong, each in one way, with what must be said about it."""

from __future__ import annotations

from dataclasses import dataclass, field

from made_recipe import PRESET, PRIMARY


@dataclass(frozen=True)
class Bad:
    says: str
    files: dict[str, str | bytes] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    name: str = "mini"


def _mini(says: str, more: str) -> Bad:
    return Bad(says, {"mini.yaml": PRIMARY + more})


def _preset(says: str, more: str) -> Bad:
    return Bad(says, {"encoder/wide_small.yaml": PRESET + more})


def _set(says: str, *overrides: str) -> Bad:
    return Bad(says, overrides=overrides)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [*{old},*{old},*{old},*{old},*{old},*{old},*{old},*{old},*{old}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

BAD: dict[str, Bad] = {
    # YAML that different readers read differently
    "duplicate key": _mini("mini.yaml:9: key 'data' stands here and in line 7;", "data: {}\n"),
    "tab": _mini("mini.yaml:9: has a tab;", "optimizer:\t{}\n"),
    "norway": _preset("wide_small.yaml:3: no is a word that some readers take for", "label: no\n"),
    "yes": _preset("wide_small.yaml:3: yes is a word that some", "causal: yes\n"),
    "off": _preset("wide_small.yaml:3: Off is a word that some", "causal: Off\n"),
    "octal": _preset("wide_small.yaml:3: 0123 is a number with leading zeros", "dim: 0123\n"),
    "base 60": _preset("wide_small.yaml:3: 12:30 is a base-60 number", "dim: 12:30\n"),
    "underscores": _preset("wide_small.yaml:3: 1_000 is a number with under", "dim: 1_000\n"),
    "hexadecimal": _preset("wide_small.yaml:3: 0x10 is a number in another", "dim: 0x10\n"),
    "date": _preset("wide_small.yaml:3: 2020-01-01 is a date", "label: 2020-01-01\n"),
    "not a number": _preset("wide_small.yaml:3: .nan is not a number", "dropout: .nan\n"),
    "anchor": _mini("mini.yaml:9: anchor &x;", "optimizer: &x {}\n"),
    "alias bomb": Bad("mini.yaml:1: anchor &a;", {"mini.yaml": BOMB}),
    "alias": _mini("mini.yaml:9: alias *x;", "optimizer: *x\n"),
    "merge key": _mini("mini.yaml:9: << is a merge key", "<<: {}\n"),
    "tag": _mini("mini.yaml:9: tag tag:yaml.org,2002:str;", "optimizer: !!str x\n"),
    "python tag": _mini(
        "mini.yaml:9: tag tag:yaml.org,2002:python/object/apply:os.system;",
        "optimizer: !!python/object/apply:os.system ['true']\n",
    ),
    "two documents": _mini("mini.yaml:9: a second document begins;", "---\na: 1\n"),
    "directive": Bad("mini.yaml:1: a % directive", {"mini.yaml": "%YAML 1.1\n---\n" + PRIMARY}),
    "byte-order mark": Bad("mini.yaml:1: begins with a byte-order", {"mini.yaml": b"\xef\xbb\xbf"}),
    "bad UTF-8": Bad("mini.yaml:2: is not valid UTF-8;", {"mini.yaml": b"a: 1\nb: \xff\n"}),
    "control character": _mini("mini.yaml: is not valid YAML: special characters", "a: '\x07'\n"),
    "not YAML": _mini("mini.yaml:9: is not valid YAML: ", "optimizer: [1, }\n"),
    "too large": _mini("mini.yaml: has more than 1000000 bytes;", "#" * 10**6),
    "too deep": _mini("mini.yaml:9: nesting deeper than 20 levels;", f"a: {'[' * 25}{']' * 25}\n"),
    "very deep": _mini("mini.yaml:9: nesting deeper than 20 levels;", "a: " + "[" * 10**5),
    "number as key": _mini("mini.yaml:9: a key that is no string;", "1: 2\n"),
    "list as key": _mini("mini.yaml:9: a key that is no string;", "? [a]\n: 2\n"),
    "huge number": _preset("wide_small.yaml:3: a number of 5000 digits;", f"dim: {'9' * 5000}\n"),
    "a list at the top": Bad("mini.yaml:1: holds no mapping;", {"mini.yaml": "- a\n"}),
    # Code
    "_target_": _preset("wide_small.yaml:3: key '_target_', which", "_target_: os.system\n"),
    "_target_ deep down": _preset("wide_small.yaml:4: key '_target_'", "decay:\n  _target_: os\n"),
    "_partial_": _preset("wide_small.yaml:3: key '_partial_'", "_partial_: true\n"),
    "environment": _preset(
        "wide_small.yaml:3: interpolation '${oc.env:HO", "label: ${oc.env:HOME}\n"
    ),
    "resolver in an argument": _set(
        "interpolation other than a plain", "encoder.label=${oc.env:A}"
    ),
    "resolver in a list": _set("interpolation other than a", "data.train=['${oc.env:HOME}']"),
    "resolver in a mapping": _set("interpolation other than a", "encoder.weights={a:'${x:y}'}"),
    "nested interpolation": _preset("wide_small.yaml:3: interpolation", "label: ${a.${b}}\n"),
    "hydra's own options": _set("hydra.run.dir: unknown option", "hydra.run.dir=/tmp/x"),
    "hydra in a file": _mini("mini.yaml:9: hydra: unknown option", "hydra: {run: {dir: x}}\n"),
    "hydra's groups": _set("names a group or package", "hydra/job_logging=none"),
    # Keys
    "unknown key": _preset(
        "wide_small.yaml:3: encoder.layer: unknown option, did you", "layer: 1\n"
    ),
    "unknown key of a part": _preset("wide_small.yaml:4: encoder.decay.rat", "decay:\n  rat: 1\n"),
    "unknown key of the stage": _mini(
        "mini.yaml:9: optimiser: unknown option, did", "optimiser: {}\n"
    ),
    "unknown key in a stage's part": Bad(
        "mini.yaml:6: trainer.max_step: unknown option, did you mean max_steps?",
        {"mini.yaml": PRIMARY.replace("max_steps", "max_step")},
    ),
    "unknown key in an argument": _set(
        "encoder.layer: unknown option, did you mean layers", "encoder.layer=1"
    ),
    "unknown part in an argument": _set("encoder.layers.x: unknown option", "encoder.layers.x=1"),
    "unknown stage key in an argument": _set(
        "trainr.seed: unknown option, did you", "trainr.seed=1"
    ),
    "key of a mapping in an argument": _set(
        "encoder.weights.b: unknown option", "encoder.weights.b=1"
    ),
    "name in a preset": _preset(
        "wide_small.yaml:3: encoder.name: the component's name", "name: thin\n"
    ),
    "name in an argument": _set("encoder.name: the component's name cannot", "encoder.name=thin"),
    "option of another component": _set(
        "encoder.layers: unknown option", "encoder=thin", "encoder.layers=1"
    ),
    # Types and ranges
    "text for int": _preset(
        "wide_small.yaml:3: encoder.dim: expected int, got str 'x';", "dim: x\n"
    ),
    "fraction for int": _preset(
        "wide_small.yaml:3: encoder.dim: expected int, got float", "dim: 3.7\n"
    ),
    "bool for int": _preset(
        "wide_small.yaml:3: encoder.dim: expected int, got bool", "dim: true\n"
    ),
    "int for bool": _preset("wide_small.yaml:3: encoder.causal: expected bool, got", "causal: 1\n"),
    "int for text": _preset(
        "encoder.label: expected str, got int 7; put the value in", "label: 7\n"
    ),
    "null for int": _preset(
        "wide_small.yaml:3: encoder.dim: expected int, got null", "dim: null\n"
    ),
    "list for int": _preset("wide_small.yaml:3: encoder.dim: expected int, got list", "dim: [1]\n"),
    "text for list of text": _set("data.train: expected list of str, got str", "data.train=a"),
    "wrong element": _set("data.train[1]: expected str, got int 2", "data.train=[a,2]"),
    "wrong length": _set("encoder.depth: expected 2 values, got 3;", "encoder.depth=[1,2,3]"),
    "no choice": _set("encoder.pooling: expected one of 'mean', 'max', got", "encoder.pooling=min"),
    "no member": _set("encoder.norm: expected one of layer, batch, got", "encoder.norm=group"),
    "text for a part": _set("encoder.decay: expected a mapping, got str", "encoder.decay=fast"),
    "text for a mapping": _set("encoder.weights: expected a mapping, got str", "encoder.weights=a"),
    "wrong value in a mapping": _set("encoder.weights.a: expected float", "encoder.weights={a:b}"),
    "wrong type in a part": _set("encoder.decay.rate: expected float", "encoder.decay.rate=x"),
    "not a number in an argument": _set(
        "encoder.dropout: expected float, got", "encoder.dropout=nan"
    ),
    "out of range": _set("encoder: dim=7, expected an even number;", "encoder.dim=7"),
    # Values that come from elsewhere
    "nothing given": _preset(
        "wide_small.yaml:3: encoder.dim: no value is given; add encoder.dim=", "dim: ???\n"
    ),
    "option without default": _set("encoder.dim: no value is given; add", "encoder=needy"),
    "reference to itself": _preset("encoder.dim: ", "dim: ${encoder.dim}\n"),
    "references in a circle": _set(
        "encoder.dim: ", "encoder.dim=${encoder.layers}", "encoder.layers=${encoder.dim}"
    ),
    "reference to nothing": _preset("encoder.dim: Interpolation key", "dim: ${encoder.width}\n"),
    "reference of a wrong type": _preset(
        "encoder.dim: expected int, got str", "dim: ${encoder.label}\n"
    ),
    # Choices
    "unknown component": _set("no encoder 'wid'; did you mean wide?; choose one of", "encoder=wid"),
    "unknown preset": _set("did you mean wide_small or wide?", "encoder=wide_smal"),
    "unknown component in a preset": Bad(
        "encoder/wide_small.yaml:1: no encoder 'wid'; did you mean wide",
        {"encoder/wide_small.yaml": "defaults: [wid]\n"},
    ),
    "nothing chosen": Bad(
        "objective: nothing is chosen; add objective=NAME with one of match",
        {"mini.yaml": PRIMARY.replace("  - objective: match\n", "")},
    ),
    "no name chosen": _set("argument 'encoder=null' does not name a component", "encoder=null"),
    "preset without component": Bad(
        "wide_small.yaml:1: a preset's defaults list holds [], expected one",
        {"encoder/wide_small.yaml": "layers: 3\n"},
    ),
    "preset with two components": Bad(
        "wide_small.yaml:1: a preset's defaults list holds ['wide', 'thin']",
        {"encoder/wide_small.yaml": "defaults: [wide, thin]\n"},
    ),
    "preset that builds on itself": Bad(
        "wide_small.yaml: preset 'wide_small' builds on itself;",
        {"encoder/wide_small.yaml": "defaults: [wide_small]\n"},
    ),
    "preset named as a component": Bad(
        "encoder/wide.yaml: preset 'wide' has the name of a component;",
        {"encoder/wide.yaml": "defaults: [thin]\n"},
    ),
    "component options in a primary file": _mini(
        "mini.yaml:9: encoder: options of a component stand in a primary file; write them to a "
        "preset encoder/NAME.yaml",
        "encoder:\n  dim: 4\n",
    ),
    "defaults that are no list": Bad(
        "mini.yaml:1: defaults is no list;", {"mini.yaml": "defaults: a\n"}
    ),
    "defaults of another kind": Bad(
        "mini.yaml:1: the defaults list holds {'vocoder': 'a'};",
        {"mini.yaml": "defaults:\n  - vocoder: a\n"},
    ),
    "defaults with a package": Bad(
        "mini.yaml:1: the defaults list holds {'encoder@x': 'wide'};",
        {"mini.yaml": "defaults:\n  - encoder@x: wide\n"},
    ),
    "a kind chosen twice": Bad(
        "mini.yaml:1: encoder is chosen here and in a file that this one builds on; write "
        "'override encoder: thin'",
        {"base.yaml": PRIMARY, "mini.yaml": "defaults:\n  - base\n  - encoder: thin\n"},
    ),
    "_self_ before others": Bad(
        "mini.yaml:1: _self_ is not the last of defaults;",
        {"mini.yaml": "defaults:\n  - _self_\n  - encoder: wide\n"},
    ),
    "file that builds on itself": Bad(
        "mini.yaml: 'mini' builds on itself;", {"mini.yaml": "defaults: [mini]\n"}
    ),
    "unknown file": Bad(
        "no configuration 'mimi'; did you mean mini?; choose one of mini", name="mimi"
    ),
    "path as a name": Bad("no configuration '../mini'", name="../mini"),
    # Arguments
    "added key": _set("argument '+x=1' adds or removes a key;", "+x=1"),
    "force-added key": _set("argument '++x=1' adds or removes a key;", "++x=1"),
    "deleted key": _set("argument '~encoder' adds or removes a key;", "~encoder"),
    "several values": _set("argument 'encoder.dim=2,4' gives several values;", "encoder.dim=2,4"),
    "a sweep": _set("gives several values;", "encoder.dim=range(1,5)"),
    "no equals sign": _set("argument 'encoder.dim' is malformed:", "encoder.dim"),
    "open quote": _set("is malformed:", "encoder.label='a"),
    "package": _set("names a group or package;", "encoder@x=wide"),
}
