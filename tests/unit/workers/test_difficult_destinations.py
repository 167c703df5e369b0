"""Destinations that refuse, break off, stay silent or crawl; results that must not go out; senders that die."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from node_under_test import Node, draw
from owing import Debtor, to
from peers.difficult_pacs import Door, difficult_pacs

from dicom_node.requestor import Timeouts
from triage import tables
from triage.crash_points import CrashPoint, nowhere
from triage.errors import StateError
from triage.outbox import BUDGET, Verdict
from triage.repositories import deliveries, heartbeats
from triage.states import DeliveryStatus, Proof
from triage.tables import Association, Delivery
from workers import delivery as sending
from workers import reaching
from workers.carriers import c_store
from workers.housekeeping import bury_the_dead

pytestmark = pytest.mark.timeout(120)

PENDING, SENT, DEAD = DeliveryStatus.PENDING, DeliveryStatus.SENT, DeliveryStatus.DEAD


IMPATIENCE = Timeouts(connect=1.0, association=1.0, send=1.0, response=1.0)


def statuses(owing: Debtor) -> list[DeliveryStatus]:
    return [delivery.status for delivery in owing.deliveries()]


# --- at the door and at the store ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("door", "says"),
    [
        (Door.CLOSED, "closed the connection"),
        (Door.REJECTS_FOR_NOW, "local limit exceeded"),
        (Door.SILENT, "did not answer in time"),
        (Door.SLOW, "did not answer in time"),
        (Door.ABORTS, "aborted the association"),
        (Door.CUTS, "closed the connection"),
    ],
)
def test_what_may_go_well_later_is_tried_until_it_does(
    node: Node, monkeypatch: pytest.MonkeyPatch, door: Door, says: str
) -> None:
    with difficult_pacs(door=door) as pacs:
        owing = Debtor(node, destinations=to(pacs.address, commitment="off"))
        owing.owe(pacs.address)
        with monkeypatch.context() as brief:
            if door in (Door.SILENT, Door.SLOW):
                brief.setattr(c_store, "PATIENCE", IMPATIENCE)
            for _ in range(2):
                assert owing.deliver(pacs.address) == 0
                assert statuses(owing) == [PENDING, PENDING]
                assert says in owing.deliveries()[0].reason
                node.clock.pass_by(hours=2)
        pacs.door = Door.OPEN
        assert owing.deliver(pacs.address) == 2
        assert {d.proof for d in owing.deliveries()} == {Proof.ANSWERED}
        assert pacs.held == {d.result_object.sop_instance_uid for d in owing.deliveries()}
        assert {len(set(digests)) for digests in pacs.contents.values()} == {1}  # same UID, same bytes


@pytest.mark.parametrize("door", [Door.REJECTS_FOR_GOOD, Door.KNOWS_NO_CLASS])
def test_who_is_not_welcome_tries_ten_times_and_then_waits_for_a_person(node: Node, door: Door) -> None:
    with difficult_pacs(door=door) as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        owing.owe(pacs.address)
        for number in range(BUDGET[Verdict.UNWELCOME]):
            assert statuses(owing) == [PENDING, PENDING], number
            owing.deliver(pacs.address)
            node.clock.pass_by(hours=2)
        assert statuses(owing) == [DEAD, DEAD]
        assert all(d.reason for d in owing.deliveries())
        pacs.door = Door.OPEN
        with node.bench.database.write() as session:
            assert deliveries.resend_dead(session, pacs.address, at=node.clock(), who="ann") == 2
        assert owing.deliver(pacs.address) == 2


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0x0122, 0x0124])
def test_an_object_that_is_refused_for_good_is_tried_three_times(node: Node, status: int) -> None:
    with difficult_pacs(status=status) as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        owing.owe(pacs.address)
        for expected in (PENDING, PENDING, DEAD):
            owing.deliver(pacs.address)
            assert statuses(owing) == [expected, expected]
            node.clock.pass_by(hours=2)
        assert owing.deliver(pacs.address) == 0
        assert [a.dicom_status for a in owing.deliveries()[0].attempts] == [status] * 3


def test_three_refusals_mean_three_in_a_row(node: Node) -> None:
    with difficult_pacs() as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        owing.owe(pacs.address)
        for status in (0xA900, 0xA700, 0xA900, 0xA900):
            pacs.status = status
            owing.deliver(pacs.address)
            assert statuses(owing) == [PENDING, PENDING]
            node.clock.pass_by(hours=2)


@pytest.mark.parametrize("status", [0xA700, 0x0110])
def test_a_full_destination_is_asked_for_three_days(node: Node, status: int) -> None:
    with difficult_pacs(status=status) as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        owing.owe(pacs.address)
        for _ in range(11):
            owing.deliver(pacs.address)
            node.clock.pass_by(hours=6)
        assert statuses(owing) == [PENDING, PENDING]
        node.clock.pass_by(hours=7)
        owing.deliver(pacs.address)
        assert statuses(owing) == [DEAD, DEAD]


@pytest.mark.parametrize(("status", "says"), [(0xB000, "Coercion"), (0xB007, "Match"), (0xB123, "0xb123")])
def test_a_warning_is_a_delivery_with_a_note(node: Node, status: int, says: str) -> None:
    with difficult_pacs(status=status) as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        owing.owe(pacs.address)
        assert owing.deliver(pacs.address) == 2
        assert statuses(owing) == [SENT, SENT]
        assert says in owing.deliveries()[0].note


# --- one destination does not hold up another ------------------------------------------------------------------------


def test_one_sender_at_a_time_waits_for_a_silent_destination(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_store, "PATIENCE", Timeouts(connect=5.0, association=5.0, send=5.0, response=5.0))
    with difficult_pacs(door=Door.SILENT) as silent, difficult_pacs(ae_title="GOOD") as good:
        owing = Debtor(node, destinations=to(silent.address) + to(good.address))
        owing.owe(silent.address, good.address)
        waiting = threading.Thread(target=owing.deliver, args=(silent.address,))
        waiting.start()
        try:
            deadline = time.monotonic() + 10
            while not silent.connections:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            with node.bench.database.read() as session:
                assert deliveries.due_destinations(session, node.clock()) == [good.address]
            assert owing.deliver(silent.address) == 0  # a second sender does not join the first
            assert silent.connections == 1
            assert owing.deliver(good.address) == 2
        finally:
            waiting.join()
    assert [d.status for d in owing.deliveries() if d.destination == good.address] == [SENT, SENT]
    assert [d.status for d in owing.deliveries() if d.destination == silent.address] == [PENDING, PENDING]


def test_a_silent_destination_costs_one_wait_for_a_whole_batch(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_store, "PATIENCE", IMPATIENCE)
    with difficult_pacs(door=Door.SILENT) as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        for number in range(5):
            owing.owe(pacs.address, number=number)
        owing.deliver(pacs.address)
        assert pacs.connections == 1  # ten waits would be ten
        assert set(statuses(owing)) == {PENDING}


def test_a_batch_that_takes_too_long_gives_the_rest_back(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "BATCH_SECONDS", -1.0)
    with difficult_pacs() as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        owing.owe(pacs.address)
        assert owing.deliver(pacs.address) == 0
        assert [(d.status, d.attempt_count, d.token) for d in owing.deliveries()] == [(PENDING, 0, "")] * 2
        monkeypatch.setattr(sending, "BATCH_SECONDS", 60.0)
        assert owing.deliver(pacs.address) == 2


def test_the_longest_wait_without_progress_is_shorter_than_the_lease() -> None:
    """Connected, TLS, associated, the first piece; or a piece and the answer."""
    patience = reaching.PATIENCE
    longest = patience.connect + 2 * patience.association + patience.send + patience.response
    assert timedelta(seconds=longest) + c_store.RENEW_AFTER < deliveries.LEASE


def test_a_sender_that_gets_on_keeps_its_batch_however_slow_the_destination(node: Node) -> None:
    """A picture of 3 MB may take longer than a lease: a second sender would begin it anew, and so for ever."""
    with difficult_pacs() as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        owing.owe(pacs.address)
        with node.bench.database.write() as session:
            batch = deliveries.claim_batch(session, pacs.address, node.clock(), holder="deliver@elsewhere:1")
        for _ in range(3):
            with c_store.CStoreCarrier(node.bench, node.bench.settings.destinations[0], batch) as carrier:
                node.clock.pass_by(minutes=3)
                carrier.send(batch[0], node.bench.settings.results / batch[0].result_object.relative_path)
            assert owing.deliver(pacs.address) == 0, "it is the first one's"
        assert len(pacs.contents) == 1
        node.clock.pass_by(minutes=5)
        assert owing.deliver(pacs.address) == 2


def test_what_breaks_a_sender_is_counted_and_holds_up_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the most urgent result would break every batch before the others' turn, for ever and without a reason."""
    real = c_store.CStoreCarrier.send

    def breaking(carrier: c_store.CStoreCarrier, delivery: Delivery, path: Path) -> deliveries.Attempt:
        if delivery.result_object.kind == "SC":
            raise BufferError("cannot close exported pointers exist")
        return real(carrier, delivery, path)

    monkeypatch.setattr(c_store.CStoreCarrier, "send", breaking)
    with difficult_pacs() as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        owing.owe(pacs.address)
        assert owing.deliver(pacs.address) == 1
        broken, sent = sorted(owing.deliveries(), key=lambda delivery: delivery.result_object.kind)
        assert (sent.status, broken.status, broken.attempt_count, broken.token) == (SENT, PENDING, 1, "")
        assert broken.reason == "Sending it failed here (BufferError): see the log of this node."
        monkeypatch.setattr(c_store.CStoreCarrier, "send", real)
        node.clock.pass_by(minutes=1)
        assert owing.deliver(pacs.address) == 1


