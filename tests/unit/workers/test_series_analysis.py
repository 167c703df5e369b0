"""A head-CT series from its slices to one report: on the shipped bundle, through archive and database."""

from __future__ import annotations

import copy
import subprocess
from datetime import UTC, datetime
from functools import cache
from shutil import which

import numpy as np
import pydicom
import pytest
from node_under_test import Node
from pydicom.dataset import Dataset

from models.phantom.head_ct import generate_head_ct
from models.phantom.head_dicom import to_datasets
from triage.errors import InferenceError
from triage.findings import NotAnalysedReason, Urgency
from triage.repositories import completing
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
    assert study.urgency is Urgency.STAT
    assert study.explanation.startswith("Intracranial hemorrhage ")
    assert sorted(kinds(node, slices[0])) == ["SC", "SR"]
    assert len([d for r in analysis.result_objects for d in r.deliveries]) == 4
    with_findings = [image for image in analysis.images if image.findings]
    assert len(analysis.images) == SLICES
    assert {image.reason for image in analysis.images} == {None}
    assert [f.key for image in with_findings for f in image.findings] == [FINDING]
    assert with_findings[0].detail.endswith(f" of {SLICES}")
    assert with_findings[0].overlay_path


def test_the_report_says_which_slice_and_lists_every_slice(node: Node) -> None:
    slices = series(1, "epidural")
    read(node, *slices)
    report, picture = result(node, slices[0], "SR"), result(node, slices[0], "SC")
    key = picture.SourceImageSequence[0].ReferencedSOPInstanceUID
    text = " ".join(texts(report))
    number = next(n for n, dataset in enumerate(slices, start=1) if dataset.SOPInstanceUID == key)
    assert f"Image {key} (slice {number} of {SLICES}): Intracranial hemorrhage" in text
    assert f"{SLICES - 1} further slices were read" in text
    assert f"on slice {number} of {SLICES}:" in picture.DerivationDescription
    evidence = {
        str(reference.ReferencedSOPInstanceUID)
        for part in report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for reference in part.ReferencedSOPSequence
    }
    assert evidence == {str(d.SOPInstanceUID) for d in slices} | {str(picture.SOPInstanceUID)}
    (region,) = regions(report)
    assert region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == key


def texts(report: Dataset) -> list[str]:
    """What the report tells a person."""
    found = []
    for item in report.get("ContentSequence", ()):
        found += [str(item.TextValue)] if item.ValueType == "TEXT" else []
        found += texts(item)
    return found


def regions(report: Dataset) -> list[Dataset]:
    """Content items with spatial coordinates, anywhere in the tree."""
    found = []
    for item in report.get("ContentSequence", ()):
        found += [item] if item.ValueType == "SCOORD" else []
        found += regions(item)
    return found


def test_the_key_slice_shows_the_blood_and_the_region_lies_on_it(node: Node) -> None:
    slices = series(1, "epidural")
    read(node, *slices)
    blood = generate_head_ct(SEED, 1, size=SIZE, kinds={"epidural"}, slices=SLICES).blood()
    images = node.study(slices[0]).analyses[0].images
    (key,) = [image for image in images if image.findings]
    number = [str(dataset.SOPInstanceUID) for dataset in slices].index(key.instance.sop_instance_uid)
    column, row = key.findings[0].peak
    rows, columns = np.nonzero(blood[number])
    assert len(rows)
    assert np.hypot(rows + 0.5 - row, columns + 0.5 - column).min() <= SIZE / 20  # half a cell of the heat map


def test_a_normal_head_gets_its_report_and_a_picture_without_colour_and_keeps_its_place(node: Node) -> None:
    slices = series(2)
    read(node, *slices)
    study = node.study(slices[0])
    assert study.analyses[0].status is AnalysisStatus.SUCCEEDED
    assert study.urgency is Urgency.ROUTINE
    assert sorted(kinds(node, slices[0])) == ["SC", "SR"]
    (shown,) = [image for image in study.analyses[0].images if image.preview_path]
    assert shown.overlay_path == ""
    assert [f.positive for f in shown.findings] == [False]


def test_results_pass_dciodvfy_and_the_report_renders(node: Node) -> None:
    for tool in ("dciodvfy", "dsrdump"):
        if which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    slices = series(1, "epidural")
    read(node, *slices)
    (analysis,) = node.study(slices[0]).analyses
    for row in analysis.result_objects:
        path = node.bench.settings.results / row.relative_path
        told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
        assert [line for line in told.splitlines() if line.startswith("Error")] == []
        if row.kind == "SR":
            dump = subprocess.run(["dsrdump", path], capture_output=True, text=True, check=True).stdout
            assert "Intracranial hemorrhage" in dump


