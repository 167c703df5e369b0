"""What the feeds of orders say of themselves, and what becomes of messages that were refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from triage.database import Database
from triage.order_feeds import HL7, FeedState, Hl7Orders
from triage.priority import Targets
from workers.orders.feed_log import FeedLog
from workers.orders.mllp_receiver import NotNowError
from workers.orders.order_desk import OrderDesk

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RIS = "RIS@10.0.0.7:104"
ORDER = b"MSH|^~\\&|RIS|HOSP|||20260301||ORM^O01|1|P|2.5\rPID|1||P1\rORC|NW|1\rOBR|1|1||CR\rTQ1|||||||||S\r"


class Told(list[tuple[str, str]]):
    def __call__(self, reason: str, sender: str) -> None:
        self.append((reason, sender))


@pytest.fixture
def database(tmp_path: Path) -> Any:
    made = Database(f"sqlite:///{tmp_path / 'rows.sqlite'}")
    made.migrate()
    yield made
    made.dispose()


def state(log: FeedLog, feed: str) -> FeedState:
    """As the page reads it: by way of JSON."""
    return next(one for one in map(FeedState.of_detail, json.loads(json.dumps(log.told()))) if one.feed == feed)


def test_messages_are_counted_by_what_became_of_them(database: Database) -> None:
    told = Told()
    log = FeedLog(lambda: NOON, on_refused=told)
    log.opened(HL7)
    assert state(log, HL7) == FeedState(HL7, NOON)
    desk = OrderDesk(database, Hl7Orders(port=0, accession=("OBR-18",)), Targets(), lambda: NOON, log)
    assert b"MSA|AE" in desk(ORDER, "")  # no accession number where the site has it
    assert b"MSA|AA" in desk(ORDER.replace(b"CR\r", b"CR||||||||||||||A1\r"), "")
    assert b"MSA|AR" in desk(b"nothing of HL7", "")
    assert b"MSA|AR" in desk(ORDER, "a message of more than 1 KiB")
    assert state(log, HL7) == FeedState(HL7, NOON, last_at=NOON, messages=4, refused=3, orders=1)
    assert [sender for _, sender in told] == ["RIS|HOSP", "", "RIS|HOSP"]
    assert "OBR-18" in told[0][0]
    assert "P1" not in "".join(reason for reason, _ in told)


def test_a_message_that_cannot_be_kept_is_a_problem_until_one_can(tmp_path: Path, database: Database) -> None:
    log = FeedLog(lambda: NOON)
    message = ORDER.replace(b"CR\r", b"CR||||||||||||||A1\r")
    away = Database(f"sqlite:///{tmp_path / 'nowhere' / 'rows.sqlite'}")
    with pytest.raises(NotNowError):
        OrderDesk(away, Hl7Orders(port=0), Targets(), lambda: NOON, log)(message, "")
    away.dispose()
    assert state(log, HL7).problem
    assert state(log, HL7).messages == 0
    OrderDesk(database, Hl7Orders(port=0), Targets(), lambda: NOON, log)(message, "")
    assert state(log, HL7).problem == ""


def test_what_another_version_does_not_say_is_nothing() -> None:
    assert FeedState.of_detail({"feed": RIS, "since": NOON.isoformat(), "more": 1}) == FeedState(RIS, NOON)


def test_a_worklist_that_fails_keeps_the_time_of_its_last_answer() -> None:
    now = NOON
    log = FeedLog(lambda: now)
    assert log.looked(RIS, 3, "") is False
    now = NOON + timedelta(minutes=5)
    assert log.looked(RIS, 0, "away") is True
    assert log.looked(RIS, 0, "away") is False  # said once
    assert state(log, RIS) == FeedState(RIS, NOON, last_at=NOON, orders=3, problem="away")
    assert log.looked(RIS, 1, "") is True
    assert state(log, RIS) == FeedState(RIS, NOON, last_at=now, orders=4)
