"""The journey of an analysis on real pixels: scored once, reported when complete, never lost, never doubled."""

from __future__ import annotations

import copy
import socket
import subprocess
import sys
from collections.abc import Callable

import cv2
import numpy as np
import pydicom
import pytest
from node_under_test import Node
from pydicom.dataset import Dataset

from models.inference import Predictor
from triage.errors import DatabaseUnavailableError, InferenceError
from triage.findings import NotAnalysedReason, Urgency
from triage.states import AnalysisStatus, DeliveryStatus, StudyStatus
from triage.tables import AnalysisImage
from workers.analysis import analyse_due
from workers.claims import take
from workers.committing import reason_for_all
from workers.housekeeping import bury_the_dead

Draw = Callable[..., Dataset]


def late_view(dataset: Dataset, suffix: str, **changes: object) -> Dataset:
    """Another instance of the same study."""
    other = copy.deepcopy(dataset)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SOPInstanceUID}.{suffix}"[:64]
    for keyword, value in changes.items():
        setattr(other, keyword, value)
    return other


def kinds(node: Node, dataset: Dataset) -> list[str]:
    return [result.kind for analysis in node.study(dataset).analyses for result in analysis.result_objects]


def test_a_pneumothorax_becomes_stat_with_one_report_and_one_heat_map_owed_to_each_destination(
    node: Node, phantom: Draw
) -> None:
    dataset = phantom(1, {"pneumothorax"})
    node.receive(dataset)
    assert analyse_due(node.bench) == 1
    study = node.study(dataset)
    (analysis,) = study.analyses
    assert study.urgency is Urgency.STAT
    assert study.explanation.startswith("Pneumothorax ")
    assert "(research only)" in study.explanation
    assert (analysis.research, bool(analysis.disclaimer)) == (True, True)
    assert analysis.status is AnalysisStatus.SUCCEEDED
    assert sorted(kinds(node, dataset)) == ["SC", "SR"]
    owed = [(r.kind, d.destination, d.status) for r in analysis.result_objects for d in r.deliveries]
    assert len(owed) == 4
    assert {status for _, _, status in owed} == {DeliveryStatus.PENDING}


def test_the_pages_pictures_lie_on_each_other(node: Node, phantom: Draw) -> None:
    dataset = phantom(1, {"pneumothorax"})
    node.receive(dataset)
    analyse_due(node.bench)
    (image,) = node.study(dataset).analyses[0].images
    plain = cv2.imread(str(node.bench.settings.results / image.preview_path))
    overlay = cv2.imread(str(node.bench.settings.results / image.overlay_path))
    assert plain.shape == overlay.shape
    assert np.ptp(plain, axis=2).max() <= 2 < np.ptp(overlay, axis=2).max()  # grey, and colour on it


def test_a_normal_radiograph_gets_its_report_too_and_keeps_its_place(node: Node, phantom: Draw) -> None:
    dataset = phantom(2)
    node.receive(dataset)
    analyse_due(node.bench)
    study = node.study(dataset)
    assert study.urgency is Urgency.ROUTINE
    assert sorted(kinds(node, dataset)) == ["SC", "SR"]


def test_the_order_changes_at_the_first_image_while_the_sender_is_still_sending(node: Node, phantom: Draw) -> None:
    dataset = phantom(1, {"pneumothorax"})
    association = node.receive(dataset, close=False)
    analyse_due(node.bench)
    study = node.study(dataset)
    assert (study.status, study.urgency) == (StudyStatus.RECEIVING, Urgency.STAT)
    assert study.analyses[0].status is AnalysisStatus.QUEUED
    node.close(association)
    analyse_due(node.bench)
    assert node.study(dataset).analyses[0].status is AnalysisStatus.SUCCEEDED
    assert sorted(kinds(node, dataset)) == ["SC", "SR"]


