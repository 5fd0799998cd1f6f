"""Ways to spoil a good data directory, one fault each, and where it must be found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from good_directories import GOOD, MINIMAL, SEGMENTED


@dataclass(frozen=True)
class Bad:
    """Name a fault, where it must be found and how it is made from a good directory."""

    name: str
    file: str
    line: int | None
    match: str
    spoil: Callable[[Path], None]
    base: dict[str, str]


def _edit(file: str, old: str, new: str | bytes) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        path = directory / file
        content = path.read_bytes()
        assert old.encode() in content
        new_bytes = new if isinstance(new, bytes) else new.encode("utf-8")
        path.write_bytes(content.replace(old.encode(), new_bytes, 1))

    return spoil


def _put(file: str, content: str | bytes) -> Callable[[Path], None]:
    content = content if isinstance(content, bytes) else content.encode("utf-8")

    def spoil(directory: Path) -> None:
        (directory / file).write_bytes(content)

    return spoil


def _remove(file: str) -> Callable[[Path], None]:
    return lambda directory: (directory / file).unlink()


def _folder(file: str) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        (directory / file).unlink()
        (directory / file).mkdir()

    return spoil


def _reverse(file: str) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        lines = (directory / file).read_text().splitlines(keepends=True)
        (directory / file).write_text("".join(reversed(lines)))

    return spoil


def _drop_last(file: str) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        lines = (directory / file).read_text().splitlines(keepends=True)
        (directory / file).write_text("".join(lines[:-1]))

    return spoil


def _broken_link(file: str) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        (directory / file).unlink()
        (directory / file).symlink_to(directory / "nowhere")

    return spoil


def _bad(
    name: str,
    file: str,
    line: int | None,
    match: str,
    spoil: Callable[[Path], None],
    *,
    base: dict[str, str] = GOOD,
) -> Bad:
    return Bad(name, file, line, match, spoil, base)


def _edited(
    name: str,
    file: str,
    line: int | None,
    match: str,
    old: str,
    new: str | bytes,
    *,
    base: dict[str, str] = GOOD,
) -> Bad:
    return Bad(name, file, line, match, _edit(file, old, new), base)


def _path(name: str, match: str, path: str) -> Bad:
    return _edited(f"path_{name}", "wav.scp", 2, match, "/audio/a-2.flac", path)


FILES = [
    *(
        _bad(f"no_{name}", name, None, "does not exist", _remove(name))
        for name in ("wav.scp", "utt2spk", "spk2utt")
    ),
    *(
        _bad(f"empty_{name}", name, None, "is empty", _put(name, ""))
        for name in ("wav.scp", "utt2spk", "text", "utt2dur")
    ),
    _bad("folder_for_file", "text", None, "not a regular file", _folder("text")),
    _bad("broken_link", "text", None, "cannot be read: No such file", _broken_link("text")),
]
LINES = [
    _edited("byte_order_mark", "text", 1, "byte order mark", "a-1 H", b"\xef\xbb\xbfa-1 H"),
    _bad("utf16", "text", 1, "byte order mark", _put("text", GOOD["text"].encode("utf-16"))),
    _edited("bad_utf8", "text", 2, "byte 0xe9 is not UTF-8", "ME", b"M\xe9"),
    _edited("surrogate", "text", 2, "byte 0xed is not UTF-8", "ME", b"\xed\xa0\x80"),
    _edited("decomposed", "text", 1, "normal form C", "HELLO", "HE\u0301LLO"),
    _edited("crlf_line", "text", 1, "CRLF", "WORLD\n", "WORLD\r\n"),
    _bad("crlf_file", "utt2spk", 1, "CRLF", _put("utt2spk", "a-1 a\r\na-2 a\r\nb-1 b\r\n")),
    _edited("bare_return", "text", 1, "carriage return", "LO W", "LO\rW"),
    _edited("tab_separator", "utt2spk", 2, "a tab at column 4", "a-2 a", "a-2\ta"),
    _edited("tab_in_text", "text", 1, "a tab at column 10", "O W", "O\tW"),
    _edited("nul", "text", 3, "a NUL character", "BYE", "B\0E"),
    _edited("escape", "text", 3, r"control character U\+001B", "BYE", "\x1b[31mBYE"),
    _edited("delete", "text", 3, r"control character U\+007F", "BYE", "BYE\x7f"),
    _edited("no_break_space", "text", 1, r"U\+00A0", "O W", "O\u00a0W"),
    _edited("ideographic_space", "text", 1, r"U\+3000", "O W", "O\u3000W"),
    _edited("line_separator", "text", 1, r"U\+2028", "O W", "O\u2028W"),
    _edited("zero_width_space", "text", 1, r"U\+200B", "O W", "O\u200bW"),
    _edited("text_direction", "text", 1, r"U\+202E", "WORLD", "\u202eWORLD"),
    _edited("inner_mark", "text", 2, r"U\+FEFF", "ME", "\ufeffME"),
    _edited("empty_line", "utt2dur", 2, "empty line", "\na-2", "\n\na-2"),
    _edited("empty_first_line", "utt2dur", 1, "empty line", "a-1", "\na-1"),
    _edited("empty_last_line", "utt2dur", 4, "empty line", "0.75\n", "0.75\n\n"),
    _edited("blank_line", "text", 2, "empty line", "\na-2", "\n  \na-2"),
    _edited("leading_space", "text", 2, "begins with a space", "a-2", " a-2"),
    _edited("two_spaces", "text", 2, "more than one space", "a-2 ", "a-2  "),
    _edited("trailing_space", "text", 2, "ends in a space", "ME", "ME "),
    _edited("cut_short", "text", 3, "no line break", "BYE\n", "BY"),
    _edited("key_only", "utt2spk", 2, "'a-2' has no value", "a-2 a", "a-2"),
    _edited("long_line", "text", 2, "line of 2000011 bytes", "ME", "M" * 2_000_002),
]
ORDER = [
    *(
        _bad(f"unsorted_{name}", name, 2, "not in C byte order", _reverse(name))
        for name in ("wav.scp", "utt2spk", "spk2utt", "text", "utt2dur", "utt2num_samples")
    ),
    _bad("locale_order", "utt2spk", 2, "not in C byte order", _put("utt2spk", "a 1\nB 2\nc 3\n")),
    _edited("duplicate", "text", 2, "'a-1' is already on line 1", "a-2", "a-1"),
    _edited("duplicate_far", "text", 3, "'a-1' is already on line 1", "b-1", "a-1"),
    _edited("duplicate_path", "wav.scp", 2, "already on line 1", "a-2 ", "a-1 "),
    _bad("unsorted_words", "words.ctm", 2, "not in C byte order", _reverse("words.ctm")),
]
KEYS = [
    *(
        _bad(f"gone_from_{name}", "utt2spk", 3, f"'b-1' is not in {name}", _drop_last(name))
        for name in ("wav.scp", "text", "utt2dur", "utt2num_samples")
    ),
    *(
        _bad(f"gone_from_{name}", "utt2spk", 3, f"speaker 'b' is not in {name}", _drop_last(name))
        for name in ("spk2gender", "chap2reader")
    ),
    _bad("gone_from_spk2utt", "utt2spk", 3, "'b-1' is not in spk2utt", _drop_last("spk2utt")),
    _edited("extra_text", "text", 3, "'aa-9' is not in utt2spk", "b-1", "aa-9 HM\nb-1"),
    _edited("extra_wav", "wav.scp", 3, "'aa-9' is not in utt2spk", "b-1", "aa-9 /a/b.wav\nb-1"),
    _edited("extra_duration", "utt2dur", 3, "'aa-9' is not in utt2spk", "b-1", "aa-9 1.5\nb-1"),
    _edited("extra_gender", "spk2gender", 2, "speaker 'aa' is not", "b m", "aa f\nb m"),
    _edited("extra_in_ctm", "words.ctm", 3, "'aa-9' is not in utt2spk", "b-1", "aa-9"),
    _edited("extra_in_spk2utt", "spk2utt", 1, "'a-3' is not in utt2spk", "a-2", "a-2 a-3"),
    _edited("twice_in_spk2utt", "spk2utt", 1, "'a-1' is already on line 1", "a-2", "a-1 a-2"),
    _edited("spaces_in_spk2utt", "spk2utt", 1, "more than one space", "a-1 a-2", "a-1  a-2"),
    _edited("wrong_speaker", "spk2utt", 2, "has speaker 'a' in utt2spk", "b b-1", "b a-2 b-1"),
    _bad(
        "speakers_not_sorted",
        "utt2spk",
        2,
        "does not sort by speaker",
        _put("utt2spk", "a-1 z\na-2 a\nb-1 b\n"),
    ),
    _edited(
        "slash_in_id",
        "utt2spk",
        3,
        "cannot be a file name",
        "b",
        "b",
        base={
            name: text.replace(" b-1", " b/../../1").replace("b-1 ", "b/../../1 ")
            for name, text in MINIMAL.items()
        },
    ),
]
VALUES = [
    _edited("no_transcript", "text", 2, "'a-2' has no value", "a-2 IT'S ME", "a-2"),
    _edited("space_transcript", "text", 2, "'a-2' has no value", "a-2 IT'S ME", "a-2 "),
    _edited("spaces_transcript", "text", 2, "'a-2' has no value", "a-2 IT'S ME", "a-2    "),
    _edited("two_speakers", "utt2spk", 2, "one word expected", "a-2 a", "a-2 a b"),
    _edited("gender", "spk2gender", 1, "m or f expected", "a f", "a F"),
    _edited("gender_word", "spk2gender", 1, "m or f expected", "a f", "a female"),
    _edited("two_readers", "chap2reader", 1, "one word expected", "103", "103 104"),
    *(
        _edited(f"duration_{value}", "utt2dur", 2, "seconds above 0", "2.0", value)
        for value in ("nan", "inf", "-2.0", "1e3", "2,0", "two", "+2", "2.")
    ),
    _edited("duration_zero", "utt2dur", 2, "duration of 0.00 s", "2.0", "0.00"),
    _edited("duration_days", "utt2dur", 2, "at most 36000 s", "2.0", "86400"),
    _edited("duration_wrong", "utt2dur", 2, "lasts 1.9 s here but", "2.0", "1.9"),
    *(
        _edited(f"samples_{value}", "utt2num_samples", 2, "whole number", "32000", value)
        for value in ("0", "-5", "32000.0", "0x7d00", "many")
    ),
    _edited("samples_wrong", "utt2dur", 2, "s by utt2num_samples", "2.0", "3.0"),
    _edited("ctm_fields", "words.ctm", 2, "4 fields, ", " WORLD", ""),
    _edited("ctm_nan", "words.ctm", 2, "time 'nan'", "0.60", "nan"),
    _edited("ctm_negative", "words.ctm", 2, "time '-0.40'", "0.60 0.40", "0.60 -0.40"),
    _edited("ctm_beyond", "words.ctm", 2, "beyond the utterance's 1.5 s", "0.60", "1.40"),
    _edited("ctm_backwards", "words.ctm", 2, "before the start", "0.60", "0.05"),
]
PATHS = [
    _path("pipe_end", "command to run", "sph2pipe -f wav /audio/a-2.sph |"),
    _path("pipe_bare", "command to run", "cat /etc/passwd|"),
    _path("pipe_start", "command to run", "|cat"),
    _path("pipe_scheme", "command to run", "pipe:cat /audio/a-2.wav"),
    _path("dash", "standard input", "-"),
    _path("option", "begins with '-'", "-rf.wav"),
    _path("home", "begins with '~'", "~/a-2.flac"),
    _path("other_home", "begins with '~'", "~root/a-2.flac"),
    _path("parent", r"'\.\.' component", "/audio/../etc/a-2.flac"),
    _path("relative_parent", r"'\.\.' component", "../a-2.flac"),
    _path("http", "an address", "http://example.org/a-2.flac"),
    _path("https", "an address", "https://example.org/a-2.flac"),
    _path("s3", "an address", "s3://bucket/a-2.flac"),
    _path("file", "an address", "file:///audio/a-2.flac"),
    _path("ark_scheme", "an address", "ark:/audio/all.ark"),
    _path("scp_scheme", "an address", "scp,p:/audio/all.scp"),
    _path("archive", "inside an archive", "/audio/all.ark:1234"),
    _path("archive_range", "inside an archive", "/audio/all.ark:1234[0:9]"),
    _path("backticks", "contains '`'", "/audio/`id`.flac"),
    _path("dollar", r"contains '\$'", "/audio/$(id).flac"),
    _path("semicolon", "contains ';'", "/audio/a-2.flac; id"),
    _path("ampersand", "contains '&'", "/audio/a-2.flac & id"),
    _path("redirect", "contains '>'", "/audio/a-2.flac > b"),
    _path("glob", r"contains '\*'", "/audio/*.flac"),
    _path("quote", "contains '\"'", '/audio/"a".flac'),
    _path("backslash", "which shells", "C\\audio\\a-2.flac"),
    _path("relative_absent", "relative path 'wav/a-2.flac' does not exist", "wav/a-2.flac"),
    _edited("path_line_break", "wav.scp", 3, "'b.flac' has no value", "a-2.flac", "a-2\nb.flac"),
]
SEGMENTS = [
    *(
        _edited(f"segment_{name}", "segments", 2, match, "call-1 2.25 4.25", new, base=SEGMENTED)
        for name, match, new in (
            ("nan", "time 'nan'", "call-1 nan 4.25"),
            ("inf", "time 'inf'", "call-1 2.25 inf"),
            ("negative", "time '-1'", "call-1 -1 4.25"),
            ("to_the_end", "time '-1'", "call-1 2.25 -1"),
            ("word", "time 'start'", "call-1 start 4.25"),
            ("reversed", "is not after start", "call-1 4.25 2.25"),
            ("nothing", "is not after start", "call-1 4.25 4.25"),
            ("beyond", "beyond the recording's 10 s", "call-1 2.25 14.25"),
            ("short_line", "3 fields", "call-1 2.25"),
            ("long_line", "6 fields", "call-1 2.25 4.25 A B"),
            ("two_spaces", "5 fields", "call-1  2.25 4.25"),
            ("unknown", "recording 'call-9' is not in wav.scp", "call-9 2.25 4.25"),
        )
    ),
    _bad("no_segment", "utt2spk", 3, "is not in segments", _drop_last("segments"), base=SEGMENTED),
    _bad(
        "recording_gone",
        "segments",
        3,
        "recording 'call-2' is not in wav.scp",
        _drop_last("wav.scp"),
        base=SEGMENTED,
    ),
    _edited(
        "recording_unused",
        "wav.scp",
        3,
        "'call-3' has no segment",
        "call-2.flac\n",
        "call-2.flac\ncall-3 /audio/c.flac\n",
        base=SEGMENTED,
    ),
    _edited("segment_length", "utt2dur", 2, "2 s by segments", "2.0", "2.5", base=SEGMENTED),
]
BAD = [*FILES, *LINES, *ORDER, *KEYS, *VALUES, *PATHS, *SEGMENTS]
