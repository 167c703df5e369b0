"""DICOMweb: deliveries over STOW-RS, proof by QIDO-RS."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from dicom_node.dicomweb import DicomWebPeer
from triage.errors import DeliveryError, DicomError, FirstreadError
from triage.outbox import Verdict
from triage.peers import Destination
from triage.repositories import commitments
from triage.repositories.commitments import Question
from triage.repositories.deliveries import Attempt
from triage.settings import Settings
from triage.tables import Delivery
from workers.carriers.protocol import CarrierKind, Checked
from workers.carriers.questions import postpone, withdraw
from workers.carriers.web import CHECKING, PATIENCE, peer_of

if TYPE_CHECKING:
    from workers.workbench import Workbench

NOT_LISTED: Final = "it does not list the object"


class DicomWebCarrier:
    """Sends each object with a request of its own over one connection.

    Raises
    ------
    SettingsError
        A file with a secret or with certificates cannot be used.
    """

    def __init__(self, bench: Workbench, destination: Destination, batch: Sequence[Delivery]) -> None:  # noqa: ARG002
        self._http = peer_of(bench.settings, destination, PATIENCE)
        self._peer = DicomWebPeer(self._http)
        self._provable = destination.commitment != "off"
        self._out_of_reach: Attempt | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @property
    def provable(self) -> bool:
        """Any server that takes objects is asked for them; one that answers no queries lets the question go."""
        return self._provable

    def send(self, delivery: Delivery, path: Path) -> Attempt:  # noqa: ARG002 - the file holds all that is needed
        """One STOW-RS request."""
        if self._out_of_reach is not None:
            return self._out_of_reach
        try:
            answer = self._peer.store(path)
        except DicomError as error:
            return Attempt(verdict=Verdict.UNWELCOME, error=str(error))
        except OSError as error:
            return Attempt(verdict=Verdict.TRANSIENT, error=f"The file cannot be read ({error.strerror}).")
        attempt = Attempt(verdict=answer.verdict, dicom_status=answer.reason, error=answer.error, note=answer.note)
        if answer.unreachable:
            self._out_of_reach = attempt
        return attempt


def prove(bench: Workbench, destination: Destination, questions: Sequence[Question]) -> None:
    """Look for every object, or put the questions off with the reason."""
    left = list(questions)
    try:
        with peer_of(bench.settings, destination, PATIENCE) as http:
            peer = DicomWebPeer(http)
            while left:
                _look(bench, peer, left[0])
                del left[0]
    except FirstreadError as error:
        if isinstance(error, DeliveryError) and not error.retryable:  # it answers no queries of ours
            withdraw(bench, left)
        else:
            postpone(bench, left, str(error))


def _look(bench: Workbench, peer: DicomWebPeer, question: Question) -> None:
    found = {
        item.sop_instance_uid
        for item in question.objects
        if peer.holds(
            study_uid=item.study_instance_uid,
            series_uid=item.series_instance_uid,
            sop_instance_uid=item.sop_instance_uid,
        )
    }
    with bench.database.write() as session:
        complete = commitments.read_back(session, question.commitment_id, found, at=bench.clock())
    if not complete:
        postpone(bench, [question], NOT_LISTED)


def check(settings: Settings, destination: Destination, now: datetime) -> Checked:  # noqa: ARG001 - as of all kinds
    """A search for one study, with our credentials."""
    with peer_of(settings, destination, CHECKING) as http:
        try:
            DicomWebPeer(http).check()
        except DeliveryError as error:
            return Checked(ok=False, message=str(error), next_step=error.next_step)
    return Checked(ok=True, message="answers QIDO-RS")


KIND = CarrierKind(open=DicomWebCarrier, check=check, prove=prove)
