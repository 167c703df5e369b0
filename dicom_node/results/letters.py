"""Lines of text in any script as pictures, for media whose own letters are Latin ones: names must be readable.

The letters are those built into OpenCV, so no font of the machine is needed: Latin, Greek, Cyrillic, Chinese, Japanese,
Korean, Hebrew, and Arabic in unjoined forms. What has no letter there (Thai, for one) shows as a question mark.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

HEIGHT = 48
"""Rows of a line; at the size of a printed line that is some 300 per inch."""
_SIZE, _BASELINE, _MARGIN = 34, 36, 2
_RIGHT_TO_LEFT, _LEFT_TO_RIGHT = frozenset(("R", "AL")), frozenset(("L", "EN", "AN"))
_LEFT_TO_RIGHT_RUN = re.compile(r"l(?:[l ]*l)?")
_UNKNOWN = "?"


def draw_line(text: str) -> npt.NDArray[np.uint8]:
    """Draw a line of text.

    Returns
    -------
    ndarray of uint8, shape (:data:`HEIGHT`, w)
        Grey, 0 is ink and 255 is paper; ``w`` as wide as the text.
    """
    shown = in_reading_order("".join(letter if has_letter(letter) else _UNKNOWN for letter in text))
    left, _, width, _ = cv2.getTextSize((0, 0), shown, (0, 0), _face(), _SIZE)
    canvas = np.full((HEIGHT, max(1, left + width) + 2 * _MARGIN), 255, np.uint8)
    cv2.putText(canvas, shown, (_MARGIN, _BASELINE), (0,), _face(), _SIZE)
    return canvas


@cache
def has_letter(letter: str) -> bool:
    """Whether the letter can be drawn."""
    if letter in (" ", _UNKNOWN):
        return True
    return letter.isprintable() and not np.array_equal(_drawn(letter), _drawn(_UNKNOWN))


def in_reading_order(text: str) -> str:
    """The text as its letters stand from left to right: Hebrew and Arabic turned round, numbers and Latin words not.

    Enough for a name on a line of its own; not the bidirectional algorithm of Unicode (UAX 9).
    """
    directions = "".join(map(_direction, text[::-1]))
    if "r" not in directions:
        return text
    shown = text[::-1]
    for run in _LEFT_TO_RIGHT_RUN.finditer(directions):
        start, end = run.span()
        shown = f"{shown[:start]}{shown[start:end][::-1]}{shown[end:]}"
    return shown


def _direction(letter: str) -> str:
    """``r`` or ``l`` by where the script runs, a space for what belongs to either."""
    kind = unicodedata.bidirectional(letter)
    return "r" if kind in _RIGHT_TO_LEFT else "l" if kind in _LEFT_TO_RIGHT else " "


def _drawn(letter: str) -> npt.NDArray[np.uint8]:
    canvas = np.zeros((HEIGHT, HEIGHT), np.uint8)
    cv2.putText(canvas, letter, (_MARGIN, _BASELINE), (255,), _face(), _SIZE)
    return canvas


@cache
def _face() -> cv2.FontFace:
    return cv2.FontFace("uni")
