"""A lost database comes back from files: the same list, and nothing that a PACS would get a second time."""

from __future__ import annotations

import copy
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pydicom
import pytest
import sqlalchemy as sa
from node_under_test import Clock, Node, draw, opened
from pydicom.dataset import Dataset
from test_analysis import late_view

from triage.findings import NotAnalysedReason, Urgency
from triage.instances import IntakeOutcome
from triage.states import AnalysisStatus, StudyStatus
from triage.tables import Analysis, ResultObject
from workers.analysis import analyse_due
from workers.custody import Inspection, check
from workers.custody_repairs import Repairs
from workers.custody_rows import CHECKS
from workers.reindexing import Recovered, rebuild

Draw = Callable[..., Dataset]


def stopped(node: Node) -> Inspection:
    return Inspection(
        settings=node.bench.settings, database=node.bench.database, archive=node.bench.archive, clock=node.clock,
        live=False, deep=True,
    )  # fmt: skip


@pytest.fixture
def again(node: Node, tmp_path: Path) -> Iterator[Callable[[], tuple[Node, Recovered]]]:
    """Opens a second node on what is left of the first one when its database is lost."""
    left: list[object] = []

    def lose_database() -> tuple[Node, Recovered]:
        data = tmp_path / "again"
        for name in ("archive", "results"):
            shutil.copytree(node.bench.settings.data / name, data / name)
        context = opened(data)
        fresh = context.__enter__()
        left.append(context)
        fresh.clock.now = Clock().now  # files are younger than the clock of the first node, which stands
        recovered = rebuild(stopped(fresh))
        return fresh, recovered

    yield lose_database
    for context in left:
        context.__exit__(None, None, None)


def results(node: Node, dataset: Dataset) -> dict[str, str]:
    return {r.sop_instance_uid: r.sha256 for a in node.study(dataset).analyses for r in a.result_objects}


def test_a_reported_study_keeps_report_class_and_pictures_and_is_not_analysed_again(
    node: Node, again: Callable[[], tuple[Node, Recovered]]
) -> None:
    urgent, normal = draw(1, {"pneumothorax"}), draw(2)
    lateral = late_view(urgent, "9", ViewPosition="LL")
    node.receive(urgent, lateral)
    node.receive(normal)
    analyse_due(node.bench)
    fresh, recovered = again()
    assert recovered.outcomes == {IntakeOutcome.STORED: 3}
    assert (recovered.reports, recovered.set_aside) == (2, [])
    assert analyse_due(fresh.bench) == 0
    for dataset, urgency in ((urgent, Urgency.STAT), (normal, Urgency.ROUTINE)):
        before, after = node.study(dataset), fresh.study(dataset)
        assert results(fresh, dataset) == results(node, dataset)
        assert (after.status, after.urgency) == (StudyStatus.COMPLETE, urgency)
        assert abs(after.received_at - before.received_at) < timedelta(seconds=60)
        (analysis,) = after.analyses
        assert analysis.status is AnalysisStatus.SUCCEEDED
        assert [delivery for result in analysis.result_objects for delivery in result.deliveries] == []
        assert any(image.preview_path and image.reason is None for image in analysis.images)
    reasons = {image.instance.sop_instance_uid: image.reason for image in fresh.study(urgent).analyses[0].images}
    assert reasons[str(lateral.SOPInstanceUID)] is NotAnalysedReason.UNSUPPORTED_VIEW
    assert list(check(stopped(fresh), CHECKS)) == []


def test_another_look_supersedes_the_old_report_under_names_that_were_never_used(
    node: Node, again: Callable[[], tuple[Node, Recovered]]
) -> None:
    dataset = draw(1, {"pneumothorax"})
    node.receive(dataset)
    analyse_due(node.bench)
    fresh, _ = again()
    assert fresh.bench.node.device_uid != node.bench.node.device_uid
    fresh.receive(late_view(dataset, "7"))
    analyse_due(fresh.bench)
    study = fresh.study(dataset)
    assert [analysis.revision for analysis in study.analyses] == [1, 2]
    assert study.urgency is Urgency.STAT
    with fresh.bench.database.read() as session:
        scored = [image for image in session.get_one(Analysis, study.analyses[1].id).images if image.findings]
        assert len(scored) == 2, "the image of the first report has scores again"
    old, new = results(node, dataset), results(fresh, dataset)
    assert {uid: sha256 for uid, sha256 in new.items() if uid in old} == old, "no UID ever has two contents"
    report = next(r for r in study.analyses[1].result_objects if r.kind == "SR")
    said = str(pydicom.dcmread(fresh.bench.settings.results / report.relative_path).PredecessorDocumentsSequence)
    assert next(r.sop_instance_uid for r in study.analyses[0].result_objects if r.kind == "SR") in said


def test_results_whose_files_are_gone_too_never_meet_new_ones(node: Node, tmp_path: Path) -> None:
    dataset = draw(1, {"pneumothorax"})
    node.receive(dataset)
    analyse_due(node.bench)
    shutil.copytree(node.bench.settings.archive, tmp_path / "again" / "archive")
    with opened(tmp_path / "again") as fresh:
        fresh.clock.now = Clock().now
        rebuild(stopped(fresh))
        assert analyse_due(fresh.bench) == 1
        assert not results(fresh, dataset).keys() & results(node, dataset).keys()


