"""A recipe of DNN-HMM recognition so small that all its steps take seconds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

STEPS = "lang,lm,gmm,tdnn,graph,decode,rescore"
LEXICON = "AB A\nBC C\nBC C C\nCA B\n"
EXPERIMENTS = {
    "recipe": "made",
    "systems": {"fbank": {"trained": False, "overrides": ["encoder=identity"]}},
    "chains": {},
    "experiments": {"fbank": {"system": "fbank", "rows": [{"table": "T1", "row": "FBANK"}]}},
    "default": ["fbank"],
}
PRETRAIN = {
    "defaults": [{"frontend": "made"}, {"encoder": "identity"}, {"objective": "reconstruction"}],
    "data": {"train": [], "valid": []},
}


def options(data: Path, lexicon: Path) -> dict[str, Any]:
    """Return the smallest options under which every step still does its work."""
    stage = {"iterations": 3, "gaussians": 30, "grow_until": 2, "realign": [1, 2]}
    later = {"leaves": 24, "realign": [2], "utterances": 0}
    return {
        "defaults": [{"head": "made"}, "_self_"],
        "task": {
            "train": [str(data / "train")],
            "dev": [str(data / "dev")],
            "test": [str(data / "test")],
        },
        "lang": {"lexicon": [str(lexicon)]},
        "lm": {"small_order": 2, "large_order": 3},
        "gmm": {
            "decode": ["mono"],
            "cepstra": 5,
            "mono": stage,
            "tri1": stage | later,
            "tri2b": stage | later | {"kind": "lda", "dim": 8, "transform_iterations": [2]},
            "tri3b": stage | later | {"kind": "sat", "transform_iterations": [2]},
        },
        "training": {"epochs": 8, "learning_rate": 0.02, "batch_seconds": 3, "threads": 1},
        "decoding": {
            "beams": [8.0, 13.0],
            "gmm_beams": [13.0],
            "lm_weights": [0.5, 1.0],
            "word_penalties": [0.0, 1.0],
            "nbest": 3,
            "workers": 1,
        },
    }


def write_recipe(root: Path, speech: Path) -> Path:
    """Write data and configuration; return the folder of both, ``data`` and ``conf``."""
    shutil.copytree(speech, root / "data")
    for table in (root / "data").glob("*/wav.scp"):
        table.write_text(table.read_text().replace(str(speech), str(root / "data")))
    conf = root / "conf"
    for kind, preset in (
        ("frontend", "defaults: [fbank]\nnum_mels: 8\n"),
        ("head", "defaults: [tdnn]\ndim: 16\nstrides: [1, 2]\n"),
    ):
        (conf / kind).mkdir(parents=True)
        (conf / kind / "made.yaml").write_text(preset)
    (root / "lexicon.txt").write_text(LEXICON)
    for name, content in (
        ("experiments", EXPERIMENTS),
        ("pretrain", PRETRAIN),
        ("hmm", options(root / "data", root / "lexicon.txt")),
    ):
        # JSON drops what YAML would write as an alias
        plain = json.loads(json.dumps(content))
        (conf / f"{name}.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    return root


def words(root: Path, steps: str = STEPS, *overrides: str) -> list[str]:
    """Return the command line of some steps."""
    sweep = ["--experiments", root / "conf/experiments.yaml", "--config_dir", root / "conf"]
    rest = ["--config", "hmm", "--exp_dir", root / "exp"]
    return [str(word) for word in ("hmm", steps, *overrides, *sweep, *rest)]


def pretrain_words(root: Path) -> list[str]:
    """Return the command line that builds the model to evaluate."""
    sweep = ["--experiments", root / "conf/experiments.yaml", "--config_dir", root / "conf"]
    rest = ["--config", "pretrain", "--exp_dir", root / "exp"]
    return [str(word) for word in ("pretrain", *sweep, *rest)]


def records(root: Path) -> list[dict[str, Any]]:
    """Return all records of the experiments."""
    return [json.loads(path.read_text()) for path in sorted(root.glob("exp/**/record*.json"))]