def test_a_destination_that_wants_no_marked_image_gets_only_the_report(node: Node, phantom: Draw) -> None:
    node.bench.settings = node.bench.settings.model_copy(
        update={
            "destinations": tuple(d.model_copy(update={"heat_map": False}) for d in node.bench.settings.destinations)
        }
    )
    dataset = phantom(1, {"pneumothorax"})
    node.receive(dataset)
    analyse_due(node.bench)
    (analysis,) = node.study(dataset).analyses
    assert {(r.kind, len(r.deliveries)) for r in analysis.result_objects} == {
        ("SC", 0), ("SR", 0), ("SR", 2),
    }  # fmt: skip


def test_a_lateral_view_is_left_out_with_its_reason_and_listed_in_the_report(node: Node, phantom: Draw) -> None:
    frontal = phantom(2)
    lateral = late_view(frontal, "9", ViewPosition="LL")
    node.receive(frontal, lateral)
    analyse_due(node.bench)
    (analysis,) = node.study(frontal).analyses
    reasons = {image.instance.sop_instance_uid: image.reason for image in analysis.images}
    assert reasons == {
        str(frontal.SOPInstanceUID): None,
        str(lateral.SOPInstanceUID): NotAnalysedReason.UNSUPPORTED_VIEW,
    }
    report = next(r for r in analysis.result_objects if r.kind == "SR")
    text = str(pydicom.dcmread(node.bench.settings.results / report.relative_path))
    assert str(lateral.SOPInstanceUID) in text


def test_a_late_lateral_view_changes_nothing_in_the_pacs(node: Node, phantom: Draw) -> None:
    frontal = phantom(2)
    node.receive(frontal)
    analyse_due(node.bench)
    node.receive(late_view(frontal, "9", ViewPosition="LL"))
    analyse_due(node.bench)
    study = node.study(frontal)
    assert [a.status for a in study.analyses] == [AnalysisStatus.SUCCEEDED] * 2
    assert study.analyses[1].reason == "no new image for phantom-cxr: the report of revision 1 stands"
    assert sorted(kinds(node, frontal)) == ["SC", "SR"]


def test_a_late_frontal_view_gets_its_own_heat_map_and_a_report_that_names_its_predecessor(
    node: Node, phantom: Draw
) -> None:
    first = phantom(2)
    node.receive(first)
    analyse_due(node.bench)
    node.receive(late_view(first, "8"))
    analyse_due(node.bench)
    one, two = node.study(first).analyses
    assert [r.kind for r in two.result_objects] == ["SC", "SR"]
    old = next(r for r in one.result_objects if r.kind == "SR")
    new = pydicom.dcmread(
        node.bench.settings.results / next(r for r in two.result_objects if r.kind == "SR").relative_path
    )
    assert old.sop_instance_uid in str(new.PredecessorDocumentsSequence)


def test_a_ct_is_not_analysed_and_says_why_as_soon_as_its_sender_has_finished(node: Node, phantom: Draw) -> None:
    dataset = phantom(2)
    dataset.Modality, dataset.SOPClassUID = "CT", "1.2.840.10008.5.1.4.1.1.2"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    association = node.receive(dataset, close=False)
    assert analyse_due(node.bench) == 0
    node.close(association)
    assert analyse_due(node.bench) == 1
    (analysis,) = node.study(dataset).analyses
    assert (analysis.status, analysis.reason) == (
        AnalysisStatus.NOT_ANALYSED,
        "no model for this body part: chest",
    )
    assert kinds(node, dataset) == []


def test_a_radiograph_after_a_study_was_declined_is_analysed_under_the_same_revision(node: Node, phantom: Draw) -> None:
    frontal = phantom(2)
    node.receive(late_view(frontal, "9", ViewPosition="LL"))
    analyse_due(node.bench)
    assert node.study(frontal).analyses[0].status is AnalysisStatus.NOT_ANALYSED
    node.receive(frontal)
    analyse_due(node.bench)
    (analysis,) = node.study(frontal).analyses
    assert (analysis.status, analysis.revision) == (AnalysisStatus.SUCCEEDED, 1)


