"""The result as FHIR R4 (4.0.1): one transaction of a DiagnosticReport, its Observations and the algorithm as a Device.

Each resource keeps its identity through all revisions: sent again it changes nothing, a later revision becomes its next
version on the server, and a reader never finds two reports of one bundle on one study. Nothing is ever ``final``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from dicom_node.results.codes import ABSENT, ARTIFICIAL_INTELLIGENCE, LATERALITY, PRESENT, SIDES
from dicom_node.results.wording import kind_in_words, plain
from triage.findings import Code, Finding, Urgency
from triage.message_options import FhirOptions
from workers.messages.oru import IMAGING_STUDY
from workers.messages.statement import (
    FHIR_SYSTEMS,
    Leading,
    SeriesFacts,
    Statement,
    StudyFacts,
    measured,
    shared_uuid,
)

KIND: Final = "FHIR"
UIDS: Final = "urn:dicom:uid"
"""System of DICOM UIDs (R4, ImagingStudy notes); values are ``urn:oid:…``."""
URIS: Final = "urn:ietf:rfc:3986"
_TABLES: Final = "http://terminology.hl7.org/CodeSystem"

Resource = dict[str, Any]


def build_bundle(statement: Statement, options: FhirOptions) -> bytes:
    """The transaction as UTF-8 JSON. The same arguments give the same bytes."""
    return _Transaction(statement, options).encoded()


def accession_identifier(study: StudyFacts, options: FhirOptions) -> Resource:
    """The accession number as an Identifier of type ACSN (table 0203)."""
    found: Resource = {"type": {"coding": [{"system": f"{_TABLES}/v2-0203", "code": "ACSN"}]}}
    if options.accession_number_system:
        found["system"] = options.accession_number_system
    return found | {"value": study.accession_number}


class _Transaction:
    def __init__(self, statement: Statement, options: FhirOptions) -> None:
        self._statement = statement
        self._options = options
        self._revised = bool(statement.predecessor_uid)
        self._status = options.revised_status if self._revised else "preliminary"
        self._device = _full_url(shared_uuid("Device", statement.device_uid))

    def encoded(self) -> bytes:
        uid = self._statement.device_uid
        entries = [self._entry("Device", shared_uuid("Device", uid), _uid(uid), self._device_resource())]
        if self._options.imaging_study == "resource":
            entries.append(self._imaging_study_entry())
        for leading in self._statement.leading:
            entries.append(self._own_entry("Observation", self._observation(leading), leading.finding.key))
        entries.append(self._own_entry("DiagnosticReport", self._report()))
        bundle = {
            "resourceType": "Bundle",
            "identifier": _uid(self._statement.message_uid(KIND, self._options.variant())),
            "type": "transaction",
            "timestamp": self._created_at,
            "entry": entries,
        }
        return json.dumps(bundle, ensure_ascii=False).encode("utf-8", errors="replace")

    def _own_entry(self, kind: str, content: Resource, *parts: str) -> Resource:
        name = self._statement.resource_uuid(kind, *parts)
        return self._entry(kind, name, {"system": URIS, "value": _full_url(name)}, content)

    def _entry(self, kind: str, name: str, identifier: Resource, content: Resource) -> Resource:
        """A resource to create or update, found again by its identifier or by the logical id that we choose."""
        resource: Resource = {"resourceType": kind}
        if self._options.update == "assigned":
            resource["id"] = name
            url = f"{kind}/{name}"
        else:
            url = f"{kind}?{_query(identifier)}"
        resource |= {"identifier": [identifier, *content.pop("identifier", [])]} | content
        return {"fullUrl": _full_url(name), "resource": resource, "request": {"method": "PUT", "url": url}}

    def _imaging_study_entry(self) -> Resource:
        """Created only where there is none: the archive's own is better than ours."""
        identifier = _uid(self._statement.study.study_instance_uid)
        content = self._imaging_study()
        resource = {
            "resourceType": "ImagingStudy",
            "identifier": [identifier, *content.pop("identifier", [])],
        } | content
        request = {"method": "POST", "url": "ImagingStudy", "ifNoneExist": _query(identifier)}
        return {"fullUrl": self._study_url, "resource": resource, "request": request}

    def _device_resource(self) -> Resource:
        algorithm = self._statement.result.algorithm
        found: Resource = {
            "status": "active",
            "manufacturer": plain(algorithm.manufacturer) or "unknown",
            "deviceName": [{"name": plain(algorithm.name), "type": "model-name"}],
            "type": _concept(ARTIFICIAL_INTELLIGENCE),
            "version": [{"value": plain(algorithm.version)}],
        }
        if algorithm.disclaimer:
            found["note"] = [{"text": plain(algorithm.disclaimer)}]
        return found

    def _imaging_study(self) -> Resource:
        study = self._statement.study
        found: Resource = {
            "status": "available",
            "subject": self._subject(),
            "numberOfSeries": len(study.series),
            "numberOfInstances": sum(len(series.instances) for series in study.series),
        }
        if study.series:  # an empty list is none in FHIR
            found["series"] = [_series(series) for series in study.series]
        if started := self._started():
            found["started"] = started
        if study.accession_number:
            found["identifier"] = [accession_identifier(study, self._options)]
        return found

    def _observation(self, leading: Leading) -> Resource:
        finding = leading.finding
        value, threshold = measured(finding.score)
        found: Resource = {
            "status": self._status,
            "category": [_coding_only(f"{_TABLES}/observation-category", "imaging", "Imaging")],
            "code": _concept(finding.code),
            "subject": self._subject(),
            "issued": self._created_at,
            "valueQuantity": _number(value),
            "interpretation": _interpretation(finding),
            "method": {"coding": _codings(ARTIFICIAL_INTELLIGENCE), "text": self._statement.algorithm},
            "device": {"reference": self._device},
            "referenceRange": [{"high": _number(threshold), "text": f"below the operating point {threshold}"}],
            "derivedFrom": [self._study_reference()],
            "component": [
                {
                    "code": {"text": "Presence"},
                    "valueCodeableConcept": _concept(PRESENT if finding.positive else ABSENT),
                },
                {"code": {"text": "Kind of score"}, "valueString": kind_in_words(finding.score.kind)},
                {"code": {"text": "SOP Instance UID of the image"}, "valueString": leading.sop_instance_uid},
            ],
        }
        if finding.laterality:
            side = {"code": _concept(LATERALITY), "valueCodeableConcept": _concept(SIDES[finding.laterality])}
            found["component"].append(side)
        if finding.site:
            found["bodySite"] = _concept(finding.site)
        if started := self._started():
            found["effectiveDateTime"] = started
        return found

    def _report(self) -> Resource:
        statement = self._statement
        study = statement.study
        report_uid = {**_uid(statement.report_uid), "use": "secondary"}
        conclusion = filter(None, (statement.summary, statement.left_out, statement.notice))
        found: Resource = {
            "identifier": [report_uid],
            "status": self._status,
            "category": [_coding_only(f"{_TABLES}/v2-0074", "RAD", "Radiology")],
            "code": _concept(study.procedure or IMAGING_STUDY, text=study.study_description),
            "subject": self._subject(),
            "issued": self._created_at,
            "imagingStudy": [self._study_reference()],
            "conclusion": "\n".join(conclusion),
        }
        if statement.leading:
            found["result"] = [
                {"reference": _full_url(statement.resource_uuid("Observation", leading.finding.key))}
                for leading in statement.leading
            ]
        positives = [_concept(leading.finding.code) for leading in statement.leading if leading.finding.positive]
        if positives:
            found["conclusionCode"] = positives
        if started := self._started():
            found["effectiveDateTime"] = started
        if study.accession_number:
            order = {"type": "ServiceRequest", "identifier": accession_identifier(study, self._options)}
            found["basedOn"] = [order]
        return found

    def _subject(self) -> Resource:
        """The patient by identifier, as the source writes it; the server knows its own resource."""
        study = self._statement.study
        found: Resource = {"type": "Patient"}
        if study.patient_id:
            found["identifier"] = self._patient_identifier()
        if name := display_name(study.patient_name) or ("" if study.patient_id else "unknown"):
            found["display"] = name
        return found

    def _patient_identifier(self) -> Resource:
        study = self._statement.study
        identifier: Resource = {}
        issuer = study.issuer_of_patient_id
        if system := self._options.patient_identifier_system or _as_uri(issuer):
            identifier["system"] = system
        identifier["value"] = study.patient_id
        if issuer:
            identifier["assigner"] = {"display": issuer}
        return identifier

    def _study_reference(self) -> Resource:
        uid = self._statement.study.study_instance_uid
        found: Resource = {"type": "ImagingStudy", "identifier": _uid(uid)}
        if self._options.imaging_study == "resource":
            found["reference"] = self._study_url
        return found

    def _started(self) -> str:
        """Study Date and Time as dateTime; a time without zone is none in FHIR, so the date stands alone then."""
        study = self._statement.study
        if not study.study_date:
            return ""
        day = f"{study.study_date[:4]}-{study.study_date[4:6]}-{study.study_date[6:]}"
        clock = study.study_time.partition(".")[0]
        if len(clock) != 6 or not study.timezone:
            return day
        zone = f"{study.timezone[:3]}:{study.timezone[3:]}"
        return f"{day}T{clock[:2]}:{clock[2:4]}:{clock[4:]}{zone}"

    @property
    def _study_url(self) -> str:
        return _full_url(shared_uuid("ImagingStudy", self._statement.study.study_instance_uid))

    @property
    def _created_at(self) -> str:
        return self._statement.created_at.isoformat(timespec="milliseconds")