def test_the_case_moves_before_the_study_is_complete_and_nothing_is_issued_yet(node: Node) -> None:
    slices = series(1, "epidural")
    node.receive(*slices)
    assert analyse_due(node.bench) == 1
    study = node.study(slices[0])
    assert (study.status, study.urgency) == (StudyStatus.RECEIVING, Urgency.STAT)
    assert study.analyses[0].status is AnalysisStatus.QUEUED
    assert kinds(node, slices[0]) == []
    assert analyse_due(node.bench) == 0
    scored_at = study.analyses[0].scored_at
    complete(node)
    analyse_due(node.bench)
    (analysis,) = node.study(slices[0]).analyses
    assert (analysis.status, analysis.scored_at) == (AnalysisStatus.SUCCEEDED, scored_at)
    assert sorted(kinds(node, slices[0])) == ["SC", "SR"]


def test_one_association_per_slice_ends_as_one_association_for_all(node: Node) -> None:
    slices = series(1, "epidural")
    for dataset in slices[1::2] + slices[::2]:
        node.receive(dataset)
        analyse_due(node.bench)
    complete(node)
    analyse_due(node.bench)
    study = node.study(slices[0])
    (analysis,) = study.analyses
    assert (analysis.status, study.urgency) == (AnalysisStatus.SUCCEEDED, Urgency.STAT)
    assert len(analysis.images) == SLICES
    assert sorted(kinds(node, slices[0])) == ["SC", "SR"]


def test_the_same_slices_in_another_order_give_the_same_report(node: Node) -> None:
    slices = series(1, "epidural")
    read(node, *reversed(slices))
    assert f" of {SLICES}): Intracranial hemorrhage" in " ".join(texts(result(node, slices[0], "SR")))


def test_a_late_slice_gives_a_new_revision_that_names_its_predecessor(node: Node) -> None:
    slices = series(1, "epidural")
    read(node, *slices[:-1])
    read(node, slices[-1])
    study = node.study(slices[0])
    assert [(a.revision, a.status) for a in study.analyses] == [
        (1, AnalysisStatus.SUCCEEDED),
        (2, AnalysisStatus.SUCCEEDED),
    ]
    old, new = result(node, slices[0], "SR"), result(node, slices[0], "SR", revision=2)
    assert old.SOPInstanceUID in str(new.PredecessorDocumentsSequence)
    pictures = [r.sop_instance_uid for a in study.analyses for r in a.result_objects if r.kind == "SC"]
    assert len(set(pictures)) == 2


def test_a_late_scout_changes_nothing_in_the_pacs(node: Node) -> None:
    slices = series(1, "epidural")
    scout = slices.pop()
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    read(node, *slices)
    read(node, scout)
    study = node.study(slices[0])
    assert study.analyses[1].reason == "no new image for phantom-head-ct: the report of revision 1 stands"
    assert sorted(kinds(node, slices[0])) == ["SC", "SR"]


def test_a_slice_that_fills_the_gap_later_has_the_series_read_under_the_same_revision(node: Node) -> None:
    slices = series(1, "epidural")
    missing = slices.pop(10)
    read(node, *slices)
    (analysis,) = node.study(slices[0]).analyses
    assert analysis.status is AnalysisStatus.NOT_ANALYSED
    assert analysis.reason == f"{NotAnalysedReason.UNUSABLE_GEOMETRY.sentence}: 1 missing between slices 10 and 11"
    assert kinds(node, slices[0]) == []
    read(node, missing)
    study = node.study(slices[0])
    assert [(a.revision, a.status) for a in study.analyses] == [(1, AnalysisStatus.SUCCEEDED)]
    assert study.urgency is Urgency.STAT
    assert len(study.analyses[0].images) == SLICES


def _few(slices: list[Dataset]) -> list[Dataset]:
    return slices[:7]


def _uneven(slices: list[Dataset]) -> list[Dataset]:
    for dataset in slices[12:]:
        dataset.ImagePositionPatient[2] = float(dataset.ImagePositionPatient[2]) + 1.7
    return slices


def _contrast(slices: list[Dataset]) -> list[Dataset]:
    for dataset in slices:
        dataset.ContrastBolusAgent = "IOHEXOL"
    return slices


def _no_units(slices: list[Dataset]) -> list[Dataset]:
    for dataset in slices:
        dataset.RescaleIntercept = str(float(dataset.RescaleIntercept) + 1024)
    return slices


def _cut_off(slices: list[Dataset]) -> list[Dataset]:
    slices[5].PixelData = slices[5].PixelData[: SIZE * SIZE]
    return slices