def test_broken_pixels_are_a_reason_and_never_a_number(node: Node, phantom: Draw) -> None:
    dataset = phantom(2)
    dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 4 * 2]
    node.receive(dataset)
    analyse_due(node.bench)
    (analysis,) = node.study(dataset).analyses
    assert analysis.status is AnalysisStatus.NOT_ANALYSED
    assert analysis.images[0].reason is NotAnalysedReason.DECODE_ERROR
    assert analysis.images[0].findings == []


def test_our_own_results_coming_back_start_nothing(node: Node, phantom: Draw) -> None:
    dataset = phantom(2)
    node.receive(dataset)
    analyse_due(node.bench)
    before = node.study(dataset)
    results = [
        pydicom.dcmread(node.bench.settings.results / r.relative_path) for r in before.analyses[0].result_objects
    ]
    node.receive(*results)
    assert analyse_due(node.bench) == 0
    after = node.study(dataset)
    assert len(after.instances) == 3
    assert {i.not_analysed for i in after.instances} == {None, NotAnalysedReason.OWN_RESULT}
    assert (after.status, after.revision) == (StudyStatus.COMPLETE, 1)


def test_the_same_bytes_again_start_nothing(node: Node, phantom: Draw) -> None:
    node.receive(phantom(2))
    analyse_due(node.bench)
    node.receive(phantom(2))
    assert analyse_due(node.bench) == 0
    assert sorted(kinds(node, phantom(2))) == ["SC", "SR"]


def test_a_corrected_name_gives_a_new_report_about_the_new_identity(node: Node, phantom: Draw) -> None:
    dataset = phantom(2)
    node.receive(dataset)
    analyse_due(node.bench)
    corrected = phantom(2)
    corrected.PatientID = "CORRECTED-1"
    node.receive(corrected)
    analyse_due(node.bench)
    _, again = node.study(dataset).analyses
    report = next(r for r in again.result_objects if r.kind == "SR")
    assert pydicom.dcmread(node.bench.settings.results / report.relative_path).PatientID == "CORRECTED-1"


def test_a_failing_network_is_tried_again_and_then_given_up_without_losing_the_case(
    node: Node, phantom: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: Predictor, _images: np.ndarray) -> None:
        raise InferenceError("network output has values that are not numbers.")

    monkeypatch.setattr(Predictor, "predict", broken)
    dataset = phantom(1, {"pneumothorax"})
    node.receive(dataset)
    looks = 0
    for _ in range(10):
        looks += analyse_due(node.bench)
        node.clock.pass_by(minutes=10)
    study = node.study(dataset)
    assert looks == node.bench.settings.analysis_attempts
    assert study.analyses[0].status is AnalysisStatus.FAILED
    assert "not numbers" in study.analyses[0].reason
    assert study.urgency is Urgency.ROUTINE


