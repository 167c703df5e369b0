"""The journey of rows, on a real migrated SQLite: intake, completion, claims, deliveries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from migrated import migrate

from triage import tables
from triage.completion import CompletionPolicy
from triage.database import Database
from triage.errors import LeaseLostError, StateError, StorageFullError
from triage.findings import (
    Algorithm,
    Code,
    Finding,
    ImageResult,
    NotAnalysed,
    NotAnalysedReason,
    Region,
    Score,
    ScoreKind,
    Urgency,
)
from triage.instances import Arrival, InstanceHeader, IntakeOutcome, StoredFile
from triage.outbox import FIRST_PAUSE, LONGEST_PAUSE, Verdict
from triage.priority import Breaker, Targets
from triage.repositories import analyses, completing, deliveries, events, heartbeats, outcomes, placing, results
from triage.repositories.associations import close_association, close_associations_of
from triage.repositories.intake import IntakeRules, record_instance
from triage.states import AnalysisStatus, DeliveryStatus, StudyStatus

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
RULES = IntakeRules(
    listener="listen@here:1",
    completion=CompletionPolicy(),
    targets=Targets(),
    pixel_digest=str,  # same path, same pixels
)
HEADER = InstanceHeader(
    study_instance_uid="1.2.3",
    series_instance_uid="1.2.3.1",
    sop_instance_uid="1.2.3.1.1",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
    modality="DX",
    patient_id="P1",
)
STORED = StoredFile(
    relative_path="ab/cd/x.dcm",
    digest="a" * 64,
    size=10,
    transfer_syntax_uid="1.2.840.10008.1.2.1",
)
ARRIVAL = Arrival(
    received_at=NOW,
    association_uid="assoc-1",
    calling_ae_title="CR1",
    called_ae_title="FIRSTREAD",
    peer_address="127.0.0.1",
)
ALGORITHM = Algorithm(
    name="b", version="1", manufacturer="m", weights_sha256="w" * 64, research=True, disclaimer="research"
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'rows.sqlite'}")
    migrate(database)
    yield database
    database.dispose()


def store(
    database: Database, header: InstanceHeader = HEADER, stored: StoredFile = STORED, arrival: Arrival = ARRIVAL
) -> IntakeOutcome:
    with database.write() as session:
        return record_instance(session, header, stored, arrival, RULES)


def the_study(database: Database) -> tables.Study:
    with database.read() as session:
        return session.scalars(sa.select(tables.Study)).one()


def end_association(database: Database, at: datetime = NOW) -> None:
    with database.write() as session:
        close_association(session, "assoc-1", at=at, policy=RULES.completion)


def claim(database: Database, now: datetime = NOW) -> tables.Analysis | None:
    with database.write() as session:
        return analyses.claim(session, now, attempts=3)


def test_a_first_instance_makes_a_listed_study_with_a_queued_analysis_and_a_shown_reason(database: Database) -> None:
    assert store(database) is IntakeOutcome.STORED
    study = the_study(database)
    assert (study.status, study.status_reason) == (StudyStatus.RECEIVING, "CR1 is still sending")
    assert study.due_at == NOW + timedelta(minutes=120)
    analysis = claim(database)
    assert analysis is not None
    assert analysis.status is AnalysisStatus.RUNNING


def test_the_same_bytes_again_change_nothing_but_the_audit_trail(database: Database) -> None:
    store(database)
    assert store(database, arrival=replace(ARRIVAL, association_uid="assoc-2")) is IntakeOutcome.DUPLICATE
    with database.read() as session:
        assert session.scalar(sa.select(sa.func.count(tables.Instance.id))) == 1
        assert session.scalars(sa.select(tables.Event.kind).order_by(tables.Event.id)).all()[-1] == "instance_resent"


def test_a_corrected_header_becomes_the_current_version_and_changes_the_identity_on_the_list(
    database: Database,
) -> None:
    store(database)
    outcome = store(database, replace(HEADER, patient_id="P2"), replace(STORED, digest="b" * 64))
    assert outcome is IntakeOutcome.VERSIONED
    study = the_study(database)
    assert study.patient_id == "P2"
    assert "identity_changed" in study.flags
    with database.read() as session:
        current = session.scalars(sa.select(tables.Instance).where(tables.Instance.is_current)).one()
        assert current.version == 2


def unreadable(_path: str) -> str:
    raise AssertionError("a damaged file has no pixels to compare")


@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_a_known_file_that_is_damaged_pushes_nothing_aside_and_is_flagged(database: Database, damage: str) -> None:
    store(database)
    rules = replace(
        RULES, pixel_digest=unreadable, damage=lambda path, _: damage if path == STORED.relative_path else ""
    )
    with database.write() as session:
        new = replace(STORED, digest="b" * 64, relative_path="ab/cd/other.dcm")
        assert record_instance(session, HEADER, new, ARRIVAL, rules) is IntakeOutcome.VERSIONED
    with database.read() as session:
        first, second = session.scalars(sa.select(tables.Instance).order_by(tables.Instance.version))
        assert (first.is_current, first.damage, second.is_current, second.damage) == (False, damage, True, "")
        kinds = session.scalars(sa.select(tables.Event.kind)).all()
        assert {"file_damaged", "instance_versioned"} <= set(kinds)
    assert the_study(database).flags == ["damaged"]
    with database.write() as session:  # the old bytes again: sound, and the newest header
        same = replace(RULES, pixel_digest=lambda _: "same")
        assert record_instance(session, HEADER, STORED, ARRIVAL, same) is IntakeOutcome.VERSIONED
    assert the_study(database).flags == []


def test_an_earlier_version_that_retention_unlinks_while_it_comes_again_is_not_acknowledged(database: Database) -> None:
    """Its path is that of a row whose file is about to go: two versions may share the bytes."""
    store(database)
    store(database, replace(HEADER, patient_id="P2"), replace(STORED, digest="b" * 64))
    with database.write() as session:
        session.execute(sa.update(tables.Instance).values(removed_at=NOW))
    with pytest.raises(StorageFullError, match="Retention"), database.write() as session:
        record_instance(session, HEADER, STORED, ARRIVAL, replace(RULES, is_here=lambda _: False))
    with database.write() as session:
        assert record_instance(session, HEADER, STORED, ARRIVAL, RULES) is IntakeOutcome.VERSIONED


def test_a_known_file_that_the_disk_does_not_give_is_a_reason_to_try_again(database: Database) -> None:
    def silent(_path: str, _digest: str) -> str:
        raise OSError(5, "Input/output error")

    store(database)
    with pytest.raises(StorageFullError, match="Input/output error"), database.write() as session:
        record_instance(session, HEADER, replace(STORED, digest="b" * 64), ARRIVAL, replace(RULES, damage=silent))


@pytest.mark.parametrize(
    ("header", "stored"),
    [
        (HEADER, replace(STORED, digest="b" * 64, relative_path="ab/cd/other.dcm")),
        (replace(HEADER, study_instance_uid="1.2.9", series_instance_uid="1.2.9.1"), replace(STORED, digest="b" * 64)),
        (replace(HEADER, sop_class_uid="1.2.840.10008.5.1.4.1.1.1"), replace(STORED, digest="b" * 64)),
    ],
    ids=["other pixels", "other study", "other class"],
)
def test_other_content_under_a_known_uid_is_kept_beside_the_first_which_stays_current(
    database: Database, header: InstanceHeader, stored: StoredFile
) -> None:
    store(database)
    assert store(database, header, stored) is IntakeOutcome.CONFLICT
    with database.read() as session:
        kept = session.execute(sa.select(tables.Instance.digest, tables.Instance.is_current)).all()
    assert sorted(kept) == [("a" * 64, True), ("b" * 64, False)]


def test_two_patients_in_one_study_are_flagged(database: Database) -> None:
    store(database)
    store(database, replace(HEADER, sop_instance_uid="1.2.3.1.2", patient_id="P9"), replace(STORED, digest="c" * 64))
    assert "two_patients" in the_study(database).flags


def test_the_end_of_the_association_completes_a_radiograph_and_wakes_its_analysis(database: Database) -> None:
    store(database)
    analysis = claim(database)
    assert analysis is not None
    with database.write() as session:
        analyses.park(analyses.held(session, analysis.id, analysis.token))
    assert claim(database) is None
    end_association(database)
    assert the_study(database).status is StudyStatus.COMPLETE
    assert claim(database) is not None


def test_a_ct_waits_for_quiet_time_and_says_so(database: Database) -> None:
    store(database, replace(HEADER, modality="CT"))
    assert claim(database) is None
    end_association(database)
    study = the_study(database)
    assert study.status_reason == "waiting for 60 s without a new instance"
    assert study.look_at == NOW + timedelta(seconds=60)
    later = NOW + timedelta(seconds=61)
    with database.write() as session:
        for due in completing.due_studies(session, later):
            completing.reconsider(session, due, later, RULES.completion)
    assert the_study(database).status is StudyStatus.COMPLETE
    assert claim(database, later) is not None


def test_associations_of_a_lost_listener_stop_holding_studies_open(database: Database) -> None:
    store(database)
    with database.write() as session:
        assert close_associations_of(session, ["listen@here:1"], at=NOW, policy=RULES.completion) == 1
    assert the_study(database).status is StudyStatus.COMPLETE


def finish(database: Database) -> None:
    analysis = claim(database)
    assert analysis is not None
    with database.write() as session:
        analyses.succeed(session, analyses.held(session, analysis.id, analysis.token), at=NOW)


def test_a_late_image_reopens_the_study_as_its_next_revision(database: Database) -> None:
    store(database)
    end_association(database)
    finish(database)
    late = replace(ARRIVAL, association_uid="assoc-2", received_at=NOW + timedelta(minutes=5))
    store(database, replace(HEADER, sop_instance_uid="1.2.3.1.2"), replace(STORED, digest="c" * 64), late)
    study = the_study(database)
    assert (study.status, study.revision) == (StudyStatus.RECEIVING, 2)
    again = claim(database, late.received_at)
    assert again is not None
    assert again.revision == 2


def test_a_report_about_a_complete_study_does_not_reopen_it(database: Database) -> None:
    store(database)
    end_association(database)
    finish(database)
    report = replace(HEADER, sop_instance_uid="1.2.3.9.1", modality="SR")
    store(database, report, replace(STORED, digest="d" * 64), replace(ARRIVAL, association_uid="assoc-2"))
    assert the_study(database).status is StudyStatus.COMPLETE
    assert claim(database) is None


def test_a_worker_that_lost_its_lease_cannot_write(database: Database) -> None:
    store(database)
    first = claim(database)
    second = claim(database, NOW + analyses.LEASE * 2)
    assert first is not None
    assert second is not None
    assert second.attempts == 2
    with pytest.raises(LeaseLostError), database.write() as session:
        analyses.held(session, first.id, first.token)


def test_an_analysis_that_kills_every_worker_is_given_up_with_its_reason(database: Database) -> None:
    store(database)
    now = NOW
    for _ in range(3):
        assert claim(database, now) is not None
        now += analyses.LEASE * 2
    assert claim(database, now) is None
    with database.read() as session:
        analysis = session.scalars(sa.select(tables.Analysis)).one()
        assert analysis.status is AnalysisStatus.FAILED
        assert analysis.reason == "given up after 3 attempts: the worker died"


def test_the_most_urgent_study_is_claimed_first_whatever_came_first(database: Database) -> None:
    for number, priority in enumerate(("", "HIGH", "STAT")):
        header = replace(
            HEADER,
            study_instance_uid=f"1.2.{number}",
            series_instance_uid=f"1.2.{number}.1",
            sop_instance_uid=f"1.2.{number}.1",
            requested_procedure_priority=priority,
        )
        store(database, header, replace(STORED, digest=str(number) * 64))
    order = []
    while (analysis := claim(database)) is not None:
        order.append(analysis.study.study_instance_uid)
    assert order == ["1.2.2", "1.2.1", "1.2.0"]


def found(value: float = 0.9, urgency: Urgency = Urgency.STAT) -> ImageResult:
    return ImageResult(
        sop_instance_uid=HEADER.sop_instance_uid,
        findings=(
            Finding(
                key="pneumothorax",
                code=Code(value="36118008", scheme="SCT", meaning="Pneumothorax"),
                site=None,
                score=Score(value=value, threshold=0.5, kind=ScoreKind.CALIBRATED_PROBABILITY),
                urgency=urgency,
                region=Region(outline=((1.0, 1.0), (2.0, 1.0), (2.0, 2.0), (1.0, 1.0)), peak=(1.5, 1.5)),
            ),
        ),
    )


def test_what_was_found_is_read_back_as_it_was_written(database: Database) -> None:
    store(database)
    analysis = claim(database)
    assert analysis is not None
    image = found()
    with database.write() as session:
        held = analyses.held(session, analysis.id, analysis.token)
        ids = {i.sop_instance_uid: i.id for i in outcomes.current_instances(session, held.study_id)}
        outcomes.record_images(session, held, ALGORITHM, [image], [], ids, at=NOW)
    with database.read() as session:
        assert outcomes.load_images(session, analysis.id) == ((image,), ())


def test_images_left_out_keep_their_reason(database: Database) -> None:
    store(database)
    analysis = claim(database)
    assert analysis is not None
    left_out = NotAnalysed(
        sop_instance_uid=HEADER.sop_instance_uid, reason=NotAnalysedReason.UNSUPPORTED_VIEW, detail="lateral"
    )
    with database.write() as session:
        held = analyses.held(session, analysis.id, analysis.token)
        ids = {i.sop_instance_uid: i.id for i in outcomes.current_instances(session, held.study_id)}
        outcomes.record_images(session, held, None, [], [left_out], ids, at=NOW)
        analyses.decline(session, held, left_out.reason, left_out.detail, at=NOW)
    with database.read() as session:
        assert outcomes.load_images(session, analysis.id) == ((), (left_out,))
        assert session.scalars(sa.select(tables.Analysis.reason)).one() == "no model for this view: lateral"


def owed(database: Database) -> int:
    store(database)
    end_association(database)
    analysis = claim(database)
    assert analysis is not None
    built = [
        results.BuiltObject(
            kind=kind, sop_instance_uid=f"2.25.{n}", sop_class_uid="1.2", series_instance_uid="2.25.9",
            transfer_syntax_uid="1.2.840.10008.1.2.1", relative_path=f"{kind}.dcm", sha256="e" * 64, size=1,
        )
        for n, kind in enumerate(("SC", "SR"))
    ]  # fmt: skip
    with database.write() as session:
        held = analyses.held(session, analysis.id, analysis.token)
        rows = results.record_objects(session, held, built, at=NOW)
        results.owe(
            session, rows, {"PACS@localhost:104": {("SC", ""), ("SR", "")}, "RIS@localhost:105": {("SR", "")}}, at=NOW
        )
        analyses.succeed(session, held, at=NOW)
    return analysis.id


def send(database: Database, attempt: deliveries.Attempt, now: datetime) -> list[DeliveryStatus]:
    with database.write() as session:
        batch = deliveries.claim_batch(session, "PACS@localhost:104", now)
    with database.write() as session:
        done = [
            deliveries.conclude(
                session, d.id, d.token, attempt, started_at=now, finished_at=now, give_up_after=timedelta(hours=72)
            )
            for d in batch
        ]
    return [d.status for d in done if d is not None]


def test_each_object_is_owed_to_each_destination_that_takes_its_kind(database: Database) -> None:
    owed(database)
    with database.write() as session:
        assert deliveries.due_destinations(session, NOW) == ["PACS@localhost:104", "RIS@localhost:105"]
        batch = deliveries.claim_batch(session, "PACS@localhost:104", NOW)
        assert [d.result_object.kind for d in batch] == ["SC", "SR"]
        assert deliveries.due_destinations(session, NOW) == ["RIS@localhost:105"]


def test_a_destination_that_is_down_is_tried_again_later_and_given_up_only_after_the_limit(database: Database) -> None:
    owed(database)
    down = deliveries.Attempt(verdict=Verdict.TRANSIENT, error="connection refused")
    now = NOW
    assert send(database, down, now) == [DeliveryStatus.PENDING] * 2
    assert send(database, down, now) == []
    for _ in range(10):
        now += LONGEST_PAUSE * 1.2
        assert send(database, down, now) == [DeliveryStatus.PENDING] * 2
    now = NOW + timedelta(hours=73)
    assert send(database, down, now) == [DeliveryStatus.DEAD] * 2
    with database.write() as session:
        for delivery in session.scalars(
            sa.select(tables.Delivery).where(tables.Delivery.status == DeliveryStatus.DEAD)
        ):
            deliveries.resend(session, delivery, at=now, who="admin")
    assert (
        send(database, deliveries.Attempt(verdict=Verdict.DELIVERED, dicom_status=0), now) == [DeliveryStatus.SENT] * 2
    )


def test_what_waits_for_the_same_reason_follows_the_first_that_gets_through(database: Database) -> None:
    """A destination is back: nobody waits out a pause of an hour beside one whose turn came by chance."""
    owed(database)
    down = deliveries.Attempt(verdict=Verdict.TRANSIENT, error="connection refused")
    full = deliveries.Attempt(verdict=Verdict.TRANSIENT, dicom_status=0xA700, error="0xA700")
    taken = deliveries.Attempt(verdict=Verdict.DELIVERED, dicom_status=0)
    assert send(database, down, NOW) == [DeliveryStatus.PENDING] * 2

    def waits(reason: str) -> timedelta:
        with database.write() as session:
            late = session.scalars(sa.select(tables.Delivery).where(tables.Delivery.reason == reason)).one()
            return (late.not_before or NOW) - NOW

    with database.write() as session:
        first, second = session.scalars(
            sa.select(tables.Delivery).where(tables.Delivery.reason != "").order_by(tables.Delivery.id)
        )
        second.not_before = NOW + LONGEST_PAUSE
    assert send(database, full, NOW + timedelta(seconds=10)) == [DeliveryStatus.PENDING]
    assert send(database, taken, NOW + timedelta(seconds=60)) == [DeliveryStatus.SENT]
    assert waits("connection refused") == LONGEST_PAUSE  # the first one waited for another reason at last
    with database.write() as session:
        session.get_one(tables.Delivery, first.id).reason = "connection refused"
        deliveries.resend(session, session.get_one(tables.Delivery, first.id), at=NOW, who="admin")
        session.get_one(tables.Delivery, first.id).reason = "connection refused"
    assert send(database, taken, NOW + timedelta(seconds=60)) == [DeliveryStatus.SENT]
    assert waits("connection refused") == timedelta(seconds=60) + FIRST_PAUSE
    assert send(database, taken, NOW + timedelta(seconds=60) + FIRST_PAUSE) == [DeliveryStatus.SENT]


def test_a_person_does_not_wait_for_the_next_try(database: Database) -> None:
    owed(database)
    down = deliveries.Attempt(verdict=Verdict.TRANSIENT, error="connection refused")
    taken = deliveries.Attempt(verdict=Verdict.DELIVERED, dicom_status=0)
    assert send(database, down, NOW) == [DeliveryStatus.PENDING] * 2
    with database.write() as session:
        one = session.scalars(sa.select(tables.Delivery).where(tables.Delivery.reason != "")).first()
        assert one is not None
        deliveries.resend(session, one, at=NOW, who="admin")
    assert send(database, taken, NOW) == [DeliveryStatus.SENT]
    with database.write() as session:
        assert deliveries.resend_dead(session, "PACS@localhost:104", at=NOW, who="admin") == 1
        assert deliveries.resend_dead(session, "PACS@localhost:104", at=NOW, who="admin") == 0
        (row,) = deliveries.claim_batch(session, "PACS@localhost:104", NOW)
        with pytest.raises(StateError, match="being sent at this moment"):
            deliveries.resend(session, row, at=NOW, who="admin")


def test_a_refusal_for_good_is_final_after_a_few_attempts(database: Database) -> None:
    owed(database)
    refused = deliveries.Attempt(verdict=Verdict.REFUSED, dicom_status=0xA900, error="0xA900")
    states = [send(database, refused, NOW + n * LONGEST_PAUSE * 1.2)[0] for n in range(3)]
    assert states == [DeliveryStatus.PENDING, DeliveryStatus.PENDING, DeliveryStatus.DEAD]


def test_the_ai_raises_a_case_and_a_person_overrules_it(database: Database) -> None:
    store(database)
    with database.write() as session:
        study = session.scalars(sa.select(tables.Study)).one()
        placing.raise_by_ai(
            session, study, Urgency.STAT, "Pneumothorax 0.94 ≥ 0.60", targets=Targets(), breaker=Breaker(), at=NOW
        )
    study = the_study(database)
    assert (study.urgency, study.explanation) == (Urgency.STAT, "Pneumothorax 0.94 ≥ 0.60 → STAT; due 09:15")
    with database.write() as session:
        study = session.scalars(sa.select(tables.Study)).one()
        placing.set_manual_urgency(
            session, study, Urgency.ROUTINE, reason="known since last week", by="dr", targets=Targets(), at=NOW
        )
    assert the_study(database).urgency is Urgency.ROUTINE
    with database.write() as session:
        study = session.scalars(sa.select(tables.Study)).one()
        placing.set_manual_urgency(session, study, None, reason="mistake", by="dr", targets=Targets(), at=NOW)
    assert the_study(database).urgency is Urgency.STAT


def test_a_later_look_by_one_bundle_takes_nothing_back_from_another(database: Database) -> None:
    store(database)
    end_association(database)
    for revision, (bundle, image) in enumerate([("first", found()), ("second", found(0.1))], start=1):
        if revision == 2:
            with database.write() as session:
                analyses.request(session, session.scalars(sa.select(tables.Study)).one(), at=NOW, who="dr")
        analysis = claim(database)
        assert analysis is not None
        with database.write() as session:
            held = analyses.held(session, analysis.id, analysis.token)
            ids = {i.sop_instance_uid: i.id for i in outcomes.current_instances(session, held.study_id)}
            outcomes.record_images(session, held, replace(ALGORITHM, name=bundle), [image], [], ids, at=NOW)
            assert outcomes.ai_claim(session, held.study)[0] is Urgency.STAT
            analyses.succeed(session, held, at=NOW)


def test_the_breaker_does_not_lower_a_case_that_is_stat_already(database: Database) -> None:
    store(database)
    tripped = Breaker(limit=0.0001, window=1, minimum=0)
    with database.write() as session:
        study = session.scalars(sa.select(tables.Study)).one()
        study.ai_urgency = Urgency.STAT
        study.analyses[0].scored_at = NOW
        session.flush()
        assert tripped.tripped(1, 1)
        placing.raise_by_ai(session, study, Urgency.STAT, "again", targets=Targets(), breaker=tripped, at=NOW)
    assert the_study(database).urgency is Urgency.STAT


def test_a_person_can_ask_again_but_not_while_it_runs(database: Database) -> None:
    store(database)
    with pytest.raises(StateError), database.write() as session:
        analyses.request(session, session.scalars(sa.select(tables.Study)).one(), at=NOW, who="dr")
    end_association(database)
    finish(database)
    with database.write() as session:
        analyses.request(session, session.scalars(sa.select(tables.Study)).one(), at=NOW, who="dr")
    assert the_study(database).revision == 2


def test_heartbeats_tell_the_living_from_the_dead(database: Database) -> None:
    with database.write() as session:
        heartbeats.beat(session, "work@a:1", "work", at=NOW)
        heartbeats.beat(session, "work@b:2", "work", at=NOW + heartbeats.SILENT_AFTER)
    later = NOW + heartbeats.SILENT_AFTER + timedelta(seconds=1)
    with database.read() as session:
        assert [row.name for row in heartbeats.alive(session, later)] == ["work@b:2"]
        assert [row.name for row in heartbeats.silent(session, later)] == ["work@a:1"]


def test_a_watch_sees_commits_of_others_and_nothing_else(database: Database) -> None:
    watch = database.watch()
    assert watch.changed()
    assert not watch.changed()
    with database.write() as session:
        events.record(session, "something", at=NOW)
    assert watch.changed()
    assert not watch.changed()
    watch.close()
