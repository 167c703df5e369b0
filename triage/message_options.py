"""What a site can set about the messages to one destination: its tables ``hl7``, ``fhir`` and ``webhook``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from triage.hl7_template import OBSERVATIONS, REQUIRED, pieces, place

Hl7CharacterSet = Literal[
    "UNICODE UTF-8", "8859/1", "8859/2", "8859/3", "8859/4", "8859/5", "8859/6", "8859/7", "8859/8", "8859/9",
    "8859/15", "KS X 1001", "ASCII",
]  # fmt: skip


class MessageOptions(BaseModel):
    """Base: frozen, and with a digest, because other options give another message."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def variant(self) -> str:
        """ "" for the defaults, else a short digest: part of the message's identity."""
        if self == type(self)():
            return ""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


class Hl7Options(MessageOptions):
    """The ORU^R01 to one destination (HL7 v2.5.1 chapter 7)."""

    sending_application: str = "FIRSTREAD"
    """MSH-3."""
    sending_facility: str = ""
    """MSH-4."""
    receiving_application: str = ""
    """MSH-5."""
    receiving_facility: str = ""
    """MSH-6."""
    processing_id: Literal["P", "T", "D"] = "P"
    """MSH-11: production, training or debugging."""
    character_set: Hl7CharacterSet = "UNICODE UTF-8"
    """MSH-18: `UNICODE UTF-8`, `8859/1` to `8859/9`, `8859/15`, `KS X 1001`, `ASCII`. What it has no sign for is
    spelled in Latin letters, else a question mark."""
    findings: Literal["all", "positive"] = "all"
    """Which findings get an OBX."""
    observations: tuple[str, ...] = OBSERVATIONS
    """Which OBX segments there are, of `study`, `summary`, `urgency`, `predecessor` and, for each finding, `presence`,
    `laterality`, `score` and `image`."""
    without: tuple[str, ...] = ()
    """Segments to leave out: `PV1`, `ORC`, `NTE`."""
    fields: Mapping[str, str] = Field(default_factory=dict)
    """Fields that differ from firstread's own, such as `"OBR-32" = "AI"` or `"ZDS-1" = "{study_instance_uid}"`:
    constants and named facts."""

    @field_validator("sending_application", "sending_facility", "receiving_application", "receiving_facility")
    @classmethod
    def _constant(cls, value: str) -> str:
        if any(piece.is_fact for piece in pieces(value)):
            raise ValueError(f"{value!r} is a constant: facts belong into `fields`")
        return value

    @field_validator("observations")
    @classmethod
    def _observations(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in OBSERVATIONS]
        if unknown or not value:
            raise ValueError(f"observations are {', '.join(OBSERVATIONS)}; at least one")
        return tuple(dict.fromkeys(value))

    @field_validator("without")
    @classmethod
    def _without(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        needed = sorted(REQUIRED.intersection(value))
        if needed:
            raise ValueError(f"a result message needs {', '.join(needed)}")
        return value

    @model_validator(mode="after")
    def _fields(self) -> Self:
        for where, text in self.fields.items():
            pieces(text, of_observation=place(where).segment == "OBX")
        return self


class FhirOptions(MessageOptions):
    """The transaction to one FHIR R4 server."""

    update: Literal["conditional", "assigned"] = "conditional"
    """How a resend finds what is there: `conditional` by our identifier (PUT Type?identifier=…); `assigned` by a
    logical id that we choose, for servers without conditional update."""
    patient_identifier_system: str = ""
    """System of the patient identifier; not set: the Issuer of Patient ID where that is an OID or a URI."""
    accession_number_system: str = ""
    """System of the accession number."""
    imaging_study: Literal["reference", "resource"] = "reference"
    """Refer to the ImagingStudy by its identifier, or send one with start and series too."""
    revised_status: Literal["amended", "preliminary"] = "amended"
    """Status of a result that replaces an earlier one."""


class WebhookOptions(MessageOptions):
    """The JSON document to one HTTP endpoint."""

    patient: bool = True
    """Say whose study it is. False: Study Instance UID and accession number only."""
