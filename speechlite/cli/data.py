"""speechlite data: prepare, check, label and dump Kaldi-style data directories."""

from __future__ import annotations

import argparse
from pathlib import Path

from speechlite.core.errors import DataError, UsageError

__all__ = ["add_arguments", "run"]

_REQUEST = ("corpus", "size", "seed", "librispeech_root", "subsets", "data_root", "sample_rate")
"""Options that say which corpus the data directories were made from."""

_LM_UTTERANCES = 10_000
"""Utterances of the mini corpus's text for language models."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb.

    Args:
        parser: the parser to add them to.
    """
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_prepare(actions.add_parser("prepare", help="make data directories from a corpus"))
    _add_check(actions.add_parser("check", help="validate data directories"))
    labels = actions.add_parser("labels", help="make phone labels of frames from phones.ctm")
    labels.add_argument("directories", nargs="+", type=Path, help="data directories")
    split = actions.add_parser("split", help="split a data directory by speaker")
    split.add_argument("directory", type=Path, help="data directory to split")
    split.add_argument("--out_dir", type=Path, required=True, help="where train, dev, test go")
    split.add_argument("--test_speakers", required=True, help="speakers, joined by commas")
    split.add_argument("--dev_speakers", default="", help="speakers, joined by commas")
    subset = actions.add_parser("subset", help="draw a share of a data directory")
    subset.add_argument("directory", type=Path, help="data directory to draw from")
    subset.add_argument("--out_dir", type=Path, required=True, help="data directory to write")
    subset.add_argument("--share", type=float, required=True, help="of the speech, such as 0.1")
    subset.add_argument("--seed", type=int, default=1, help="seed of the order")
    join = actions.add_parser("join", help="join short utterances of a speaker to sequences")
    join.add_argument("directory", type=Path, help="data directory with transcripts")
    join.add_argument("--out_dir", type=Path, required=True, help="data directory to write")
    join.add_argument("--smallest", type=int, default=3, help="fewest utterances of a sequence")
    join.add_argument("--largest", type=int, default=7, help="most utterances of a sequence")
    join.add_argument("--repeats", type=int, default=1, help="times that each is used")
    join.add_argument("--seed", type=int, default=1, help="seed of order and gaps")
    plot = actions.add_parser("plot", help="draw the alignment of an utterance as SVG")
    plot.add_argument("directory", type=Path, help="data directory")
    plot.add_argument("--alignment", type=Path, required=True, help="holds phones.ctm, words.ctm")
    plot.add_argument("--utterance", required=True, help="id of the utterance")
    plot.add_argument("--out", type=Path, required=True, help="SVG file to write")
    dump = actions.add_parser("dump", help="compute a frontend's features once")
    dump.add_argument("directories", nargs="+", type=Path, help="data directories")
    dump.add_argument("--out_dir", type=Path, required=True, help="where features go")
    dump.add_argument("--config_dir", type=Path, help="folder of the recipe's YAML files")
    dump.add_argument("--config", metavar="NAME", help="primary file of pretraining")
    dump.add_argument("--override", action="append", default=[], metavar="KEY=VALUE")


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", choices=("mini", "librispeech", "kaldi"), default="mini")
    parser.add_argument("--out_dir", type=Path, required=True, help="where data directories go")
    parser.add_argument("--size", choices=("tiny", "mini", "small"), default="mini")
    parser.add_argument("--seed", type=int, default=1, help="seed of the mini corpus")
    parser.add_argument("--corpus_root", type=Path, default=Path("downloads"))
    parser.add_argument("--librispeech_root", type=Path, help="folder that holds LibriSpeech/")
    parser.add_argument("--download", action="store_true", help="download LibriSpeech first")
    parser.add_argument("--subsets", default="", help="subsets, joined by commas; empty for all")
    parser.add_argument("--alignments", type=Path, help="folder of <subset>.phones.ctm files")
    parser.add_argument("--data_root", type=Path, help="folder of Kaldi-style directories")
    parser.add_argument("--sample_rate", type=int, default=16000, help="rate of the result, in Hz")
    parser.add_argument("--nj", type=int, default=0, help="processes; 0 takes all cores")


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directories", nargs="+", type=Path, help="data directories")
    parser.add_argument("--audio", action="store_true", help="open every recording, too")
    parser.add_argument("--hash", action="store_true", help="compare with wav.sha256, too")
    parser.add_argument("--limit", type=int, default=50, help="problems shown of a directory")
    parser.add_argument("--text", choices=("auto", "required", "none"), default="auto")


def run(args: argparse.Namespace) -> int:
    """Run one action.

    Args:
        args: the parsed options.

    Returns:
        0, or 3 where a directory is not valid.
    """
    actions = {
        "prepare": _prepare,
        "check": _check,
        "labels": _labels,
        "split": _split,
        "subset": _subset,
        "join": _join,
        "plot": _plot,
        "dump": _dump,
    }
    return actions[args.action](args)


