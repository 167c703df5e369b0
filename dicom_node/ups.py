"""UPS-RS, user side (PS3.18 chapter 11): a workitem manager asked over HTTP.

What a manager says about a workitem itself (it is gone, it is not in a state for this) is an answer; everything else
that goes wrong is a :class:`~triage.errors.DeliveryError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final
from urllib.parse import urlencode

from pydicom.dataset import Dataset

from dicom_node.dicom_json import DICOM_JSON, NotDicomJsonError, data_sets, encoded
from dicom_node.http_peer import HttpAnswer, HttpPeer
from dicom_node.workitems import ScheduledStep, StepState, state_change
from triage.errors import DeliveryError, DicomError
from triage.logging import get_logger
from triage.outbox import Verdict, judge_http, said_http

PAGE: Final = 100
"""Workitems asked for at once; more are found when these have been claimed."""

log = get_logger(__name__)


class Reply(StrEnum):
    """What a manager makes of a change."""

    DONE = "done"
    CONFLICT = "conflict"
    """The workitem is not in a state for this, or somebody else holds it (409; 400 of a finished one)."""
    GONE = "gone"
    """There is no such workitem (404), or not any more (410)."""


class UpsPeer:
    """A workitem manager at a base URL; not for several threads at once."""

    def __init__(self, http: HttpPeer) -> None:
        self._http = http
        self.where = http.where

    def scheduled(self, code: str, *, station: str = "") -> list[ScheduledStep]:
        """Workitems that wait for a performer (RAD-81), as far as the manager knows how to search; check what it gives.

        Parameters
        ----------
        code : str
            Code value of what is asked for.
        station : str
            Code value of the station that it is meant for; "" for any.

        Raises
        ------
        DeliveryError
            No answer, or none that is a list of workitems.
        """
        matching = {"ProcedureStepState": StepState.SCHEDULED, "ScheduledWorkitemCodeSequence.CodeValue": code}
        if station:
            matching["ScheduledStationNameCodeSequence.CodeValue"] = station
        query = urlencode({**matching, "includefield": "all", "limit": PAGE})
        answer = self._get(f"/workitems?{query}")
        if answer.status == 204:
            return []
        if answer.status not in (200, 206):
            raise self._refused(answer.status)
        return self._steps(data_sets(answer, where=self.where))

    def check(self) -> None:
        """Make sure that the manager answers searches, and us.

        Raises
        ------
        DeliveryError
            As for :meth:`scheduled`.
        """
        answer = self._get("/workitems?limit=1")
        if answer.status not in (200, 204, 206):
            raise self._refused(answer.status)
        data_sets(answer, where=self.where)

    def _steps(self, found: Sequence[Dataset]) -> list[ScheduledStep]:
        """One that cannot be read is said, and does not hide the others."""
        steps = []
        for ds in found:
            try:
                steps.append(ScheduledStep.read(ds))
            except DicomError as error:
                log.warning("workitem_unreadable", where=self.where, advice=error.advice())
        return steps

    def retrieve(self, uid: str) -> ScheduledStep | None:
        """A workitem as it is now (RAD-83), None when there is none.

        Raises
        ------
        DeliveryError, DicomError
            No answer, or none that is a workitem.
        """
        answer = self._get(f"/workitems/{uid}")
        if answer.status in (404, 410):
            return None
        if answer.status != 200:
            raise self._refused(answer.status)
        found = data_sets(answer, where=self.where)
        if len(found) != 1:
            raise NotDicomJsonError(f"{self.where} answers {len(found)} workitems instead of one.")
        return ScheduledStep.read(found[0])

    def create(self, uid: str, workitem: Dataset) -> Reply:
        """Create a workitem (RAD-80); CONFLICT when there is one of that UID.

        The standard gives the UID as the bare query; dcm4chee wants it named. Both are said, and a server that takes
        the whole query for a UID is asked again.

        Raises
        ------
        DeliveryError
            No answer, a refusal, or another UID given to the workitem.
        """
        answer = self._send("POST", f"/workitems?{uid}&workitem={uid}", workitem)
        if answer.status == 400:
            answer = self._send("POST", f"/workitems?{uid}", workitem)
        if answer.status == 409:
            return Reply.CONFLICT
        if answer.status not in (200, 201):
            raise self._refused(answer.status)
        place = answer.headers.get("location") or answer.headers.get("content-location") or uid
        if place.rstrip("/").rpartition("/")[2].rpartition("?")[2] != uid:
            raise DeliveryError(
                f"{self.where} gave the workitem another UID.",
                retryable=False,
                next_step="Remove it there; this manager cannot be used, because a repetition would be a duplicate.",
            )
        return Reply.DONE

    def update(self, uid: str, changes: Dataset) -> Reply:
        """Change attributes of a workitem (RAD-84); ``changes`` holds the Transaction UID of one in progress.

        Raises
        ------
        DeliveryError
            No answer, or a refusal that is not about the workitem's state.
        """
        holder = str(changes.get("TransactionUID", ""))
        answer = self._send("POST", f"/workitems/{uid}" + (f"?{holder}" if holder else ""), changes)
        return self._changed(uid, answer)

    def change_state(self, uid: str, state: StepState, transaction_uid: str) -> Reply:
        """Take a workitem (RAD-82, IN PROGRESS) or finish it (RAD-85).

        Raises
        ------
        DeliveryError
            As for :meth:`update`.
        """
        answer = self._send("PUT", f"/workitems/{uid}/state", state_change(state, transaction_uid))
        return self._changed(uid, answer)

    def _changed(self, uid: str, answer: HttpAnswer) -> Reply:
        if 200 <= answer.status < 300:
            return Reply.DONE
        if answer.status in (404, 410):
            return Reply.GONE
        if answer.status == 409:
            return Reply.CONFLICT
        if answer.status == 400:
            step = self.retrieve(uid)
            if step is None:
                return Reply.GONE
            if step.state in (StepState.COMPLETED, StepState.CANCELED):
                return Reply.CONFLICT
        raise self._refused(answer.status)

    def _get(self, path: str) -> HttpAnswer:
        return self._http.exchange("GET", path, headers={"Accept": DICOM_JSON})

    def _send(self, method: str, path: str, ds: Dataset) -> HttpAnswer:
        headers = {"Content-Type": DICOM_JSON, "Accept": DICOM_JSON}
        return self._http.exchange(method, path, headers=headers, body=encoded([ds]))

    def _refused(self, status: int) -> DeliveryError:
        return UpsRefusedError(said_http(self.where, status), judge_http(status))


class UpsRefusedError(DeliveryError):
    """The manager refuses a request as such; ``verdict`` says whether that may change."""

    next_step = ""

    def __init__(self, message: str, verdict: Verdict) -> None:
        super().__init__(message, retryable=verdict is Verdict.TRANSIENT)
        self.verdict = verdict
