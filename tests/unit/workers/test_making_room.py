"""Files make room: only those that may, oldest first, and whatever interrupts it, rows and files agree afterwards."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.uid import generate_uid

from triage import tables
from triage.crash_points import CrashPoint
from triage.errors import StateError, StorageFullError
from triage.findings import NotAnalysedReason
from triage.repositories import analyses
from triage.repositories import events as trail
from triage.repositories import retention as rows
from triage.repositories.intake import IntakeRules, record_instance
from triage.repositories.worklist import mark_read
from triage.retention import Mode, RetentionPolicy, may_go
from triage.room import Room
from triage.states import AnalysisStatus, DeliveryStatus, Proof, ReadingStatus, StudyStatus
from workers.analysis import analyse_due
from workers.custody import Inspection, check
from workers.custody_rows import CHECKS
from workers.retention import Shortage, make_room

GIB = 1024**3
MUCH = Room(free_bytes=900 * GIB, total_bytes=1000 * GIB, free_inodes=900_000, total_inodes=1_000_000)
LITTLE = replace(MUCH, free_bytes=50 * GIB)


class PulledError(Exception):
    """The plug."""


@pytest.fixture
def disk(node):
    """A file system whose room a test sets."""
    state = SimpleNamespace(room=LITTLE, looks=0)

    def look(_root: Path) -> Room:
        state.looks += 1
        return state.room

    state.shortage = Shortage(node.bench.settings, look)
    return state


@pytest.fixture
def finished(node, phantom):
    """Brings a case through: analysed, delivered with proof, read, and a week old."""

    def bring(index: int):
        dataset = phantom(index, {"pneumothorax"})
        node.receive(dataset)
        analyse_due(node.bench)
        with node.bench.database.write() as session:
            for delivery in session.scalars(sa.select(tables.Delivery)):
                delivery.status, delivery.proof = DeliveryStatus.SENT, Proof.READ_BACK
                of = delivery.result_object.analysis.study
                trail.record(session, "result_sent", at=node.clock(), study=of, destination=delivery.destination)
            study = session.scalars(
                sa.select(tables.Study).where(tables.Study.study_instance_uid == str(dataset.StudyInstanceUID))
            ).one()
            assert study.status is StudyStatus.COMPLETE
            mark_read(session, study, who="ann", at=node.clock())
        node.clock.pass_by(days=8)
        return dataset

    return bring


def files(node) -> set[str]:
    settings = node.bench.settings
    return {
        path.relative_to(settings.data).as_posix()
        for root in (settings.archive / "store", settings.results)
        for path in root.rglob("*")
        if path.is_file()
    }


def events(study: tables.Study) -> list[str]:
    return [event.kind for event in study.events]


def test_files_go_rows_stay_and_say_when_and_why(node, disk, finished):
    dataset = finished(0)
    assert len(files(node)) == 6, "image, report, heat map, two previews, what the viewer lays over"
    assert make_room(node.bench, disk.shortage) == 1
    assert files(node) == set()
    study = node.study(dataset)
    assert [i.removed_at for i in study.instances] == [node.clock()]
    results = study.analyses[-1].result_objects
    assert [r.removed_at for r in results] == [node.clock()] * 2
    assert [image.preview_path for image in study.analyses[-1].images] == [""]
    assert study.events[-1].kind == "files_removed"
    assert study.events[-1].detail == {
        "reason": "room was short", "instances": 1, "results": 2,
        "bytes": sum(i.size for i in study.instances) + sum(r.size for r in results),
    }  # fmt: skip
    assert make_room(node.bench, disk.shortage) == 0


def test_with_room_to_spare_nothing_goes(node, disk, finished):
    finished(0)
    disk.room = MUCH
    assert make_room(node.bench, disk.shortage) == 0
    disk.room = replace(MUCH, free_inodes=99_999)
    assert make_room(node.bench, disk.shortage) == 1, "inodes run short as bytes do"


def test_the_oldest_go_first_and_no_more_than_needed(node, disk, finished, monkeypatch):
    first, second = finished(0), finished(1)
    amounts = iter([LITTLE, replace(MUCH, free_bytes=120 * GIB)])
    monkeypatch.setattr(disk.shortage, "_look", lambda _root: next(amounts))
    assert make_room(node.bench, disk.shortage) == 1
    assert node.study(first).instances[0].removed_at is not None
    assert node.study(second).instances[0].removed_at is None


def test_between_the_marks_removing_goes_on_only_where_it_had_begun(node, disk):
    between = replace(MUCH, free_bytes=110 * GIB)
    disk.room = between
    assert not disk.shortage.now()
    disk.room = LITTLE
    assert disk.shortage.now()
    disk.room = between
    assert disk.shortage.now()
    disk.room = replace(MUCH, free_bytes=120 * GIB)
    assert not disk.shortage.now()


def test_by_age_it_goes_without_need(node, disk, finished):
    finished(0)
    disk.room = MUCH
    node.bench.settings = node.bench.settings.model_copy(update={"retention": Mode.AGE, "retention_days": 8.5})
    assert make_room(node.bench, disk.shortage) == 0
    node.clock.pass_by(days=1)
    assert make_room(node.bench, disk.shortage) == 1


def test_what_is_owed_stays_however_short_room_is(node, disk, finished, capsys):
    dataset = finished(0)
    with node.bench.database.write() as session:
        session.scalars(sa.select(tables.Delivery)).first().proof = None
    assert make_room(node.bench, disk.shortage) == 0
    assert len(files(node)) == 6
    assert node.study(dataset).instances[0].removed_at is None
    assert "1 × a destination has not shown that it holds the results" in capsys.readouterr().out


@pytest.mark.parametrize("point", [CrashPoint.GIVEN_UP, CrashPoint.UNLINKED])
def test_whoever_is_killed_in_between_is_followed_by_the_next_run(node, disk, finished, point):
    dataset = finished(0)

    def pull(reached: CrashPoint) -> None:
        if reached is point:
            raise PulledError

    node.bench.reached = pull
    with pytest.raises(PulledError):
        make_room(node.bench, disk.shortage)
    assert node.study(dataset).instances[0].removed_at is not None
    assert bool(files(node)) == (point is CrashPoint.GIVEN_UP)
    node.bench.reached = lambda _point: None
    disk.room = MUCH
    assert make_room(node.bench, disk.shortage) == 0
    assert files(node) == set()
    with node.bench.database.read() as session:
        assert rows.with_leftovers(session, 10) == []
    assert events(node.study(dataset)).count("files_removed") == 1


def test_a_path_outside_is_not_touched_and_holds_nobody_up(node, disk, finished, tmp_path, capsys):
    first, second = finished(0), finished(1)
    outside = tmp_path / "outside.dcm"
    outside.write_bytes(b"mine")
    with node.bench.database.write() as session:
        session.get(tables.Instance, node.study(first).instances[0].id).relative_path = "../../outside.dcm"
    assert make_room(node.bench, disk.shortage) == 2
    assert outside.read_bytes() == b"mine"
    assert "files_not_removed" in capsys.readouterr().out
    assert not (node.bench.settings.archive / node.study(second).instances[0].relative_path).exists()


def test_asking_for_another_look_says_that_the_images_are_gone(node, disk, finished):
    dataset = finished(0)
    make_room(node.bench, disk.shortage)
    with node.bench.database.write() as session, pytest.raises(StateError, match="Retention removed the images"):
        analyses.request(session, session.get(tables.Study, node.study(dataset).id), at=node.clock(), who="ann")


def test_a_late_image_is_reported_and_what_was_found_before_stays_on_the_list(node, disk, finished, phantom):
    dataset = finished(0)
    make_room(node.bench, disk.shortage)
    late = late_view(phantom(1), dataset)
    node.receive(late)
    analyse_due(node.bench)
    study = node.study(dataset)
    first, second = study.analyses
    assert second.status is AnalysisStatus.SUCCEEDED
    assert {image.instance.sop_instance_uid: image.reason for image in second.images} == {
        str(dataset.SOPInstanceUID): None,
        str(late.SOPInstanceUID): None,
    }
    by_image = {image.instance.sop_instance_uid: image for image in second.images}
    carried = by_image[str(dataset.SOPInstanceUID)]
    assert [f.value for f in carried.findings] == [f.value for f in first.images[0].findings]
    row = next(result for result in second.result_objects if result.kind == "SR")
    report = dcmread(node.bench.settings.results / row.relative_path)
    earlier = next(result for result in first.result_objects if result.kind == "SR")
    (predecessor,) = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert predecessor.ReferencedSOPInstanceUID == earlier.sop_instance_uid
    said = [str(element.value) for element in report.iterall() if element.keyword == "TextValue"]
    assert any(str(dataset.SOPInstanceUID) in text and NotAnalysedReason.REMOVED.sentence in text for text in said)


def test_fsck_finds_nothing_after_removal_a_late_image_and_a_resend(node, disk, finished, phantom):
    dataset = finished(0)
    make_room(node.bench, disk.shortage)
    assert violations(node) == []
    node.receive(*(late := [late_view(phantom(1), dataset)]))
    analyse_due(node.bench)
    assert violations(node) == []
    node.receive(dataset, *late)
    analyse_due(node.bench)
    assert violations(node) == []


def violations(node) -> list[str]:
    bench = node.bench
    inspection = Inspection(
        settings=bench.settings, database=bench.database, archive=bench.archive, clock=node.clock, deep=True, live=False
    )
    return [str(violation) for violation in check(inspection, CHECKS)]


def late_view(late, dataset):
    """The image as another one of the other one's study."""
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(late, keyword, getattr(dataset, keyword))
    late.SeriesInstanceUID = generate_uid()
    return late


