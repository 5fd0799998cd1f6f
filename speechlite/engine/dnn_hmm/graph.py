"""The step ``graph``: compose decoding graphs of the GMM stages that are decoded with."""

from __future__ import annotations

import resource
import time
from functools import partial
from pathlib import Path
from typing import Any

from speechlite.core.errors import DataError
from speechlite.engine.dnn_hmm.gmm import STAGES, read_stage
from speechlite.engine.dnn_hmm.steps import run_step, write_report
from speechlite.engine.dnn_hmm.workspace import Workspace
from speechlite.engine.progress import say
from speechlite.engine.stamps import Stamp
from speechlite.hmm.arpa import Grammar, read_grammar
from speechlite.hmm.fst_arrays import read_fst, write_fst
from speechlite.hmm.graph import compose_graph, pdf_graph, refuse_too_large
from speechlite.hmm.lang_files import read_lexicon_fst

__all__ = ["make_graphs", "read_graph", "small_grammar"]


def make_graphs(space: Workspace) -> None:
    """Compose the graph of the last stage, and of each GMM stage that is scored itself.

    Args:
        space: places and options.

    Raises:
        EnvironmentProblem: if a graph would not fit into memory.
    """
    for stage in STAGES:
        if stage == STAGES[-1] or stage in space.config.gmm.decode:
            run_step(
                f"graph of {stage} seed {space.seed}",
                space.graph_dir(stage),
                partial(_stamp, space, stage),
                partial(_make_graph, space, stage),
            )


def _stamp(space: Workspace, stage: str) -> Stamp:
    small, model = space.lm_dir / "small.arpa", space.gmm_dir(stage) / "final"
    options = {"self_loop_scale": space.config.gmm.align.self_loop_scale}
    return Stamp.of(options, [*space.lang_files, small, model])


def small_grammar(space: Workspace) -> Grammar:
    """Read the language model of the graph.

    Args:
        space: places.

    Returns:
        The grammar.
    """
    return read_grammar(space.lm_dir / "small.arpa", space.lang().words)


def _make_graph(space: Workspace, stage: str) -> list[str]:
    started, directory = time.perf_counter(), space.graph_dir(stage)
    lang, grammar = space.lang(), small_grammar(space)
    _tell(grammar)
    refuse_too_large(sum(grammar.counts) - grammar.num_skipped, _free_bytes())
    model, _ = read_stage(space, stage)
    graph = compose_graph(
        model,
        read_lexicon_fst(space.lang_dir, disambiguated=True),
        grammar.fst,
        disambiguation=[lang.phones[name] for name in lang.disambiguation],
        self_loop_scale=space.config.gmm.align.self_loop_scale,
    )
    result, size = pdf_graph(graph, model.tables.pdf_T)
    write_fst(directory / "HCLG.fst", result)
    facts = {
        **vars(size),
        "ngrams": sum(grammar.counts),
        "seconds": time.perf_counter() - started,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "missing_words": len(grammar.missing),
        "skipped_ngrams": grammar.num_skipped,
    }
    say(f"graph of {stage}: {size.num_states} states, {size.num_arcs} arcs")
    return ["HCLG.fst", write_report(directory, facts)]


def _tell(grammar: Grammar) -> None:
    if grammar.missing:
        say(
            f"graph: the language model lacks {len(grammar.missing)} words of the lexicon, which "
            f"cannot be recognised: {', '.join(grammar.missing[:5])} ..."
        )
    if grammar.num_skipped:
        say(f"graph: {grammar.num_skipped} n-grams have words outside the lexicon, left out")
    if not grammar.has_unknown:
        say("graph: the language model has no <unk>; words that it lacks have no probability")


def _free_bytes() -> int:
    try:
        rows = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        # what the page cache holds can be had back, and counts as available
        (line,) = (row for row in rows if row.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    except (ValueError, OSError):
        # unknown on this system: nothing to refuse
        return 1 << 62


def read_graph(space: Workspace, stage: str) -> Any:
    """Read the graph of a stage.

    Args:
        space: places.
        stage: the stage.

    Returns:
        A ``kaldifst.StdVectorFst`` with density + 1 as input labels.

    Raises:
        DataError: if it has not been made, or not of what is there now: its numbers of words and
            densities would mean something else.
    """
    directory = space.graph_dir(stage)
    reason = _stamp(space, stage).reason_to_run(directory)
    if reason is not None:
        raise DataError(
            f"the graph is not up to date: {reason}", remedy="run the step graph", path=directory
        )
    return read_fst(directory / "HCLG.fst")