def _check(args: argparse.Namespace) -> int:
    from speechlite.data.validation import check_datadir

    bad = 0
    for directory in args.directories:
        problems = check_datadir(
            directory, audio=args.audio, hash=args.hash, text=args.text, limit=args.limit
        )
        for problem in problems:
            print(problem)
        bad += bool(problems)
        if not problems:
            print(f"{directory}: valid")
    return DataError.exit_code if bad else 0


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _prepare(args: argparse.Namespace) -> int:
    preparers = {
        "mini": _prepare_mini,
        "librispeech": _prepare_librispeech,
        "kaldi": _prepare_kaldi,
    }
    from speechlite.data.corpora.prepared import forget_other_corpus, remember_corpus
    from speechlite.data.corpora.sample_rate import convert_sample_rate

    request = {name: str(getattr(args, name)) for name in _REQUEST}
    forget_other_corpus(args.out_dir, request)
    directories = preparers[args.corpus](args)
    remember_corpus(args.out_dir, request, directories)
    converted = 0
    if args.corpus == "kaldi":
        converted = convert_sample_rate(directories, sample_rate=args.sample_rate)
    for directory in directories:
        print(directory)
    if converted:
        print(f"converted {converted} recordings to {args.sample_rate} Hz")
    return 0


def _prepare_mini(args: argparse.Namespace) -> list[Path]:
    from speechlite.data.corpora.librispeech import prepare_librispeech
    from speechlite.data.corpora.mini import generate
    from speechlite.engine.progress import track

    with track(f"synthesising the {args.size} corpus", 1) as tracker:

        def show(done: int, total: int) -> None:
            tracker.total = total
            tracker.update(done)

        root = args.corpus_root / f"mini_corpus_{args.size}_seed{args.seed}"
        generate(root, size=args.size, seed=args.seed, workers=args.nj or None, progress=show)
    directories = prepare_librispeech(root, args.out_dir)
    _write_lm_text(args, directories)
    return directories


def _write_lm_text(args: argparse.Namespace, directories: list[Path]) -> None:
    from speechlite.data.corpora.mini.lm_text import write_lm_text
    from speechlite.data.tables import read_table

    held_out = [
        text
        for path in directories
        if not path.name.startswith("train")
        for text in read_table(path / "text").values()
    ]
    write_lm_text(
        args.out_dir / "lm_text",
        num_utterances=_LM_UTTERANCES,
        seed=args.seed,
        held_out=held_out,
    )


def _prepare_librispeech(args: argparse.Namespace) -> list[Path]:
    from speechlite.data.corpora.librispeech import prepare_librispeech
    from speechlite.data.corpora.librispeech_download import download_librispeech

    subsets = _names(args.subsets)
    if args.librispeech_root is None and not args.download:
        raise UsageError(
            "--corpus librispeech without a place to read it from",
            remedy="add --librispeech_root DIR, or --download to fetch it",
        )
    root = args.librispeech_root or args.corpus_root
    if args.download and not subsets:
        raise UsageError(
            "--download without --subsets",
            remedy="name what to download, as in --subsets train-clean-100,dev-clean,test-clean",
        )
    if args.download:
        download_librispeech(root, subsets=subsets)
    return prepare_librispeech(
        root, args.out_dir, subsets=subsets or None, alignments=args.alignments
    )


def _prepare_kaldi(args: argparse.Namespace) -> list[Path]:
    from speechlite.data.corpora.kaldi import prepare_kaldi

    if args.data_root is None:
        raise UsageError("--corpus kaldi without --data_root", remedy="add --data_root DIR")
    return prepare_kaldi(args.data_root, args.out_dir)


def _labels(args: argparse.Namespace) -> int:
    from speechlite.data.frame_labels import label_frames

    for path in label_frames(args.directories):
        print(path)
    return 0


def _split(args: argparse.Namespace) -> int:
    from speechlite.data.corpora.parts import split_by_speaker

    for path in split_by_speaker(
        args.directory,
        args.out_dir,
        test_speakers=_names(args.test_speakers),
        dev_speakers=_names(args.dev_speakers),
    ):
        print(path)
    return 0


def _subset(args: argparse.Namespace) -> int:
    from speechlite.data.corpora.parts import draw_part

    count = draw_part(args.directory, args.out_dir, share=args.share, seed=args.seed)
    print(f"{args.out_dir}: {count} utterances")
    return 0


def _join(args: argparse.Namespace) -> int:
    from speechlite.data.corpora.joined import join_utterances

    count = join_utterances(
        args.directory,
        args.out_dir,
        smallest=args.smallest,
        largest=args.largest,
        repeats=args.repeats,
        seed=args.seed,
    )
    print(f"{args.out_dir}: {count} sequences")
    return 0


def _plot(args: argparse.Namespace) -> int:
    from speechlite.engine.alignment_plot import plot_alignment

    plot_alignment(args.directory, args.alignment, args.utterance, args.out)
    print(args.out)
    return 0


def _dump(args: argparse.Namespace) -> int:
    from speechlite.cli.registry import open_registry
    from speechlite.config.compose import compose

    registry = open_registry()
    config = compose(
        "pretrain",
        registry=registry,
        config_dir=args.config_dir,
        config_name=args.config,
        overrides=args.override,
    )
    from speechlite.engine.dump import dump_features

    for path in dump_features(config.frontend, args.directories, args.out_dir, registry):
        print(path)
    return 0
