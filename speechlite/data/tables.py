"""The text tables of a Kaldi-style data directory: one ``key value`` line each, in C byte order."""

from __future__ import annotations

import operator
import re
import stat
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from speechlite.core.errors import DataError
from speechlite.data.atomic import replace_file
from speechlite.data.problems import Problem, shown

__all__ = ["Table", "parse_table", "read_table", "scan_table", "write_table"]

MAX_LINE_BYTES = 1_000_000
MAX_FILE_BYTES = 4_000_000_000

# Control characters, white space other than the plain one, and marks that are invisible or that
# turn the direction of writing. The zero-width joiners U+200C and U+200D stay: scripts need them.
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\xa0\u1680\u2000-\u200b\u200e\u200f\u2028-\u202f\u205f-\u2064"
    "\u2066-\u206f\u3000\ufeff]"
)
_UNSAFE_NAMES = {"\t": "a tab", "\r": "a carriage return", "\0": "a NUL character"}
_FIXED_BY_FORMAT = "write one 'key value' line with one plain space between key and value"


@dataclass(frozen=True)
class Table:
    """Hold a table without faults; entry ``i`` of both lists stands on line ``i + 1``.

    Args:
        path: the file that it was read from.
        keys: first word of every line.
        values: the rest of every line.
    """

    path: Path
    keys: list[str]
    values: list[str]

    def problem(self, index: int, cause: str, remedy: str) -> Problem:
        """Return a problem on the line of an entry.

        Args:
            index: 0-based entry.
            cause: what was found and what was expected.
            remedy: what the user can do about it.

        Returns:
            The problem with this table's path and the entry's line.
        """
        return Problem(self.path, index + 1, cause, remedy)


def read_table(path: str | Path) -> dict[str, str]:
    """Read a table, refusing everything that another program might read differently.

    Args:
        path: UTF-8 file with one ``key value`` line an entry, sorted by key in C byte order.

    Returns:
        Value by key, in the order of the file.

    Raises:
        DataError: the first fault, with its line.
    """
    table, problems = scan_table(path, limit=1)
    if table is None:
        raise problems[0].error()
    return dict(zip(table.keys, table.values, strict=True))


def write_table(path: str | Path, rows: Mapping[str, str]) -> None:
    """Write a table that `read_table` reads back as it is, sorted by key in C byte order.

    Args:
        path: the file to write or replace; never left half-written.
        rows: value by key; at least one.

    Raises:
        DataError: a key or a value cannot stand in a table; nothing is written.
        EnvironmentProblem: the file cannot be written.
    """
    # Code points sort as their UTF-8 bytes do, so that plain sorting is the C byte order.
    text = "".join(f"{key} {rows[key]}\n" for key in sorted(rows))
    data = text.encode("utf-8", errors="surrogatepass")
    table, problems = parse_table(Path(path), data, limit=1)
    if table is None:
        raise problems[0].error()
    if dict(zip(table.keys, table.values, strict=True)) != dict(rows):
        raise DataError(
            "a key contains a space, or a value a line break", remedy=_FIXED_BY_FORMAT, path=path
        )
    with replace_file(path) as stream:
        stream.write(data)


def scan_table(
    path: str | Path, *, limit: int = 50, unique: bool = True, max_line_bytes: int = MAX_LINE_BYTES
) -> tuple[Table | None, list[Problem]]:
    """Read a table and collect its faults instead of stopping at the first one.

    Args:
        path: the file.
        limit: the most problems to collect.
        unique: whether a key may stand on one line only; a CTM has many lines a key.
        max_line_bytes: longest line allowed, in bytes.

    Returns:
        The table, or None if it has a fault, and the problems found.
    """
    path = Path(path)
    try:
        data = _read_bytes(path)
    except DataError as error:
        return None, [Problem(path, None, error.cause, error.remedy)]
    return parse_table(path, data, limit=limit, unique=unique, max_line_bytes=max_line_bytes)


