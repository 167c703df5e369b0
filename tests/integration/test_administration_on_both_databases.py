"""Administration, people, views, orders and audit over HTTP: the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from migrated import migrate
from peers.postgres import postgres
from peers.processes import eventually
from starlette.testclient import TestClient
from worklist_rows import NOON, arrive

from triage.database import Database
from triage.errors import StateError
from triage.findings import Urgency
from triage.order_feeds import HL7, FeedState
from triage.orders import OrderSource, PlacedOrder
from triage.people import Role
from triage.priority import Targets
from triage.repositories import browser_sessions, errands, events, heartbeats, order_listing, orders, users
from triage.settings import Settings
from triage.tables import AuditEntry, Study
from worklist.app import create_app

pytestmark = [pytest.mark.peer, pytest.mark.timeout(120)]
ADMIN = "/api/v1/admin"


@dataclass
class House:
    """An HTTP door over one of the databases; every test uses names of its own."""

    settings: Settings
    database: Database
    now: Any = NOON

    def client(self, **changes: Any) -> TestClient:
        app = create_app(self.settings.model_copy(update=changes), self.database, clock=lambda: self.now)
        return TestClient(app, base_url="http://127.0.0.1:8080", raise_server_exceptions=False)

    def browser(self, name: str) -> TestClient:
        """In which somebody is signed in."""
        with self.database.write() as session:
            user = users.by_name(session, name)
            secret = browser_sessions.begin(session, at=self.now, user=user, address="10.0.0.1", browser="Firefox")
        client = self.client()
        client.cookies.set("firstread_session", secret)
        return client


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder: Path = tmp_path_factory.mktemp("administration")
    if request.param == "sqlite":
        yield from _opened(folder, f"sqlite:///{folder / 'rows.sqlite'}")
        return
    with postgres() as url:
        yield from _opened(folder, url)


def _opened(folder: Path, url: str) -> Iterator[House]:
    settings, database = Settings(data=folder), Database(url)
    settings.archive.mkdir()
    settings.results.mkdir()
    migrate(database)
    yield House(settings, database)
    database.dispose()


def placed(accession: str, urgency: Urgency | None = Urgency.STAT, **said: Any) -> PlacedOrder:
    usual = {"source": OrderSource.HL7, "sender": "RIS", "number": accession, "patient_ids": (), "priority": "S"}
    return PlacedOrder(**{**usual, "accession_number": accession, "urgency": urgency, **said})


def test_peers_are_added_changed_and_removed(house: House) -> None:
    client = house.client()
    peer = client.post(f"{ADMIN}/peers", json={"ae_title": "CT1", "services": ["store"]}).json()
    url, seen = f"{ADMIN}/peers/{peer['id']}", {"If-Match": '"1"'}
    assert client.post(f"{ADMIN}/peers", json={"ae_title": "CT1"}).status_code == 409
    changed = client.put(url, json={"ae_title": "CT1", "services": ["store", "find"]}, headers=seen).json()
    assert (changed["services"], changed["version"]) == (["store", "find"], 2)
    assert client.put(url, json={"ae_title": "CT1"}, headers=seen).status_code == 409
    asked = client.post(f"{url}/echo", json={"host": "10.0.0.5"})
    assert asked.status_code == 202
    with house.database.write() as session:
        errand = errands.claim(session, house.now, holder="deliver@here:1")
        assert errand is not None
        errands.conclude(session, errand.id, errand.token, ok=True, message="answers", next_step="", at=house.now)
    with house.database.write() as session:
        events.record(
            session, "security_alert", at=NOON, who="XR", reason="CALLING_AE_TITLE_NOT_RECOGNISED",
            peer_address="10.9.9.9", count=2,
        )  # fmt: skip
    told = client.get(f"{ADMIN}/peers").json()
    assert [(item["ae_title"], item["echo"]["message"]) for item in told["items"]] == [("CT1", "answers")]
    assert [(caller["ae_title"], caller["times"]) for caller in told["refused"]] == [("XR", 2)]
    assert client.delete(url, headers={"If-Match": '"2"'}).status_code == 204
    entries = client.get(f"{ADMIN}/audit", params={"subject": "peer:CT1"}).json()["items"]
    assert [entry["action"] for entry in entries] == ["peer_removed", "peer_changed", "peer_added"]
    assert entries[1]["after"]["services"] == ["store", "find"]


def test_the_audit_is_only_added_to(house: House) -> None:
    house.client().post(f"{ADMIN}/peers", json={"ae_title": "KEPT"})
    for change in (sa.delete(AuditEntry), sa.update(AuditEntry).values(who="nobody")):
        with pytest.raises(sa.exc.DBAPIError), house.database.engine.begin() as connection:
            connection.execute(change)
    assert house.client().get(f"{ADMIN}/audit", params={"subject": "peer:KEPT"}).json()["items"][0]["who"] == "local"


def test_views_are_each_persons_own(house: House) -> None:
    client, views = house.client(), "/api/v1/worklist/views"
    night = client.post(views, json={"name": "night", "query": {"modality": "CT"}, "default": True}).json()
    assert client.post(views, json={"name": "night"}).status_code == 409
    day = client.post(views, json={"name": "day", "default": True}).json()
    assert [(item["name"], item["default"]) for item in client.get(views).json()["items"]] == [
        ("day", True), ("night", False),
    ]  # fmt: skip
    assert client.patch(f"{views}/{night['id']}", json={"name": "day"}).status_code == 409
    for view in (night, day):
        assert client.delete(f"{views}/{view['id']}").status_code == 204


def test_orders_claim_and_are_listed_with_what_they_gave(house: House) -> None:
    with house.database.write() as session:
        arrive(session, "o1")
        orders.record(
            session,
            [placed("A-o1"), placed("A-o2", None, priority="7"), placed("A-o3", cancelled=True)],
            Targets(),
            at=NOON,
        )
        order_listing.record_refusal(session, reason="No accession number.", sender="RIS", count=3, at=NOON)
        state = FeedState(HL7, NOON, last_at=NOON, messages=4, refused=3, orders=3)
        heartbeats.beat(session, "orders@h:1", "orders", at=house.now, detail={"feeds": [state.as_detail()]})
    client = house.client()
    listed = {item["accession_number"]: item for item in client.get(f"{ADMIN}/orders").json()["items"]}
    assert [study["urgency"] for study in listed["A-o1"]["studies"]] == ["STAT"]
    waiting = client.get(f"{ADMIN}/orders", params={"waiting": True}).json()["items"]
    assert [item["accession_number"] for item in waiting] == ["A-o2"]
    feeds = client.get(f"{ADMIN}/orders/feeds").json()
    (sender,) = [one for one in feeds["senders"] if one["sender"] == "RIS"]
    assert (sender["orders"], sender["unknown"], sender["cancelled"]) == (3, 1, 1)
    assert (feeds["waiting"], feeds["refused"][0]["times"]) == (1, 3)
    with house.database.read() as session:
        assert order_listing.feeds(session, house.now)[HL7] == state
    assert {item["subject"] for item in client.get(f"{ADMIN}/attention").json()["items"]} >= {"parts", "orders"}


def test_two_transactions_at_the_same_studies_wait_for_each_other_and_never_for_ever(house: House) -> None:
    """Intake holds one study and goes on to the next, while a message orders both the other way round."""
    with house.database.write() as session:
        uids = sorted(arrive(session, name).study_instance_uid for name in ("l1", "l2", "l3"))
        numbers = [session.query(Study).filter_by(study_instance_uid=uid).one().accession_number for uid in uids]
    message = [placed(number) for number in reversed(numbers)]
    if house.database.is_sqlite:  # one writer at a time: nothing to wait for
        with house.database.write() as session:
            orders.record(session, message, Targets(), at=NOON)
        return
    failed: list[Exception] = []

    def order() -> None:
        try:
            with house.database.write() as session:
                orders.record(session, message, Targets(), at=NOON)
        except Exception as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    def waits() -> bool:
        with house.database.engine.connect() as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            return bool(connection.execute(sa.text(query)).scalar())

    ordering = threading.Thread(target=order)
    with house.database.write() as session:
        for place, uid in enumerate(uids):
            lock = sa.select(Study).where(Study.study_instance_uid == uid).with_for_update(key_share=True)
            session.scalars(lock).one()
            if place == 0:
                ordering.start()
                eventually(waits, within=20, what="the order waits for intake")
    ordering.join(20)
    assert failed == []
    with house.database.read() as session:
        found = session.query(Study).filter(Study.study_instance_uid.in_(uids)).all()
        assert {study.order_urgency for study in found} == {Urgency.STAT}


def test_one_new_order_of_two_connections_is_one_row(house: House) -> None:
    """An interface engine that repeats a message over a second connection while the first is being kept."""
    with house.database.write() as session:
        arrive(session, "twice")
    failed: list[Exception] = []

    def order(urgency: Urgency) -> None:
        try:
            with house.database.write() as session:
                orders.record(session, [placed("A-twice", urgency), placed("A-again", urgency)], Targets(), at=NOON)
        except Exception as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    threads = [threading.Thread(target=order, args=(Urgency.STAT,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []
    with house.database.read() as session:
        numbers = [one.order.accession_number for one in order_listing.listed(session)]
    assert sorted(number for number in numbers if number in ("A-twice", "A-again")) == ["A-again", "A-twice"]


def test_people_sign_in_are_seen_and_are_signed_out(house: House) -> None:
    """Last, because from the first account on everybody signs in."""
    with house.database.write() as session:
        for name, role in (("root.lee", Role.ADMIN), ("m.lang", Role.READER)):
            users.add(session, name, role, "", at=house.now, who="test")
        with pytest.raises(StateError):
            users.add(session, "M.LANG", Role.READER, "", at=house.now, who="test")
    admin, reader, other = house.browser("root.lee"), house.browser("m.lang"), house.browser("m.lang")
    assert [item["this_one"] for item in reader.get("/api/v1/account/sessions").json()["items"]].count(True) == 1
    assert len(admin.get(f"{ADMIN}/sessions").json()["items"]) == 3
    assert reader.delete("/api/v1/account/sessions").json() == {"ended": 1}
    assert other.get("/api/v1/worklist").status_code == 401
    (theirs,) = (item for item in admin.get(f"{ADMIN}/sessions").json()["items"] if item["name"] == "m.lang")
    assert admin.delete(f"{ADMIN}/sessions/{theirs['id']}").status_code == 204
    assert reader.get("/api/v1/worklist").status_code == 401
    token = admin.post(f"{ADMIN}/tokens", json={"name": "robot", "scopes": ["operate"], "expires_at": None}).json()
    robot = {"Authorization": f"Bearer {token['token']}"}
    assert house.client().get(f"{ADMIN}/orders", headers=robot).status_code == 200
    assert admin.delete(f"{ADMIN}/tokens/robot").status_code == 204
    assert house.client().get(f"{ADMIN}/orders", headers=robot).status_code == 401
    assert admin.patch(f"{ADMIN}/users/root.lee", json={"disabled": True}).status_code == 409
    assert admin.patch(f"{ADMIN}/users/m.lang", json={"role": "technologist"}).json()["role"] == "technologist"
    assert admin.delete(f"{ADMIN}/users/m.lang").status_code == 204
    house.now = NOON + timedelta(hours=13)
    assert admin.get("/api/v1/worklist").status_code == 401
    house.now = NOON
