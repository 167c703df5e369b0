"""The doctor asks where orders come from."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dicom_node.archive import Archive
from dicom_node.intake import Intake
from dicom_node.listener import Listener, ListenerConfig
from firstread import order_checks
from firstread.finding import Grade
from firstread.listening import queries
from triage.database import Database
from triage.instances import IntakeOutcome
from triage.order_feeds import HL7, FeedState, Hl7Orders, OrderFeed
from triage.repositories import heartbeats, order_listing
from triage.settings import Settings
from workers.orders.mllp_receiver import MllpReceiver

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
RIS = "RIS@10.0.0.7:104"


@pytest.fixture
def database(tmp_path: Path) -> Any:
    made = Database(f"sqlite:///{tmp_path / 'rows.sqlite'}")
    made.migrate()
    yield made
    made.dispose()


def found(settings: Settings) -> list[tuple[Grade, str]]:
    return [(finding.grade, finding.message) for finding in order_checks.feeds(settings, NOW)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_worklist_is_asked_whether_it_is_one(database: Database, tmp_path: Path) -> None:
    intake = Intake(Archive(tmp_path / "archive"), lambda *_: IntakeOutcome.STORED)
    config = ListenerConfig(ae_title="RIS", port=0)
    services = queries(Settings(ae_title="RIS"), database)
    for offered, expected in ((services, Grade.GOOD), ({}, Grade.BAD)):
        with Listener(config, intake, services=offered) as listener:
            settings = Settings(order_feeds=(OrderFeed(address=f"RIS@127.0.0.1:{listener.port}"),))
            ((grade, message),) = found(settings)
            assert (grade, "Modality Worklist" in message) == (expected, True)
    (ended,) = order_checks.feeds(settings, NOW)
    assert (ended.grade, ended.message) == (Grade.BAD, "nothing listens on that port (connection refused).")
    assert "deliver" not in ended.next_step
    assert "AE title" in ended.next_step


def test_the_hl7_port_answers_or_does_not() -> None:
    with MllpReceiver(lambda content, _: content, bind="127.0.0.1", port=0) as receiver:
        settings = Settings(hl7_orders=Hl7Orders(port=receiver.port))
        assert found(settings) == [(Grade.GOOD, "answers")]
    assert found(Settings(hl7_orders=Hl7Orders(port=free_port()))) == [(Grade.WARNING, "nothing listens there")]
    assert found(Settings()) == []


def test_what_the_process_says_and_what_was_refused(database: Database) -> None:
    settings = Settings(order_feeds=(OrderFeed(address=RIS),), hl7_orders=Hl7Orders(port=2575))

    def told() -> list[tuple[str, Grade]]:
        with database.read() as session:
            return [(finding.subject, finding.grade) for finding in order_checks.rows(settings, session, NOW)]

    assert told() == [(f"orders of {HL7}", Grade.WARNING), (f"orders of {RIS}", Grade.WARNING)]
    with database.write() as session:
        states = (FeedState(HL7, NOW, last_at=NOW), FeedState(RIS, NOW, problem="away"))
        detail = {"feeds": [state.as_detail() for state in states]}
        heartbeats.beat(session, "orders@h:1", "orders", at=NOW, detail=detail)
        order_listing.record_refusal(session, reason="No accession number.", sender="KIS", count=2, at=NOW)
    assert told() == [
        (f"orders of {HL7}", Grade.GOOD), (f"orders of {RIS}", Grade.BAD), ("orders of KIS", Grade.WARNING),
    ]  # fmt: skip
