"""DICOMweb, user side: storing over STOW-RS (PS3.18 10.5) and asking over QIDO-RS (10.6) what a server holds.

dicomweb-client holds a whole request in memory, repeats it up to five times by itself, follows redirects, and raises on
409 before it reads which object was refused and why. So the few requests are made here, over a bounded connection.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from pydicom.dataset import Dataset
from pynetdicom.status import GENERAL_STATUS, STORAGE_SERVICE_CLASS_STATUS

from dicom_node.dicom_json import DICOM_JSON, NotDicomJsonError, data_sets
from dicom_node.header import read_header
from dicom_node.http_peer import HttpAnswer, HttpPeer, HttpTlsError
from dicom_node.scu import StatusClass, classify
from triage.errors import DeliveryError
from triage.instances import InstanceHeader
from triage.outbox import Verdict, judge_http, said_http

PIECE: Final = 256 * 1024  # bytes read from the file at once
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
HELD_ALREADY: Final = (0x0111, 0xB00E)
"""Failure reasons for an object that is there already: the standard's, and the one of Azure's DICOM service."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreAnswer:
    """What a server made of one object.

    Attributes
    ----------
    reason : int or None
        Its failure or warning reason (0008,1197), (0008,1196), from the values of C-STORE statuses; None without one.
    error : str
        "" when it was stored; else what happened and what to do, without patient data.
    note : str
        What it remarked although it stored the object.
    unreachable : bool
        It says nothing about this object: the next one would fare the same now.
    """

    verdict: Verdict
    reason: int | None = None
    error: str = ""
    note: str = ""
    unreachable: bool = False


class DicomWebPeer:
    """The studies service at a base URL."""

    def __init__(self, http: HttpPeer) -> None:
        self._http = http
        self._where = http.where

    def store(self, path: Path) -> StoreAnswer:
        """Store one Part 10 file as it is, with a request of its own, so that its answer is about nothing else.

        A server that says nothing of the object, or has one under its UID already, is asked whether it lists it.

        Raises
        ------
        DicomError
            Not a DICOM object with its UIDs.
        OSError
            The file cannot be read.
        """
        header = read_header(path)
        body = _Multipart(path)
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={body.boundary}',
            "Accept": DICOM_JSON,
        }
        try:
            answer = self._http.exchange("POST", "/studies", headers=headers, body=body)
        except DeliveryError as error:
            verdict = Verdict.UNWELCOME if isinstance(error, HttpTlsError) else Verdict.TRANSIENT
            return StoreAnswer(verdict=verdict, error=error.advice(), unreachable=True)
        if answer.status not in (200, 202, 409):
            return StoreAnswer(
                verdict=judge_http(answer.status),
                error=said_http(self._where, answer.status),
                unreachable=judge_http(answer.status) is not Verdict.REFUSED,
            )
        return self._judged(answer, header)

    def _judged(self, answer: HttpAnswer, header: InstanceHeader) -> StoreAnswer:
        try:
            said = _Said.of(data_sets(answer, where=self._where), header.sop_instance_uid)
        except NotDicomJsonError as error:
            said = _Said(unclear=error.advice())
        if said.failure is not None and said.failure not in HELD_ALREADY:
            return _refused(self._where, said.failure)
        if said.stored:
            return StoreAnswer(verdict=Verdict.DELIVERED, reason=said.warning, note=_remark(said.warning))
        if said.failure is None and answer.status == 409:
            return StoreAnswer(verdict=Verdict.REFUSED, error=f"{self._where} refuses the object and does not say why.")
        return self._settled_by_asking(header, said)

    def _settled_by_asking(self, header: InstanceHeader, said: _Said) -> StoreAnswer:
        """The answer leaves it open whether the object is there: what does the server list?"""
        try:
            listed = self.holds(
                study_uid=header.study_instance_uid,
                series_uid=header.series_instance_uid,
                sop_instance_uid=header.sop_instance_uid,
            )
        except DeliveryError as error:
            if said.failure is not None:  # its UID is derived from its content: what is there is what was sent before
                return StoreAnswer(verdict=Verdict.DELIVERED, reason=said.failure, note=_remark(said.failure))
            return StoreAnswer(verdict=Verdict.UNWELCOME, error=f"{said.unclear} {error}".strip())
        if listed:
            note = _remark(said.failure) or "its answer does not name the object, but it lists it"
            return StoreAnswer(verdict=Verdict.DELIVERED, reason=said.failure, note=note)
        if said.failure is not None:
            return _refused(self._where, said.failure)
        return StoreAnswer(
            verdict=Verdict.UNWELCOME,
            error=said.unclear or f"{self._where} neither confirms the object nor lists it. Look into its log.",
        )

    def holds(self, *, study_uid: str, series_uid: str, sop_instance_uid: str) -> bool:
        """True when the server lists an instance under its study and series.

        Raises
        ------
        DeliveryError
            It did not answer, or not as QIDO-RS does; not ``retryable`` when it offers no such query to us.
        """
        query = urlencode({"SOPInstanceUID": sop_instance_uid})
        answer = self._get(f"/studies/{study_uid}/series/{series_uid}/instances?{query}")
        if answer.status == 404:  # no such study, or no such service
            self.check()
            return False
        found = self._listed(answer)
        return any(str(match.get("SOPInstanceUID", "")).strip() == sop_instance_uid for match in found)

    def check(self) -> None:
        """Make sure that the server answers queries for studies, and us.

        Raises
        ------
        DeliveryError
            As for :meth:`holds`.
        """
        self._listed(self._get("/studies?limit=1"))

    def _get(self, path: str) -> HttpAnswer:
        return self._http.exchange("GET", path, headers={"Accept": DICOM_JSON})

    def _listed(self, answer: HttpAnswer) -> list[Dataset]:
        if answer.status == 204:
            return []
        if answer.status not in (200, 206):
            transient = judge_http(answer.status) is Verdict.TRANSIENT
            raise DeliveryError(said_http(self._where, answer.status), retryable=transient, next_step="")
        return data_sets(answer, where=self._where)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Said:
    """What a store response says of one object."""

    stored: bool = False
    warning: int | None = None
    failure: int | None = None
    unclear: str = ""

    @classmethod
    def of(cls, response: list[Dataset], uid: str) -> _Said:
        """Read a Store Instances Response (PS3.18 I.2): only one object was sent, so an item without a UID is about it.

        Raises
        ------
        NotDicomJsonError
            Its sequences hold something else.
        """
        try:
            failed = [_reason(item, "FailureReason") for item in _items(response, "FailedSOPSequence", uid)]
            others = [_reason(item, "FailureReason") for item in _items(response, "OtherFailuresSequence", uid)]
            stored = [_reason(item, "WarningReason") for item in _items(response, "ReferencedSOPSequence", uid)]
        except (TypeError, ValueError, AttributeError) as error:
            raise NotDicomJsonError("The answer's lists of objects cannot be read.") from error
        failures = [reason or 0xC000 for reason in failed + others]
        return cls(stored=bool(stored), warning=next(iter(stored), None), failure=next(iter(failures), None))


