"""How wide letters of Helvetica are, in ems (Adobe's metrics of the standard 14 faces): lines are broken by them."""

from __future__ import annotations

import unicodedata
from typing import Final

_FIRST: Final = " "
_REGULAR: Final = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556,
    556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833,
    722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556,
    556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334,
    260, 334, 584,
)  # fmt: skip
_BOLD: Final = (
    278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556,
    556, 556, 556, 333, 333, 584, 584, 584, 611, 975, 722, 722, 722, 722, 667, 611, 778, 722, 278, 556, 722, 611, 833,
    722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 333, 278, 333, 584, 556, 333, 556, 611, 556, 611,
    556, 333, 611, 611, 278, 278, 556, 278, 889, 611, 611, 611, 611, 389, 556, 333, 611, 556, 778, 556, 556, 500, 389,
    280, 389, 584,
)  # fmt: skip
"""Of the 95 printable letters of ASCII, in thousandths."""
_WIDEST: Final = 1000
"""Taken for what is none of them, such as Æ, so that no line is too long."""


def width_of(words: str, *, bold: bool = False) -> float:
    """Width of a line in ems; an accented letter is as wide as its bare one."""
    widths = _BOLD if bold else _REGULAR
    return sum(_width(letter, widths) for letter in words) / 1000


def _width(letter: str, widths: tuple[int, ...]) -> int:
    bare = unicodedata.normalize("NFD", letter)[0]
    place = ord(bare) - ord(_FIRST)
    return widths[place] if 0 <= place < len(widths) else _WIDEST
