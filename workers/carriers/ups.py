"""UPS-RS: the reading task of a study, created once and moved with the study's class as long as nobody reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from dicom_node.http_peer import HttpTlsError
from dicom_node.ups import Reply, UpsPeer, UpsRefusedError
from dicom_node.workitems import StepState, priority_change
from triage.errors import DeliveryError
from triage.findings import Urgency
from triage.outbox import Verdict
from triage.peers import Destination
from triage.priority import UPS_PRIORITY
from triage.repositories.deliveries import Attempt
from triage.repositories.reading_tasks import remark
from triage.settings import Settings
from triage.tables import Delivery, Study
from workers.carriers.message_carrier import MessageCarrier, Told
from workers.carriers.protocol import CarrierKind, Checked
from workers.carriers.web import CHECKING, PATIENCE, WebAccount, peer_of

if TYPE_CHECKING:
    from workers.workbench import Workbench


class UpsCarrier(MessageCarrier):
    """Creates or changes one workitem per delivery.

    Raises
    ------
    SettingsError
        A file with a secret or with certificates cannot be used.
    """

    def __init__(self, bench: Workbench, destination: Destination, _batch: Sequence[Delivery]) -> None:
        super().__init__(bench)
        self._http = peer_of(bench.settings, destination, PATIENCE)
        self._peer = UpsPeer(self._http)

    def close(self) -> None:
        self._http.close()

    def tell(self, delivery: Delivery, content: bytes) -> Told:
        """Create the workitem, or give the one that is there the class that the study has now."""
        (workitem,) = json.loads(content)
        try:
            note = self._put(Dataset.from_json(workitem), self._class_of(delivery))
        except UpsRefusedError as error:
            answered = error.verdict is not Verdict.TRANSIENT
            return Told(attempt=Attempt(verdict=error.verdict, error=error.advice()), answered=answered)
        except DeliveryError as error:
            transient = error.retryable and not isinstance(error, HttpTlsError)
            verdict = Verdict.TRANSIENT if transient else Verdict.UNWELCOME
            return Told(attempt=Attempt(verdict=verdict, error=error.advice()), answered=False)
        return Told(attempt=Attempt(verdict=Verdict.DELIVERED, note=note))

    def _class_of(self, delivery: Delivery) -> Urgency:
        with self._bench.database.read() as session:
            return session.get_one(Study, delivery.result_object.analysis.study_id).urgency

    def _put(self, workitem: Dataset, urgency: Urgency) -> str:
        """What was done, in words."""
        uid = str(workitem.SOPInstanceUID)
        workitem.ScheduledProcedureStepPriority = UPS_PRIORITY[urgency]
        if self._peer.create(uid, workitem) is Reply.DONE:
            return remark(urgency)
        summary = str(workitem.get("CommentsOnTheScheduledProcedureStep", ""))
        if self._peer.update(uid, priority_change(urgency, summary)) is Reply.DONE:
            return remark(urgency)
        step = self._peer.retrieve(uid)
        if step is None or step.state is StepState.SCHEDULED:
            raise DeliveryError(
                f"{self._peer.where} neither takes the reading task nor changes the one it has.", next_step=""
            )
        return f"reading task is {step.state or 'in another state'} and was not changed"


def check(settings: Settings, account: WebAccount, now: datetime) -> Checked:  # noqa: ARG001 - as of all kinds
    """A search for one workitem, with our credentials."""
    with peer_of(settings, account, CHECKING) as http:
        try:
            UpsPeer(http).check()
        except DeliveryError as error:
            return Checked(ok=False, message=str(error), next_step=error.next_step)
    return Checked(ok=True, message="answers UPS-RS")


KIND = CarrierKind(open=UpsCarrier, check=check)