def parse_table(
    path: Path,
    data: bytes,
    *,
    limit: int = 50,
    unique: bool = True,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> tuple[Table | None, list[Problem]]:
    """Parse the content of a table and collect its faults.

    Args:
        path: the name for messages.
        data: the content.
        limit: the most problems to collect.
        unique: whether a key may stand on one line only.
        max_line_bytes: longest line allowed, in bytes.

    Returns:
        The table, or None if it has a fault, and the problems found.
    """
    found = _byte_problems(path, data, max_line_bytes)
    if found is not None:
        return None, [found]
    text = data.decode("utf-8")
    lines = text.split("\n")
    lines.pop()
    if not _is_clean(text):
        problems = list(islice(_line_problems(path, lines), limit))
        if problems:
            return None, problems
    # Two passes keep no pair of each line alive, which the garbage collector would visit.
    keys = [line.partition(" ")[0] for line in lines]
    table = Table(path, keys, [line.partition(" ")[2] for line in lines])
    problems = list(islice(_row_problems(table, unique), limit))
    return (None, problems) if problems else (table, [])


def _read_bytes(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError("is not a regular file", remedy="put a text file here", path=path)
        if status.st_size > MAX_FILE_BYTES:
            raise DataError(
                f"has {status.st_size} bytes, at most {MAX_FILE_BYTES} are read",
                remedy="split the data directory",
                path=path,
            )
        return path.read_bytes()
    except OSError as error:
        cause = f"cannot be read: {error.strerror or error}"
        raise DataError(cause, remedy="check the path and its permissions", path=path) from error


def _line_at(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


def _byte_problems(path: Path, data: bytes, max_line_bytes: int) -> Problem | None:
    """Find what keeps the file from being read as lines of text at all."""
    if not data:
        return Problem(path, None, "is empty", "write one line an entry or remove the file")
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        remedy = "save the file as plain UTF-8 without it"
        return Problem(path, 1, "begins with a byte order mark (BOM)", remedy)
    if len(data) > max_line_bytes:
        longest = max(data.split(b"\n"), key=len)
        if len(longest) > max_line_bytes:
            cause = f"line of {len(longest)} bytes, at most {max_line_bytes} are allowed"
            remedy = "split the entry or look for a missing line break"
            return Problem(path, _line_at(data, data.find(longest)), cause, remedy)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        cause = f"byte 0x{data[error.start]:02x} is not UTF-8"
        return Problem(path, _line_at(data, error.start), cause, "convert the file to UTF-8")
    if not data.endswith(b"\n"):
        cause = "the last line has no line break, the file may be cut short"
        remedy = "make the file again, or add the line break if nothing is missing"
        return Problem(path, _line_at(data, len(data)), cause, remedy)
    return None


def _is_clean(text: str) -> bool:
    """Tell quickly that no line has a fault, on the whole text at once."""
    return (
        _UNSAFE.search(text) is None
        and not text.startswith((" ", "\n"))
        and not any(fault in text for fault in ("\n\n", "\n ", " \n"))
        and (text.isascii() or unicodedata.is_normalized("NFC", text))
    )


def _line_problems(path: Path, lines: list[str]) -> Iterator[Problem]:
    for number, line in enumerate(lines, start=1):
        fault = _line_fault(line)
        if fault is not None:
            yield Problem(path, number, *fault)


def _line_fault(line: str) -> tuple[str, str] | None:
    """Return cause and remedy of the first fault of one line."""
    if not line.strip(" "):
        return "empty line", "remove it"
    if line.endswith("\r"):
        return "line ends in CRLF", "convert the file to Unix line ends (LF)"
    unsafe = _UNSAFE.search(line)
    if unsafe is not None:
        return f"{_character_name(unsafe[0])} at column {unsafe.start() + 1}", _FIXED_BY_FORMAT
    if line.startswith(" "):
        return "line begins with a space", _FIXED_BY_FORMAT
    key, _, value = line.partition(" ")
    if not value.strip(" "):
        return f"key {shown(key)} has no value", "give it a value or remove the line"
    if line.endswith(" "):
        return "line ends in a space", "remove the space"
    if not unicodedata.is_normalized("NFC", line):
        return "text is not in Unicode normal form C (NFC)", "normalise the file to NFC"
    return None


def _character_name(character: str) -> str:
    kind = "a control character" if unicodedata.category(character) == "Cc" else "a character"
    return _UNSAFE_NAMES.get(character, f"{kind} U+{ord(character):04X}, not allowed,")


def _row_problems(table: Table, unique: bool) -> Iterator[Problem]:
    for index, value in enumerate(table.values):
        if not value:
            cause = f"key {shown(table.keys[index])} has no value"
            yield table.problem(index, cause, "give it a value or remove the line")
        elif value[0] == " ":
            yield table.problem(index, "more than one space after the key", _FIXED_BY_FORMAT)
    in_order: Callable[[str, str], bool] = operator.lt if unique else operator.le
    if not all(map(in_order, table.keys, islice(table.keys, 1, None))):
        yield from _order_problems(table, unique)


def _order_problems(table: Table, unique: bool) -> Iterator[Problem]:
    first_line: dict[str, int] = {}
    is_sorted = True
    for index, key in enumerate(table.keys):
        if unique and key in first_line:
            cause = f"key {shown(key)} is already on line {first_line[key]}"
            yield table.problem(index, cause, "keep one of the two lines")
        elif is_sorted and index and key < table.keys[index - 1]:
            # One line that moved makes all that follow look wrong: the first says enough.
            is_sorted = False
            cause = f"key {shown(key)} comes after {shown(table.keys[index - 1])}"
            yield table.problem(index, f"{cause}: not in C byte order", "sort with LC_ALL=C")
        first_line.setdefault(key, index + 1)