def _chest(slices: list[Dataset]) -> list[Dataset]:
    for dataset in slices:
        dataset.BodyPartExamined, dataset.SeriesDescription = "CHEST", "Chest axial"
    return slices


def _scout_and_gap(slices: list[Dataset]) -> list[Dataset]:
    scout = copy.deepcopy(slices[0])
    scout.SOPInstanceUID = scout.file_meta.MediaStorageSOPInstanceUID = f"{scout.SOPInstanceUID}.1"[:64]
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return [scout, *slices[:9], *slices[10:]]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_scout_and_gap, "1 missing between slices 9 and 10; 1 more reason among 24 instances"),
        (_few, "too few slices: 7 of at least 12"),
        (_uneven, "uneven spacing: 5.0 to 6.7 mm"),
        (_contrast, "contrast given"),
        (_no_units, "few slices have the HU of a body"),
        (_cut_off, "slice 6 of the series cannot be read"),
        (_chest, "no model for this body part: chest"),
    ],
)
def test_a_series_that_is_not_read_keeps_its_place_and_says_why(node: Node, spoil: object, said: str) -> None:
    slices = spoil(series(1, "epidural"))  # type: ignore[operator]
    read(node, *slices)
    study = node.study(slices[0])
    (analysis,) = study.analyses
    assert analysis.status is AnalysisStatus.NOT_ANALYSED
    assert said in analysis.reason
    assert study.urgency is Urgency.ROUTINE
    assert kinds(node, slices[0]) == []
    assert all(image.reason is not None for image in analysis.images)


def test_two_series_of_a_study_are_both_read_and_one_report_is_issued(node: Node) -> None:
    slices = series(1, "epidural")
    again = series(1, "epidural")
    for dataset in again:
        dataset.SeriesInstanceUID = f"{dataset.SeriesInstanceUID}.2"[:64]
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SOPInstanceUID}.2"[:64]
    read(node, *slices, *again)
    assert sorted(kinds(node, slices[0])) == ["SC", "SC", "SR"]
    assert len([i for i in node.study(slices[0]).analyses[0].images if i.findings]) == 2


def test_nothing_found_in_a_study_that_was_read_in_part_says_of_how_many_images(node: Node) -> None:
    """The list and the report must not sound as if the series with a gap had been read."""
    slices, broken = series(2), series(1, "epidural")
    for dataset in broken:
        dataset.SeriesInstanceUID = f"{dataset.SeriesInstanceUID}.2"[:64]
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
            setattr(dataset, keyword, getattr(slices[0], keyword))
    scout = copy.deepcopy(slices[0])
    scout.SOPInstanceUID = scout.file_meta.MediaStorageSOPInstanceUID = f"{scout.SOPInstanceUID}.1"[:64]
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    read(node, scout, *slices, *broken[:9], *broken[10:])
    said = "no finding above its threshold in 24 of 47 images, the others were not analysed"
    assert node.study(slices[0]).explanation.startswith(f"AI: {said} → ROUTINE")
    assert any(text.endswith(f"{said}.") for text in texts(result(node, slices[0], "SR")))


def test_a_radiograph_in_the_same_study_is_read_by_its_own_bundle(node: Node, phantom: object) -> None:
    slices = series(1, "epidural")
    radiograph = phantom(1, {"pneumothorax"})  # type: ignore[operator]
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate"):
        setattr(radiograph, keyword, slices[0][keyword].value)
    read(node, *slices, radiograph)
    analyses = {a.bundle_name: a for a in node.study(slices[0]).analyses}
    assert {name: a.status for name, a in analyses.items()} == {
        "phantom-head-ct": AnalysisStatus.SUCCEEDED,
        "phantom-cxr": AnalysisStatus.SUCCEEDED,
    }
    assert sorted(kinds(node, slices[0])) == ["SC", "SC", "SR", "SR"]


def test_a_run_that_ends_before_its_report_is_committed_is_made_again_to_the_byte(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    slices = series(1, "epidural")
    node.receive(*slices)
    complete(node)
    written: list[bytes] = []

    def stop(*_: object) -> None:
        written.extend(path.read_bytes() for path in sorted(node.bench.settings.results.rglob("*.dcm")))
        raise InferenceError("stopped here")

    with monkeypatch.context() as patch:
        patch.setattr("workers.series_analysis._commit_results", stop)
        analyse_due(node.bench)
    assert kinds(node, slices[0]) == []
    node.clock.pass_by(seconds=30)
    analyse_due(node.bench)
    assert sorted(kinds(node, slices[0])) == ["SC", "SR"]
    assert [path.read_bytes() for path in sorted(node.bench.settings.results.rglob("*.dcm"))] == written
