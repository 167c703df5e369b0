"""What holds at every moment of every history: I1 to I5, I8, I9 and I11 of the protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from custody.house import House
from custody.studies import IMAGES
from dicom_node.results import files as results
from triage.errors import FirstreadError
from triage.repositories.list_query import Filters, page_query
from triage.states import AnalysisStatus, StudyStatus
from triage.tables import Analysis, Delivery, Event, Instance, ResultObject, Study

STUDY_OF: Final = {image.sop_uid: image.study_uid for image in IMAGES.values()}
_INSTANCES: Final = sa.select(Instance.sop_instance_uid, Instance.digest, Instance.relative_path, Instance.is_current)
_ANALYSES: Final = sa.select(Analysis.id, Analysis.study_id, Analysis.revision, Analysis.status, Analysis.attempts)
_RESULTS: Final = sa.select(ResultObject.sop_instance_uid, ResultObject.sha256, ResultObject.relative_path)
_EVENTS: Final = sa.select(Event.kind, Event.study_id, Event.detail)


@dataclass(frozen=True)
class Rows:
    """The tables at one moment."""

    instances: Sequence[Any]
    analyses: Sequence[Any]
    results: Sequence[Any]
    events: Sequence[Any]
    listed: Sequence[Study]
    complete: int
    sent: int


def look(house: House) -> Rows:
    """Read them."""
    with house.database.read() as session:
        return Rows(
            instances=session.execute(_INSTANCES).all(),
            analyses=session.execute(_ANALYSES).all(),
            results=session.execute(_RESULTS).all(),
            events=session.execute(_EVENTS).all(),
            listed=list(session.scalars(page_query(Filters(), None, 200))),
            complete=session.scalar(sa.select(sa.func.count()).where(Study.status == StudyStatus.COMPLETE)) or 0,
            sent=session.scalar(sa.select(sa.func.count()).where(Delivery.sent_at.is_not(None))) or 0,
        )


def check(house: House, rows: Rows) -> None:
    """Hold the tables against files, receipts and the destination."""
    _every_receipt_has_its_bytes(house, rows)
    _every_result_has_its_bytes(house, rows)
    _one_version_counts(house, rows)
    _an_analysis_ends_once(rows)
    _one_name_per_result_and_one_content_per_name(house)
    _attempts_are_bounded(house, rows)
    assert not house.robbed, house.robbed
    _every_study_is_on_the_list(house, rows)
    _every_change_is_in_the_audit_trail(rows)


def _every_receipt_has_its_bytes(house: House, rows: Rows) -> None:
    """I1, I2, I8: each receipt has a row, each row its file, each file its bytes; a conflict's too."""
    for uid, digest, path, _ in rows.instances:
        try:
            kept = house.archive.data_set_digest(path)
        except FirstreadError as error:
            raise AssertionError(f"I2: {uid} has a row and no file: {type(error).__name__}") from error
        assert kept == digest, f"I1: {uid} has other bytes than its row says"
    lost = (house.acks | house.kept) - {(uid, digest) for uid, digest, _, _ in rows.instances}
    assert not lost, f"I1: answered and not stored: {lost}"


def _every_result_has_its_bytes(house: House, rows: Rows) -> None:
    """I2, of what we made ourselves: frozen from its row on."""
    for uid, digest, path in rows.results:
        file = house.settings.results / path
        assert file.is_file(), f"I2: result {uid} has a row and no file"
        assert results.digest(file) == digest, f"I2: result {uid} is not what was built"


def _one_version_counts(house: House, rows: Rows) -> None:
    """I8: of each instance one version, and of each acknowledged one."""
    current = Counter(uid for uid, _, _, is_current in rows.instances if is_current)
    assert set(current.values()) <= {1}, f"I8: {current}"
    assert {uid for uid, _ in house.acks} <= current.keys(), "I8: of an acknowledged instance no version counts"


def _an_analysis_ends_once(rows: Rows) -> None:
    """I3: what succeeded stays so."""
    ended = Counter((study, detail["revision"]) for kind, study, detail in rows.events if kind == "analysis_succeeded")
    assert set(ended.values()) <= {1}, f"I3: ended twice: {ended}"
    succeeded = {
        (study, revision) for _, study, revision, status, _ in rows.analyses if status is AnalysisStatus.SUCCEEDED
    }
    assert succeeded == ended.keys(), "I3: a result was taken back"


def _one_name_per_result_and_one_content_per_name(house: House) -> None:
    """I4, at the node and at the destination."""
    for (analysis, kind, source), names in house.reader.built.items():
        assert len(names) == 1, f"I4: analysis {analysis} named its {kind} of {source} {len(names)} times"
    for uid, contents in house.pacs.held.items():
        assert len(contents) == 1, f"I4: two contents under {uid}"


def _attempts_are_bounded(house: House, rows: Rows) -> None:
    """I5; and nobody is given up who was not tried so often."""
    limit = house.settings.analysis_attempts
    for id_, _, _, status, attempts in rows.analyses:
        assert attempts <= limit, f"I5: {attempts} attempts"
        if status is AnalysisStatus.FAILED:
            ended = house.ended_badly(id_)
            assert ended >= limit, f"I5: given up after {ended} bad ends"


def _every_study_is_on_the_list(house: House, rows: Rows) -> None:
    """I9: from the first receipt on, and due no later than its arrival alone makes it."""
    listed = {study.study_instance_uid for study in rows.listed}
    assert {STUDY_OF[uid] for uid, _ in house.acks} <= listed, "I9: an acknowledged study is not on the list"
    routine = house.settings.target_minutes_routine * 60
    for study in rows.listed:
        assert (study.due_at - study.received_at).total_seconds() <= routine, "I9: a study was put back"


def _every_change_is_in_the_audit_trail(rows: Rows) -> None:
    """I11: states and events say the same."""
    told = Counter(kind for kind, _, _ in rows.events)
    kept = told["instance_stored"] + told["instance_versioned"] + told["instance_conflict"]
    assert len(rows.instances) == kept, "I11: instances"
    assert rows.complete == told["study_complete"] - told["study_reopened"], "I11: completion"
    assert rows.sent == told["result_sent"], "I11: deliveries"