def _series(series: SeriesFacts) -> Resource:
    return {
        "uid": series.uid,
        "modality": {"system": FHIR_SYSTEMS["DCM"], "code": series.modality or "OT"},
        "numberOfInstances": len(series.instances),
        "instance": [
            {"uid": uid, "sopClass": {"system": URIS, "code": f"urn:oid:{sop_class}"}}
            for sop_class, uid in series.instances
        ],
    }


def display_name(name: str) -> str:
    """A PN for people: the first group that says something, components in the order of address."""
    group = next((group for group in name.split("=") if group.strip("^ ")), "")
    family, given, middle, prefix, suffix = [*(part.strip() for part in group.split("^")), "", "", "", "", ""][:5]
    return " ".join(filter(None, (prefix, given, middle, family, suffix)))


def _full_url(name: str) -> str:
    return f"urn:uuid:{name}"


def _query(identifier: Resource) -> str:
    token = f"{identifier['system']}|{identifier['value']}"
    return f"identifier={quote(token, safe=':/')}"


def _uid(uid: str) -> Resource:
    return {"system": UIDS, "value": f"urn:oid:{uid}"}


def _as_uri(issuer: str) -> str:
    """An issuer that is an OID or a URI as a system; "" for a mere name, which would be none."""
    if issuer and set(issuer) <= set("0123456789.") and "." in issuer:
        return f"urn:oid:{issuer}"
    return issuer if issuer.startswith(("urn:", "http://", "https://")) else ""


def _codings(code: Code) -> list[Mapping[str, str]]:
    system = FHIR_SYSTEMS.get(code.scheme)
    coding = {"system": system} if system else {}
    return [{**coding, "code": code.value, "display": code.meaning}]


def _concept(code: Code, *, text: str = "") -> Resource:
    return {"coding": _codings(code), "text": text or code.meaning}


def _coding_only(system: str, code: str, display: str) -> Resource:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _number(text: str) -> Resource:
    return {"value": float(text), "unit": "1", "system": FHIR_SYSTEMS["UCUM"], "code": "1"}


def _interpretation(finding: Finding) -> list[Resource]:
    """Positive or negative, and how abnormal: AA for what asks for STAT or URGENT (v3 ObservationInterpretation)."""
    system = f"{_TABLES}/v3-ObservationInterpretation"
    if not finding.positive:
        return [_coding_only(system, "NEG", "Negative"), _coding_only(system, "N", "Normal")]
    critical = finding.urgency is not Urgency.ROUTINE
    flag = ("AA", "Critical abnormal") if critical else ("A", "Abnormal")
    return [_coding_only(system, "POS", "Positive"), _coding_only(system, *flag)]
