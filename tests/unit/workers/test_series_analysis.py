"""A head-CT series from its slices to one report: on the shipped bundle, through archive and database."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from shutil import which

import cv2
import numpy as np
import pydicom
import pytest
from node_under_test import Node
from pydicom.dataset import Dataset

from models.phantom.head_ct import generate_head_ct
from models.phantom.head_dicom import to_datasets
from triage.findings import NotAnalysedReason, Urgency
from triage.states import AnalysisStatus, StudyStatus
from workers.analysis import analyse_due

SEED = 77
SIZE, SLICES = 128, 24
FINDING = "intracranial_haemorrhage"
TAKEN_AT = datetime(2026, 3, 1, 8, tzinfo=UTC)


@cache
def _drawn(index: int, kinds: frozenset[str]) -> tuple[Dataset, ...]:
    head = generate_head_ct(SEED, index, size=SIZE, kinds=kinds, slices=SLICES)
    return tuple(to_datasets(head, SEED, index, taken_at=TAKEN_AT))


def series(index: int, *kinds: str) -> list[Dataset]:
    """24 slices, 5 mm apart; a test may change them."""
    return [copy.deepcopy(dataset) for dataset in _drawn(index, frozenset(kinds))]


def complete(node: Node) -> None:
    """Let the quiet time of a CT study pass, as the sweep does."""
    from triage.repositories import completing  # noqa: PLC0415

    node.clock.pass_by(seconds=node.bench.settings.completion.quiet + 1)
    with node.bench.database.write() as session:
        for study in completing.due_studies(session, node.clock()):
            completing.reconsider(session, study, node.clock(), node.bench.settings.completion)


def read(node: Node, *datasets: Dataset) -> None:
    node.receive(*datasets)
    complete(node)
    analyse_due(node.bench)


def result(node: Node, dataset: Dataset, kind: str, revision: int = 1) -> Dataset:
    analysis = next(a for a in node.study(dataset).analyses if a.revision == revision)
    (row,) = [r for r in analysis.result_objects if r.kind == kind]
    return pydicom.dcmread(node.bench.settings.results / row.relative_path)


def kinds(node: Node, dataset: Dataset) -> list[str]:
    return [result.kind for analysis in node.study(dataset).analyses for result in analysis.result_objects]


def test_a_haemorrhage_becomes_stat_with_one_report_and_one_picture_of_its_key_slice(node: Node) -> None:
    slices = series(1, "epidural")
    read(node, *slices)
    study = node.study(slices[0])
    (analysis,) = study.analyses
    assert analysis.status is AnalysisStatus.SUCCEEDED, analysis.reason
    assert (study.urgency, study.explanation.split(" 0.")[0]) == (Urgency.STAT, "Intracranial hemorrhage")
    assert sorted(kinds(node, slices[0])) == ["SC", "SR"]
    assert len([d for r in analysis.result_objects for d in r.deliveries]) == 4
    with_findings = [image for image in analysis.images if image.findings]
    assert len(analysis.images) == SLICES
    assert {image.reason for image in analysis.images} == {None}
    assert [f.key for image in with_findings for f in image.findings] == [FINDING]
    assert with_findings[0].detail.endswith(f" of {SLICES}")
    assert with_findings[0].overlay_path