def test_a_case_is_not_given_up_for_how_often_the_database_goes_away(
    node: Node, phantom: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = 3 * node.bench.settings.analysis_attempts

    def broken_off(*_: object) -> None:
        raise DatabaseUnavailableError("The database did not answer: AdminShutdown.")

    dataset = phantom(1, {"pneumothorax"})
    node.receive(dataset)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("workers.analysis.commit_scores", broken_off)
        for _ in range(away):
            assert analyse_due(node.bench) == 1
            (waiting,) = node.study(dataset).analyses
            assert (waiting.status, waiting.attempts) == (AnalysisStatus.QUEUED, 0)
            assert "AdminShutdown" in waiting.reason
            node.clock.pass_by(minutes=10)
    assert analyse_due(node.bench) == 1
    assert sorted(kinds(node, dataset)) == ["SC", "SR"]


def test_a_dead_workers_analysis_is_done_by_the_next_one_with_the_same_result(node: Node, phantom: Draw) -> None:
    dataset = phantom(1, {"pneumothorax"})
    node.receive(dataset)
    assert len(take(node.bench)) == 1  # this worker dies here
    assert analyse_due(node.bench) == 0
    node.clock.pass_by(minutes=2)
    assert analyse_due(node.bench) == 1
    assert sorted(kinds(node, dataset)) == ["SC", "SR"]


def test_a_worker_that_died_on_this_host_is_not_waited_for(
    node: Node, phantom: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dataset = phantom(1, {"pneumothorax"})
    node.receive(dataset)
    with monkeypatch.context() as patch:
        patch.setattr("workers.claims.process_name", lambda part: f"{part}@{socket.gethostname()}:{gone.pid}")
        assert len(take(node.bench)) == 1
    bury_the_dead(node.bench.database, node.bench.settings.completion, node.clock())
    assert analyse_due(node.bench) == 1
    assert sorted(kinds(node, dataset)) == ["SC", "SR"]


def test_a_living_worker_keeps_its_lease(node: Node, phantom: Draw) -> None:
    node.receive(phantom(1, {"pneumothorax"}))
    assert len(take(node.bench)) == 1
    bury_the_dead(node.bench.database, node.bench.settings.completion, node.clock())
    assert analyse_due(node.bench) == 0


def test_a_run_that_dies_after_the_pictures_were_recorded_makes_no_second_ones(
    node: Node, phantom: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = phantom(1, {"pneumothorax"})
    node.receive(dataset)

    def killed(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("workers.analysis.report", killed)
        analyse_due(node.bench)
    assert kinds(node, dataset) == ["SC"]
    node.clock.pass_by(minutes=10)
    analyse_due(node.bench)
    assert sorted(kinds(node, dataset)) == ["SC", "SR"]
    assert node.study(dataset).analyses[0].status is AnalysisStatus.SUCCEEDED


def test_a_run_that_dies_between_score_and_pictures_still_gets_its_heat_map(
    node: Node, phantom: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = phantom(1, {"pneumothorax"})
    node.receive(dataset)

    def killed(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("workers.analysis.explain_image", killed)
        analyse_due(node.bench)
    assert node.study(dataset).urgency is Urgency.STAT
    node.clock.pass_by(minutes=10)
    analyse_due(node.bench)
    assert sorted(kinds(node, dataset)) == ["SC", "SR"]
    (analysis,) = node.study(dataset).analyses
    (image,) = analysis.images
    assert image.preview_path
    assert analysis.status is AnalysisStatus.SUCCEEDED


def test_a_header_corrected_while_its_study_is_open_gives_one_result_of_the_corrected_image(
    node: Node, phantom: Draw
) -> None:
    """Both versions are scored in one revision: their pictures have two names, and only the current one goes out."""
    dataset = phantom(1, {"pneumothorax"})
    association = node.receive(dataset, close=False)
    analyse_due(node.bench)
    corrected = copy.deepcopy(dataset)
    corrected.SeriesDescription = "corrected"
    node.receive(corrected)
    node.close(association)
    analyse_due(node.bench)
    (analysis,) = node.study(dataset).analyses
    assert (analysis.status, analysis.reason) == (AnalysisStatus.SUCCEEDED, "")
    first, second = [result for result in analysis.result_objects if result.kind == "SC"]
    assert first.sop_instance_uid != second.sop_instance_uid
    assert not first.deliveries
    assert len(second.deliveries) == 2
    assert [result.kind for result in analysis.result_objects].count("SR") == 1


def test_one_reason_stands_for_all_and_says_that_there_are_more() -> None:
    decode, own, view = NotAnalysedReason.DECODE_ERROR, NotAnalysedReason.OWN_RESULT, NotAnalysedReason.UNSUPPORTED_VIEW
    images = [AnalysisImage(reason=decode, detail="It is cut off."), AnalysisImage(reason=decode, detail="")]
    assert reason_for_all(images) == (decode, "It is cut off.")
    images.append(AnalysisImage(reason=own, detail=""))
    assert reason_for_all(images) == (decode, "It is cut off; 1 more reason among 3 instances")
    images.append(AnalysisImage(reason=view, detail=""))
    assert reason_for_all(images)[1].endswith("; 2 more reasons among 4 instances")
