"""A small PDF 1.7 writer (ISO 32000-1): pages of text that can be selected, lines, areas and pictures; nothing else.

Text in Windows Latin letters is set in Helvetica, which every reader has or replaces; a line in another script is a
picture of its letters, with the text itself invisible beneath for selecting and searching. The same calls give the same
bytes.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from dicom_node.results.font_widths import width_of
from dicom_node.results.letters import HEIGHT, draw_line, in_reading_order

Colour = tuple[float, float, float]
BLACK: Final[Colour] = (0.0, 0.0, 0.0)
PAGE_WIDTH: Final = 595.0
PAGE_HEIGHT: Final = 842.0
"""ISO A4 in points of 1/72 inch."""

_LINE_SHARE: Final = 34 / HEIGHT
"""Letters of a drawn line, of its height."""
_FIRST_CODE: Final = 32
_MOST_LETTERS: Final = 255
"""Of the invisible face: one byte each, 0 left out."""


@dataclass(slots=True, eq=False)
class Page:
    """A page being drawn; lengths in points, ``x`` from the left edge, ``y`` from the top down."""

    _pdf: Pdf
    _parts: list[str] = field(default_factory=list)
    _images: list[int] = field(default_factory=list)

    def text(self, x: float, y: float, words: str, size: float, *, bold: bool = False, colour: Colour = BLACK) -> float:
        """Set a line with its baseline at ``y``; returns its width."""
        encoded = latin(words)
        if encoded is None:
            return self._drawn_text(x, y, words, size)
        face = "F2" if bold else "F1"
        at = _numbers(x, PAGE_HEIGHT - y)
        self._parts.append(f"BT {_numbers(*colour)} rg /{face} {_numbers(size)} Tf {at} Td <{encoded.hex()}> Tj ET")
        return width_of(words, bold=bold) * size

    def line(self, x: float, y: float, x2: float, y2: float, *, width: float = 0.5, colour: Colour = BLACK) -> None:
        """Draw a straight line."""
        begin, end = _numbers(x, PAGE_HEIGHT - y), _numbers(x2, PAGE_HEIGHT - y2)
        self._parts.append(f"{_numbers(*colour)} RG {_numbers(width)} w {begin} m {end} l S")

    def area(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """Fill a rectangle; ``y`` is its upper edge."""
        self._parts.append(f"{_numbers(*colour)} rg {_numbers(x, PAGE_HEIGHT - y - height, width, height)} re f")

    def picture(self, x: float, y: float, width: float, height: float, image: int) -> None:
        """Place a picture of :meth:`Pdf.jpeg`; ``y`` is its upper edge."""
        self._images.append(image)
        place = _numbers(width, 0, 0, height, x, PAGE_HEIGHT - y - height)
        self._parts.append(f"q {place} cm /I{image} Do Q")

    def _drawn_text(self, x: float, y: float, words: str, size: float) -> float:
        """A line in another script: its picture, and its text for selecting."""
        drawn = draw_line(words)
        width = _drawn_width(drawn, size)
        height = size / _LINE_SHARE
        self._parts.append("q /G1 gs")  # the paper of the picture takes the colour of the ground
        self.picture(x, y - 0.75 * height, width, height, self._pdf.grey(drawn))
        self._parts.append("Q")
        codes = self._pdf.invisible(in_reading_order(words))
        stretch = 100 * width / (size * len(codes)) if codes else 100
        place = f"{_numbers(size)} Tf {_numbers(stretch)} Tz {_numbers(x, PAGE_HEIGHT - y)} Td"
        self._parts.append(f"BT /F3 {place} <{codes.hex()}> Tj 100 Tz ET")
        return width


class Pdf:
    """A document being made."""

    def __init__(self, *, title: str, created_at: datetime, producer: str) -> None:
        """``created_at`` is time zone aware and goes into the document's information; ``title`` is ASCII."""
        self._title, self._created_at, self._producer = title, created_at, producer
        self.pages: list[Page] = []
        self._images: list[tuple[str, bytes]] = []
        self._letters: dict[str, int] = {}

    def add_page(self) -> Page:
        """A new page at the end."""
        self.pages.append(Page(self))
        return self.pages[-1]

    def jpeg(self, stream: bytes, *, rows: int, columns: int) -> int:
        """Take a baseline JPEG of three components in; returns its number, for :meth:`Page.picture`."""
        return self._image(rows, columns, "/DeviceRGB", "/DCTDecode", stream)

    def grey(self, image: npt.NDArray[np.uint8]) -> int:
        """Take a grey picture in, without loss; returns its number."""
        rows, columns = image.shape
        return self._image(rows, columns, "/DeviceGray", "/FlateDecode", zlib.compress(image.tobytes(), 9))

    def invisible(self, words: str) -> bytes:
        """Codes of a text in the face that draws nothing."""
        codes = []
        for letter in words:
            if letter not in self._letters and len(self._letters) < _MOST_LETTERS:
                self._letters[letter] = len(self._letters) + 1
            if letter in self._letters:
                codes.append(self._letters[letter])
        return bytes(codes)

    def encode(self) -> bytes:
        """The whole file."""
        return _assembled(list(self._objects()))

    def _image(self, rows: int, columns: int, space: str, coding: str, stream: bytes) -> int:
        entries = (
            f"/Type /XObject /Subtype /Image /Width {columns} /Height {rows} /ColorSpace {space} /BitsPerComponent 8 "
            f"/Filter {coding}"
        )
        self._images.append((entries, stream))
        return len(self._images) - 1

    def _objects(self) -> Iterator[bytes]:
        """Numbered from 1: catalogue, pages, information, three faces, pictures, then each page with its content."""
        first_image = 10
        first_page = first_image + len(self._images)
        kids = " ".join(f"{first_page + 2 * index} 0 R" for index in range(len(self.pages)))
        yield b"<< /Type /Catalog /Pages 2 0 R /Lang (en) /ViewerPreferences << /DisplayDocTitle true >> >>"
        yield f"<< /Type /Pages /Kids [{kids}] /Count {len(self.pages)} >>".encode("ascii")
        yield self._information()
        yield _face("Helvetica", bold=False)
        yield _face("Helvetica-Bold", bold=True)
        yield from self._invisible_face()
        for entries, stream in self._images:
            yield _stream(entries, stream)
        fonts = "/Font << /F1 4 0 R /F2 5 0 R /F3 6 0 R >> /ExtGState << /G1 << /BM /Multiply >> >>"
        for index, page in enumerate(self.pages):
            images = " ".join(f"/I{image} {first_image + image} 0 R" for image in dict.fromkeys(page._images))
            yield (
                f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {_numbers(PAGE_WIDTH, PAGE_HEIGHT)}] "
                f"/Resources << {fonts} /XObject << {images} >> >> /Contents {first_page + 2 * index + 1} 0 R >>"
            ).encode("ascii")
            yield _stream("/Filter /FlateDecode", zlib.compress("\n".join(page._parts).encode("ascii"), 9))

    def _information(self) -> bytes:
        offset = self._created_at.strftime("%z")
        created = self._created_at.strftime("D:%Y%m%d%H%M%S") + f"{offset[:3]}'{offset[3:5]}'"
        title, producer = (_string(text) for text in (self._title, self._producer))
        return f"<< /Title {title} /Producer {producer} /CreationDate ({created}) >>".encode("ascii")

    def _invisible_face(self) -> Iterator[bytes]:
        """Objects 6 to 9: a Type 3 face whose letters are empty and one em wide, and what they mean (9.6.5, 9.10.3)."""
        last = max(1, len(self._letters))
        names = " ".join(f"/g{code}" for code in range(1, last + 1))
        yield (
            "<< /Type /Font /Subtype /Type3 /FontBBox [0 0 1000 1000] /FontMatrix [0.001 0 0 0.001 0 0] "
            "/CharProcs 8 0 R "
            f"/Encoding << /Type /Encoding /Differences [1 {names}] >> /FirstChar 1 /LastChar {last} "
            f"/Widths [{' '.join(['1000'] * last)}] /Resources << >> /ToUnicode 7 0 R >>"
        ).encode("ascii")
        yield _stream("/Filter /FlateDecode", zlib.compress(_meanings(self._letters).encode("ascii"), 9))
        yield f"<< {' '.join(f'/g{code} 9 0 R' for code in range(1, last + 1))} >>".encode("ascii")
        yield _stream("", b"1000 0 d0")


