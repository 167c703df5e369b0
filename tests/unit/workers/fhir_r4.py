"""What FHIR R4 (4.0.1) allows in the resources that we send: elements with their cardinality, type and value set.

Written down from the resource definitions; only what is listed may occur, so an element that R4 does not have (or that
we have not looked up) is an error too.
"""

from __future__ import annotations

import re
from typing import Any

DATE_TIME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?)?)?")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
IDENTIFIER = re.compile(r"[A-Za-z0-9\-.]{1,64}")
OID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")

REPORT_STATUS = "registered partial preliminary final amended corrected appended cancelled entered-in-error unknown"
OBSERVATION_STATUS = "registered preliminary final amended corrected cancelled entered-in-error unknown"

TYPES: dict[str, dict[str, tuple[int, int, str]]] = {
    "Bundle": {
        "resourceType": (1, 1, "code"), "identifier": (0, 1, "Identifier"), "type": (1, 1, "code:transaction"),
        "timestamp": (0, 1, "instant"), "entry": (0, -1, "Entry"),
    },
    "Entry": {"fullUrl": (0, 1, "uri"), "resource": (0, 1, "Resource"), "request": (1, 1, "Request")},
    "Request": {"method": (1, 1, "code:PUT POST"), "url": (1, 1, "uri"), "ifNoneExist": (0, 1, "string")},
    "DiagnosticReport": {
        "resourceType": (1, 1, "code"), "id": (0, 1, "id"), "identifier": (0, -1, "Identifier"),
        "basedOn": (0, -1, "Reference"), "status": (1, 1, f"code:{REPORT_STATUS}"),
        "category": (0, -1, "CodeableConcept"), "code": (1, 1, "CodeableConcept"), "subject": (0, 1, "Reference"),
        "effectiveDateTime": (0, 1, "dateTime"), "issued": (0, 1, "instant"), "result": (0, -1, "Reference"),
        "imagingStudy": (0, -1, "Reference"), "conclusion": (0, 1, "string"),
        "conclusionCode": (0, -1, "CodeableConcept"),
    },
    "Observation": {
        "resourceType": (1, 1, "code"), "id": (0, 1, "id"), "identifier": (0, -1, "Identifier"),
        "status": (1, 1, f"code:{OBSERVATION_STATUS}"), "category": (0, -1, "CodeableConcept"),
        "code": (1, 1, "CodeableConcept"), "subject": (0, 1, "Reference"), "effectiveDateTime": (0, 1, "dateTime"),
        "issued": (0, 1, "instant"), "valueQuantity": (0, 1, "Quantity"), "interpretation": (0, -1, "CodeableConcept"),
        "bodySite": (0, 1, "CodeableConcept"), "method": (0, 1, "CodeableConcept"), "device": (0, 1, "Reference"),
        "referenceRange": (0, -1, "ReferenceRange"), "derivedFrom": (0, -1, "Reference"),
        "component": (0, -1, "Component"),
    },
    "Component": {
        "code": (1, 1, "CodeableConcept"), "valueCodeableConcept": (0, 1, "CodeableConcept"),
        "valueString": (0, 1, "string"),
    },
    "ReferenceRange": {"high": (0, 1, "Quantity"), "text": (0, 1, "string")},
    "Device": {
        "resourceType": (1, 1, "code"), "id": (0, 1, "id"), "identifier": (0, -1, "Identifier"),
        "status": (0, 1, "code:active inactive entered-in-error unknown"), "manufacturer": (0, 1, "string"),
        "deviceName": (0, -1, "DeviceName"), "type": (0, 1, "CodeableConcept"), "version": (0, -1, "DeviceVersion"),
        "note": (0, -1, "Annotation"),
    },
    "DeviceName": {"name": (1, 1, "string"), "type": (1, 1, "code:udi-label-name model-name other")},
    "DeviceVersion": {"value": (1, 1, "string")},
    "Annotation": {"text": (1, 1, "string")},
    "ImagingStudy": {
        "resourceType": (1, 1, "code"), "id": (0, 1, "id"), "identifier": (0, -1, "Identifier"),
        "status": (1, 1, "code:registered available cancelled entered-in-error unknown"),
        "subject": (1, 1, "Reference"), "started": (0, 1, "dateTime"), "numberOfSeries": (0, 1, "unsignedInt"),
        "numberOfInstances": (0, 1, "unsignedInt"), "series": (0, -1, "Series"),
    },
    "Series": {
        "uid": (1, 1, "id"), "modality": (1, 1, "Coding"), "numberOfInstances": (0, 1, "unsignedInt"),
        "instance": (0, -1, "Instance"),
    },
    "Instance": {"uid": (1, 1, "id"), "sopClass": (1, 1, "Coding")},
    "Identifier": {
        "use": (0, 1, "code:usual official temp secondary old"), "type": (0, 1, "CodeableConcept"),
        "system": (0, 1, "uri"), "value": (0, 1, "string"), "assigner": (0, 1, "Reference"),
    },
    "Reference": {
        "reference": (0, 1, "string"), "type": (0, 1, "uri"), "identifier": (0, 1, "Identifier"),
        "display": (0, 1, "string"),
    },
    "CodeableConcept": {"coding": (0, -1, "Coding"), "text": (0, 1, "string")},
    "Coding": {"system": (0, 1, "uri"), "code": (0, 1, "code"), "display": (0, 1, "string")},
    "Quantity": {
        "value": (0, 1, "decimal"), "unit": (0, 1, "string"), "system": (0, 1, "uri"), "code": (0, 1, "code"),
    },
}  # fmt: skip


