"""A small workitem manager after PS3.18 chapter 11 and the state machine of PS3.4 CC.1.1; strict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from peers.web_server import Answer, Request, WebServer, web_server

DICOM_JSON = "application/dicom+json"
FINAL = ("COMPLETED", "CANCELED")
CHANGES = {("SCHEDULED", "IN PROGRESS"), ("IN PROGRESS", "COMPLETED"), ("IN PROGRESS", "CANCELED")}
NEEDED_TO_CREATE = (
    "ProcedureStepState",
    "ScheduledProcedureStepPriority",
    "ProcedureStepLabel",
    "ScheduledProcedureStepStartDateTime",
    "InputReadinessState",
)
NEEDED_TO_COMPLETE = (
    "PerformedStationNameCodeSequence",
    "PerformedProcedureStepStartDateTime",
    "PerformedProcedureStepEndDateTime",
    "PerformedWorkitemCodeSequence",
    "OutputInformationSequence",
)
NEEDED_TO_CANCEL = ("ProcedureStepCancellationDateTime", "ProcedureStepDiscontinuationReasonCodeSequence")


@dataclass
class WorkitemManager:
    """Workitems, by UID, and who holds them.

    Attributes
    ----------
    holders : dict of str to str
        UID to Transaction UID.
    searches : bool
        False: matching keys are ignored and everything is listed, as some servers do.
    """

    workitems: dict[str, Dataset] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    searches: bool = True
    gone: set[str] = field(default_factory=set)

    def add(self, uid: str, **attributes: Any) -> Dataset:
        """Schedule a workitem for a detection; keyword arguments are attributes."""
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "110004", "DCM", "Computer Aided Detection"
        ds = Dataset()
        ds.SOPInstanceUID = uid
        ds.ProcedureStepState = "SCHEDULED"
        ds.ScheduledProcedureStepPriority = "HIGH"
        ds.ScheduledWorkitemCodeSequence = [code]
        ds.InputReadinessState = "READY"
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
        self.workitems[uid] = ds
        return ds

    def claim_elsewhere(self, uid: str) -> None:
        """Another performer takes it."""
        self.workitems[uid].ProcedureStepState = "IN PROGRESS"
        self.holders[uid] = "1.2.3.99999"

    def state(self, uid: str) -> str:
        return str(self.workitems[uid].ProcedureStepState)

    def serve(self, request: Request) -> Answer:
        where = urlsplit(request.path)
        path = where.path.removeprefix("/ups").strip("/").split("/")
        if request.method != "GET" and request.headers.get("content-type") != DICOM_JSON:
            return Answer(415)
        ds = _data_set(request.body) if request.body else Dataset()
        if ds is None:
            return Answer(400)
        match (request.method, *path):
            case ("GET", "workitems"):
                return self._search(parse_qsl(where.query))
            case ("POST", "workitems"):
                return self._create(where.query.partition("&")[0] or str(ds.get("SOPInstanceUID", "")), ds)
            case (_, "workitems", uid, *below):
                return self._one(request.method, uid, below, ds)
        return Answer(404)

    def _one(self, method: str, uid: str, below: list[str], ds: Dataset) -> Answer:
        if uid not in self.workitems:
            return Answer(410 if uid in self.gone else 404)
        match (method, *below):
            case ("GET",):
                return _json([self._public(self.workitems[uid])])
            case ("POST",):
                return self._update(uid, ds)
            case ("PUT", "state"):
                return self._change_state(uid, ds)
        return Answer(405)

    def _search(self, query: list[tuple[str, str]]) -> Answer:
        found = []
        for ds in self.workitems.values():
            wanted = [(k, v) for k, v in query if k not in ("includefield", "limit")]
            if not self.searches or all(_matches(ds, key, value) for key, value in wanted):
                found.append(self._public(ds))
        return _json(found) if found else Answer(204)

    def _create(self, uid: str, ds: Dataset) -> Answer:
        if uid in self.workitems:
            return Answer(409)
        missing = [keyword for keyword in NEEDED_TO_CREATE if not ds.get(keyword)]
        if missing or ds.ProcedureStepState != "SCHEDULED" or ds.get("TransactionUID"):
            return Answer(400)
        ds.SOPInstanceUID = uid
        self.workitems[uid] = ds
        return Answer(201, headers={"Location": f"http://elsewhere/ups/workitems/{uid}"})

    def _update(self, uid: str, changes: Dataset) -> Answer:
        held = self.workitems[uid]
        if held.ProcedureStepState in FINAL:
            return Answer(409)
        if str(changes.get("TransactionUID", "")) != self.holders.get(uid, ""):
            return Answer(409)
        if "ProcedureStepState" in changes:
            return Answer(400)
        for element in changes:
            if element.keyword != "TransactionUID":
                held[element.tag] = element
        return Answer(200)

    def _change_state(self, uid: str, change: Dataset) -> Answer:
        held, holder = self.workitems[uid], str(change.get("TransactionUID", ""))
        before, after = str(held.ProcedureStepState), str(change.get("ProcedureStepState", ""))
        if not holder:
            return Answer(400)
        if (before, after) not in CHANGES or (before == "IN PROGRESS" and self.holders.get(uid) != holder):
            return Answer(409)
        if not self._ready_for(after, held):
            return Answer(409)
        held.ProcedureStepState = after
        self.holders[uid] = holder
        return Answer(200)

    def _ready_for(self, state: str, ds: Dataset) -> bool:
        """Final State Requirements of PS3.4 Table CC.2.5-3."""
        needed, sequence = {
            "COMPLETED": (NEEDED_TO_COMPLETE, "UnifiedProcedureStepPerformedProcedureSequence"),
            "CANCELED": (NEEDED_TO_CANCEL, "ProcedureStepProgressInformationSequence"),
        }.get(state, ((), ""))
        items = ds.get(sequence) or [Dataset()]
        return all(items[0].get(keyword) for keyword in needed)

    def _public(self, ds: Dataset) -> dict[str, Any]:
        return {tag: value for tag, value in ds.to_json_dict().items() if tag != "00081195"}


def study_input(study_instance_uid: str) -> list[Dataset]:
    """An Input Information Sequence."""
    item = Dataset()
    item.TypeOfInstances, item.StudyInstanceUID = "DICOM", study_instance_uid
    return [item]


def _matches(ds: Dataset, key: str, value: str) -> bool:
    keyword, _, below = key.partition(".")
    found = ds.get(tag_for_keyword(keyword) or 0)
    if found is None:
        return False
    if below:
        return any(_matches(item, below, value) for item in found.value)
    return str(found.value) == value


def _data_set(body: bytes) -> Dataset | None:
    try:
        (item,) = json.loads(body)
        return Dataset.from_json(item)
    except (ValueError, TypeError):
        return None


def _json(content: object) -> Answer:
    return Answer(200, json.dumps(content).encode(), DICOM_JSON)


@contextmanager
def ups_server() -> Iterator[tuple[WebServer, WorkitemManager]]:
    """The server and its workitems; its base is ``/ups``."""
    manager = WorkitemManager()
    with web_server(manager.serve) as server:
        yield server, manager
