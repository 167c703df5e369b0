"""Messages to a FHIR server and an HL7 receiver that others have built and that know nothing of firstread."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from node_under_test import Node
from owed_messages import owe, statuses, try_again
from owing import Debtor, to
from peers.hospital import FhirNeighbour, hl7_neighbour

from triage.outbox import BUDGET, Verdict
from triage.repositories import deliveries
from triage.states import DeliveryStatus
from workers.carriers import fhir

pytestmark = [pytest.mark.peer, pytest.mark.timeout(240)]
PENDING, SENT, DEAD = DeliveryStatus.PENDING, DeliveryStatus.SENT, DeliveryStatus.DEAD


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hospital")


@pytest.fixture(scope="module")
def ehr(folder: Path) -> Iterator[FhirNeighbour]:
    neighbour = FhirNeighbour(folder)
    with neighbour.running():
        yield neighbour


def sent(owing: Debtor) -> dict[str, dict[str, object]]:
    """The identifier of each resource in the message that is owed, as a search wants it, by type."""
    (delivery,) = owing.deliveries()
    bundle = json.loads((owing.node.bench.settings.results / delivery.result_object.relative_path).read_bytes())
    resources = [entry["resource"] for entry in bundle["entry"]]
    return {r["resourceType"]: "|".join(r["identifier"][0][k] for k in ("system", "value")) for r in resources}


def resend(owing: Debtor) -> None:
    """As the button of the page does."""
    with owing.node.bench.database.write() as session:
        for delivery in owing.deliveries():
            deliveries.resend(session, session.merge(delivery), at=owing.node.clock(), who="dr", confirmed=True)


def test_a_report_arrives_once_and_a_revision_becomes_its_next_version(node: Node, ehr: FhirNeighbour) -> None:
    owing = Debtor(node, destinations=to(ehr.address, fhir={"imaging_study": "resource"}))
    owe(owing, study="1.2.3.1")
    names = sent(owing)
    assert owing.deliver(ehr.address) == 1, owing.deliveries()[0].reason
    (report,) = ehr.search("DiagnosticReport", names["DiagnosticReport"])
    assert (report["status"], report["meta"]["versionId"]) == ("preliminary", "1")
    assert "no physician has verified it" in report["conclusion"]
    observations = [ehr.read(each["reference"]) for each in report["result"]]
    assert [each["valueQuantity"]["value"] for each in observations] == [0.94, 0.2]
    assert ehr.read(observations[0]["device"]["reference"])["deviceName"][0]["name"] == "cxr-research"
    resend(owing)
    assert owing.deliver(ehr.address) == 1
    assert len(ehr.search("DiagnosticReport", names["DiagnosticReport"])) == 1
    owe(owing, study="1.2.3.1", revision=2)
    assert owing.deliver(ehr.address) == 1
    (report,) = ehr.search("DiagnosticReport", names["DiagnosticReport"])
    assert report["status"] == "amended"
    (study,) = ehr.search("ImagingStudy", names["ImagingStudy"])
    assert study["meta"]["versionId"] == "1"  # the archive's own is never replaced


def test_a_server_without_conditional_update_gets_ids_that_we_choose(node: Node, ehr: FhirNeighbour) -> None:
    owing = Debtor(node, destinations=to(ehr.address, fhir={"update": "assigned"}))
    owe(owing, study="1.2.3.2")
    assert owing.deliver(ehr.address) == 1, owing.deliveries()[0].reason
    resend(owing)
    assert owing.deliver(ehr.address) == 1
    (report,) = ehr.search("DiagnosticReport", sent(owing)["DiagnosticReport"])
    device = ehr.read(report["result"][0]["reference"])["device"]["reference"]
    ehr.delete(device)  # other tests let the server choose


def test_two_of_one_identifier_are_said_and_nothing_is_half_written(node: Node, ehr: FhirNeighbour) -> None:
    owing = Debtor(node, destinations=to(ehr.address))
    owe(owing, study="1.2.3.4")
    names = sent(owing)
    system, _, value = names["Observation"].partition("|")
    double = {
        "resourceType": "Observation", "status": "preliminary", "code": {"text": "double"},
        "identifier": [{"system": system, "value": value}],
    }  # fmt: skip
    twins = [ehr.create(double) for _ in range(2)]
    for _ in range(BUDGET[Verdict.REFUSED]):
        assert statuses(owing) == [PENDING]
        try_again(owing, ehr.address)
    (delivery,) = owing.deliveries()
    assert delivery.status is DEAD
    assert "HTTP 412" in delivery.reason and "multiple-matches" in delivery.reason and "Remove" in delivery.reason
    assert ehr.search("DiagnosticReport", names["DiagnosticReport"]) == []
    ehr.delete(f"Observation/{twins[1]['id']}")
    resend(owing)
    assert owing.deliver(ehr.address) == 1
    assert len(ehr.search("DiagnosticReport", names["DiagnosticReport"])) == 1


def test_the_doctor_knows_it_for_what_it_is(node: Node, ehr: FhirNeighbour) -> None:
    found = fhir.check(node.bench.settings, to(ehr.address)[0], node.clock())
    assert (found.ok, found.message) == (True, "answers as a FHIR 4.0.1 server")
    found = fhir.check(node.bench.settings, to(ehr.address.removesuffix("/fhir"))[0], node.clock())
    assert not found.ok


def test_a_result_reaches_an_hl7_receiver_which_makes_fhir_of_it(
    node: Node, ehr: FhirNeighbour, tmp_path: Path
) -> None:
    with hl7_neighbour(tmp_path / "bridge", ehr.url) as address:
        owing = Debtor(node, destinations=to(address, hl7={"fields": {"ZDS-1": "{study_instance_uid}"}}))
        order = {"accession_number": "A-31", "placer_order_number": "PL-31", "filler_order_number": "FI-31"}
        owe(owing, study="1.2.3.31", patient_name="Yamada^Tarou=山田^太郎", **order)
        assert owing.deliver(address) == 1, owing.deliveries()[0].reason
        owe(owing, study="1.2.3.31", revision=2, patient_name="Yamada^Tarou=山田^太郎", **order)
        assert owing.deliver(address) == 1, owing.deliveries()[1].reason
        (study,) = ehr.search("ImagingStudy", "urn:dicom:uid|urn:oid:1.2.3.31")
        reports = [
            report for report in ehr.search("DiagnosticReport")
            if {"reference": f"ImagingStudy/{study['id']}"} in report.get("imagingStudy", ())
        ]  # fmt: skip
        assert [(report["status"], report["meta"]["versionId"]) for report in reports] == [("corrected", "2")]
        names = ehr.read(reports[0]["subject"]["reference"])["name"]
        assert {"山田", "Yamada"} <= {name["family"] for name in names}


def test_an_error_of_the_receiver_and_one_of_a_system_behind_it_are_told_apart(node: Node, tmp_path: Path) -> None:
    """No patient: AE 101. The server behind the receiver is away: AR 207, which is tried for as long as it takes."""
    away = FhirNeighbour(tmp_path)
    with hl7_neighbour(tmp_path / "bridge", away.url) as address:
        owing = Debtor(node, destinations=to(address))
        owe(owing, patient_id="")
        owing.deliver(address)
        assert "AE 101" in owing.deliveries()[0].reason
        owe(owing, revision=2)
        owing.deliver(address)
        assert "AR 207" in owing.deliveries()[1].reason
        assert statuses(owing) == [PENDING, PENDING]
