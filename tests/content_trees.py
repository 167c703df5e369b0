"""Walking the content tree of a structured report (PS3.3 C.17.3)."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

COMMENT, MEASUREMENTS, GROUP, EVALUATIONS = "121106", "126010", "125007", "C0034375"


def name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def children(item: Dataset, concept: str) -> list[Dataset]:
    return [child for child in item.get("ContentSequence", []) if name(child) == concept]


def walk(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        yield child
        yield from walk(child)


def groups(document: Dataset) -> list[Dataset]:
    return children(children(document, MEASUREMENTS)[0], GROUP)


def texts(document: Dataset) -> list[str]:
    return [item.TextValue for item in children(children(document, EVALUATIONS)[0], COMMENT)]


def evidence_of(document: Dataset) -> dict[str, list[str]]:
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    return {
        series.SeriesInstanceUID: [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence]
        for series in study.ReferencedSeriesSequence
    }
