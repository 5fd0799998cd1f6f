"""The lang directory on disk, in the form that Kaldi's tools read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from speechlite.core.errors import DataError
from speechlite.data.atomic import replace_file
from speechlite.hmm.fst_arrays import read_fst, write_fst
from speechlite.hmm.lang import UNKNOWN_WORD, Lang
from speechlite.hmm.lexicon import read_lexicon, write_lexicon
from speechlite.hmm.lexicon_fst import lexicon_fst
from speechlite.hmm.topology import read_topology, topology_text
from speechlite.hmm.wheels import load_wheels

__all__ = ["read_lang", "read_lang_topology", "read_lexicon_fst", "write_lang"]

_REMEDY = "make the lang again: speechlite hmm lang"
_KINDS = {"_B": "begin", "_E": "end", "_I": "internal", "_S": "singleton"}


def write_lang(directory: Path, lang: Lang) -> None:
    """Write a lang directory.

    Args:
        directory: an existing directory to write into.
        lang: what to write.
    """
    (directory / "phones").mkdir(exist_ok=True)
    _write(directory / "phones.txt", (f"{name} {i}" for name, i in lang.phones.items()))
    _write(directory / "words.txt", (f"{name} {i}" for name, i in lang.words.items()))
    _write(directory / "oov.txt", [UNKNOWN_WORD])
    _write(directory / "oov.int", [str(lang.words[UNKNOWN_WORD])])
    _write(directory / "topo", [topology_text(lang.silence_ids, lang.speech_ids).rstrip("\n")])
    _write(directory / "silence_probability", [repr(float(lang.silence_probability))])
    write_lexicon(directory / "lexiconp.txt", lang.lexicon)
    _write_phone_sets(directory / "phones", lang)
    for name, disambiguated in (("L.fst", False), ("L_disambig.fst", True)):
        fst = lexicon_fst(lang, disambiguated=disambiguated)
        load_wheels().kaldifst.arcsort(fst, sort_type="olabel")
        write_fst(directory / name, fst)


def _write(path: Path, lines: Iterable[str]) -> None:
    with replace_file(path) as stream:
        stream.write("".join(f"{line}\n" for line in lines).encode())


def _write_phone_sets(directory: Path, lang: Lang) -> None:
    silence = [phone for group in lang.silence_phones for phone in group]
    speech = [phone for group in lang.speech_phones for phone in group]
    for name, phones in (
        ("silence", silence),
        ("nonsilence", speech),
        ("optional_silence", [lang.silence_phones[0][0]]),
        ("context_indep", silence),
        ("disambig", lang.disambiguation),
    ):
        ids = [str(lang.phones[phone]) for phone in phones]
        _write(directory / f"{name}.txt", phones)
        _write(directory / f"{name}.int", ids)
        _write(directory / f"{name}.csl", [":".join(ids)])
    roots = [("not-shared not-split ", group, "") for group in lang.silence_phones]
    roots += [("shared split ", group, "") for group in lang.speech_phones]
    _write_rows(directory, "roots", roots, lang)
    _write_rows(directory, "sets", [("", group, "") for group in lang.groups], lang)
    _write(directory / "wdisambig_words.int", [str(lang.words["#0"])])
    _write(directory / "wdisambig_phones.int", [str(lang.phones["#0"])])
    # its presence says that phones know their place
    for suffix in (".txt", ".int"):
        (directory / f"word_boundary{suffix}").unlink(missing_ok=True)
    if lang.position_dependent:
        kinds = [_KINDS.get(phone[-2:], "nonword") for phone in [*silence, *speech]]
        rows = [("", (p,), f" {kind}") for p, kind in zip([*silence, *speech], kinds, strict=True)]
        _write_rows(directory, "word_boundary", rows, lang)
    _write_align_lexicon(directory, lang)


def _write_rows(
    directory: Path, stem: str, rows: Sequence[tuple[str, Sequence[str], str]], lang: Lang
) -> None:
    """Write phones between other fields, once with their names and once with their ids."""
    names = [f"{before}{' '.join(phones)}{after}" for before, phones, after in rows]
    numbers = [
        f"{before}{' '.join(str(lang.phones[phone]) for phone in phones)}{after}"
        for before, phones, after in rows
    ]
    _write(directory / f"{stem}.txt", names)
    _write(directory / f"{stem}.int", numbers)


def _write_align_lexicon(directory: Path, lang: Lang) -> None:
    said = {(entry.word, entry.phones) for entry in lang.lexicon.entries}
    # the optional silence belongs to no word
    said.add(("<eps>", lang.silence_phones[0][:1]))
    rows = [(f"{lang.words[word]} " * 2, phones, "") for word, phones in sorted(said)]
    _write_rows(directory, "align_lexicon", rows, lang)
    names = (f"{word} {word} {' '.join(phones)}" for word, phones in sorted(said))
    _write(directory / "align_lexicon.txt", names)


def read_lang(directory: Path) -> Lang:
    """Read a lang directory.

    Args:
        directory: what ``write_lang`` wrote.

    Returns:
        The lang.

    Raises:
        DataError: if a file is missing or malformed, or the lexicon uses phones that phones.txt
            lacks.
    """
    groups = [tuple(line.split()) for line in _lines(directory / "phones" / "sets.txt")]
    silence = _lines(directory / "phones" / "silence.txt")
    if not all(groups):
        raise DataError("has an empty line", remedy=_REMEDY, path=directory / "phones" / "sets.txt")
    first = [phone for group in groups for phone in group][: len(silence)]
    if not silence or silence != first:
        raise DataError(
            "expected the first phones of sets.txt",
            remedy=_REMEDY,
            path=directory / "phones" / "silence.txt",
        )
    lexicon = read_lexicon(directory / "lexiconp.txt")
    lang = Lang(
        lexicon=lexicon,
        silence_phones=tuple(group for group in groups if group[0] in silence),
        speech_phones=tuple(group for group in groups if group[0] not in silence),
        position_dependent=(directory / "phones" / "word_boundary.txt").is_file(),
        silence_probability=_silence_probability(directory / "silence_probability"),
    )
    _check(directory, lang)
    return lang


def _silence_probability(path: Path) -> float:
    text = " ".join(_lines(path))
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1.0:
        raise DataError(
            f"{text[:60]!r}, expected a number above 0 and below 1", remedy=_REMEDY, path=path
        )
    return value


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read ({error})", remedy=_REMEDY, path=path) from None


def _check(directory: Path, lang: Lang) -> None:
    missing = [phone for phone in lang.lexicon.phones if phone not in lang.phones]
    if missing:
        raise DataError(
            f"the lexicon uses phones that phones.txt lacks: {missing}",
            remedy=_REMEDY,
            path=directory / "lexiconp.txt",
        )
    for name, symbols in (("phones.txt", lang.phones), ("words.txt", lang.words)):
        if _lines(directory / name) != [f"{symbol} {i}" for symbol, i in symbols.items()]:
            raise DataError(
                "does not belong to the lexicon beside it", remedy=_REMEDY, path=directory / name
            )


def read_lang_topology(directory: Path, lang: Lang) -> Any:
    """Read the topology of a lang directory.

    Args:
        directory: the lang directory.
        lang: what ``read_lang`` gave.

    Returns:
        A ``kaldi_hmm_gmm.HmmTopology``.

    Raises:
        DataError: if it is missing or malformed, or lacks phones of the lang.
    """
    path = directory / "topo"
    try:
        return read_topology("\n".join(_lines(path)), phones=[*lang.silence_ids, *lang.speech_ids])
    except DataError as error:
        raise DataError(error.cause, remedy=error.remedy, path=path) from None


def read_lexicon_fst(directory: Path, *, disambiguated: bool) -> Any:
    """Read the lexicon transducer of a lang directory.

    Args:
        directory: the lang directory.
        disambiguated: which of the two.

    Returns:
        A ``kaldifst.StdVectorFst``, sorted by output label.
    """
    return read_fst(directory / ("L_disambig.fst" if disambiguated else "L.fst"))
