"""Does the destination hold it? Every answer that a PACS can give, and none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from node_under_test import Node
from owing import Debtor, hearing, to
from peers.difficult_pacs import DifficultPacs, Word, difficult_pacs
from peers.processes import eventually

from dicom_node.commitment import Report
from triage.outbox import Verdict
from triage.repositories import commitments, deliveries
from triage.states import CommitmentStatus, DeliveryStatus, Proof
from workers.carriers import dimse_proof
from workers.reports import take_report

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dimse_proof, "MOMENT", 0.3)


class Pair:
    """A node that owes, and a PACS that may be asked."""

    def __init__(self, stack: ExitStack, node: Node, commitment: str = "auto", **pacs: Any) -> None:
        self.pacs: DifficultPacs = stack.enter_context(difficult_pacs(**pacs))
        self.pacs.reports_to = stack.enter_context(hearing(node))
        self.owing = Debtor(node, destinations=to(self.pacs.address, commitment=commitment))
        self.owing.owe(self.pacs.address)

    def deliver(self) -> int:
        return self.owing.deliver(self.pacs.address)

    def prove(self) -> None:
        self.owing.prove(self.pacs.address)

    def states(self) -> set[tuple[DeliveryStatus, Proof | None]]:
        return {(d.status, d.proof) for d in self.owing.deliveries()}

    def await_states(self, *expected: tuple[DeliveryStatus, Proof | None]) -> None:
        def look() -> bool:
            assert self.states() == set(expected), self.states()
            return True

        eventually(look, within=10, what=f"deliveries are {expected}")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as things:
        yield things


COMMITTED = (DeliveryStatus.COMMITTED, Proof.COMMITTED)
READ_BACK = (DeliveryStatus.COMMITTED, Proof.READ_BACK)
ANSWERED = (DeliveryStatus.SENT, Proof.ANSWERED)
OWED = (DeliveryStatus.PENDING, None)


@pytest.mark.parametrize("word", [Word.OTHER_ASSOCIATION, Word.SAME_ASSOCIATION, Word.TWICE])
def test_what_a_destination_commits_to_is_committed(node: Node, stack: ExitStack, word: Word) -> None:
    pair = Pair(stack, node, word=word)
    assert pair.deliver() == 2
    assert pair.states() == {ANSWERED}
    pair.prove()
    pair.await_states(COMMITTED)
    (request,) = pair.owing.commitments()
    assert (request.status, pair.pacs.requests) == (CommitmentStatus.SUCCEEDED, [request.transaction_uid])
    eventually(lambda: pair.pacs.answers, within=5, what="the report is answered")
    assert set(pair.pacs.answers) == {0x0000}
    assert pair.owing.events().count("result_committed") == 2
    assert all(d.proven_at for d in pair.owing.deliveries())
    pair.prove()
    assert len(pair.pacs.requests) == 1  # nothing is left to ask


@pytest.mark.parametrize("word", [Word.DENIES, Word.LEAVES_OUT])
def test_what_a_destination_denies_is_sent_again_as_it_was(node: Node, stack: ExitStack, word: Word) -> None:
    pair = Pair(stack, node, word=word)
    pair.deliver()
    pair.prove()
    pair.await_states(OWED)
    assert pair.deliver() == 0  # not at once
    (request,) = pair.owing.commitments()
    assert (request.status, request.reason) == (CommitmentStatus.FAILED, "2 not held")
    assert pair.owing.events().count("delivery_unproven") == 2
    pair.pacs.word = Word.OTHER_ASSOCIATION
    node.clock.pass_by(minutes=1)
    assert pair.deliver() == 2
    pair.prove()
    pair.await_states(COMMITTED)
    assert {len(digests) for digests in pair.pacs.contents.values()} == {2}
    assert {len(set(digests)) for digests in pair.pacs.contents.values()} == {1}


def test_only_what_is_lost_is_sent_again(node: Node, stack: ExitStack) -> None:
    pair = Pair(stack, node)
    pair.deliver()
    lost, _ = pair.owing.deliveries()
    pair.pacs.forgets.add(lost.result_object.sop_instance_uid)
    pair.prove()
    pair.await_states(OWED, COMMITTED)
    assert "no such object instance" in pair.owing.deliveries()[0].reason


def test_a_destination_that_denies_for_ever_gets_it_no_more_after_its_time(node: Node, stack: ExitStack) -> None:
    pair = Pair(stack, node, word=Word.DENIES)
    for _ in range(3):
        assert pair.deliver() == 2
        pair.prove()
        pair.await_states(OWED)
        node.clock.pass_by(hours=24)
    pair.deliver()
    pair.prove()
    pair.await_states((DeliveryStatus.DEAD, None))
    assert {d.reason for d in pair.owing.deliveries()} == {"The destination does not hold it: no such object instance"}
    assert pair.owing.events().count("delivery_dead") == 2


def test_a_report_about_another_transaction_is_refused_and_changes_nothing(node: Node, stack: ExitStack) -> None:
    pair = Pair(stack, node, word=Word.OTHER_TRANSACTION)
    pair.deliver()
    pair.prove()
    eventually(lambda: pair.pacs.answers, within=5, what="the report is answered")
    assert pair.pacs.answers == [0x0115]
    assert pair.states() == {ANSWERED}
    assert "commitment_unknown" in pair.owing.events()


def test_without_a_report_the_objects_themselves_are_asked_for(node: Node, stack: ExitStack) -> None:
    pair = Pair(stack, node, word=Word.NEVER)
    pair.deliver()
    pair.prove()
    assert pair.states() == {ANSWERED}
    node.clock.pass_by(hours=23)
    pair.prove()
    assert (pair.states(), pair.pacs.queries) == ({ANSWERED}, 0)
    node.clock.pass_by(hours=2)
    pair.prove()
    pair.await_states(READ_BACK)
    assert {len(digests) for digests in pair.pacs.contents.values()} == {1}  # there was no need to send them again


def test_without_a_report_or_a_list_they_are_sent_again_and_a_late_report_counts(node: Node, stack: ExitStack) -> None:
    pair = Pair(stack, node, word=Word.NEVER, lists=False)
    pair.deliver()
    pair.prove()
    node.clock.pass_by(hours=25)
    pair.prove()
    pair.await_states(OWED)
    (request,) = pair.owing.commitments()
    assert request.status is CommitmentStatus.EXPIRED
    committed = [d.result_object.sop_instance_uid for d in pair.owing.deliveries()]
    report = Report(transaction_uid=request.transaction_uid, committed=tuple(committed))
    for _ in range(2):
        assert take_report(node.bench.database, node.bench.settings, report, pair.pacs.ae_title, node.clock())
        assert pair.states() == {COMMITTED}
    node.clock.pass_by(hours=1)
    assert pair.deliver() == 0  # the late report made it needless


@pytest.mark.parametrize("verdict", [Verdict.DELIVERED, Verdict.TRANSIENT, Verdict.REFUSED])
def test_a_report_that_comes_while_it_is_sent_again_counts(node: Node, stack: ExitStack, verdict: Verdict) -> None:
    pair = Pair(stack, node, word=Word.NEVER, lists=False)
    pair.deliver()
    pair.prove()
    node.clock.pass_by(hours=25)
    pair.prove()
    node.clock.pass_by(hours=1)
    with node.bench.database.write() as session:
        batch = deliveries.claim_batch(session, pair.pacs.address, node.clock())
    committed = tuple(d.result_object.sop_instance_uid for d in batch)
    (request,) = pair.owing.commitments()
    report = Report(transaction_uid=request.transaction_uid, committed=committed)
    take_report(node.bench.database, node.bench.settings, report, pair.pacs.ae_title, node.clock())
    assert pair.states() == {(DeliveryStatus.SENDING, Proof.COMMITTED)}
    for delivery in batch:
        with node.bench.database.write() as session:
            deliveries.conclude(
                session, delivery.id, delivery.token, deliveries.Attempt(verdict=verdict, error="x"),
                started_at=node.clock(), finished_at=node.clock(), give_up_after=timedelta(hours=1), provable=True,
            )  # fmt: skip
    assert pair.states() == {COMMITTED}


def test_what_is_never_proven_stays_sent(node: Node, stack: ExitStack) -> None:
    pair = Pair(stack, node, word=Word.NEVER, lists=False)
    for _ in range(3):
        assert pair.deliver() == 2
        pair.prove()
        node.clock.pass_by(hours=25)
        pair.prove()
        node.clock.pass_by(minutes=5)
    assert pair.deliver() == 0
    assert pair.states() == {ANSWERED}
    assert pair.owing.events().count("delivery_never_proven") == 2


def test_a_destination_that_refuses_the_request_is_asked_again_later(node: Node, stack: ExitStack) -> None:
    pair = Pair(stack, node, word=Word.REFUSES, lists=False)
    pair.deliver()
    pair.prove()
    pair.prove()
    assert len(pair.pacs.requests) == 1
    node.clock.pass_by(minutes=1)
    pair.pacs.word = Word.OTHER_ASSOCIATION
    pair.prove()
    pair.await_states(COMMITTED)
    assert len(set(pair.pacs.requests)) == 1  # under the same Transaction UID


def test_a_destination_that_refuses_and_lists_shows_what_it_has(node: Node, stack: ExitStack) -> None:
    pair = Pair(stack, node, word=Word.REFUSES)
    pair.deliver()
    pair.prove()
    assert (pair.states(), pair.pacs.queries) == ({ANSWERED}, 0)  # it may have been a moment's weakness
    node.clock.pass_by(minutes=1)
    pair.prove()
    assert pair.states() == {READ_BACK}


def test_a_destination_without_commitment_shows_what_it_has(node: Node, stack: ExitStack) -> None:
    pair = Pair(stack, node, commits=False)
    pair.deliver()
    _, hidden = pair.owing.deliveries()
    pair.pacs.forgets.add(hidden.result_object.sop_instance_uid)  # still being filed
    pair.prove()
    pair.await_states(READ_BACK, ANSWERED)
    pair.pacs.forgets.clear()
    node.clock.pass_by(minutes=2)
    pair.prove()
    pair.await_states(READ_BACK)
    assert pair.owing.events().count("result_read_back") == 2


def test_a_destination_that_does_not_show_it_in_time_gets_it_again(node: Node, stack: ExitStack) -> None:
    pair = Pair(stack, node, commits=False)
    pair.deliver()
    pair.pacs.forgets |= set(pair.pacs.contents)
    pair.prove()
    node.clock.pass_by(hours=25)
    pair.prove()
    pair.await_states(OWED)


def test_a_destination_with_neither_is_believed(node: Node, stack: ExitStack) -> None:
    pair = Pair(stack, node, commits=False, lists=False)
    pair.deliver()
    pair.prove()
    assert (pair.states(), pair.owing.commitments(), pair.pacs.connections) == ({ANSWERED}, [], 1)


def test_off_asks_for_nothing(node: Node, stack: ExitStack) -> None:
    pair = Pair(stack, node, commitment="off")
    pair.deliver()
    pair.prove()
    assert (pair.states(), pair.pacs.requests, pair.pacs.queries) == ({ANSWERED}, [], 0)


def test_where_commitment_is_required_nothing_less_will_do(node: Node, stack: ExitStack) -> None:
    pair = Pair(stack, node, commitment="required", commits=False)
    pair.deliver()
    pair.prove()
    assert (pair.states(), pair.pacs.queries) == ({ANSWERED}, 0)
    node.clock.pass_by(hours=25)
    pair.prove()
    pair.await_states(OWED)


def test_results_of_one_moment_share_a_request(node: Node, stack: ExitStack) -> None:
    pair = Pair(stack, node)
    pair.deliver()
    pair.owing.owe(pair.pacs.address, number=1)
    pair.deliver()
    pair.prove()
    pair.await_states(COMMITTED)
    assert len(pair.pacs.requests) == 1


def test_a_worker_that_dies_while_asking_is_followed_by_another(node: Node, stack: ExitStack) -> None:
    pair = Pair(stack, node)
    pair.deliver()
    node.clock.pass_by(seconds=2)
    with node.bench.database.write() as session:
        assert commitments.claim(session, pair.pacs.address, node.clock())  # and no more is heard of it
    pair.prove()
    assert pair.states() == {ANSWERED}
    node.clock.pass_by(minutes=4)
    pair.prove()
    pair.await_states(COMMITTED)
