"""The PDF report: a sound file, whose text can be read, selected and searched in every script."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from odd_sources import ODD, SCRIPTS
from pydicom.dataset import Dataset
from result_cases import (
    ALGORITHM,
    CREATED_AT,
    NODE,
    PNEUMOTHORAX,
    finding,
    negative,
    positive,
    radiograph,
)

from dicom_node.results import build_heat_map, build_pdf_report, pictured, read_picture
from dicom_node.results.files import write
from dicom_node.results.letters import draw_line, has_letter, in_reading_order
from dicom_node.results.pdf import text_width
from dicom_node.results.pdf_report import person
from dicom_node.results.report_pages import MOST_PICTURES, Picture, broken
from triage.errors import ResultError
from triage.findings import AnalysisResult, ImageResult, NotAnalysed, NotAnalysedReason
from triage.profiles import Profile


def document(
    source: Dataset | None = None,
    result: AnalysisResult | None = None,
    *,
    evidence: list[Dataset] | None = None,
    pictures: Mapping[str, Picture] | None = None,
    **changes: object,
) -> Dataset:
    header = radiograph() if source is None else source
    told = result or AnalysisResult(algorithm=ALGORITHM, images=(positive(header),))
    arguments: dict[str, object] = {"node": NODE, "revision": 1, "created_at": CREATED_AT} | changes
    return build_pdf_report(evidence or [header], told, pictures=pictures or {}, **arguments)  # type: ignore[arg-type]


class Read:
    """As much of a PDF reader as the tests need; it goes by the cross-reference table."""

    def __init__(self, made: Dataset) -> None:
        self.data = bytes(made.EncapsulatedDocument[: made.EncapsulatedDocumentLength])
        assert self.data.startswith(b"%PDF-1.7\n")
        assert self.data.endswith(b"%%EOF\n")
        table = int(re.search(rb"startxref\n(\d+)\n", self.data)[1])  # type: ignore[index]
        entries = re.findall(rb"(\d{10}) 00000 n \n", self.data[table:])
        self.objects = {number: self._object(number, int(at)) for number, at in enumerate(entries, 1)}
        self.pages = [self._content(body) for body in self.objects.values() if b"/Type /Page " in body]

    def _object(self, number: int, at: int) -> bytes:
        head = b"%d 0 obj\n" % number
        assert self.data[at : at + len(head)] == head
        return self.data[at + len(head) : self.data.index(b"\nendobj\n", at)]

    def stream(self, number: int) -> bytes:
        body = self.objects[number]
        length = int(re.search(rb"/Length (\d+)", body)[1])  # type: ignore[index]
        start = body.index(b"stream\n") + 7
        assert body[start + length :] == b"\nendstream"
        content = body[start : start + length]
        return zlib.decompress(content) if b"/FlateDecode" in body else content

    def _content(self, page: bytes) -> str:
        return self.stream(int(re.search(rb"/Contents (\d+)", page)[1])).decode("ascii")  # type: ignore[index]

    def text(self, page: int | None = None) -> str:
        """What a reader can select, line by line."""
        meanings = dict(re.findall(r"<([0-9a-f]{2})> <([0-9a-f]+)>", self.stream(7).decode("ascii")))
        lines = []
        for content in self.pages if page is None else [self.pages[page]]:
            for face, codes in re.findall(r"/(F\d) .*?<([0-9a-f]*)> Tj", content):
                if face == "F3":
                    letters = [
                        bytes.fromhex(meanings[codes[at : at + 2]]).decode("utf-16-be")
                        for at in range(0, len(codes), 2)
                    ]
                    lines.append("".join(letters))
                else:
                    lines.append(bytes.fromhex(codes).decode("cp1252"))
        return "\n".join(lines)


def excluded(count: int, reason: NotAnalysedReason = NotAnalysedReason.DERIVED_IMAGE) -> tuple[NotAnalysed, ...]:
    return tuple(NotAnalysed(sop_instance_uid=f"1.2.9.{n}", reason=reason) for n in range(count))


def test_it_says_whose_what_how_urgent_and_who() -> None:
    text = Read(document()).text()
    for line in (
        "Müller, Jörg", "P-1 (HOSPITAL)", "1950-01-02, male", "2026-11-21 07:08", "A-1", "Weiß, Anna", "Thorax",
        "AI triage class: STAT (read at once)", "Above threshold: Pneumothorax.", "POSITIVE", "0.94", "0.60",
        "RESEARCH ONLY. Not for primary diagnosis", "Score: calibrated probability. Positive is a score at or above",
        "Algorithm cxr-research 1.2.0 of firstread authors", "Node firstread 0.1.0, node-01", "1  PA, UID 1.2.3.4.5",
    ):  # fmt: skip
        assert line in text, line


def test_a_negative_report_excludes_nothing() -> None:
    source = radiograph()
    text = Read(document(source, AnalysisResult(algorithm=ALGORITHM, images=(negative(source),)))).text()
    assert "No finding above its threshold. This excludes nothing." in text
    assert "AI triage class" not in text


def test_what_was_left_out_stands_with_its_reason_grouped() -> None:
    source = radiograph()
    left_out = (*excluded(9), *excluded(1, NotAnalysedReason.DECODE_ERROR))
    result = AnalysisResult(algorithm=ALGORITHM, images=(positive(source),), not_analysed=left_out)
    text = " ".join(Read(document(source, result)).text().split("\n"))
    assert "9: secondary or derived image" in text
    assert "and 5 more, named in the structured report" in text
    assert "1: pixel data cannot be decoded" in text


def test_every_page_says_whose_it_is() -> None:
    source = radiograph()
    many = tuple(finding(replace(PNEUMOTHORAX, meaning=f"Finding number {n}"), 0.3) for n in range(150))
    image = ImageResult(sop_instance_uid="1.2.3.4.5", findings=many)
    read = Read(document(source, AnalysisResult(algorithm=ALGORITHM, images=(image,))))
    assert len(read.pages) > 3
    for number in range(len(read.pages)):
        text = read.text(number)
        assert "Müller, Jörg" in text
        assert "ID P-1" in text
        assert "Not for primary diagnosis" in text
        assert f"Page {number + 1} of {len(read.pages)}" in text
    assert all(f"Finding number {n}\n" in read.text() for n in range(150))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_name_in_any_script_is_drawn_and_can_be_searched(script: str) -> None:
    name = person(SCRIPTS[script][1])
    read = Read(document(ODD[f"{script} name"].make()))
    assert read.text().count(in_reading_order(name)) == 2, "in the patient block and at the foot"
    assert (name.encode("cp1252", errors="ignore").decode("cp1252") == name) == ("/F3" not in read.pages[0])


@pytest.mark.parametrize("script", sorted(set(SCRIPTS) - {"Thai"}))
def test_there_is_a_letter_for_every_letter_of_a_name(script: str) -> None:
    name = SCRIPTS[script][1]
    assert [letter for letter in name if not has_letter(letter)] == []
    line = draw_line(name)
    assert line.min() == 0
    assert (line[0] == 255).all(), "no letter is cut above"
    assert (line[:, -1] == 255).all(), "nor at the right"


def test_a_letter_that_cannot_be_drawn_is_a_question_mark() -> None:
    assert not has_letter("ส")
    np.testing.assert_array_equal(draw_line("ส1"), draw_line("?1"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Müller, Jörg", "Müller, Jörg"),
        ("שרון, דבורה", "הרובד ,ןורש"),
        ("Sharon, Deborah   שרון", "ןורש   Sharon, Deborah"),
        ("שרון 12 אב", "בא 12 ןורש"),
    ],
)
def test_letters_stand_in_reading_order(text: str, shown: str) -> None:
    assert in_reading_order(text) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Müller^Jörg", "Müller, Jörg"),
        ("Doe^Jane^Ann^Dr^MD", "Doe, Jane Ann Dr MD"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou   山田, 太郎   やまだ, たろう"),
        ("=山田^太郎", "山田, 太郎"),
        ("^Jane", "Jane"),
        ("^^^^", ""),
        ("", ""),
    ],
)
def test_person_names(name: str, shown: str) -> None:
    assert person(name) == shown


@example("MMMMiii", 30.0, False)
@given(st.text("abcdefgh WMil-öß", max_size=300), st.floats(30, 500), st.booleans())
def test_lines_fit_and_nothing_is_lost(text: str, width: float, bold: bool) -> None:
    lines = list(broken(text, 10, width, bold=bold))
    assert all(text_width(line, 10, bold=bold) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_pictures_are_shown_the_most_urgent_first() -> None:
    sources = [radiograph(SOPInstanceUID=f"1.2.3.4.{n}", InstanceNumber=n) for n in range(1, MOST_PICTURES + 3)]
    images = (*(negative(source) for source in sources[:-1]), positive(sources[-1]))
    result = AnalysisResult(algorithm=ALGORITHM, images=images)
    assert pictured(result)[0].sop_instance_uid == sources[-1].SOPInstanceUID
    pictures = {str(s.SOPInstanceUID): np.full((60, 90, 3), n, np.uint8) for n, s in enumerate(sources)}
    read = Read(document(result=result, evidence=sources, pictures=pictures))
    assert len([body for body in read.objects.values() if b"/DCTDecode" in body]) == MOST_PICTURES
    text = read.text()
    assert re.findall(r"Image (\d+): PA", text)[:2] == ["10", "1"]
    assert "2 further images have no picture here." in text
    without = Read(document(result=result, evidence=sources))
    assert "Where the network looked" not in without.text()


def test_the_picture_comes_back_from_its_file(tmp_path: Path) -> None:
    source, picture = radiograph(), np.random.default_rng(0).integers(0, 256, (31, 41, 3), np.uint8)
    made = build_heat_map(
        source, picture, positive(source), ALGORITHM, node=NODE, revision=1, created_at=CREATED_AT, number=1
    )
    write(made, tmp_path / "sc.dcm")
    np.testing.assert_array_equal(read_picture(tmp_path / "sc.dcm"), picture)
    write(document(), tmp_path / "pdf.dcm")
    for other in ("pdf.dcm", "missing.dcm"):
        with pytest.raises(ResultError, match="read back"):
            read_picture(tmp_path / other)


def test_modules(tmp_path: Path) -> None:
    source = radiograph()
    made = document(source)
    assert made.SOPClassUID == "1.2.840.10008.5.1.4.1.1.104.1"
    assert (made.Modality, made.SeriesNumber, made.MIMETypeOfEncapsulatedDocument) == ("DOC", 9006, "application/pdf")
    assert (made.BurnedInAnnotation, made.VerificationFlag) == ("YES", "UNVERIFIED")
    assert len(made.EncapsulatedDocument) % 2 == 0
    assert [item.ReferencedSOPInstanceUID for item in made.SourceInstanceSequence] == [source.SOPInstanceUID]
    again = document(revision=2)
    assert again.SOPInstanceUID != made.SOPInstanceUID
    assert "(replaces those before)" in Read(again).text()
    assert document(profile=Profile(heat_map=False)).SOPInstanceUID != made.SOPInstanceUID
    assert write(made, tmp_path / "a.dcm") == write(document(), tmp_path / "b.dcm")


def test_an_analysed_image_without_header_is_an_error() -> None:
    stranger = radiograph(SOPInstanceUID="1.2.3.4.99")
    with pytest.raises(ResultError, match="not among the evidence"):
        document(result=AnalysisResult(algorithm=ALGORITHM, images=(positive(stranger),)))


@settings(max_examples=20, deadline=None)
@given(st.text(max_size=64), st.text(max_size=200), st.text(max_size=64))
def test_any_text_makes_a_sound_file(meaning: str, disclaimer: str, name: str) -> None:
    algorithm = replace(ALGORITHM, disclaimer=disclaimer, name=name)
    image = ImageResult(sop_instance_uid="1.2.3.4.5", findings=(finding(replace(PNEUMOTHORAX, meaning=meaning), 0.9),))
    assert Read(document(result=AnalysisResult(algorithm=algorithm, images=(image,)))).pages
