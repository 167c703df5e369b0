"""What a message is about: whose study, which order, what the analysis says."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

from dicom_node.results.equipment import NodeIdentity, algorithm_device_uid
from dicom_node.results.uids import ResultKind, ResultNames
from dicom_node.results.wording import LABEL, plain, summary
from triage.findings import AnalysisResult, Code, Finding, Score, Urgency
from triage.identifiers import derive_uid

NAMESPACE: Final = uuid.UUID("5b0f5b4e-6a5f-5d9a-9d0e-2f7b6a5c1e02")
"""Of the UUIDs of messages and FHIR resources; changing it would give each a new identity."""

NOT_VERIFIED: Final = "Automated result; no physician has verified it."
RESEARCH: Final = "For research only."


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFacts:
    """Patient, study and order as the source's header says them, decoded; "" for what it does not say.

    Attributes
    ----------
    patient_name, referring_physician, requesting_physician : str
        PN as in DICOM: components with ``^``, groups with ``=``.
    patient_birth_date, study_date : str
        ``YYYYMMDD``.
    study_time : str
        ``HHMMSS`` and parts of a second.
    timezone : str
        ``+0100``; "" where the source does not say.
    procedure : Code or None
        The requested procedure, else the performed one.
    series : sequence of SeriesFacts
        Source series, in order of their UIDs.
    """

    study_instance_uid: str
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    accession_number: str = ""
    study_id: str = ""
    study_date: str = ""
    study_time: str = ""
    timezone: str = ""
    study_description: str = ""
    modality: str = ""
    body_part: str = ""
    referring_physician: str = ""
    requesting_physician: str = ""
    admission_id: str = ""
    placer_order_number: str = ""
    filler_order_number: str = ""
    requested_procedure_id: str = ""
    scheduled_step_id: str = ""
    procedure: Code | None = None
    series: Sequence[SeriesFacts] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesFacts:
    """A source series: UID, modality, and its instances as (SOP class, SOP instance)."""

    uid: str
    modality: str
    instances: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Leading:
    """A finding of the study, on the image where it scores highest."""

    finding: Finding
    sop_instance_uid: str


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One analysis of one study, ready to be told.

    Attributes
    ----------
    revision : int
        1 for the first run, one more for each re-run.
    predecessor_uid : str
        SOP Instance UID of the report that this result replaces, "" for the first.
    created_at : datetime
        Time zone aware.
    """

    study: StudyFacts
    result: AnalysisResult
    node: NodeIdentity
    revision: int
    created_at: datetime
    predecessor_uid: str = ""

    @cached_property
    def report_uid(self) -> str:
        """SOP Instance UID of the DICOM report that says the same."""
        return self._names.instance(ResultKind.REPORT)

    @cached_property
    def device_uid(self) -> str:
        """UID of the algorithm as a device."""
        return algorithm_device_uid(self.result.algorithm)

    @cached_property
    def leading(self) -> tuple[Leading, ...]:
        """Each finding once, where it scores highest: positives first, the most urgent of them first, then by score."""
        found: dict[str, Leading] = {}
        for image in self.result.images:
            for finding in image.findings:
                known = found.get(finding.key)
                if known is None or finding.score.value > known.finding.score.value:
                    found[finding.key] = Leading(finding=finding, sop_instance_uid=image.sop_instance_uid)
        return tuple(sorted(found.values(), key=_weight))

    @property
    def urgency(self) -> Urgency:
        return self.result.urgency

    @property
    def algorithm(self) -> str:
        """Name and version of the bundle, in ASCII."""
        return f"{plain(self.result.algorithm.name)} {plain(self.result.algorithm.version)}"

    @property
    def summary(self) -> str:
        """The first sentence of the DICOM report."""
        return summary(self.result)

    @property
    def notice(self) -> str:
        """What a reader must know of every such result."""
        algorithm = self.result.algorithm
        parts = (NOT_VERIFIED, RESEARCH if algorithm.research else "", plain(algorithm.disclaimer))
        return f"{LABEL}: {' '.join(filter(None, parts))}"

    @property
    def left_out(self) -> str:
        """How many images were not analysed, and why; "" for none."""
        reasons = dict.fromkeys(each.reason.sentence for each in self.result.not_analysed)
        if not reasons:
            return ""
        count, total = len(self.result.not_analysed), len(self.result.not_analysed) + len(self.result.images)
        return f"{count} of {total} images were not analysed: {'; '.join(reasons)}."

    def message_uid(self, kind: str, variant: str = "") -> str:
        """UID of a message of this statement: another one for every kind and set of options."""
        return derive_uid(self.report_uid, kind, variant)

    def resource_uuid(self, *parts: str) -> str:
        """UUID of what stays the same thing through all revisions and versions: this bundle's word on this study."""
        base = (self.study.study_instance_uid, self.node.device_uid, self.result.algorithm.name)
        return str(uuid.uuid5(NAMESPACE, "\0".join((*base, *parts))))

    @property
    def _names(self) -> ResultNames:
        return ResultNames(
            study_instance_uid=self.study.study_instance_uid,
            algorithm=self.result.algorithm,
            node=self.node,
            revision=self.revision,
        )


def measured(score: Score) -> tuple[str, str]:
    """Score and threshold for programs: four decimals, or as many more as tell on which side the score lies."""
    for decimals in range(4, 17):
        value, threshold = f"{score.value:.{decimals}f}", f"{score.threshold:.{decimals}f}"
        if (float(value) >= float(threshold)) == score.positive:
            return value, threshold
    return repr(score.value), repr(score.threshold)


def shared_uuid(kind: str, uid: str) -> str:
    """UUID of what several studies or bundles refer to: a device, a study."""
    return str(uuid.uuid5(NAMESPACE, f"{kind}\0{uid}"))


def short_id(uid: str) -> str:
    """20 characters for a UID: what fits MSH-10 (HL7 v2.5.1 2.14.9.10)."""
    return hashlib.sha256(uid.encode("ascii")).hexdigest()[:20].upper()


def hl7_scheme(scheme: str) -> str:
    """Name of a coding scheme in HL7 v2 (table 0396)."""
    return {"UMLS": "UML", "SRT": "SNM3"}.get(scheme, scheme)


FHIR_SYSTEMS: Final[Mapping[str, str]] = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "UCUM": "http://unitsofmeasure.org",
    "RADLEX": "http://radlex.org",
    "UMLS": "http://www.nlm.nih.gov/research/umls",
}
"""DICOM coding scheme designators as FHIR systems; a scheme that is not here has none."""


def _weight(leading: Leading) -> tuple[bool, int, float, str]:
    finding = leading.finding
    return (
        not finding.positive,
        finding.urgency.rank if finding.positive else 0,
        -finding.score.value,
        finding.key,
    )
