"""The legend of the picture: findings, scores, what the colours mean, who says so. Plain letters, no patient data.

Sizes are chosen for the smallest screen: on a phone 390 pixels wide a picture of 1024 still has letters of 8 pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from dicom_node.results.wording import LABEL, comparison, kind_in_words, name_of, plain
from triage.findings import Algorithm, Finding, ImageResult

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_Colour = tuple[int, int, int]

BACKGROUND = (16, 18, 20)
_WHITE, _GREY, _DIM = (245, 245, 245), (196, 199, 203), (160, 164, 168)
_AMBER, _LIGHT_BLUE = (255, 200, 87), (110, 231, 255)
_LARGE, _SMALL = 26, 22
_MARGIN = 18
_SHRINK = (1.0, 0.92, 0.85)
"""Text sizes tried until everything fits; with the smallest the picture grows instead, for it must stay legible."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the legend; ``right`` is set flush right. Sizes and gaps in pixels of a 1024-pixel picture."""

    left: str
    size: int
    colour: _Colour
    right: str = ""
    right_colour: _Colour | None = None
    gap: int = 4
    bar: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Legend:
    """What stands beside or below one picture.

    Attributes
    ----------
    marked : Finding or None
        The finding that the colours explain.
    palette : ndarray of uint8, shape (256, 3), or None
        Colours from no to full activation as they look over grey; None where the image shows none.
    unit : float
        Pixels per pixel of a picture of 1024.
    """

    image: ImageResult
    algorithm: Algorithm
    marked: Finding | None
    palette: npt.NDArray[np.uint8] | None
    unit: float

    def beside(self, width: int, height: int, most: int) -> npt.NDArray[np.uint8]:
        """One column: findings above, who says so at the foot.

        Parameters
        ----------
        width, height, most : int
            In pixels. Text that needs more than ``height`` makes the legend higher; letters become smaller only where
            it would be higher than ``most``, and at their smallest size it grows instead.

        Returns
        -------
        ndarray of uint8, shape (at least ``height``, ``width``, 3)
            RGB.
        """
        for factor in _SHRINK:
            sheet = _Sheet(width, self.unit * factor, self.unit)
            above = sheet.wrapped((*self._verdicts(), *self._colours()))
            foot = sheet.wrapped(self._origin())
            needed = sheet.height_of(above) + sheet.height_of(foot) + 2 * sheet.margin
            if needed <= most:
                break
        canvas = Image.new("RGB", (width, max(height, needed)), BACKGROUND)
        sheet.draw(canvas, above, (0, sheet.margin), self.palette)
        sheet.draw(canvas, foot, (0, canvas.height - sheet.margin - sheet.height_of(foot)), self.palette)
        return np.asarray(canvas)

    def below(self, width: int) -> npt.NDArray[np.uint8]:
        """Two columns, as high as they need: findings left; colours and who says so right.

        Returns
        -------
        ndarray of uint8, shape (h, ``width``, 3)
            RGB.
        """
        sheet = _Sheet(width // 2, self.unit, self.unit)
        first, *others = *self._colours(), *self._origin()
        columns = sheet.wrapped(self._verdicts()), sheet.wrapped((replace(first, gap=0), *others))
        height = max(map(sheet.height_of, columns)) + 2 * sheet.margin
        canvas = Image.new("RGB", (width, height), BACKGROUND)
        for left, lines in zip((0, width // 2), columns, strict=True):
            sheet.draw(canvas, lines, (left, sheet.margin), self.palette)
        return np.asarray(canvas)

    def _verdicts(self) -> Iterator[_Line]:
        yield _Line(LABEL, _LARGE, _WHITE, gap=0)
        if self.image.place:
            yield _Line(plain(self.image.place), _SMALL, _WHITE, gap=2)
        positives = self.image.positives
        if not positives:
            yield _Line("No finding above its threshold", _LARGE, _WHITE, gap=16)
        numbers = {finding.key: number for finding, number in outlined(self.image)}
        for finding in positives:
            yield _verdict(finding, _LARGE, _AMBER, gap=16)
            outline = f"outline {numbers[finding.key] or ''}".rstrip() if finding.key in numbers else ""
            yield _Line("POSITIVE", _SMALL, _AMBER, right=outline, right_colour=_LIGHT_BLUE, gap=2)
        negatives = [finding for finding in self.image.findings if not finding.positive]
        if negatives and positives:
            yield _Line("Below threshold", _SMALL, _DIM, gap=20)
        for index, finding in enumerate(negatives):
            yield _verdict(finding, _SMALL, _GREY, gap=4 if index or positives else 16)
        for kind in dict.fromkeys(finding.score.kind for finding in self.image.findings):
            yield _Line(f"Score: {kind_in_words(kind)}", _SMALL, _DIM, gap=10)

    def _colours(self) -> Iterator[_Line]:
        if self.palette is not None and self.marked is not None:
            yield _Line(f"Where the network looked for {name_of(self.marked)}", _SMALL, _GREY, gap=22)
            yield _Line("low", _SMALL, _GREY, right="high", gap=6, bar=True)
            yield _Line("Not a lesion outline", _SMALL, _DIM, gap=2)

    def _origin(self) -> Iterator[_Line]:
        yield _Line(f"{plain(self.algorithm.name)} {plain(self.algorithm.version)}", _SMALL, _GREY, gap=22)
        if self.algorithm.research:
            yield _Line("RESEARCH ONLY", _SMALL, _WHITE, gap=6)
        if self.algorithm.disclaimer:
            yield _Line(plain(self.algorithm.disclaimer), _SMALL, _WHITE, gap=4)


def outlined(image: ImageResult) -> list[tuple[Finding, int]]:
    """Positive findings with a region, highest score first, numbered from 1; 0 where there is only one."""
    found = [finding for finding in image.positives if finding.region is not None]
    return [(finding, number if len(found) > 1 else 0) for number, finding in enumerate(found, 1)]


def _verdict(finding: Finding, size: int, colour: _Colour, *, gap: int) -> _Line:
    return _Line(name_of(finding), size, colour, right=comparison(finding.score), gap=gap)


class _Sheet:
    """Lays lines out in a column at one text size."""

    def __init__(self, width: int, scale: float, unit: float) -> None:
        self._scale = scale
        self.margin = round(_MARGIN * unit)
        self._room = width - 2 * self.margin

    def wrapped(self, lines: Iterable[_Line]) -> list[_Line]:
        """The lines broken at spaces to the width; what is flush right moves below where it does not fit beside."""
        return [part for line in lines for part in self._parts(line)]

    def height_of(self, lines: Iterable[_Line]) -> int:
        """Pixels that the lines need."""
        return sum(self._height(line) for line in lines)

    def draw(
        self,
        canvas: Image.Image,
        lines: Iterable[_Line],
        corner: tuple[int, int],
        palette: npt.NDArray[np.uint8] | None,
    ) -> None:
        """Draw the lines from the column's upper left corner (x, y) down."""
        pen = ImageDraw.Draw(canvas)
        left, top = corner[0] + self.margin, corner[1]
        for line in lines:
            y = top + self._pixels(line.gap)
            if line.bar and palette is not None:
                depth = self._pixels(22)
                bar = Image.fromarray(np.ascontiguousarray(palette)[None]).resize((self._room, depth))
                canvas.paste(bar, (left, y))
                y += depth + self._pixels(3)
            font = self._font(line)
            pen.text((left, y), line.left, line.colour, font)
            if line.right:
                pen.text((left + self._room, y), line.right, line.right_colour or line.colour, font, anchor="ra")
            top += self._height(line)

    def _parts(self, line: _Line) -> Iterator[_Line]:
        font = self._font(line)
        beside = font.getlength(line.right) + self._pixels(14) if line.right else 0
        texts = list(self._broken(line.left, font))
        for index, text in enumerate(texts):
            last = index == len(texts) - 1 and font.getlength(text) + beside <= self._room
            yield replace(
                line,
                left=text,
                right=line.right if last else "",
                gap=0 if index else line.gap,
                bar=line.bar and not index,
            )
        if line.right and not last:
            yield replace(line, left="", gap=0, bar=False)

    def _broken(self, text: str, font: _Font) -> Iterator[str]:
        """The text in pieces as wide as the column, broken at spaces."""
        piece = ""
        for word in self._words(text, font):
            longer = f"{piece} {word}".strip()
            if piece and font.getlength(longer) > self._room:
                yield piece
                piece = word
            else:
                piece = longer
        yield piece

    def _words(self, text: str, font: _Font) -> Iterator[str]:
        """The words of a text; one that is wider than the column comes in pieces."""
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
