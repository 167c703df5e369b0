"""What lies in quarantine gets a second chance, or is dealt with by a person."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from node_under_test import encoded

from dicom_node import header
from dicom_node.intake import Intake
from triage import tables
from triage.errors import DicomError, NotFoundError, StateError
from triage.instances import Arrival
from triage.repositories import quarantine
from triage.states import StudyStatus
from workers.quarantine import dismiss, retry


@pytest.fixture
def strict(node, phantom, monkeypatch):
    """An older version that refuses every header: what it got lies in quarantine. Returns the data set and its id."""
    dataset = phantom(0)
    intake = Intake(node.bench.archive, node.intake._record, node.clock, on_quarantined=_recorder(node))
    with monkeypatch.context() as older:
        older.setattr(header, "parse", _refuse)
        with pytest.raises(DicomError):
            intake.store(
                encoded(dataset),
                transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
                affected_sop_class_uid=str(dataset.SOPClassUID),
                affected_sop_instance_uid=str(dataset.SOPInstanceUID),
                arrival=Arrival(
                    received_at=node.clock(), association_uid="2.25.1", calling_ae_title="CR1",
                    called_ae_title="FIRSTREAD", peer_address="10.0.0.1",
                ),
            )  # fmt: skip
    return dataset, waiting(node)[0].id


def _refuse(*_args, **_options):
    raise DicomError("This version cannot read it.")


def _recorder(node):
    def record(kept):
        with node.bench.database.write() as session:
            quarantine.record(session, kept)

    return record


def waiting(node):
    with node.bench.database.read() as session:
        return quarantine.listed(session)


def row(node, number):
    with node.bench.database.read() as session:
        return session.get(tables.Quarantined, number)


def test_after_an_upgrade_it_becomes_an_instance_of_a_complete_study(node, strict):
    dataset, number = strict
    outcome = retry(node.bench, number, who="ann")
    assert outcome.problem == ""
    assert outcome.sop_instance_uid == str(dataset.SOPInstanceUID)
    study = node.study(dataset)
    assert study.status is StudyStatus.COMPLETE
    assert study.instances[0].calling_ae_title == "CR1"
    assert waiting(node) == []
    assert row(node, number).dismissed_by == "ann"
    with pytest.raises(StateError):
        retry(node.bench, number, who="ann")


def test_what_is_still_not_understood_stays_on_the_list(node, strict, monkeypatch):
    _, number = strict
    monkeypatch.setattr(header, "parse", _refuse)
    assert retry(node.bench, number, who="ann").problem == "This version cannot read it."
    assert len(waiting(node)) == 1
    assert waiting(node)[0].dismissed_at is None


def test_dismissed_entries_keep_their_bytes_unless_they_are_to_go(node, strict):
    _, number = strict
    path = node.bench.archive.root / row(node, number).relative_path
    dismiss(node.bench, number, who="ann")
    assert path.is_file()
    assert waiting(node) == []
    with pytest.raises(StateError, match="ann has dealt with"):
        dismiss(node.bench, number, who="bob", remove=True)
    with node.bench.database.write() as session:
        session.get(tables.Quarantined, number).dismissed_at = None
    dismiss(node.bench, number, who="bob", remove=True)
    assert not path.exists()
    with node.bench.database.read() as session:
        kinds = session.scalars(sa.select(tables.Event.kind).order_by(tables.Event.id)).all()
    assert kinds.count("quarantine_dismissed") == 2
    with pytest.raises(NotFoundError):
        dismiss(node.bench, 999, who="bob")


def test_bytes_that_are_gone_are_no_second_chance(node, strict):
    _, number = strict
    (node.bench.archive.root / row(node, number).relative_path).unlink()
    with pytest.raises(NotFoundError):
        retry(node.bench, number, who="ann")
    assert len(waiting(node)) == 1
