"""The FHIR transaction: sound R4, references that lead somewhere, one identity through all revisions, never final."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import fhirkit
import pytest
from fhir_r4 import problems
from hypothesis import given, settings
from hypothesis import strategies as st
from message_cases import RESULT, saying, statement

from triage.findings import ImageResult, Laterality, ScoreKind
from triage.message_options import FhirOptions
from workers.messages.fhir import build_bundle, display_name
from workers.messages.statement import Statement


def read(about: Statement, **options: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(build_bundle(about, FhirOptions.model_validate(options)))
    return found


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


@pytest.mark.parametrize("update", ["conditional", "assigned"])
@pytest.mark.parametrize("imaging_study", ["reference", "resource"])
@pytest.mark.parametrize("known", [True, False])
def test_the_transaction_is_sound(update: str, imaging_study: str, known: bool) -> None:
    names = (
        "patient_id", "patient_name", "accession_number", "study_date", "study_description", "issuer_of_patient_id",
    )  # fmt: skip
    about = statement() if known else statement(**dict.fromkeys(names, ""), procedure=None)
    bundle = read(about, update=update, imaging_study=imaging_study)
    assert problems(bundle, "Bundle") == []
    assert fhirkit.validate(bundle) == []  # by somebody else's reading of R4
    by_url = {entry["fullUrl"] for entry in bundle["entry"]}
    assert len(by_url) == len(bundle["entry"])
    referred = {r["reference"] for r in references(bundle) if "reference" in r}
    assert referred <= by_url
    assert len(resources(bundle, "ImagingStudy")) == (imaging_study == "resource")


def test_what_there_is_none_of_is_left_out() -> None:
    """R4 has no empty lists, objects or texts (2.6.2)."""
    nothing = replace(RESULT, images=(ImageResult(sop_instance_uid="1.2.3.4.5", findings=()),), not_analysed=())
    bundle = read(statement(result=nothing, series=()), imaging_study="resource")
    assert fhirkit.validate(bundle) == problems(bundle, "Bundle") == []
    (report,) = resources(bundle, "DiagnosticReport")
    assert "result" not in report


def references(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [found for each in value for found in references(each)]
    if not isinstance(value, dict):
        return []
    own = [value] if "reference" in value or value.get("type") in ("Patient", "ImagingStudy", "ServiceRequest") else []
    return own + [found for each in value.values() for found in references(each)]


@settings(max_examples=40)
@given(st.text(max_size=40), st.text(max_size=20))
def test_names_of_any_kind_stay_strings(name: str, number: str) -> None:
    bundle = read(statement(patient_name=name, accession_number=number.strip()))
    assert bundle["type"] == "transaction"
    assert fhirkit.validate(bundle) == []


def test_a_report_as_a_server_reads_it() -> None:
    bundle = read(statement())
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["status"] == "preliminary"
    assert report["code"]["coding"][0]["code"] == "36643-5"
    assert report["effectiveDateTime"] == "2026-11-21T07:08:09+01:00"
    assert report["issued"] == "2026-11-28T12:00:00.123+01:00"
    assert report["subject"]["identifier"] == {"value": "P-1", "assigner": {"display": "HOSPITAL"}}
    assert report["subject"]["display"] == "Dr. Jörg Müller jr"
    assert report["basedOn"][0]["identifier"]["value"] == "A-1"
    assert report["imagingStudy"] == [
        {"type": "ImagingStudy", "identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}}
    ]
    assert "no physician has verified it" in report["conclusion"]
    assert [code["coding"][0]["code"] for code in report["conclusionCode"]] == ["36118008"]
    first, second = resources(bundle, "Observation")
    assert first["valueQuantity"] == {"value": 0.94, "unit": "1", "system": "http://unitsofmeasure.org", "code": "1"}
    assert first["referenceRange"][0]["high"]["value"] == 0.6
    assert [i["coding"][0]["code"] for i in first["interpretation"]] == ["POS", "AA"]
    assert [i["coding"][0]["code"] for i in second["interpretation"]] == ["NEG", "N"]
    assert first["bodySite"]["coding"][0]["code"] == "39607008"


def test_a_time_without_zone_is_left_out() -> None:
    (report,) = resources(read(statement(timezone="")), "DiagnosticReport")
    assert report["effectiveDateTime"] == "2026-11-21"


@pytest.mark.parametrize(
    ("issuer", "options", "system"),
    [
        ("1.2.40.0.34", {}, "urn:oid:1.2.40.0.34"),
        ("http://hospital.example/pid", {}, "http://hospital.example/pid"),
        ("HOSPITAL", {"patient_identifier_system": "urn:oid:1.2.9"}, "urn:oid:1.2.9"),
        ("HOSPITAL", {}, None),
    ],
)
def test_the_issuer_is_a_system_only_where_it_can_be_one(issuer: str, options: dict[str, str], system: str) -> None:
    (report,) = resources(read(statement(issuer_of_patient_id=issuer), **options), "DiagnosticReport")
    assert report["subject"]["identifier"].get("system") == system


@pytest.mark.parametrize("update", ["conditional", "assigned"])
def test_a_later_revision_is_the_next_version_of_the_same_resources(update: str) -> None:
    first, later = (
        read(statement(), update=update),
        read(statement(revision=2, predecessor_uid="2.25.9"), update=update),
    )
    assert [e["request"] for e in first["entry"]] == [e["request"] for e in later["entry"]]
    assert {r["status"] for r in resources(later, "Observation") + resources(later, "DiagnosticReport")} == {"amended"}
    assert first["identifier"] != later["identifier"]
    assert build_bundle(statement(), FhirOptions()) == build_bundle(statement(), FhirOptions())
    careful = read(statement(revision=2, predecessor_uid="2.25.9"), revised_status="preliminary")
    assert {r["status"] for r in resources(careful, "DiagnosticReport")} == {"preliminary"}


def test_studies_share_the_device_and_nothing_else() -> None:
    one, other = read(statement(), update="assigned"), read(statement(study_instance_uid="1.2.4"), update="assigned")
    shared = {e["request"]["url"] for e in one["entry"]} & {e["request"]["url"] for e in other["entry"]}
    assert [url.partition("/")[0] for url in shared] == ["Device"]


def test_the_archives_imaging_study_is_never_replaced() -> None:
    bundle = read(statement(), imaging_study="resource")
    (request,) = [e["request"] for e in bundle["entry"] if e["resource"]["resourceType"] == "ImagingStudy"]
    assert (request["method"], request["ifNoneExist"]) == ("POST", "identifier=urn:dicom:uid%7Curn:oid:1.2.3")


def test_a_score_that_is_no_probability_says_so() -> None:
    (observation,) = resources(read(statement(result=saying(kind=ScoreKind.OPERATING_POINT))), "Observation")
    assert "not a probability" in observation["component"][1]["valueString"]


def test_the_side_is_a_component() -> None:
    (observation,) = resources(read(statement(result=saying(laterality=Laterality.RIGHT))), "Observation")
    assert observation["component"][-1]["valueCodeableConcept"]["coding"][0]["code"] == "24028007"
    assert problems(observation, "Observation") == []


def test_the_checker_finds_what_is_wrong() -> None:
    bundle = read(statement())
    bundle["entry"][1]["resource"]["status"] = "finished"
    bundle["entry"][1]["resource"]["colour"] = "red"
    del bundle["entry"][2]["resource"]["code"]
    assert len(problems(bundle, "Bundle")) == 3


def test_names_are_spoken_in_order() -> None:
    assert display_name("Doe^Jane^M^Prof.^MD=ドウ") == "Prof. Jane M Doe MD"
    assert display_name("=山田^太郎") == "太郎 山田"
    assert display_name("^^") == ""
