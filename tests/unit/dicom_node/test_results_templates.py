"""docs/results.md, executed: what its tables list is what reports and assessments consist of, no more and no less."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from result_cases import EFFUSION, PNEUMOTHORAX, box, finding, negative, objects, positive, radiograph, report
from test_results_assessment import assessment, verdict_on

from triage.assessment import Opinion, OpinionReason
from triage.findings import ImageResult, Laterality

PAGE = Path(__file__).parents[3] / "docs" / "results.md"
FINDINGS = {EFFUSION.value, PNEUMOTHORAX.value}
SOURCE = "260753009"
Row = tuple[str, str, str, str]
"""Concept of the parent, concept, value type, relationship."""


@cache
def documents() -> dict[str, tuple[Dataset, ...]]:
    """Documents that have, together, everything that one of their kind can have."""
    source = radiograph(FrameOfReferenceUID="1.2.3.4.8")
    slice_ = radiograph(
        Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2", PixelSpacing=[0.5, 0.5], SliceThickness="5",
        ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=[1, 0, 0, 0, 1, 0], FrameOfReferenceUID="1.2.3.4.8",
    )  # fmt: skip
    left = replace(finding(EFFUSION, 0.9, region=box(1.0, 1.0, 9.0, 9.0)), laterality=Laterality.LEFT)
    bare = replace(left, region=None)
    sided = [report(source, ImageResult(sop_instance_uid="1.2.3.4.5", findings=(one,))) for one in (left, bare)]
    given = verdict_on(source, 1, Opinion.DISAGREE, reason=OpinionReason.ARTEFACT)
    given = replace(given, finding=replace(given.finding, laterality=Laterality.LEFT))
    cut = replace(verdict_on(slice_, 0, Opinion.CANNOT_TELL), finding=finding(EFFUSION, 0.9, site=None))
    return {
        "report": (objects(source)["SR"], report(slice_, negative(slice_)), report(slice_, positive(slice_)), *sided),
        "assessment": (assessment(source, given), assessment(slice_, cut)),
    }


def concept(item: Dataset) -> str:
    code = item.ConceptNameCodeSequence[0]
    if code.CodeValue in FINDINGS:
        return "*finding*"
    return f"{code.CodeValue} {code.CodingSchemeDesignator} {code.CodeMeaning}"


def rows_of(item: Dataset, parent: str = "") -> Iterator[Row]:
    yield parent, concept(item), item.ValueType, item.get("RelationshipType", "")
    for child in item.get("ContentSequence", ()):
        yield from rows_of(child, concept(item).split(" ")[0])


def table(kind: str) -> list[list[str]]:
    """The cells of the table under the heading of that kind."""
    section = PAGE.read_text().split(f"\n## The {kind}, row by row\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def documented(kind: str) -> list[Row]:
    return [(row[0], row[1], row[2], row[3]) for row in table(kind)]


@pytest.mark.parametrize("kind", ["report", "assessment"])
def test_the_page_lists_what_a_document_consists_of(kind: str) -> None:
    built = {row for document in documents()[kind] for row in rows_of(document)}
    if kind == "assessment":  # described by the same function
        built -= {row for row in documented("report") if row[0] == SOURCE}
    listed = documented(kind)
    assert len(listed) == len(set(listed))
    assert set(listed) == built


@pytest.mark.parametrize("kind", ["report", "assessment"])
def test_every_row_names_its_template(kind: str) -> None:
    for row in table(kind):
        assert re.fullmatch(r"TID \d+( row \d+[a-z]?|, (extension|later edition))", row[4]), row
