"""The step ``gmm``: train GMM-HMMs stage by stage and align all data with the last one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from speechlite.core.errors import DataError
from speechlite.data.atomic import replace_file
from speechlite.data.corpora.ctm import Mark, write_ctm
from speechlite.data.corpora.phone_labels import SILENCE
from speechlite.data.tables import write_table
from speechlite.engine.dnn_hmm.steps import run_step, write_lines, write_report
from speechlite.engine.dnn_hmm.workspace import Workspace, training_set
from speechlite.engine.progress import say
from speechlite.engine.splits import Split
from speechlite.engine.stamps import Stamp
from speechlite.hmm.acoustic_model import AcousticModel, read_model, write_model
from speechlite.hmm.alignment import phone_segments
from speechlite.hmm.forced_alignment import align_speech, phone_marks, word_marks
from speechlite.hmm.gmm_training import StageReport, Trained, train_mono, train_triphones
from speechlite.hmm.lang import UNKNOWN_WORD, Lang
from speechlite.hmm.training_set import TrainingSet

__all__ = ["STAGES", "align_parts", "read_alignments", "read_stage", "train_gmms"]

STAGES = ("mono", "tri1", "tri2b", "tri3b")
"""GMM stages in the order of training."""

Ints = npt.NDArray[np.int32]


def train_gmms(space: Workspace) -> None:
    """Train all stages that are not up to date.

    Args:
        space: places and options.

    Raises:
        DataError: if nothing can be aligned.
    """
    train = space.directories("train")
    data: list[tuple[TrainingSet, dict[str, str]]] = []

    def prepared() -> tuple[TrainingSet, dict[str, str]]:
        # read once, and not at all where every stage is up to date
        if not data:
            data.append(
                training_set(
                    space.split(train),
                    space.lang(),
                    num_cepstra=space.config.gmm.cepstra,
                    description="gmm: cepstra",
                )
            )
        return data[0]

    for number, stage in enumerate(STAGES):
        inputs = [space.gmm_dir(STAGES[number - 1])] if number else [*space.lang_files, *train]
        run_step(
            f"gmm {stage} seed {space.seed}",
            space.gmm_dir(stage),
            partial(
                Stamp.of, {"options": _stage_options(space, stage), "seed": space.seed}, inputs
            ),
            partial(_train_stage, space, number, prepared),
        )


def _stage_options(space: Workspace, stage: str) -> dict[str, object]:
    options = space.options("gmm")["gmm"]
    return {key: options[key] for key in (stage, "align", "cepstra")}


def _train_stage(
    space: Workspace, number: int, prepared: Callable[[], tuple[TrainingSet, dict[str, str]]]
) -> list[str]:
    stage, directory = STAGES[number], space.gmm_dir(STAGES[number])
    everything, excluded = prepared()
    options = getattr(space.config.gmm, stage)
    data = everything.shortest(options.utterances)
    how = space.conditions(lambda text: say(f"gmm {stage} seed {space.seed}: {text}"))
    phonology = space.phonology()
    if number == 0:
        trained = train_mono(data, phonology, options, how)
    else:
        before = STAGES[number - 1]
        previous = Trained(
            read_stage(space, before)[0], read_alignments(space.gmm_dir(before)), StageReport()
        )
        trained = train_triphones(previous, data, phonology, options, how)
    return _write_stage(directory, trained, excluded)


def _write_stage(directory: Path, trained: Trained, excluded: Mapping[str, str]) -> list[str]:
    outputs = []
    models = {"final": trained.model, "independent": trained.speaker_independent}
    for name, model in models.items():
        if model is not None:
            (directory / name).mkdir(exist_ok=True)
            write_model(directory / name, model)
            outputs.append(name)
    with replace_file(directory / "alignments.safetensors") as stream:
        save_file(trained.alignments, stream.name)
    reasons = dict.fromkeys(trained.report.not_aligned, "no path: too short or too unlikely")
    reasons |= excluded
    if reasons:
        say(f"gmm: {len(reasons)} utterances left out, see {directory / 'excluded.txt'}")
    lines = [f"{name} {reason}" for name, reason in sorted(reasons.items())]
    outputs += ["alignments.safetensors", write_lines(directory / "excluded.txt", lines)]
    facts = {**asdict(trained.report), "num_aligned": len(trained.alignments)}
    return [*outputs, write_report(directory, facts)]


def read_stage(space: Workspace, stage: str) -> tuple[AcousticModel, AcousticModel | None]:
    """Read a trained stage.

    Args:
        space: places.
        stage: the stage.

    Returns:
        Its model, and the speaker-independent twin of an adapted one.

    Raises:
        DataError: if it has not been trained.
    """
    directory = space.gmm_dir(stage)
    independent = directory / "independent"
    return (
        read_model(directory / "final"),
        read_model(independent) if independent.is_dir() else None,
    )


def read_alignments(directory: Path) -> dict[str, Ints]:
    """Read alignments.

    Args:
        directory: where they lie.

    Returns:
        Transition ids by utterance.

    Raises:
        DataError: if they are missing or damaged.
    """
    path = directory / "alignments.safetensors"
    try:
        found: dict[str, Ints] = load_file(path)
    except Exception as error:  # noqa: BLE001  the library has no error of its own
        raise DataError(
            f"cannot be read ({error})", remedy="run the step gmm again", path=path
        ) from None
    return found


def align_parts(space: Workspace) -> None:
    """Align training, dev and test data with the last stage.

    For each part this writes alignments, ``phones.ctm``, ``words.ctm``, ``phone_labels`` and
    ``phones.txt``; the phone task can take its labels from there.

    Args:
        space: places and options.
    """
    source = space.gmm_dir(STAGES[-1])
    for part, directories in space.parts().items():
        target = space.seed_dir / "alignments" / part
        run_step(
            f"gmm alignment of {part} seed {space.seed}",
            target,
            partial(Stamp.of, _stage_options(space, STAGES[-1]), [source, *directories]),
            partial(_align_part, space, part, directories, target),
        )


def _align_part(space: Workspace, part: str, directories: list[Path], target: Path) -> list[str]:
    split, phonology = space.split(directories), space.phonology()
    data, excluded = training_set(
        split,
        phonology.lang,
        num_cepstra=space.config.gmm.cepstra,
        description=f"gmm: cepstra of {part}",
    )
    model, independent = read_stage(space, STAGES[-1])
    found, _ = align_speech(model, independent, data, phonology, space.conditions())
    for name in set(data.words) - set(found):
        excluded[name] = "no path: too short or too unlikely"
    if not found:
        raise DataError(
            f"no utterance of {part} could be aligned", remedy="train the GMMs on fitting speech"
        )
    if excluded:
        say(f"gmm: {part}: {len(excluded)} utterances left out, see {target / 'excluded.txt'}")
    _write_marks(target, found, model, split, phonology.lang)
    with replace_file(target / "alignments.safetensors") as stream:
        save_file(found, stream.name)
    lines = [f"{name} {reason}" for name, reason in sorted(excluded.items())]
    names = ["alignments.safetensors", write_lines(target / "excluded.txt", lines)]
    return [*names, "phones.ctm", "words.ctm", "phone_labels", "phones.txt"]


def _write_marks(
    target: Path, found: Mapping[str, Ints], model: AcousticModel, split: Split, lang: Lang
) -> None:
    phones: dict[str, list[Mark]] = {}
    words: dict[str, list[Mark]] = {}
    for name, transitions in found.items():
        segments = phone_segments(transitions, model.tables)
        phones[name] = phone_marks(segments, lang.base_phones)
        said = (split.utterances[name].text or "").split()
        known = [word if word in lang.words else UNKNOWN_WORD for word in said]
        marks = word_marks(segments, known, lang)
        words[name] = [replace(m, token=word) for m, word in zip(marks, said, strict=True)]
    write_ctm(target / "phones.ctm", phones)
    write_ctm(target / "words.ctm", words)
    _write_labels(target, found, model, lang)


def _write_labels(
    target: Path, found: Mapping[str, Ints], model: AcousticModel, lang: Lang
) -> None:
    symbols = sorted(set(lang.base_phones.values()) - {SILENCE})
    ids = {SILENCE: 0, **{symbol: number for number, symbol in enumerate(symbols, start=1)}}
    label_of = np.zeros(max(lang.base_phones) + 1, np.int64)
    for phone, symbol in lang.base_phones.items():
        label_of[phone] = ids[symbol]
    labels_T = label_of[model.tables.phone_T]
    rows = {name: labels_T[transitions].tolist() for name, transitions in found.items()}
    write_lines(
        target / "phone_labels", (f"{name} {' '.join(map(str, rows[name]))}" for name in rows)
    )
    write_table(target / "phones.txt", {symbol: str(number) for symbol, number in ids.items()})