def test_a_study_without_a_report_is_analysed_for_the_first_time(
    node: Node, again: Callable[[], tuple[Node, Recovered]]
) -> None:
    dataset = draw(1, {"pneumothorax"})
    node.receive(dataset)
    fresh, recovered = again()
    assert recovered.reports == 0
    assert analyse_due(fresh.bench) == 1
    assert fresh.study(dataset).urgency is Urgency.STAT
    assert len(results(fresh, dataset)) == 2


def test_an_image_after_the_last_report_is_still_owed_a_look(
    node: Node, again: Callable[[], tuple[Node, Recovered]]
) -> None:
    dataset = draw(1, {"pneumothorax"})
    node.receive(dataset)
    analyse_due(node.bench)
    node.receive(late_view(dataset, "7"))
    fresh, _ = again()
    assert [a.status for a in fresh.study(dataset).analyses] == [AnalysisStatus.SUCCEEDED, AnalysisStatus.QUEUED]
    assert analyse_due(fresh.bench) == 1
    assert [a.status for a in fresh.study(dataset).analyses] == [AnalysisStatus.SUCCEEDED] * 2


def test_several_revisions_come_back_in_whatever_order_their_files_lie(
    node: Node, again: Callable[[], tuple[Node, Recovered]]
) -> None:
    dataset = draw(1, {"pneumothorax"})
    node.receive(dataset)
    analyse_due(node.bench)
    node.receive(late_view(dataset, "7"))
    analyse_due(node.bench)
    fresh, recovered = again()
    assert recovered.reports == 2
    study = fresh.study(dataset)
    assert sorted((a.revision, a.status) for a in study.analyses) == [
        (1, AnalysisStatus.SUCCEEDED), (2, AnalysisStatus.SUCCEEDED),
    ]  # fmt: skip
    assert study.revision == 2
    assert results(fresh, dataset) == results(node, dataset)
    assert list(check(stopped(fresh), CHECKS)) == []


def test_versions_and_conflicts_come_out_as_they_did(node: Node, again: Callable[[], tuple[Node, Recovered]]) -> None:
    first = draw(2)
    corrected, other = copy.deepcopy(first), draw(3)
    corrected.PatientName = "CORRECTED^NAME"
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    other.StudyInstanceUID, other.SeriesInstanceUID = first.StudyInstanceUID, first.SeriesInstanceUID
    for dataset in (first, corrected, other):
        node.receive(dataset)
    fresh, recovered = again()
    assert recovered.outcomes == {
        IntakeOutcome.STORED: 1, IntakeOutcome.VERSIONED: 1, IntakeOutcome.CONFLICT: 1,
    }  # fmt: skip
    told = [[(i.version, i.is_current, i.digest) for i in n.study(first).instances] for n in (node, fresh)]
    assert told[0] == told[1]
    assert set(fresh.study(first).flags) >= {"conflict", "identity_changed"}


def test_reports_are_sent_again_only_when_asked_for(node: Node, tmp_path: Path) -> None:
    dataset = draw(2)
    node.receive(dataset)
    analyse_due(node.bench)
    data = tmp_path / "again"
    for name in ("archive", "results"):
        shutil.copytree(node.bench.settings.data / name, data / name)
    with opened(data) as fresh:
        rebuild(stopped(fresh), owe=True)
        owed = [d.destination for a in fresh.study(dataset).analyses for r in a.result_objects for d in r.deliveries]
        assert sorted(owed) == ["ARCHIVE@127.0.0.1:9"] * 2 + ["PACS@127.0.0.1:9"] * 2


def test_a_database_of_an_hour_ago_catches_up_with_a_newer_store(node: Node, tmp_path: Path) -> None:
    """Images and reports of the lost hour are taken over; the identity stays, so nothing is made a second time."""
    old, lost = draw(2), draw(1, {"pneumothorax"})
    node.receive(old)
    analyse_due(node.bench)
    backup = tmp_path / "backup.sqlite"
    with closing(sqlite3.connect(node.bench.database.url.database)) as live, closing(sqlite3.connect(backup)) as copied:
        live.backup(copied)
    node.receive(lost)
    analyse_due(node.bench)
    data = tmp_path / "restored"
    for name in ("archive", "results"):
        shutil.copytree(node.bench.settings.data / name, data / name)
    shutil.copy(backup, data / "firstread.sqlite")
    with opened(data) as restored:
        inspection = stopped(restored)
        repairs = Repairs(inspection)
        mended = [repairs.repair(violation) for violation in check(inspection, CHECKS)]
        repairs.finish()
        assert mended == [True, True], "the image and its report"
        assert list(check(inspection, CHECKS)) == []
        assert analyse_due(restored.bench) == 0
        assert results(restored, lost) == results(node, lost)
        assert restored.study(lost).urgency is Urgency.STAT
        with restored.bench.database.read() as session:
            assert session.scalar(sa.select(sa.func.count()).select_from(ResultObject)) == 4
        assert list(check(replace(inspection, live=True, pause=lambda _s: None), CHECKS)) == []