def _face(name: str, *, bold: bool) -> bytes:
    """A standard face (9.6.2.2) with its widths, so that one which a reader takes instead needs no more room."""
    letters = (bytes([code]).decode("cp1252", errors="replace") for code in range(_FIRST_CODE, 256))
    widths = " ".join(str(round(1000 * width_of(letter, bold=bold))) for letter in letters)
    return (
        f"<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding /FirstChar {_FIRST_CODE} "
        f"/LastChar 255 /Widths [{widths}] /FontDescriptor << /Type /FontDescriptor /FontName /{name} /Flags 32 "
        "/FontBBox [-170 -228 1003 962] /ItalicAngle 0 /Ascent 718 /Descent -207 /CapHeight 718 "
        f"/StemV {140 if bold else 88} >> >>"
    ).encode("ascii")


def latin(words: str) -> bytes | None:
    """The text in Windows Latin (WinAnsiEncoding); None where it has other letters."""
    try:
        return words.encode("cp1252")
    except UnicodeEncodeError:
        return None


def text_width(words: str, size: float, *, bold: bool = False) -> float:
    """Points that a line needs."""
    if latin(words) is None:
        return _drawn_width(draw_line(words), size)
    return width_of(words, bold=bold) * size


def _drawn_width(line: npt.NDArray[np.uint8], size: float) -> float:
    return size / _LINE_SHARE * int(line.shape[1]) / HEIGHT


def _meanings(letters: Mapping[str, int]) -> str:
    """A ToUnicode character map; at most 100 entries stand in one block of it."""
    entries = [f"<{code:02x}> <{letter.encode('utf-16-be').hex()}>" for letter, code in letters.items()]
    blocks = [entries[start : start + 100] for start in range(0, len(entries), 100)]
    return "\n".join(
        (
            "/CIDInit /ProcSet findresource begin 12 dict begin begincmap",
            "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def",
            "/CMapName /Adobe-Identity-UCS def /CMapType 2 def",
            "1 begincodespacerange <00> <ff> endcodespacerange",
            *(line for block in blocks for line in (f"{len(block)} beginbfchar", *block, "endbfchar")),
            "endcmap CMapName currentdict /CMap defineresource pop end end",
        )
    )


def _stream(entries: str, content: bytes) -> bytes:
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (entries.encode("ascii"), len(content), content)


def _string(text: str) -> str:
    return f"<{text.encode('ascii', 'replace').hex()}>"


def _numbers(*values: float) -> str:
    return " ".join(f"{value:.2f}".rstrip("0").rstrip(".") or "0" for value in values)


def _assembled(objects: list[bytes]) -> bytes:
    """Header, objects, cross-reference table and trailer (7.5)."""
    content = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(content)
    name = hashlib.sha256(content).hexdigest()[:32]
    content += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    content += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    content += (
        f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R /Info 3 0 R /ID [<{name}> <{name}>] >>\n"
        f"startxref\n{table}\n%%EOF\n"
    ).encode("ascii")
    return bytes(content)