def test_every_study_that_may_go_is_a_candidate(node):
    """The query only narrows what the rule decides: over many random studies it never hides one."""
    rng = random.Random(7)
    now = node.clock()
    with node.bench.database.write() as session:
        for number in range(300):
            _random_study(session, rng, number, now)
    policies = [
        RetentionPolicy(days=days, minimum_days=7, needs_proof=proof) for days in (7, 30) for proof in Proof
    ]  # fmt: skip
    for policy in policies:
        with node.bench.database.read() as session:
            chosen = [study_id for _, study_id in rows.candidates(session, now, policy, limit=1000)]
            paged, after = [], None
            while page := rows.candidates(session, now, policy, after=after, limit=7):
                paged += [study_id for _, study_id in page]
                after = page[-1]
            studies = session.scalars(sa.select(tables.Study)).all()
            going = {s.id for s in studies if may_go(rows.facts_of(session, s), now, policy, short=True).kept is None}
        assert going, "the sample holds none that may go"
        assert going <= set(chosen)
        assert len(chosen) < len(studies) / 2, "the query narrows nothing"
        assert paged == chosen


def _random_study(session, rng, number, now):
    study = tables.Study(
        study_instance_uid=f"2.25.{number}",
        status=rng.choice([StudyStatus.COMPLETE] * 5 + [StudyStatus.RECEIVING]),
        reading_status=rng.choice(list(ReadingStatus)),
        flags=rng.choice([[], [], [], ["conflict"], ["no_identity"]]),
        opened_at=now,
        received_at=now,
        due_at=now,
        last_received_at=now - timedelta(days=rng.uniform(0, 60)),
    )
    session.add(study)
    for file in range(rng.randint(0, 2)):
        session.add(
            tables.Instance(
                study=study,
                sop_instance_uid=f"2.25.{number}.{file}",
                series_instance_uid="1",
                sop_class_uid="1",
                transfer_syntax_uid="1",
                relative_path=f"store/{number}.{file}",
                digest="0",
                size=1,
                received_at=now,
                removed_at=rng.choice([None, None, now]),
                damage=rng.choice(["", "", "", "altered"]),
            )
        )
    for revision in range(1, rng.randint(1, 3)):
        analysis = tables.Analysis(
            study=study,
            revision=revision,
            queued_at=now,
            status=rng.choice([AnalysisStatus.SUCCEEDED] * 6 + list(AnalysisStatus)),
        )
        result = tables.ResultObject(
            analysis=analysis,
            kind="SR",
            sop_instance_uid=f"2.25.{number}.9.{revision}",
            sop_class_uid="1",
            series_instance_uid="1",
            transfer_syntax_uid="1",
            relative_path="x",
            sha256="0",
            size=1,
            created_at=now,
            removed_at=rng.choice([None, None, now]),
        )
        session.add(result)
        for destination in range(rng.choice([0, 1, 2, 2])):
            session.add(
                tables.Delivery(
                    result_object=result,
                    destination=str(destination),
                    created_at=now,
                    status=rng.choice([DeliveryStatus.SENT] * 6 + list(DeliveryStatus)),
                    proof=rng.choice([Proof.READ_BACK, Proof.COMMITTED, Proof.ANSWERED, None]),
                )
            )