def problems(value: Any, kind: str, where: str = "") -> list[str]:
    """Everything in ``value`` that R4 does not allow in an element of type ``kind``; empty when it is sound."""
    where = where or kind
    if kind == "Resource":
        kind = value.get("resourceType", "?")
    if kind not in TYPES:
        return _primitive(value, kind, where)
    if not isinstance(value, dict) or not value:
        return [f"{where} is empty or no object"]
    elements = TYPES[kind]
    found = [f"{where}.{name} is no element of {kind}" for name in value if name not in elements]
    for name, (least, most, type_) in elements.items():
        if name not in value:
            found += [f"{where}.{name} is missing"] if least else []
        elif most == 1:
            found += problems(value[name], type_, f"{where}.{name}")
        elif not isinstance(value[name], list) or not value[name]:
            found.append(f"{where}.{name} is no list with something in it")
        else:
            found += [p for n, each in enumerate(value[name]) for p in problems(each, type_, f"{where}.{name}[{n}]")]
    return found


def _primitive(value: Any, kind: str, where: str) -> list[str]:
    base, _, allowed = kind.partition(":")
    match base:
        case "unsignedInt":
            good = isinstance(value, int) and value >= 0
        case "decimal":
            good = isinstance(value, int | float) and not isinstance(value, bool)
        case "instant":
            good = isinstance(value, str) and bool(INSTANT.fullmatch(value))
        case "dateTime":
            good = isinstance(value, str) and bool(DATE_TIME.fullmatch(value))
        case "id":
            good = isinstance(value, str) and bool(IDENTIFIER.fullmatch(value))
        case "code":
            fits = not allowed or value in allowed.split()
            good = isinstance(value, str) and fits and bool(re.fullmatch(r"\S+( \S+)*", value))
        case "uri":
            oid = value.removeprefix("urn:oid:") if isinstance(value, str) else ""
            good = (
                isinstance(value, str)
                and bool(re.fullmatch(r"\S+", value))
                and (oid == value or bool(OID.fullmatch(oid)))
            )
        case _:
            good = isinstance(value, str) and bool(value.strip())
    return [] if good else [f"{where} is {value!r}, no {kind}"]
