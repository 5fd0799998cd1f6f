"""The steps ``lang`` and ``lm``: pronunciations, words and language models."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from speechlite.core.errors import ConfigError, DataError
from speechlite.data.atomic import replace_file
from speechlite.data.corpora.ctm import read_ctm
from speechlite.data.corpora.mini.pronounce import pronounce
from speechlite.data.datadir import read_datadir
from speechlite.engine.dnn_hmm.steps import run_step, write_lines, write_report
from speechlite.engine.dnn_hmm.workspace import Workspace
from speechlite.engine.progress import say
from speechlite.engine.stamps import Stamp
from speechlite.hmm.lang import SILENCE_WORD, UNKNOWN_WORD, Lang, make_lang
from speechlite.hmm.lang_files import write_lang
from speechlite.hmm.language_model import Perplexity, perplexity
from speechlite.hmm.lexicon import Lexicon, Pronunciation, lexicon_of_alignment, read_lexicon
from speechlite.hmm.ngram import estimate_ngram

__all__ = ["make_language_models", "prepare_lang"]

_SOURCES = ("alignments", "espeak")


def prepare_lang(space: Workspace) -> None:
    """Make the lang directory, and say which words of the task it lacks.

    Args:
        space: places and options.

    Raises:
        ConfigError: if no source of pronunciations is named.
        DataError: if a source cannot be read, or gives nothing.
    """
    options = space.config.lang
    if not options.lexicon:
        raise ConfigError(
            "lang.lexicon names no source of pronunciations",
            remedy=f"set lang.lexicon=[FILE] or some of {', '.join(_SOURCES)}",
        )
    files = [Path(name) for name in options.lexicon if name not in _SOURCES]
    directories = [path for paths in space.parts().values() for path in paths]

    def run() -> list[str]:
        lexicon = _lexicon(space)
        lang = make_lang(
            lexicon,
            position_dependent=options.position_dependent,
            silence_probability=options.silence_probability,
        )
        write_lang(space.lang_dir, lang)
        return _report_words(space, lang)

    run_step(
        "lang",
        space.lang_dir,
        lambda: Stamp.of(
            {"lang": space.options("lang")["lang"], "text": space.config.lm.text},
            [*directories, *files, *_texts(space)],
        ),
        run,
    )


def _texts(space: Workspace) -> list[Path]:
    return [Path(name) for name in space.config.lm.text]


def _lexicon(space: Workspace) -> Lexicon:
    entries: list[Pronunciation] = []
    known: set[str] = set()
    for source in space.config.lang.lexicon:
        found = _from_source(space, source, known)
        new = [entry for entry in found if entry.word not in known]
        say(f"lang: {len({entry.word for entry in new})} words from {source}")
        entries += new
        known |= {entry.word for entry in new}
    if not entries:
        raise DataError(
            f"{space.config.lang.lexicon} give no pronunciation",
            remedy="name a lexicon file in lang.lexicon",
        )
    return Lexicon.of(entries)


def _from_source(space: Workspace, source: str, known: set[str]) -> Sequence[Pronunciation]:
    options = space.config.lang
    if source == "alignments":
        return [
            entry
            for directory in space.directories("train")
            for entry in _aligned_lexicon(directory).entries
        ]
    if source == "espeak":
        missing = sorted(_wanted_words(space) - known)
        said = pronounce(missing, voice=options.voice)
        return [Pronunciation(word, phones) for word, phones in said.items()]
    return read_lexicon(Path(source), strip_stress=options.strip_stress).entries


def _aligned_lexicon(directory: Path) -> Lexicon:
    for name in ("words.ctm", "phones.ctm"):
        if not (directory / name).is_file():
            raise DataError(
                f"has no {name}, which lang.lexicon=[alignments] reads",
                remedy="name a lexicon file in lang.lexicon, or espeak",
                path=directory,
            )
    return lexicon_of_alignment(
        read_ctm(directory / "words.ctm"), read_ctm(directory / "phones.ctm")
    )


def _wanted_words(space: Workspace) -> set[str]:
    words = {word for sentence in _sentences(space) for word in sentence}
    for directory in space.directories("train"):
        for utterance in read_datadir(directory, need_text=True).utterances:
            words |= set((utterance.text or "").split())
    return words


def _report_words(space: Workspace, lang: Lang) -> list[str]:
    outputs = sorted(
        str(path.relative_to(space.lang_dir))
        for path in space.lang_dir.rglob("*")
        if path.is_file() and not path.name.startswith((".", "stamp", "report", "oov_words"))
    )
    facts: dict[str, object] = {"words": len(lang.lexicon.words), "phones": len(lang.groups)}
    for part, directories in space.parts().items():
        missing: Counter[str] = Counter()
        tokens = 0
        for directory in directories:
            for utterance in read_datadir(directory, need_text=True).utterances:
                ids, absent = lang.word_ids(utterance.text or "")
                tokens += len(ids)
                missing.update(absent)
        if tokens and missing.total() == tokens:
            raise DataError(
                f"no word of {part} is in the lexicon, {next(iter(missing))!r} for example",
                remedy="name a lexicon of the transcripts' language and spelling in lang.lexicon",
            )
        share = 100.0 * missing.total() / max(tokens, 1)
        say(
            f"lang: {part} has {missing.total()} of {tokens} words outside the lexicon "
            f"({share:.2f} %), {len(missing)} different ones, which become {UNKNOWN_WORD}"
        )
        facts[f"outside_{part}"] = {"tokens": missing.total(), "of": tokens, "types": len(missing)}
        lines = [f"{word} {count}" for word, count in missing.most_common()]
        outputs.append(write_lines(space.lang_dir / f"oov_words_{part}.txt", lines))
    return [*outputs, write_report(space.lang_dir, facts)]


def _sentences(space: Workspace) -> Iterator[list[str]]:
    """Give the words of each sentence of lm.text, or of the training transcripts."""
    for path in _texts(space):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"cannot be read ({error})", remedy="name a text of sentences in lm.text", path=path
            ) from None
        yield from (line.split() for line in text.splitlines() if line.strip())
    if not space.config.lm.text:
        for directory in space.directories("train"):
            for utterance in read_datadir(directory, need_text=True).utterances:
                if (utterance.text or "").split():
                    yield (utterance.text or "").split()


def make_language_models(space: Workspace) -> None:
    """Make ``small.arpa`` and ``large.arpa``, and measure their perplexity on dev.

    Args:
        space: places and options.

    Raises:
        DataError: if a text or a model cannot be read.
    """
    options = space.config.lm
    given = [Path(name) for name in (options.small, options.large) if name]
    transcripts = [*space.directories("train"), *space.directories("dev")]

    def run() -> list[str]:
        lang = space.lang()
        vocabulary = [w for w in lang.lexicon.words if w not in (SILENCE_WORD, UNKNOWN_WORD)]
        facts: dict[str, object] = {}
        for size, path, order, counts in (
            ("small", options.small, options.small_order, options.small_min_counts),
            ("large", options.large, options.large_order, []),
        ):
            out = space.lm_dir / f"{size}.arpa"
            if path is None:
                sizes = estimate_ngram(
                    _sentences(space), vocabulary, out, order=order, min_counts=counts
                )
                facts[size] = {"counts": sizes}
            else:
                _copy(Path(path), out)
                facts[size] = {"from": path}
            found = perplexity(out, _dev_sentences(space))
            facts[f"perplexity_{size}"] = found.value
            facts[f"unknown_{size}"] = found.unknown
            say(_told(size, found))
        return ["small.arpa", "large.arpa", write_report(space.lm_dir, facts)]

    run_step(
        "lm",
        space.lm_dir,
        lambda: Stamp.of(
            space.options("lm"),
            [*transcripts, *given, *_texts(space), space.lang_dir / "words.txt"],
        ),
        run,
    )


def _told(size: str, found: Perplexity) -> str:
    unknown = sum(found.unknown.values())
    examples = ", ".join(list(found.unknown)[:5])
    told = f"lm: {size} model: perplexity {found.value:.2f} on dev over {found.num_tokens} tokens"
    return told + (f"; {unknown} unknown words left out: {examples} ..." if unknown else "")


def _copy(source: Path, out: Path) -> None:
    with replace_file(out) as copy:
        for chunk in _chunks(source):
            copy.write(chunk)


def _chunks(source: Path) -> Iterator[bytes]:
    opener: Any = gzip.open if source.suffix == ".gz" else open
    try:
        with opener(source, "rb") as stream:
            while chunk := stream.read(1 << 20):
                yield chunk
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"cannot be read ({error})", remedy="name an ARPA file, perhaps .gz", path=source
        ) from None


def _dev_sentences(space: Workspace) -> Iterator[list[str]]:
    for directory in space.directories("dev"):
        for utterance in read_datadir(directory, need_text=True).utterances:
            if (utterance.text or "").split():
                yield (utterance.text or "").split()