def test_the_same_bytes_again_are_stored_again_without_new_work(node, disk, finished):
    dataset = finished(0)
    make_room(node.bench, disk.shortage)
    node.clock.pass_by(days=1)
    node.receive(dataset)
    study = node.study(dataset)
    assert (study.instances[0].removed_at, len(study.instances), len(study.analyses)) == (None, 1, 1)
    assert (node.bench.settings.archive / study.instances[0].relative_path).is_file()
    assert study.last_received_at == node.clock(), "its time begins anew"
    assert make_room(node.bench, disk.shortage) == 0
    with node.bench.database.write() as session:
        assert analyses.request(session, session.get(tables.Study, study.id), at=node.clock(), who="ann")


def test_bytes_that_come_while_they_are_removed_are_not_lost(node, disk, finished):
    """The row says removed, the file is still there, the sender sends again: the file must outlive the unlinking."""
    dataset = finished(0)

    def send_again(reached: CrashPoint) -> None:
        if reached is CrashPoint.GIVEN_UP:
            node.receive(dataset)

    node.bench.reached = send_again
    assert make_room(node.bench, disk.shortage) == 1
    instance = node.study(dataset).instances[0]
    assert instance.removed_at is None
    assert (node.bench.settings.archive / instance.relative_path).is_file()


