"""Run the steps of DNN-HMM evaluation over the experiments of a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import torch

from speechlite.config.compose import compose, to_mapping
from speechlite.config.dnn_hmm import DnnHmmConfig
from speechlite.config.schema import ProfileConfig
from speechlite.core.errors import UsageError
from speechlite.core.types import stateless_seed
from speechlite.engine.checkpoint import checkpoint_sha256, load_model
from speechlite.engine.dnn_hmm.acoustic_network import (
    build_network,
    labels_at,
    open_frames,
    read_network,
    train_network,
)
from speechlite.engine.dnn_hmm.decode import decode, read_splits, rescore, score_decoded
from speechlite.engine.dnn_hmm.gmm import (
    STAGES,
    align_parts,
    read_alignments,
    read_stage,
    train_gmms,
)
from speechlite.engine.dnn_hmm.graph import make_graphs, read_graph
from speechlite.engine.dnn_hmm.lang import make_language_models, prepare_lang
from speechlite.engine.dnn_hmm.scores import GmmScores, NetworkScores, ScoreSource
from speechlite.engine.dnn_hmm.steps import read_report, run_step
from speechlite.engine.dnn_hmm.workspace import Workspace
from speechlite.engine.evaluate import Evaluation
from speechlite.engine.experiments import Experiment, Row
from speechlite.engine.progress import say
from speechlite.engine.records import write_record
from speechlite.engine.splits import Split
from speechlite.engine.stamps import Stamp
from speechlite.engine.sweep import Sweep, profile_once, training_cost, usable_features

__all__ = ["STEPS", "DnnHmmSweep", "select_steps"]

STEPS = ("lang", "lm", "gmm", "tdnn", "graph", "decode", "rescore")
"""The steps in the order in which they run."""
_LAST = STAGES[-1]
_GMM_TABLE = "Table 1"


def select_steps(text: str) -> list[str]:
    """Return the steps that a command line names.

    Args:
        text: steps joined by commas, or ``all``.

    Returns:
        The steps in their order.

    Raises:
        UsageError: if one is unknown, or none is named.
    """
    names = list(STEPS) if text == "all" else [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in STEPS]
    if unknown or not names:
        raise UsageError(
            f"unknown steps {unknown}" if unknown else "no step is named",
            remedy=f"choose among {', '.join(STEPS)}, joined by commas, or all",
        )
    return [name for name in STEPS if name in names]


@dataclass(frozen=True)
class _System:
    """One model to evaluate: an experiment with a seed, or a GMM stage."""

    space: Workspace
    label: str
    base: Path
    id: str
    rows: tuple[Row, ...]
    identity: dict[str, Any]
    source: Path | None = None

    @property
    def work(self) -> Path:
        """Where the network and its lattices go."""
        return self.base / f"{self.space.config.task.name}-{self.id}"


@dataclass(frozen=True)
class DnnHmmSweep:
    """Run steps for all experiments and seeds.

    Args:
        sweep: recipe, place, seeds, options.
        experiments: what to evaluate.
        config_name: the primary file.
        features: directory of cached features, used by models with a matching frontend.
    """

    sweep: Sweep
    experiments: Sequence[Experiment]
    config_name: str
    features: Path | None

    def run(self, steps: Sequence[str]) -> None:
        """Run steps, each for all models before the next.

        Args:
            steps: some of ``STEPS``.
        """
        spaces = [self._space(seed) for seed in self.sweep.seeds]
        shared = {"lang": prepare_lang, "lm": make_language_models}
        seeded = {"gmm": _train_and_align, "graph": make_graphs}
        single = {"tdnn": self._train, "decode": self._decode, "rescore": self._rescore}
        for step in steps:
            if step in shared:
                shared[step](spaces[0])
            for space in spaces if step in seeded else ():
                seeded[step](space)
            for system in self._systems(spaces) if step in single else ():
                single[step](system)

    def _space(self, seed: int) -> Workspace:
        config: DnnHmmConfig = compose(
            "hmm",
            registry=self.sweep.registry,
            config_dir=self.sweep.config_dir,
            config_name=self.config_name,
            overrides=self.sweep.overrides,
        )
        config = replace(config, training=replace(config.training, seed=seed))
        root = self.sweep.exp_dir / config.task.name
        return Workspace(config, root, seed, self.sweep.registry)

    def _systems(self, spaces: Iterable[Workspace]) -> list[_System]:
        found = []
        for space in spaces:
            found += [self._gmm_system(space, stage) for stage in space.config.gmm.decode]
            found += [self._model_system(space, item) for item in self.experiments]
        return found

    def _gmm_system(self, space: Workspace, stage: str) -> _System:
        identity = {
            "recipe": self.sweep.recipe,
            "experiment": f"gmm_{stage}",
            "model": f"gmm_{stage}",
            "model_sha256": None,
            "chain": "none",
            "seed": space.seed,
        }
        rows = (Row(_GMM_TABLE, f"GMM-HMM {stage}"),)
        label = f"GMM {stage} seed {space.seed}"
        return _System(space, label, space.seed_dir, stage, rows, identity)

    def _model_system(self, space: Workspace, item: Experiment) -> _System:
        source = item.model_directory(self.sweep.exp_dir, space.seed)
        identity = {
            "recipe": self.sweep.recipe,
            "experiment": item.id,
            "model": item.system.name,
            "chain": item.chain,
            "seed": space.seed,
        }
        base = item.directory(self.sweep.exp_dir, space.seed) / item.chain
        label = f"{item.id} seed {space.seed}"
        return _System(space, label, base, item.id, item.rows, identity, source)

    def _train(self, system: _System) -> None:
        if system.source is None:
            return
        space, directory = system.space, system.work / "tdnn"
        alignments = [space.seed_dir / "alignments" / part for part in ("train", "dev")]
        run_step(
            f"tdnn {system.label}",
            directory,
            lambda: Stamp.of(
                space.options("head", "training"), [system.source or directory, *alignments]
            ),
            partial(self._train_one, system, directory),
        )

    def _train_one(self, system: _System, directory: Path) -> list[str]:
        space = system.space
        assert system.source is not None
        model = load_model(system.source, self.sweep.registry)
        torch.manual_seed(stateless_seed(space.seed, "tdnn"))
        hmm, _ = read_stage(space, _LAST)
        head = build_network(space, model, hmm.num_pdfs)
        splits, labels = {}, {}
        for part in ("train", "dev"):
            found = read_alignments(space.seed_dir / "alignments" / part)
            splits[part] = _only(space.split(space.parts()[part]), found)
            labels.update({name: hmm.tables.pdf_T[one] for name, one in found.items()})
        features = usable_features(self.features, model.spec.frontend)
        frames = open_frames(
            space, model, splits, features=features, needs_all_layers=head.needs_all_layers
        )
        reader = frames.frozen.reader
        rows = {
            name: labels_at(frames.grid, one, reader.num_samples(name))
            for name, one in labels.items()
        }
        reader.labels = {"pdfs": rows}
        return train_network(space, head, frames, rows, directory)

    def _decode(self, system: _System) -> None:
        space, directory = system.space, system.work / "decode"
        stage = _LAST if system.source is not None else system.id
        made_of = [space.graph_dir(stage), *space.directories("dev"), *space.directories("test")]
        if system.source is None:
            made_of.append(space.gmm_dir(stage))
        else:
            made_of += [system.source, system.work / "tdnn"]

        def run() -> list[str]:
            graph = read_graph(space, stage)
            hmm, _ = read_stage(space, stage)
            source = self._scores(system, graph, hmm.num_pdfs)
            name = f"decode {system.label}"
            return decode(space, graph, hmm.num_pdfs, source, directory=directory, name=name)

        run_step(
            f"decode {system.label}",
            directory,
            lambda: Stamp.of(space.options("decoding"), made_of),
            run,
        )
        inputs = _decoded_files(space, directory)
        self._record(system, "", inputs, partial(score_decoded, space, directory))

    def _scores(self, system: _System, graph: Any, num_pdfs: int) -> ScoreSource:
        space, options = system.space, system.space.config.decoding
        if system.source is None:
            return GmmScores(space, system.id, graph, options.gmm_acoustic_scale, options.gmm_beams)
        model = load_model(system.source, self.sweep.registry)
        head = build_network(space, model, num_pdfs)
        network = read_network(head, system.work / "tdnn")
        frames = open_frames(
            space,
            model,
            read_splits(space),
            features=usable_features(self.features, model.spec.frontend),
            needs_all_layers=head.needs_all_layers,
        )
        return NetworkScores(network, frames, options.acoustic_scale, options.beams)

    def _rescore(self, system: _System) -> None:
        space, directory = system.space, system.work / "decode"
        target = system.work / "rescore"
        target.mkdir(parents=True, exist_ok=True)
        inputs = [*_decoded_files(space, directory), space.lm_dir / "large.arpa"]
        self._record(system, "_rescored", inputs, partial(rescore, space, directory, target))

    def _record(self, system: _System, suffix: str, inputs: list[Path], evaluate: Any) -> None:
        space = system.space
        task = replace(space.config.task, name=space.config.task.name + suffix)
        config = replace(space.config, task=task)
        directory = system.base / "results" / f"{system.id}-{task.name}"
        rows = [asdict(row) for row in system.rows]
        run_step(
            f"{system.label} {task.name}",
            directory,
            lambda: Stamp.of({**to_mapping(config), "rows": rows}, inputs),
            lambda: self._write_records(system, config, directory, evaluate),
        )

    def _write_records(
        self, system: _System, config: DnnHmmConfig, directory: Path, evaluate: Any
    ) -> list[str]:
        started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        space = system.space
        evaluation: Evaluation = evaluate(space.split(space.directories("train")))
        for old in directory.glob("record*"):
            old.unlink()
        names: list[str] = []
        for number, row in enumerate(system.rows, start=1):
            record = write_record(
                directory,
                f"record{number}",
                evaluation,
                config=config,
                identity={**self._identity(system), **asdict(row), "started": started},
                cost=self._cost(system, evaluation),
                inputs={},
                registry=self.sweep.registry,
            )
            scores = record.parent.glob(f"{record.stem}.*.jsonl")
            names += [record.name, *(path.name for path in scores)]
        for test in evaluation.tests:
            say(f"{system.label} {config.task.name}: {test.split.name} WER {test.value:.2f} %")
        return names

    def _identity(self, system: _System) -> dict[str, Any]:
        if system.source is None:
            return system.identity
        return {**system.identity, "model_sha256": checkpoint_sha256(system.source)}

    def _cost(self, system: _System, evaluation: Evaluation) -> dict[str, Any]:
        rtf = evaluation.search["rtf"]
        decoding = {"rtf": rtf[evaluation.tests[0].split.name], "beam": evaluation.search["beam"]}
        if system.source is None:
            return {"decoding": decoding}
        model = load_model(system.source, self.sweep.registry)
        cost = profile_once(system.source, model, ProfileConfig())
        pretrain = system.base.parent / "pretrain"
        network = read_report(system.work / "tdnn")
        return {
            **cost,
            "train": training_cost(pretrain),
            "decoding": decoding,
            "acoustic_network": {key: network[key] for key in ("parameters", "seconds")},
        }


def _train_and_align(space: Workspace) -> None:
    train_gmms(space)
    align_parts(space)


def _decoded_files(space: Workspace, directory: Path) -> list[Path]:
    """Return what scoring reads; n-best lists and error reports lie beside it."""
    parts = [part for part in space.parts() if part != "train"]
    return [directory / "report.json", *(directory / f"{part}.lat" for part in parts)]


def _only(split: Split, names: Iterable[str]) -> Split:
    kept = set(names)
    return replace(
        split,
        utterances={name: one for name, one in split.utterances.items() if name in kept},
        durations={name: one for name, one in split.durations.items() if name in kept},
    )
