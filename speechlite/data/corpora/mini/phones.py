"""Translate eSpeak's phone mnemonics into ARPAbet.

The labels are what was said, not what a dictionary gives: accents that drop the R get none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

__all__ = ["ARPABET", "NASALS_LIQUIDS", "PAUSE", "STOPS", "VOWELS", "to_arpabet"]

PAUSE = "SIL"
"""Symbol of silence between words."""
STOPS = frozenset({"P", "T", "K", "B", "D", "G", "CH", "JH"})
"""Phones with a closure, which has no sound of its own."""
NASALS_LIQUIDS = frozenset({"M", "N", "NG", "L", "R", "W", "Y"})
"""Consonants that a vowel begins with a transition from."""

_CONSONANTS = {
    "p": "P", "b": "B", "t": "T", "t2": "T", "t#": "T", "t[": "T", "?": "T", "d": "D", "k": "K",
    "g": "G", "tS": "CH", "dZ": "JH", "f": "F", "v": "V", "T": "TH", "D": "DH", "s": "S", "z": "Z",
    "S": "SH", "Z": "ZH", "h": "HH", "m": "M", "n": "N", "n-": "AH N", "N": "NG", "l": "L",
    "r": "R", "r-": "R", "j": "Y", "w": "W", "w#": "W",
}  # fmt: skip
_VOWELS = {
    "i": "IY", "i:": "IY", "I": "IH", "I2": "IH", "I#": "IH", "E": "EH", "a": "AE", "aa": "AE",
    "A:": "AA", "0": "AA", "O:": "AO", "O2": "AO", "U": "UH", "u:": "UW", "V": "AH", "@": "AH",
    "@2": "AH", "@5": "AH", "a#": "AH", "@L": "AH L", "eI": "EY", "aI": "AY", "aI2": "AY",
    "OI": "OY", "aU": "AW", "oU": "OW", "aI@": "AY AH", "i@": "IY AH", "3:": "ER", "IR": "AH R",
    "VR": "AH R",
}  # fmt: skip
_RHOTIC_VOWELS = {
    "3": "ER", "aI3": "AY ER", "A@": "AA R", "e@": "EH R", "i@3": "IH R", "o@": "AO R",
    "O@": "AO R", "U@": "UH R",
}  # fmt: skip
_OTHER_VOWELS = {
    "3": "AH", "aI3": "AY AH", "A@": "AA", "e@": "EH", "i@3": "IH AH", "o@": "AO", "O@": "AO",
    "U@": "UH",
}  # fmt: skip
_PAUSES = dict.fromkeys(("_", "_:", "_!", "_|", "_^", "_^_"), PAUSE)
# A palatal off-glide is part of the phone before it.
_SILENT = {";": ""}
_SHARED: Mapping[str, str] = {**_CONSONANTS, **_VOWELS, **_PAUSES, **_SILENT}
_STRESS_MARKS = "',%="

ARPABET = frozenset(
    phone
    for table in (_CONSONANTS, _VOWELS, _RHOTIC_VOWELS, _OTHER_VOWELS)
    for phones in table.values()
    for phone in phones.split()
)
"""Every phone that ``to_arpabet`` can give."""
VOWELS = frozenset(phone for phone in ARPABET if phone[0] in "AEIOU")
"""The vowels among them."""


def to_arpabet(mnemonics: Sequence[str], *, rhotic: bool) -> Iterator[tuple[str, ...]]:
    """Yield the phones of each mnemonic: none, one or two.

    Args:
        mnemonics: eSpeak's mnemonics in the order of speech, stress marks included.
        rhotic: whether the accent says the R of "car".

    Yields:
        The phones of one mnemonic; empty where it belongs to the phone before it.

    Raises:
        KeyError: a mnemonic is unknown.
    """
    table = {**_SHARED, **(_RHOTIC_VOWELS if rhotic else _OTHER_VOWELS)}
    plain = [mnemonic.lstrip(_STRESS_MARKS) for mnemonic in mnemonics]
    for mnemonic, after in zip(plain, [*plain[1:], ""], strict=True):
        phones = tuple(table[mnemonic].split())
        # Where an R of its own follows, the vowel's R is not said twice.
        yield phones[:-1] if phones[1:] == ("R",) and after in ("r", "r-") else phones
