"""A report tells its own story: everything a lost database knew of it is read back from the file."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from node_under_test import Node
from pydicom.dataset import Dataset
from test_analysis import late_view

from dicom_node.results.rereading import identity, read_report
from triage.errors import DicomError
from triage.findings import NotAnalysedReason, Urgency
from workers.analysis import analyse_due

Draw = Callable[..., Dataset]


def test_a_report_is_read_back_as_it_was_issued(node: Node, phantom: Draw) -> None:
    dataset = phantom(1, {"pneumothorax"})
    lateral = late_view(dataset, "9", ViewPosition="LL")
    node.receive(dataset, lateral)
    analyse_due(node.bench)
    (analysis,) = node.study(dataset).analyses
    report, picture = (next(r for r in analysis.result_objects if r.kind == kind) for kind in ("SR", "SC"))
    path = node.bench.settings.results / report.relative_path
    assert identity(path) == (report.sop_instance_uid, True)
    assert identity(node.bench.settings.results / picture.relative_path) == (picture.sop_instance_uid, False)
    issued = read_report(path)
    assert (issued.sop_instance_uid, issued.series_instance_uid) == (
        report.sop_instance_uid, report.series_instance_uid,
    )  # fmt: skip
    assert (issued.sop_class_uid, issued.transfer_syntax_uid) == (report.sop_class_uid, report.transfer_syntax_uid)
    assert issued.study_instance_uid == str(dataset.StudyInstanceUID)
    assert issued.device_uid == node.bench.node.device_uid
    assert (issued.algorithm, issued.version) == (analysis.bundle_name, analysis.bundle_version)
    assert issued.weights_sha256 == analysis.weights_sha256
    assert (issued.revision, issued.research) == (1, True)
    assert issued.created_at == analysis.started_at
    assert issued.analysed == {str(dataset.SOPInstanceUID)}
    assert issued.left_out == {str(lateral.SOPInstanceUID): NotAnalysedReason.UNSUPPORTED_VIEW}
    assert issued.showing == {picture.sop_instance_uid: "SC"}
    assert issued.positives == ("Pneumothorax",)
    assert issued.urgency is Urgency.STAT


def test_a_normal_report_asks_for_nothing(node: Node, phantom: Draw) -> None:
    dataset = phantom(2)
    node.receive(dataset)
    analyse_due(node.bench)
    report = next(r for a in node.study(dataset).analyses for r in a.result_objects if r.kind == "SR")
    issued = read_report(node.bench.settings.results / report.relative_path)
    assert (issued.positives, issued.urgency) == ((), Urgency.ROUTINE)


def test_what_is_no_report_of_ours_is_refused(node: Node, phantom: Draw) -> None:
    dataset = phantom(2)
    node.receive(dataset)
    (instance,) = node.study(dataset).instances
    with pytest.raises(DicomError):
        read_report(node.bench.archive.path(instance.relative_path))
    (node.bench.settings.results / "x").write_bytes(b"no DICOM at all")
    with pytest.raises(DicomError):
        read_report(node.bench.settings.results / "x")