def test_a_file_that_went_before_its_row_is_refused_and_sent_again(node, disk, finished, monkeypatch):
    """Between the file's arrival and its row the old one is unlinked, and the new one with it: no Success for that."""
    dataset = finished(0)
    make_room(node.bench, disk.shortage)
    rules = replace(node_rules(node), is_here=lambda path: (node.bench.settings.archive / path).is_file())
    record = node.intake._record

    def unlink_first(header, stored, arrival):
        (node.bench.archive.root / stored.relative_path).unlink()
        with node.bench.database.write() as session:
            return record_instance(session, header, stored, arrival, rules)

    monkeypatch.setattr(node.intake, "_record", unlink_first)
    with pytest.raises(StorageFullError, match="while it came again"):
        node.receive(dataset)
    assert node.study(dataset).instances[0].removed_at is not None
    monkeypatch.setattr(node.intake, "_record", record)
    node.receive(dataset)
    assert node.study(dataset).instances[0].removed_at is None


def node_rules(node) -> IntakeRules:
    settings = node.bench.settings
    return IntakeRules(
        listener="listen@test:1", completion=settings.completion, targets=settings.targets,
        pixel_digest=node.bench.archive.pixel_digest,
    )  # fmt: skip


def test_another_header_around_removed_pixels_is_a_new_version(node, disk, finished):
    dataset = finished(0)
    make_room(node.bench, disk.shortage)
    dataset.PatientName = "CORRECTED^NAME"
    node.receive(dataset)
    first, second = node.study(dataset).instances
    assert (first.removed_at is not None, first.is_current) == (True, False)
    assert (second.removed_at, second.is_current, second.version) == (None, True, 2)
