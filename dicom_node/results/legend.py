"""The legend beside the image: findings, scores, what the colours mean, who says so. Plain letters, no patient data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from dicom_node.results.wording import LABEL, comparison, kind_in_words, plain
from triage.findings import Algorithm, Finding, ImageResult

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

BACKGROUND = (16, 18, 20)
_WHITE, _GREY, _DIM = (245, 245, 245), (185, 188, 192), (150, 154, 158)
_AMBER, _LIGHT_BLUE = (255, 200, 87), (110, 231, 255)
_MARGIN = 18
_SIZES = (1.0, 0.9, 0.8, 0.7)
"""Text sizes tried until everything fits; with the smallest the picture grows instead, for it must stay legible."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the legend; ``right`` is set flush right. Sizes and gaps in pixels of a 1024-pixel picture."""

    left: str
    size: int
    colour: tuple[int, int, int]
    right: str = ""
    gap: int = 4
    bar: bool = False


def draw_legend(
    image: ImageResult,
    algorithm: Algorithm,
    *,
    marked: Finding | None,
    palette: npt.NDArray[np.uint8] | None,
    width: int,
    height: int,
    unit: float,
) -> npt.NDArray[np.uint8]:
    """Draw the legend.

    Parameters
    ----------
    palette : ndarray of uint8, shape (256, 3), or None
        Colours from no to full activation; None where the image shows none.
    width, height : int
        In pixels; the legend becomes higher when its text needs it.
    unit : float
        Pixels per pixel of a picture of 1024.

    Returns
    -------
    ndarray of uint8, shape (at least ``height``, ``width``, 3)
        RGB.
    """
    top, bottom = list(_verdicts(image, marked, palette is not None)), list(_origin(algorithm))
    for factor in _SIZES:
        sheet = _Sheet(width, unit * factor, unit)
        lines, closing = sheet.wrapped(top), sheet.wrapped(bottom)
        needed = sheet.height_of(lines) + sheet.height_of(closing) + 2 * sheet.margin
        if needed <= height:
            break
    canvas = Image.new("RGB", (width, max(height, needed)), BACKGROUND)
    sheet.draw(canvas, lines, sheet.margin, palette)
    sheet.draw(canvas, closing, canvas.height - sheet.margin - sheet.height_of(closing), palette)
    return np.asarray(canvas)


def outlined(image: ImageResult) -> list[tuple[Finding, int]]:
    """Positive findings with a region, highest score first, numbered from 1; 0 where there is only one."""
    found = [finding for finding in image.positives if finding.region is not None]
    return [(finding, number if len(found) > 1 else 0) for number, finding in enumerate(found, 1)]


def _verdicts(image: ImageResult, marked: Finding | None, coloured: bool) -> Iterator[_Line]:
    yield _Line(LABEL, 30, _WHITE, gap=2)
    if image.place:
        yield _Line(plain(image.place), 26, _WHITE, gap=6)
    positives = image.positives
    if not positives:
        yield _Line("No finding above its threshold", 26, _WHITE, gap=20)
    numbers = {finding.key: number for finding, number in outlined(image)}
    for finding in positives:
        yield _Line(plain(finding.code.meaning), 30, _AMBER, gap=20)
        yield _Line(comparison(finding.score), 26, _AMBER, right="POSITIVE", gap=2)
        if finding.key in numbers:
            yield _Line(f"outlined {numbers[finding.key] or ''}", 20, _LIGHT_BLUE, gap=2)
    negatives = [finding for finding in image.findings if not finding.positive]
    if negatives and positives:
        yield _Line("Below threshold", 18, _DIM, gap=20)
    for index, finding in enumerate(negatives):
        first = 4 if positives else 20
        yield _Line(plain(finding.code.meaning), 20, _GREY, right=comparison(finding.score), gap=4 if index else first)
    for kind in dict.fromkeys(finding.score.kind for finding in image.findings):
        yield _Line(f"Score: {kind_in_words(kind)}", 18, _DIM, gap=8)
    if coloured and marked is not None:
        yield _Line(f"Where the network looked for {plain(marked.code.meaning)}", 20, _GREY, gap=26)
        yield _Line("low", 18, _GREY, right="high", gap=6, bar=True)
        yield _Line("Not a lesion outline", 18, _DIM, gap=2)


def _origin(algorithm: Algorithm) -> Iterator[_Line]:
    yield _Line(f"{plain(algorithm.name)} {plain(algorithm.version)}", 20, _GREY, gap=26)
    if algorithm.research:
        yield _Line("RESEARCH ONLY", 22, _WHITE, gap=8)
    if algorithm.disclaimer:
        yield _Line(plain(algorithm.disclaimer), 20, _WHITE, gap=4)


class _Sheet:
    """Lays lines out at one text size."""

    def __init__(self, width: int, scale: float, unit: float) -> None:
        self._scale = scale
        self.margin = round(_MARGIN * unit)
        self._room = width - 2 * self.margin

    def wrapped(self, lines: Iterable[_Line]) -> list[_Line]:
        """The lines broken at spaces to the width; what is flush right moves below when it does not fit beside."""
        return [part for line in lines for part in self._parts(line)]

    def height_of(self, lines: Iterable[_Line]) -> int:
        """Pixels that the lines need."""
        return sum(self._height(line) for line in lines)

    def draw(
        self, canvas: Image.Image, lines: Iterable[_Line], top: int, palette: npt.NDArray[np.uint8] | None
    ) -> None:
        """Draw the lines from ``top`` down."""
        pen = ImageDraw.Draw(canvas)
        for line in lines:
            y = top + self._pixels(line.gap)
            if line.bar and palette is not None:
                depth = self._pixels(22)
                bar = Image.fromarray(np.ascontiguousarray(palette)[None]).resize((self._room, depth))
                canvas.paste(bar, (self.margin, y))
                y += depth + self._pixels(3)
            font = self._font(line)
            pen.text((self.margin, y), line.left, line.colour, font)
            if line.right:
                pen.text((self.margin + self._room, y), line.right, line.colour, font, anchor="ra")
            top += self._height(line)

    def _parts(self, line: _Line) -> Iterator[_Line]:
        font = self._font(line)
        gap = self._pixels(14)
        if font.getlength(line.left) + (font.getlength(line.right) + gap if line.right else 0) <= self._room:
            yield line
            return
        text, first = "", True
        for word in self._words(line.left, font):
            longer = f"{text} {word}".strip()
            if text and font.getlength(longer) > self._room:
                yield _Line(text, line.size, line.colour, gap=line.gap if first else 0)
                text, first = word, False
            else:
                text = longer
        yield _Line(text, line.size, line.colour, gap=line.gap if first else 0)
        if line.right:
            yield _Line("", line.size, line.colour, right=line.right, gap=0)

    def _words(self, text: str, font: _Font) -> Iterator[str]:
        """The words of a text; one that is wider than the legend comes in pieces."""
        for word in text.split(" "):
            piece = ""
            for letter in word:
                if piece and font.getlength(piece + letter) > self._room:
                    yield piece
                    piece = ""
                piece += letter
            yield piece

    def _height(self, line: _Line) -> int:
        return self._pixels(line.gap + line.size * 1.2 + (25 if line.bar else 0))

    def _font(self, line: _Line) -> _Font:
        return _font(max(8, self._pixels(line.size)))

    def _pixels(self, length: float) -> int:
        return round(length * self._scale)


@cache
def _font(size: int) -> _Font:
    """Pillow's own face (Aileron, CC0): no font of the machine is needed."""
    return ImageFont.load_default(size)