def test_a_carrier_that_does_not_open_is_an_attempt_too(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> reaching.Line:
        raise KeyError("?")

    with difficult_pacs() as pacs, monkeypatch.context() as patch:
        owing = Debtor(node, destinations=to(pacs.address))
        owing.owe(pacs.address)
        patch.setattr(c_store.Line, "to", broken)
        assert owing.deliver(pacs.address) == 0
        assert [(d.status, d.attempt_count) for d in owing.deliveries()] == [(PENDING, 1)] * 2
        assert "KeyError" in owing.deliveries()[0].reason


# --- senders that die ------------------------------------------------------------------------------------------------


def test_a_sender_that_died_on_this_host_is_followed_at_once(node: Node) -> None:
    with difficult_pacs() as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        owing.owe(pacs.address)
        with node.bench.database.write() as session:
            gone = sending.process_name("deliver").rpartition(":")[0] + ":999999"
            assert len(deliveries.claim_batch(session, pacs.address, node.clock(), holder=gone)) == 2
        assert owing.deliver(pacs.address) == 0
        bury_the_dead(node.bench.database, node.bench.settings.completion, node.clock())
        assert owing.deliver(pacs.address) == 2


def test_a_container_that_is_started_again_does_not_wait_for_its_namesake(node: Node) -> None:
    """It has the same host name, and its parts the same process numbers: nothing is theirs yet when they start."""
    with difficult_pacs() as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        owing.owe(pacs.address)
        own = sending.process_name("deliver")
        with node.bench.database.write() as session:
            assert len(deliveries.claim_batch(session, pacs.address, node.clock(), holder=own)) == 2
            heartbeats.beat(session, sending.process_name("listen"), "listen", at=node.clock())
            session.add(
                Association(
                    association_uid="1.2.3", listener=sending.process_name("listen"), calling_ae_title="CT1",
                    called_ae_title="FIRSTREAD", peer_address="10.0.0.1", opened_at=node.clock(),
                )
            )  # fmt: skip
        completion = node.bench.settings.completion
        bury_the_dead(node.bench.database, completion, node.clock())
        assert owing.deliver(pacs.address) == 0  # a part that has been at work holds what is its own
        bury_the_dead(node.bench.database, completion, node.clock(), starting=True)
        assert owing.deliver(pacs.address) == 2
        with node.bench.database.read() as session:
            ended = sa.select(Association.closed_at).where(Association.association_uid == "1.2.3")
            assert session.scalars(ended).one() is not None


class Killed(BaseException):
    """SIGKILL, as far as this process can stand it."""


@pytest.mark.parametrize("where", [CrashPoint.DELIVERY_CLAIMED, CrashPoint.SENT])
def test_a_sender_killed_at_any_point_leaves_one_object_under_each_uid(node: Node, where: CrashPoint) -> None:
    def die(point: CrashPoint) -> None:
        if point is where:
            raise Killed

    with difficult_pacs() as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        owing.owe(pacs.address)
        node.bench.reached = die
        with pytest.raises(Killed):
            owing.deliver(pacs.address)
        assert len(pacs.contents) == (1 if where is CrashPoint.SENT else 0)
        assert statuses(owing) == [DeliveryStatus.SENDING] * 2
        node.bench.reached = nowhere
        node.clock.pass_by(minutes=5)
        assert owing.deliver(pacs.address) == 2
        assert pacs.held == {d.result_object.sop_instance_uid for d in owing.deliveries()}
        assert {len(set(digests)) for digests in pacs.contents.values()} == {1}


def test_the_lease_of_a_living_sender_is_left_to_it_and_ends_by_itself(node: Node) -> None:
    with difficult_pacs() as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        owing.owe(pacs.address)
        with node.bench.database.write() as session:
            held = deliveries.claim_batch(session, pacs.address, node.clock(), holder=sending.process_name("deliver"))
        bury_the_dead(node.bench.database, node.bench.settings.completion, node.clock())
        assert owing.deliver(pacs.address) == 0
        node.clock.pass_by(minutes=5)
        assert owing.deliver(pacs.address) == 2
        with node.bench.database.write() as session:  # the first one wakes up: its word no longer counts
            late = deliveries.conclude(
                session, held[0].id, held[0].token, deliveries.Attempt(verdict=Verdict.TRANSIENT, error="late"),
                started_at=node.clock(), finished_at=node.clock(), give_up_after=timedelta(hours=72),
            )  # fmt: skip
        assert late is None
        assert statuses(owing) == [SENT, SENT]


# --- results that do not go out --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("harm", "damage"), [("altered", "altered"), ("missing", "missing")])
def test_a_file_that_is_not_what_was_built_is_sent_to_nobody(node: Node, harm: str, damage: str) -> None:
    with difficult_pacs() as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        owing.owe(pacs.address)
        hurt, sound = owing.deliveries()
        path: Path = node.bench.settings.results / hurt.result_object.relative_path
        content = path.read_bytes()
        if harm == "missing":
            path.unlink()
        else:
            path.write_bytes(content[:-1] + b"y")
        assert owing.deliver(pacs.address) == 1
        assert pacs.held == {sound.result_object.sop_instance_uid}
        hurt, sound = owing.deliveries()
        assert (hurt.status, hurt.attempt_count, sound.status) == (DEAD, 0, SENT)
        assert hurt.reason == f"The file of the result is {damage}"
        assert hurt.result_object.damage == damage
        assert {"file_damaged", "delivery_held"} <= set(owing.events())
        path.write_bytes(content)  # put back from a backup
        with node.bench.database.write() as session:
            deliveries.resend_dead(session, pacs.address, at=node.clock(), who="ann")
        assert owing.deliver(pacs.address) == 1, owing.deliveries()[0].reason


def correct(node: Node, **attributes: str) -> None:
    """The PACS sends the image again with a corrected header."""
    dataset = draw(7)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    node.receive(dataset)


@pytest.mark.parametrize(
    ("keyword", "value", "names"),
    [
        ("PatientID", "OTHER-1", "patient_id"),
        ("PatientName", "ZZOTHER^PATIENT", "patient_name"),
        ("PatientBirthDate", "19010203", "patient_birth_date"),
    ],
)
def test_a_result_of_another_identity_waits_for_a_person(node: Node, keyword: str, value: str, names: str) -> None:
    with difficult_pacs() as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        owing.owe(pacs.address, kinds=("SR",))
        correct(node, **{keyword: value})
        assert owing.deliver(pacs.address) == 0
        (held,) = owing.deliveries()
        assert (held.status, held.reason) == (DEAD, f"{deliveries.IDENTITY_DIFFERS}: {names}")
        assert value not in held.reason
        assert pacs.held == set()
        with node.bench.database.write() as session:
            assert deliveries.resend_dead(session, pacs.address, at=node.clock(), who="ann") == 0
        with pytest.raises(StateError), node.bench.database.write() as session:
            deliveries.resend(session, _row(session, held), at=node.clock(), who="ann")
        with node.bench.database.write() as session:
            deliveries.resend(session, _row(session, held), at=node.clock(), who="ann", confirmed=True)
        assert owing.deliver(pacs.address) == 1


def test_a_confirmation_ends_with_the_next_change(node: Node) -> None:
    with difficult_pacs(status=0xA700) as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        owing.owe(pacs.address, kinds=("SR",))
        correct(node, PatientID="OTHER-1")
        owing.deliver(pacs.address)
        (held,) = owing.deliveries()
        with node.bench.database.write() as session:
            deliveries.resend(session, _row(session, held), at=node.clock(), who="ann", confirmed=True)
        owing.deliver(pacs.address)
        assert statuses(owing) == [PENDING]  # it would go, the PACS is full
        correct(node, PatientID="OTHER-2")
        node.clock.pass_by(minutes=5)
        owing.deliver(pacs.address)
        assert statuses(owing) == [DEAD]


def test_what_was_not_known_when_the_result_was_made_is_no_contradiction(node: Node) -> None:
    with difficult_pacs() as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        owing.owe(pacs.address)
        with node.bench.database.write() as session:
            session.execute(sa.update(tables.Study).values(issuer_of_patient_id="HOSPITAL"))
        assert owing.deliver(pacs.address) == 2


def _row(session: sa.orm.Session, delivery: Delivery) -> Delivery:
    return session.get_one(Delivery, delivery.id)
