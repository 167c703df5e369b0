"""From a study that comes to what a RIS, a FHIR server and a webhook get: nothing but their addresses is set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from node_under_test import Node
from peers.fhir_server import fhir_server
from peers.mllp_server import mllp_server
from peers.web_server import Answer, web_server
from pydicom.dataset import Dataset

from triage.peers import Destination
from triage.repositories import analyses
from triage.settings import Settings
from triage.states import DeliveryStatus
from workers import study_messages
from workers.analysis import analyse_due
from workers.delivery import deliver_due
from workers.messages.hl7 import Message

Draw = Callable[..., Dataset]


def configure(node: Node, **settings: object) -> None:
    node.bench.settings = node.bench.settings.model_copy(update=settings)


def test_an_analysis_is_told_in_every_language(node: Node, phantom: Draw, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k" * 32)
    key.chmod(0o600)
    with mllp_server() as ris, fhir_server() as ehr, web_server(lambda _: Answer(204)) as hook:
        addresses = [ris.address, ehr.address, f"webhook+http://127.0.0.1:{hook.port}/hook"]
        configure(
            node,
            destinations=tuple(
                Destination.model_validate({"address": a, "secret_file": key if a.startswith("webhook") else None})
                for a in addresses
            ),
        )
        dataset = phantom(1, {"pneumothorax"})
        node.receive(dataset)
        analyse_due(node.bench)
        assert [deliver_due(node.bench, address) for address in addresses] == [1, 1, 1]
        hl7, (report,), document = Message.parse(ris.received[0]), ehr.of("DiagnosticReport"), hook.requests[0].body
    study, patient = str(dataset.StudyInstanceUID), str(dataset.PatientID)
    pid, told = hl7.first("PID"), json.loads(document)
    assert pid is not None
    assert (pid.text(3), report["subject"]["identifier"]["value"], told["patient"]["id"]) == (patient,) * 3
    assert hl7.all("OBX")[0].text(5) == told["study_instance_uid"] == study
    assert report["imagingStudy"][0]["identifier"]["value"] == f"urn:oid:{study}"
    positives = [f["code"]["value"] for f in told["findings"] if f["positive"]]
    assert positives == [code["coding"][0]["code"] for code in report["conclusionCode"]]
    assert positives == [o.text(3) for o in hl7.all("OBX") if o.text(5) == "121053"]
    rows = [r for a in node.study(dataset).analyses for r in a.result_objects]
    assert {r.kind for r in rows} == {"SC", "SR", "HL7", "FHIR", "WEBHOOK"}
    assert {d.status for r in rows for d in r.deliveries} == {DeliveryStatus.SENT}
    assert told["report_uid"] in [r.sop_instance_uid for r in rows if r.kind == "SR"]


def test_a_late_view_gives_a_correction_that_names_the_report_before(node: Node, phantom: Draw) -> None:
    with mllp_server() as ris, fhir_server() as ehr:
        configure(node, destinations=(Destination(address=ris.address), Destination(address=ehr.address)))
        first = phantom(4, {"pneumothorax"})
        node.receive(first)
        analyse_due(node.bench)
        assert [deliver_due(node.bench, address) for address in (ris.address, ehr.address)] == [1, 1]
        with node.bench.database.write() as session:  # another look without a new image says nothing new
            analyses.request(session, session.merge(node.study(first)), at=node.clock(), who="dr")
        analyse_due(node.bench)
        assert [deliver_due(node.bench, address) for address in (ris.address, ehr.address)] == [0, 0]
        late = phantom(4, {"pneumothorax"})
        late.SOPInstanceUID = f"{first.SOPInstanceUID}8"
        node.receive(late)
        analyse_due(node.bench)
        assert [deliver_due(node.bench, address) for address in (ris.address, ehr.address)] == [1, 1]
    before, after = (Message.parse(content) for content in ris.received)
    reports = [r for a in node.study(first).analyses for r in a.result_objects if r.kind == "SR"]
    statuses = [obr.text(25) for message in (before, after) for obr in message.all("OBR")]
    assert statuses == ["P", "C"]
    replaced = [o.text(5) for o in after.all("OBX") if o.text(3) == "REPLACES"]
    assert replaced == [reports[0].sop_instance_uid]
    second = pydicom.dcmread(node.bench.settings.results / reports[1].relative_path)
    (told,) = second.PredecessorDocumentsSequence
    assert told.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == replaced[0]
    versions = [found for name, found in ehr.held.items() if name.startswith("DiagnosticReport ")]
    assert [[each["status"] for each in found] for found in versions] == [["preliminary", "amended"]]


def test_a_message_that_cannot_be_built_holds_up_no_report(
    node: Node, phantom: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise KeyError("PHANTOM^NAME")

    monkeypatch.setattr(study_messages, "build_oru", broken)
    configure(node, destinations=(Destination(address="mllp://ris:2575"),))
    dataset = phantom(3)
    node.receive(dataset)
    analyse_due(node.bench)
    study = node.study(dataset)
    assert {r.kind for a in study.analyses for r in a.result_objects} == {"SC", "SR"}
    (event,) = [event for event in study.events if event.kind == "object_not_built"]
    assert event.detail["reason"].startswith("The HL7 message could not be built: KeyError.")


def test_a_bundle_is_kept_for_whoever_fetches_it(node: Node, phantom: Draw) -> None:
    configure(node, serve_fhir=True)
    dataset = phantom(2)
    node.receive(dataset)
    analyse_due(node.bench)
    (row,) = [r for a in node.study(dataset).analyses for r in a.result_objects if r.kind == "FHIR"]
    assert row.deliveries == []
    content = (node.bench.settings.results / row.relative_path).read_bytes()
    assert json.loads(content)["type"] == "transaction"


def test_other_options_for_two_receivers_are_two_messages(tmp_path: Path) -> None:
    plain, other = (
        Destination.model_validate({"address": f"mllp://ris:{port}", "hl7": options})
        for port, options in ((1, {}), (2, {"receiving_application": "RIS"}))
    )
    again = Destination.model_validate({"address": "mllp://ris:3"})
    assert plain.wanted == again.wanted != other.wanted
    settings = Settings(data=tmp_path, destinations=(plain, other, again))
    assert [d.hl7.receiving_application for d in settings.destinations] == ["", "RIS", ""]
    assert Settings.model_validate_json(settings.model_dump_json()).destinations == settings.destinations
