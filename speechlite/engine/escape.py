"""Make text from records harmless in each format that shows it.

Row names, speaker ids, transcripts and reasons come from files that others may have written.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["clean", "csv_text", "html_text", "latex", "markdown"]

_MARKDOWN_ENTITIES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "#": "&#35;",
    "@": "&#64;",
    "|": "&#124;",
}
_MARKDOWN_BACKSLASH = frozenset("\\`*_{}[]~$")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",
    "]": "{]}",
}
_LINK = re.compile(r"(?i)(https?|ftp|www|mailto|xmpp|javascript|data|vbscript)(:|\.)")


def clean(text: object) -> str:
    """Return text on one line without characters that steer a terminal or reorder text.

    Args:
        text: anything that can be shown.

    Returns:
        The text: line ends and tabs become spaces; control and format characters (among them
        ANSI escapes and bidirectional overrides) and lone surrogates are dropped.
    """
    spaced = "".join(" " if c.isspace() else c for c in str(text))
    kept = (c for c in spaced if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co"))
    return " ".join("".join(kept).split())


def markdown(text: object) -> str:
    """Return text that GitHub-flavoured Markdown shows as it is, also in a table cell.

    Args:
        text: the text.

    Returns:
        Markdown without markup, links, mentions, HTML or column ends.
    """
    escaped = []
    for character in clean(text):
        if character in _MARKDOWN_ENTITIES:
            escaped.append(_MARKDOWN_ENTITIES[character])
        elif character in _MARKDOWN_BACKSLASH:
            escaped.append("\\" + character)
        else:
            escaped.append(character)
    # without this a bare address would become a link
    return _LINK.sub(lambda m: f"{m[1]}&#{ord(m[2])};", "".join(escaped))


def csv_text(text: object) -> str:
    """Return text that a spreadsheet does not take for a formula.

    Args:
        text: the text.

    Returns:
        The text, behind an apostrophe where it would start a formula.
    """
    shown = clean(text)
    normal = unicodedata.normalize("NFKC", shown)
    return f"'{shown}" if normal[:1] in ("=", "+", "-", "@") else shown


def latex(text: object) -> str:
    """Return text that LaTeX sets as it is.

    Args:
        text: the text.

    Returns:
        LaTeX without commands of its own and with balanced braces.
    """
    return "".join(_LATEX.get(character, character) for character in clean(text))


def html_text(text: object) -> str:
    """Return text for a template that escapes it.

    Args:
        text: the text.

    Returns:
        The text with its line ends, without other control characters.
    """
    return "\n".join(clean(line) for line in str(text).splitlines())
