"""Does the destination really hold what it took? Storage commitment, and read-back where a peer has none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from dicom_node import query
from dicom_node.commitment import CommitmentUser, Reference, Report
from dicom_node.contexts import STORAGE_COMMITMENT, STUDY_ROOT_FIND
from dicom_node.conversation import Conversation
from triage.database import Database
from triage.errors import DeliveryError, FirstreadError
from triage.identifiers import PeerAddress
from triage.logging import get_logger
from triage.repositories import commitments
from triage.repositories.commitments import Patience, Question
from triage.settings import Settings
from workers.reaching import PATIENCE, Line

if TYPE_CHECKING:
    from workers.workbench import Workbench

MOMENT: Final = 1.0
"""Seconds to wait for reports on the association that asked; later ones come on another."""
NOT_LISTED: Final = "it does not list the object"

log = get_logger(__name__)


def prove_due(bench: Workbench, destination: str) -> None:
    """Ask a destination for proof of what it took, as far as that is due."""
    with bench.database.write() as session:
        questions = commitments.claim(session, destination, bench.clock())
    if questions:
        _Inquiry(bench, destination).ask(questions)


def watch_proofs(bench: Workbench) -> None:
    """See to it that no destination is waited for beyond its time."""
    hours = timedelta(hours=bench.settings.commitment_hours)
    with bench.database.write() as session:
        late = commitments.unanswered(session, bench.clock(), after=hours)
    if late:
        log.warning("commitment_reports_missing", transactions=late)


class _Inquiry:
    """One look at one destination, over one association."""

    def __init__(self, bench: Workbench, destination: str) -> None:
        self._bench = bench
        self._destination = destination
        self._patience = Patience(
            timedelta(hours=bench.settings.commitment_hours), timedelta(hours=bench.settings.delivery_hours)
        )

    def ask(self, questions: Sequence[Question]) -> None:
        """Settle each question, or put it off with the reason."""
        left = list(questions)
        try:
            line = Line.to(self._bench, self._destination)
            if not line.proofs:
                self._withdraw(left)
                return
            association = Conversation.open(
                line.peer,
                calling_ae_title=self._bench.settings.ae_title,
                contexts=line.proof_contexts,
                timeouts=PATIENCE,
                tls=line.tls,
            )
        except FirstreadError as error:
            nothing_offered = isinstance(error, DeliveryError) and not error.retryable
            if nothing_offered and line.destination.commitment != "required":
                self._withdraw(left)
            else:
                self._postpone(left, str(error))
            return
        try:
            self._settle(association, line.peer, left)
        except DeliveryError as error:
            self._postpone(left, str(error))
        finally:
            association.release()

    def _settle(self, association: Conversation, peer: PeerAddress, left: list[Question]) -> None:
        """Settle one question after the other; those in ``left`` when it raises are not settled."""
        user = None
        if association.context_of(STORAGE_COMMITMENT) is not None:
            user = CommitmentUser(
                association,
                lambda report: take_report(
                    self._bench.database, self._bench.settings, report, peer.ae_title, self._bench.clock()
                ),
            )
        can_look = association.context_of(STUDY_ROOT_FIND) is not None
        asked = False
        while left:
            question = left[0]
            if user is not None and not question.unreported and not (question.refused and can_look):
                asked = self._request(user, question) or asked
            elif can_look:
                self._look(association, question)
            else:
                self._postpone([question], commitments.NO_REPORT)
            del left[0]
        if user is not None and asked:
            user.listen(MOMENT)

    def _request(self, user: CommitmentUser, question: Question) -> bool:
        references = [Reference(item.sop_class_uid, item.sop_instance_uid) for item in question.objects]
        try:
            user.ask(question.transaction_uid, references)
        except DeliveryError as error:
            if error.status is None:
                raise
            self._postpone([question], str(error))  # refused: the association goes on
            return False
        with self._bench.database.write() as session:
            commitments.asked(session, question.commitment_id, at=self._bench.clock())
        return True

    def _look(self, association: Conversation, question: Question) -> None:
        found = {
            item.sop_instance_uid
            for item in question.objects
            if query.holds(
                association,
                study_uid=item.study_instance_uid,
                series_uid=item.series_instance_uid,
                sop_instance_uid=item.sop_instance_uid,
            )
        }
        with self._bench.database.write() as session:
            complete = commitments.read_back(session, question.commitment_id, found, at=self._bench.clock())
        if not complete:
            self._postpone([question], NOT_LISTED)

    def _postpone(self, questions: Sequence[Question], reason: str) -> None:
        log.info("proof_postponed", destination=self._destination, requests=len(questions), reason=reason)
        for question in questions:
            with self._bench.database.write() as session:
                commitments.postpone(
                    session, question.commitment_id, reason, at=self._bench.clock(), patience=self._patience
                )

    def _withdraw(self, questions: Sequence[Question]) -> None:
        for question in questions:
            with self._bench.database.write() as session:
                commitments.withdraw(session, question.commitment_id)


def take_report(database: Database, settings: Settings, report: Report, who: str, at: datetime) -> bool:
    """Record what a destination says about a transaction; False when none of ours has that UID."""
    with database.write() as session:
        known = commitments.report(
            session,
            report.transaction_uid,
            committed=report.committed,
            failed=report.failed,
            who=who,
            at=at,
            give_up_after=timedelta(hours=settings.delivery_hours),
        )
    log.info("commitment_reported", who=who, known=known, committed=len(report.committed), failed=len(report.failed))
    return known
