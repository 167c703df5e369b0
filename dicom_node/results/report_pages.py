"""The pages of the PDF report: whose, what was found and how urgent, where, what was left out, and who says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from dicom_node.results.pdf import BLACK, PAGE_HEIGHT, PAGE_WIDTH, Colour, Page, Pdf, text_width
from dicom_node.results.wording import LABEL, kind_in_words, name_of, numbers, plain, silent_line
from triage.findings import AnalysisResult, ImageResult, NotAnalysed, Urgency

_MARGIN: Final = 45.0
_WIDTH: Final = PAGE_WIDTH - 2 * _MARGIN
_FOOT: Final = PAGE_HEIGHT - 58.0
"""Nothing of the text lies below; the footer does."""
_BODY, _SMALL, _HEADING, _TITLE = 10.0, 8.5, 12.0, 18.0
_GREY: Final[Colour] = (0.38, 0.38, 0.38)
_RULE: Final[Colour] = (0.75, 0.75, 0.75)
_GROUND: Final[Colour] = (0.94, 0.95, 0.96)
_DARK: Final[Colour] = (0.1, 0.12, 0.16)
_WHITE: Final[Colour] = (1.0, 1.0, 1.0)
_COLUMNS: Final = (0.0, 250.0, 320.0, 385.0, 450.0)
"""Of the table: finding, image, score, threshold, verdict."""
MOST_PICTURES: Final = 8
_MOST_UIDS: Final = 4
"""Named per reason for leaving images out; the structured report names all."""
_TALLEST, _LOWEST = 330.0, 230.0
"""Of a picture, in points: two stand on a page; it becomes lower rather than going to the next page."""
JPEG_QUALITY: Final = 90

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportFacts:
    """What the pages say.

    Attributes
    ----------
    patient : sequence of (str, str)
        Label and text as the source has it, any script.
    identity : sequence of str
        Patient and order, for the foot of every page.
    views : mapping
        SOP Instance UID of an analysed image to words that a reader knows it by ("PA", "series 2, image 1"); ASCII.
    pictures : mapping
        SOP Instance UID of an analysed image to its heat map, RGB.
    node : str
        Who made it: product, version and installation.
    revision : int
        From 1; a later one replaces those before.
    """

    patient: Sequence[tuple[str, str]]
    identity: Sequence[str]
    result: AnalysisResult
    views: Mapping[str, str]
    pictures: Mapping[str, Picture]
    node: str
    revision: int
    created_at: datetime


def report_pages(facts: ReportFacts) -> bytes:
    """The report as a PDF file; the same facts give the same bytes."""
    pdf = Pdf(title=f"{LABEL} triage report", created_at=facts.created_at, producer=facts.node)
    flow = _Flow(pdf)
    _head(flow, facts)
    _patient(flow, facts.patient)
    _verdict(flow, facts.result)
    _findings(flow, facts.result)
    _pictures(flow, pdf, facts)
    _images(flow, facts)
    _left_out(flow, facts.result.not_analysed)
    _origin(flow, facts)
    for number, page in enumerate(pdf.pages, 1):
        _footer(page, facts, f"Page {number} of {len(pdf.pages)}")
    return pdf.encode()


class _Flow:
    """Text that runs down the page and goes on on the next one."""

    def __init__(self, pdf: Pdf) -> None:
        self._pdf = pdf
        self.page = pdf.add_page()
        self.y = _MARGIN

    def need(self, height: float) -> None:
        """Begin a page where less than that is left."""
        if self.y + height > _FOOT:
            self.page = self._pdf.add_page()
            self.y = _MARGIN

    @property
    def left(self) -> float:
        """Points left on the page."""
        return _FOOT - self.y

    def heading(self, words: str) -> None:
        self.need(50)
        self.y += 22
        self.page.text(_MARGIN, self.y, words, _HEADING, bold=True, colour=_DARK)
        self.page.line(_MARGIN, self.y + 5, _MARGIN + _WIDTH, self.y + 5, colour=_RULE)
        self.y += 8

    def paragraph(
        self, words: str, *, size: float = _BODY, bold: bool = False, colour: Colour = BLACK, x: float = 0.0
    ) -> None:
        for line in broken(words, size, _WIDTH - x, bold=bold):
            self.need(size * 1.4)
            self.y += size * 1.4
            self.page.text(_MARGIN + x, self.y, line, size, bold=bold, colour=colour)


def broken(words: str, size: float, width: float, *, bold: bool = False) -> Iterator[str]:
    """The text in lines of at most that width, broken at spaces, and in words where one is wider."""
    line = ""
    for word in words.split(" "):
        longer = f"{line} {word}" if line else word
        if text_width(longer, size, bold=bold) <= width:
            line = longer
            continue
        if line:
            yield line
        line = word
        while len(line) > 1 and text_width(line, size, bold=bold) > width:
            shorter = range(len(line) - 1, 0, -1)
            fits = next((n for n in shorter if text_width(line[:n], size, bold=bold) <= width), 1)
            yield line[:fits]
            line = line[fits:]
    yield line


def _head(flow: _Flow, facts: ReportFacts) -> None:
    algorithm = facts.result.algorithm
    flow.y += _TITLE * 0.8
    flow.page.text(_MARGIN, flow.y, f"{LABEL} triage report", _TITLE, bold=True, colour=_DARK)
    made = facts.created_at.strftime("%Y-%m-%d %H:%M %z")
    right = f"{made}, revision {facts.revision}" + (" (replaces those before)" if facts.revision > 1 else "")
    flow.page.text(_MARGIN + _WIDTH - text_width(right, _SMALL), flow.y, right, _SMALL, colour=_GREY)
    flow.y += 4
    flow.paragraph(
        "Preliminary. Written by software and verified by nobody; it replaces no reading.", size=_SMALL, colour=_GREY
    )
    banner = " ".join(
        part for part in ("RESEARCH ONLY." if algorithm.research else "", plain(algorithm.disclaimer)) if part
    )
    if banner:
        flow.y += 8
        lines = list(broken(banner, _BODY, _WIDTH - 16, bold=True))
        flow.page.area(_MARGIN, flow.y, _WIDTH, 8 + 14 * len(lines), _DARK)
        for line in lines:
            flow.y += 14
            flow.page.text(_MARGIN + 8, flow.y + 1, line, _BODY, bold=True, colour=_WHITE)
        flow.y += 8


def _patient(flow: _Flow, patient: Sequence[tuple[str, str]]) -> None:
    flow.y += 12
    rows = [(label, list(broken(words or "-", _BODY, _WIDTH - 130))) for label, words in patient]
    height = sum(16 * len(lines) for _, lines in rows) + 10
    flow.page.area(_MARGIN, flow.y, _WIDTH, height, _GROUND)
    flow.y += 3
    for label, lines in rows:
        flow.page.text(_MARGIN + 8, flow.y + 14, label, _SMALL, colour=_GREY)
        for line in lines:
            flow.y += 16
            flow.page.text(_MARGIN + 120, flow.y - 2, line, _BODY)
    flow.y += 7


def _verdict(flow: _Flow, result: AnalysisResult) -> None:
    flow.heading("Result")
    names = dict.fromkeys(name_of(finding) for image in result.images for finding in image.positives)
    if not names:
        flow.paragraph("No finding above its threshold. This excludes nothing.", size=_HEADING, bold=True)
        return
    urgency = {Urgency.STAT: "STAT (read at once)", Urgency.URGENT: "URGENT", Urgency.ROUTINE: "ROUTINE"}
    flow.paragraph(f"AI triage class: {urgency[result.urgency]}", size=_HEADING, bold=True)
    flow.paragraph(f"Above threshold: {', '.join(names)}.")


def _findings(flow: _Flow, result: AnalysisResult) -> None:
    flow.heading("Findings")
    flow.y += 4
    _row(flow, ("Finding", "Image", "Score", "Threshold", "Verdict"), size=_SMALL, colour=_GREY)
    several = len(_with_findings(result)) > 1
    rows = [
        (finding, str(number) if several else "1")
        for number, image in enumerate(_with_findings(result), 1)
        for finding in image.findings
    ]
    for finding, image_number in sorted(rows, key=lambda row: (not row[0].positive, -row[0].score.value)):
        value, threshold = numbers(finding.score)
        verdict = "POSITIVE" if finding.positive else "negative"
        _row(flow, (name_of(finding), image_number, value, threshold, verdict), bold=finding.positive)
    flow.y += 4
    kinds = dict.fromkeys(kind_in_words(finding.score.kind) for finding, _ in rows)
    flow.paragraph(
        f"Score: {'; '.join(kinds)}. Positive is a score at or above its threshold.", size=_SMALL, colour=_GREY
    )


def _row(flow: _Flow, cells: Sequence[str], *, size: float = _BODY, bold: bool = False, colour: Colour = BLACK) -> None:
    names = list(broken(cells[0], size, _COLUMNS[1] - 8, bold=bold))
    flow.need(size * 1.6 * len(names))
    flow.y += size * 1.6
    for x, words in zip(_COLUMNS[1:], cells[1:], strict=True):
        flow.page.text(_MARGIN + x, flow.y, words, size, bold=bold, colour=colour)
    for index, line in enumerate(names):
        flow.y += size * 1.2 if index else 0
        flow.page.text(_MARGIN, flow.y, line, size, bold=bold, colour=colour)
    flow.page.line(_MARGIN, flow.y + 4, _MARGIN + _WIDTH, flow.y + 4, width=0.25, colour=_RULE)


def _images(flow: _Flow, facts: ReportFacts) -> None:
    flow.heading("Images analysed")
    shown = _with_findings(facts.result)
    for number, image in enumerate(shown, 1):
        flow.paragraph(f"{number}  {_view(facts, image)}", size=_SMALL)
    silent = [image for image in facts.result.images if not image.findings]
    if silent:
        flow.paragraph(silent_line(silent), size=_SMALL)


def _view(facts: ReportFacts, image: ImageResult) -> str:
    words = (facts.views.get(image.sop_instance_uid, ""), plain(image.place), f"UID {image.sop_instance_uid}")
    return ", ".join(word for word in words if word)


def _left_out(flow: _Flow, left_out: Sequence[NotAnalysed]) -> None:
    if not left_out:
        return
    flow.heading("Images not analysed")
    reasons: dict[str, list[str]] = {}
    for one in left_out:
        reasons.setdefault(plain(one.sentence), []).append(one.sop_instance_uid)
    for reason, uids in reasons.items():
        flow.paragraph(f"{len(uids)}: {reason}", size=_BODY)
        more = f" and {len(uids) - _MOST_UIDS} more, named in the structured report" if len(uids) > _MOST_UIDS else ""
        flow.paragraph(f"UID {', '.join(uids[:_MOST_UIDS])}{more}", size=_SMALL, colour=_GREY, x=12)


def _origin(flow: _Flow, facts: ReportFacts) -> None:
    algorithm = facts.result.algorithm
    flow.heading("Made by")
    flow.paragraph(
        f"Algorithm {plain(algorithm.name)} {plain(algorithm.version)} of {plain(algorithm.manufacturer) or 'unknown'}",
        size=_SMALL,
    )
    flow.paragraph(f"Weights SHA-256 {algorithm.weights_sha256 or 'unknown'}", size=_SMALL, colour=_GREY)
    if algorithm.parameters:
        flow.paragraph(f"Parameters {'; '.join(map(plain, algorithm.parameters))}", size=_SMALL, colour=_GREY)
    flow.paragraph(f"Node {facts.node}", size=_SMALL, colour=_GREY)


def pictured(result: AnalysisResult) -> list[ImageResult]:
    """The images whose pictures the report shows: the most urgent first, and no more than a reader looks through."""
    images = sorted(_with_findings(result), key=lambda image: (not image.positives, image.urgency.rank))
    return images[:MOST_PICTURES]


def _pictures(flow: _Flow, pdf: Pdf, facts: ReportFacts) -> None:
    numbers_of = {image.sop_instance_uid: number for number, image in enumerate(_with_findings(facts.result), 1)}
    shown = [image for image in pictured(facts.result) if image.sop_instance_uid in facts.pictures]
    for index, image in enumerate(shown):
        picture = facts.pictures[image.sop_instance_uid]
        rows, columns = picture.shape[:2]
        around = 28 if index else 58
        left = flow.left - around
        scale = min(_WIDTH / columns, (left if _LOWEST <= left < _TALLEST else _TALLEST) / rows)
        flow.need(rows * scale + around)
        if not index:
            flow.heading("Where the network looked")
        flow.paragraph(f"Image {numbers_of[image.sop_instance_uid]}: {_view(facts, image)}", size=_SMALL, colour=_GREY)
        placed = pdf.jpeg(_jpeg(picture), rows=rows, columns=columns)
        flow.page.picture(_MARGIN, flow.y + 5, columns * scale, rows * scale, placed)
        flow.y += rows * scale + 8
    if shown and len(shown) < len(numbers_of):
        flow.paragraph(f"{len(numbers_of) - len(shown)} further images have no picture here.", size=_SMALL)


def _footer(page: Page, facts: ReportFacts, number: str) -> None:
    y = PAGE_HEIGHT - 40
    page.line(_MARGIN, y - 12, _MARGIN + _WIDTH, y - 12, colour=_RULE)
    right = text_width(number, _SMALL)
    x = _MARGIN
    for part in facts.identity:
        x += page.text(x, y, next(broken(part, _SMALL, _MARGIN + _WIDTH - right - x)), _SMALL) + 10
    page.text(_MARGIN + _WIDTH - right, y, number, _SMALL, colour=_GREY)
    algorithm = facts.result.algorithm
    standing = " ".join(
        part for part in ("RESEARCH ONLY." if algorithm.research else "", plain(algorithm.disclaimer)) if part
    )
    words = f"{LABEL} {plain(algorithm.name)} {plain(algorithm.version)}. {standing}".strip()
    page.text(_MARGIN, y + 12, next(broken(words, _SMALL, _WIDTH)), _SMALL, colour=_GREY)


def _with_findings(result: AnalysisResult) -> list[ImageResult]:
    return [image for image in result.images if image.findings]


def _jpeg(picture: Picture) -> bytes:
    # Loaded here: only destinations that ask for a PDF need it.
    import imagecodecs  # noqa: PLC0415

    return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(picture), level=JPEG_QUALITY, subsampling="422"))