def _items(response: list[Dataset], keyword: str, uid: str) -> Iterator[Dataset]:
    for ds in response:
        for item in ds.get(keyword) or ():
            if str(item.get("ReferencedSOPInstanceUID", "")).strip() in ("", uid):
                yield item


def _reason(item: Dataset, keyword: str) -> int | None:
    value = item.get(keyword)
    return None if value in (None, "") else int(value)


def _refused(where: str, reason: int) -> StoreAnswer:
    if reason == SOP_CLASS_NOT_SUPPORTED:
        text = f"{where} does not accept this SOP class. Enable it for storage there."
        return StoreAnswer(verdict=Verdict.UNWELCOME, reason=reason, error=text)
    retry = classify(reason) is StatusClass.RETRY
    text = f"{where} refused the object with reason {reason:#06x}{_meaning(reason)}."
    return StoreAnswer(verdict=Verdict.TRANSIENT if retry else Verdict.REFUSED, reason=reason, error=text)


def _remark(reason: int | None) -> str:
    return f"stored with status {reason:#06x}{_meaning(reason)}" if reason else ""


def _meaning(reason: int) -> str:
    known = STORAGE_SERVICE_CLASS_STATUS.get(reason) or GENERAL_STATUS.get(reason)
    return f" ({known[1]})" if known else ""


class _Multipart:
    """One file as a ``multipart/related`` body (PS3.18 8.6.1.2), read piece by piece as it is sent."""

    def __init__(self, path: Path) -> None:
        self.boundary = uuid.uuid4().hex
        self._path = path
        self._size = path.stat().st_size
        self._head = f"--{self.boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")
        self._tail = f"\r\n--{self.boundary}--\r\n".encode("ascii")

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        sent = 0
        with self._path.open("rb") as file:
            while piece := file.read(PIECE):
                sent += len(piece)
                yield piece
        if sent != self._size:
            raise OSError(None, "its length changed while it was sent", str(self._path))
        yield self._tail
