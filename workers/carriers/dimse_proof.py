"""Proof from DICOM nodes that they hold what they took: storage commitment, and read-back by C-FIND without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from dicom_node import query
from dicom_node.commitment import CommitmentUser, Reference
from dicom_node.contexts import STORAGE_COMMITMENT, STUDY_ROOT_FIND
from dicom_node.conversation import Conversation
from triage.errors import DeliveryError, FirstreadError
from triage.identifiers import PeerAddress
from triage.peers import Destination
from triage.repositories import commitments
from triage.repositories.commitments import Question
from workers.carriers.questions import postpone, withdraw
from workers.reaching import PATIENCE, Line
from workers.reports import take_report

if TYPE_CHECKING:
    from workers.workbench import Workbench

MOMENT: Final = 1.0
"""Seconds to wait for reports on the association that asked; later ones come on another."""
NOT_LISTED: Final = "it does not list the object"


def prove(bench: Workbench, destination: Destination, questions: Sequence[Question]) -> None:
    """Settle each question over one association, or put it off with the reason."""
    _Inquiry(bench, destination).ask(questions)


class _Inquiry:
    """One look at one destination, over one association."""

    def __init__(self, bench: Workbench, destination: Destination) -> None:
        self._bench = bench
        self._destination = destination

    def ask(self, questions: Sequence[Question]) -> None:
        """Settle each question, or put it off with the reason."""
        left = list(questions)
        try:
            line = Line.to(self._bench, self._destination)
            if not line.proofs:
                withdraw(self._bench, left)
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
                withdraw(self._bench, left)
            else:
                postpone(self._bench, left, str(error))
            return
        try:
            self._settle(association, line.peer, left)
        except DeliveryError as error:
            postpone(self._bench, left, str(error))
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
                postpone(self._bench, [question], commitments.NO_REPORT)
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
            postpone(self._bench, [question], str(error))  # refused: the association goes on
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
            postpone(self._bench, [question], NOT_LISTED)
