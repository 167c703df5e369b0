"""A study whose images name two patients: nothing is lost, the case keeps its place, and no report is issued."""

from __future__ import annotations

from collections.abc import Callable

from node_under_test import Node
from pydicom.dataset import Dataset
from test_analysis import kinds, late_view

from triage.findings import Urgency
from triage.states import AnalysisStatus
from workers.analysis import analyse_due

Draw = Callable[..., Dataset]


def owed(node: Node, dataset: Dataset) -> list[str]:
    analyses = node.study(dataset).analyses
    return [d.result_object.kind for a in analyses for r in a.result_objects for d in r.deliveries]


def test_two_patients_in_one_study_get_no_report_until_the_sender_has_corrected_them(node: Node, phantom: Draw) -> None:
    ours = phantom(1, {"pneumothorax"})
    other = late_view(ours, "2", PatientID="SOMEBODY-ELSE")
    node.receive(ours, other)
    analyse_due(node.bench)
    study = node.study(ours)
    (analysis,) = study.analyses
    assert (analysis.status, study.flags) == (AnalysisStatus.NOT_ANALYSED, ["two_patients"])
    assert analysis.reason == (
        "no report, because whose it would be is not certain: The images name different patients: PatientID."
    )
    assert study.urgency is Urgency.STAT  # what was seen raises the case, whoever it is
    assert len(analysis.images) == 2
    assert "SR" not in kinds(node, ours)
    assert owed(node, ours) == []

    node.receive(late_view(ours, "2"))  # the same pixels, the header corrected
    analyse_due(node.bench)
    (analysis,) = node.study(ours).analyses
    assert analysis.status is AnalysisStatus.SUCCEEDED
    assert sorted(owed(node, ours)) == ["SC"] * 4 + ["SR"] * 2


def test_a_report_that_stands_is_not_replaced_by_one_of_two_patients(node: Node, phantom: Draw) -> None:
    ours = phantom(1, {"pneumothorax"})
    node.receive(ours)
    analyse_due(node.bench)
    before = owed(node, ours)
    node.receive(late_view(ours, "2", PatientName="Else^Somebody", PatientBirthDate="19010101"))
    analyse_due(node.bench)
    first, second = node.study(ours).analyses
    assert (first.status, second.status) == (AnalysisStatus.SUCCEEDED, AnalysisStatus.NOT_ANALYSED)
    assert second.reason.endswith("PatientName, PatientBirthDate.")
    assert owed(node, ours) == before
    assert "two_patients" in node.study(ours).flags
