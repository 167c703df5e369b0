"""The result as an HL7 v2.5.1 unsolicited observation message (ORU^R01, chapter 7).

Always preliminary: a machine says so. The message is the tables below, filled with facts; a site changes single fields
with the same means (:mod:`triage.hl7_template`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from dicom_node.results.codes import ABSENT, LATERALITY, PRESENT, PROBABILITY, SIDES
from dicom_node.results.wording import plain
from triage.errors import ResultError
from triage.findings import Code, ScoreKind, Urgency
from triage.hl7_template import OBSERVATIONS, PLACES, Piece, Place, pieces, place
from triage.message_options import Hl7Options
from workers.messages.hl7 import CHARACTER_SETS, END, Encoded, escape, fitting, segment
from workers.messages.statement import Leading, Statement, StudyFacts, hl7_scheme, measured, short_id

KIND: Final = "HL7"
LOCAL: Final = "99FIRSTREAD"
"""Coding scheme of the few concepts that no standard has (table 0396, 99zzz)."""

IMAGING_STUDY: Final = Code(value="18748-4", scheme="LN", meaning="Diagnostic imaging study")
STUDY: Final = Code(value="113014", scheme="DCM", meaning="DICOM Study")
"""As IHE RAD-28 wants it, with OBX-11 O."""
PROCEDURE_FINDINGS: Final = Code(value="59776-5", scheme="LN", meaning="Procedure findings")
TRIAGE_CLASS: Final = Code(value="TRIAGE", scheme=LOCAL, meaning="AI triage class")
PREDECESSOR: Final = Code(value="REPLACES", scheme=LOCAL, meaning="SOP Instance UID of the report that is replaced")
IMAGE: Final = Code(value="IMAGE", scheme=LOCAL, meaning="SOP Instance UID of the image")
SCORE: Final = Code(value="SCORE", scheme=LOCAL, meaning="Score relative to the operating point")
PRIORITIES: Final[Mapping[Urgency, Code]] = {
    Urgency.STAT: Code(value="S", scheme="HL70485", meaning="Stat"),
    Urgency.URGENT: Code(value="A", scheme="HL70485", meaning="ASAP"),
    Urgency.ROUTINE: Code(value="R", scheme="HL70485", meaning="Routine"),
}
_SECTIONS: Final = {"CT": "CT", "MR": "NMR", "NM": "NMS", "PT": "NMS", "US": "RUS"}

_MESSAGE: Final[Mapping[str, Mapping[int, str]]] = {
    "MSH": {
        3: "{sending_application}", 4: "{sending_facility}", 5: "{receiving_application}", 6: "{receiving_facility}",
        7: "{created_at}", 9: "ORU^R01^ORU_R01", 10: "{control_id}", 11: "{processing_id}", 12: "2.5.1",
        18: "{character_set}",
    },
    "PID": {
        1: "1", 3: "{patient_identifier}", 5: "{patient_name}", 7: "{patient_birth_date}", 8: "{patient_sex}",
    },
    "PV1": {1: "1", 2: "U", 8: "{referring_physician}", 19: "{admission_id}"},
    "ORC": {1: "RE", 2: "{placer_order_number}", 3: "{filler_order_number}"},
    "OBR": {
        1: "1", 2: "{placer_order_number}", 3: "{filler_order_number}", 4: "{universal_service}", 7: "{study_time}",
        16: "{requesting_physician}", 18: "{accession_number}", 19: "{requested_procedure_id}",
        20: "{scheduled_step_id}", 22: "{created_at}", 24: "{diagnostic_section}", 25: "{status}",
    },
    "NTE": {1: "1", 2: "L", 3: "{notice}"},
}  # fmt: skip
_LEFT_OUT: Final[Mapping[int, str]] = {1: "2", 2: "L", 3: "{left_out}"}

_STANDING: Final = {11: "{status}", 14: "{study_time}", 17: "{method}", 18: "{equipment}", 19: "{created_at}"}
_OBSERVATION: Final[Mapping[str, Mapping[int, str]]] = {
    "study": {1: "{set_id}", 2: "ST", 3: "", 5: "{study_instance_uid}", 11: "O"},
    "summary": {1: "{set_id}", 2: "TX", 3: "", 5: "{summary}", **_STANDING},
    "urgency": {1: "{set_id}", 2: "CE", 3: "", 5: "{urgency_code}", **_STANDING},
    "predecessor": {1: "{set_id}", 2: "ST", 3: "", 5: "{predecessor_uid}", **_STANDING},
    "presence": {
        1: "{set_id}", 2: "CE", 3: "{finding}", 4: "{sub_id}", 5: "{presence}", 8: "{abnormal_flag}", **_STANDING,
    },
    "score": {
        1: "{set_id}", 2: "NM", 3: "{score_code}", 4: "{sub_id}", 5: "{score}", 6: "1^no units^UCUM", 7: "{range}",
        8: "{abnormal_flag}", **_STANDING,
    },
    "laterality": {1: "{set_id}", 2: "CE", 3: "", 4: "{sub_id}", 5: "{laterality}", **_STANDING},
    "image": {1: "{set_id}", 2: "ST", 3: "", 4: "{sub_id}", 5: "{image_uid}", **_STANDING},
}  # fmt: skip
_NAMED: Final = {
    "study": STUDY, "summary": PROCEDURE_FINDINGS, "urgency": TRIAGE_CLASS, "predecessor": PREDECESSOR,
    "laterality": LATERALITY, "image": IMAGE,
}  # fmt: skip
"""OBX-3 where it is the same in every message."""
_OF_FINDING: Final = ("presence", "laterality", "score", "image")

Facts = Mapping[str, str]


def build_oru(statement: Statement, options: Hl7Options) -> bytes:
    """The message in its character set, segments ended by a carriage return.

    MSH-10 is the same for the same statement and options: a receiver knows a resend by it.

    Raises
    ------
    ResultError
        An identifier has signs that the character set does not have: spelled otherwise it would be somebody else's.
    """
    for name, text in _identifiers(statement.study).items():
        if fitting(text, options.character_set) != text:
            raise ResultError(
                f"{name} has characters that {options.character_set} does not have.",
                next_step="Set another hl7.character_set for this destination, such as UNICODE UTF-8.",
            )
    return _Writer(statement, options).message()


def control_id(statement: Statement, options: Hl7Options) -> str:
    """MSH-10."""
    return short_id(statement.message_uid(KIND, options.variant()))


def _identifiers(study: StudyFacts) -> Mapping[str, str]:
    return {
        "Patient ID": study.patient_id,
        "Issuer of Patient ID": study.issuer_of_patient_id,
        "Accession Number": study.accession_number,
        "Placer Order Number": study.placer_order_number,
        "Filler Order Number": study.filler_order_number,
    }


class _Writer:
    def __init__(self, statement: Statement, options: Hl7Options) -> None:
        self._statement = statement
        self._options = options
        self._changes = {place(where): text for where, text in options.fields.items()}
        self._facts = {name: self._encoded(text) for name, text in self._message_facts().items()}

    def message(self) -> bytes:
        text = END.join((*self._segments(), ""))
        return text.encode(CHARACTER_SETS[self._charset], errors="replace")  # a constant of the site's may not fit

    def _segments(self) -> Iterator[str]:
        for name in PLACES:
            if name == "OBX":
                yield from self._observations()
            elif name not in self._options.without:
                yield from filter(None, [self._segment(name, _MESSAGE.get(name, {}))])
                if name == "NTE" and self._facts["left_out"]:
                    yield from filter(None, [self._segment(name, _LEFT_OUT)])
        for name in dict.fromkeys(where.segment for where in self._changes):
            if name.startswith("Z"):
                yield from filter(None, [self._segment(name, {})])

    def _segment(self, name: str, own: Mapping[int, str]) -> str:
        """A segment with its facts; "" where none of them is known and no constant of the site's stands in it."""
        changed = {where.field: text for where, text in self._changes.items() if where.segment == name}
        fields = {number: pieces(text) for number, text in {**own, **changed}.items()}
        facts = [piece.text for parts in fields.values() for piece in parts if piece.is_fact]
        if not fields or (facts and not any(self._facts[fact] for fact in facts) and not any(changed.values())):
            return ""
        return segment(name, {number: _filled(parts, self._facts) for number, parts in fields.items()})

    def _observations(self) -> Iterator[str]:
        for set_id, (kind, facts) in enumerate(self._told(), start=1):
            own: dict[int, str] = dict(_OBSERVATION[kind])
            fixed: dict[int, str] = {3: _coded(_NAMED[kind], self._charset)} if kind in _NAMED else {}
            for where in (Place("OBX", n, k) for k in ("", kind) for n in range(1, 100)):
                if where in self._changes:
                    own[where.field] = self._changes[where]
                    fixed.pop(where.field, None)
            known = {**self._facts, **facts, "set_id": Encoded(set_id)}
            filled = {n: _filled(pieces(text, of_observation=True), known) for n, text in own.items()}
            yield segment("OBX", filled | fixed)

    def _told(self) -> Iterator[tuple[str, Facts]]:
        """What each OBX is about, in the order of the message, with the facts of its own."""
        wanted = self._options.observations
        common = self._common_facts()
        for kind in OBSERVATIONS:
            if (
                kind in wanted
                and kind not in _OF_FINDING
                and (kind != "predecessor" or self._statement.predecessor_uid)
            ):
                yield kind, common
        told = [x for x in self._statement.leading if x.finding.positive or self._options.findings == "all"]
        for number, leading in enumerate(told, start=1):
            facts = {**common, **self._finding_facts(leading, number)}
            for kind in _OF_FINDING:
                if kind in wanted and (kind != "laterality" or facts["laterality"]):
                    yield kind, facts

    def _common_facts(self) -> Facts:
        from_algorithm = self._statement.result.algorithm
        method = Code(value=plain(from_algorithm.name), scheme=LOCAL, meaning=self._statement.algorithm)
        equipment = "^".join(map(self._encoded, (self._statement.algorithm, "", self._statement.device_uid, "ISO")))
        of_finding = dict.fromkeys(
            ("abnormal_flag", "finding", "finding_key", "image_uid", "laterality", "presence", "range", "score",
             "score_code", "site", "sub_id", "threshold"), Encoded("")
        )  # fmt: skip
        return {**of_finding, "method": _coded(method, self._charset), "equipment": Encoded(equipment)}

    def _finding_facts(self, leading: Leading, number: int) -> Facts:
        finding = leading.finding
        value, threshold = measured(finding.score)
        side = finding.laterality
        is_probability = finding.score.kind is not ScoreKind.OPERATING_POINT
        flag = ("AA" if finding.urgency is not Urgency.ROUTINE else "A") if finding.positive else "N"
        return {
            "abnormal_flag": Encoded(flag),
            "finding": _coded(finding.code, self._charset),
            "finding_key": self._encoded(finding.key),
            "image_uid": self._encoded(leading.sop_instance_uid),
            "laterality": _coded(SIDES[side], self._charset) if side else Encoded(""),
            "presence": _coded(PRESENT if finding.positive else ABSENT, self._charset),
            "range": self._encoded(f"<{threshold}"),
            "score": self._encoded(value),
            "score_code": _coded(PROBABILITY if is_probability else SCORE, self._charset),
            "site": _coded(finding.site, self._charset) if finding.site else Encoded(""),
            "sub_id": Encoded(number),
            "threshold": self._encoded(threshold),
        }

    def _message_facts(self) -> Facts:
        statement, options = self._statement, self._options
        study, algorithm = statement.study, statement.result.algorithm
        given = {name: getattr(study, name) for name in _STUDY_TEXT}
        return given | {
            "algorithm": statement.algorithm,
            "bundle": algorithm.name,
            "bundle_version": algorithm.version,
            "character_set": Encoded(options.character_set),
            "control_id": control_id(statement, options),
            "created_at": time_stamp(statement.created_at),
            "device_uid": statement.device_uid,
            "diagnostic_section": _section(study.modality),
            "disclaimer": algorithm.disclaimer,
            "filler_order_number": study.filler_order_number or study.accession_number,
            "left_out": statement.left_out,
            "node": statement.node.name,
            "notice": statement.notice,
            "patient_identifier": self._patient_identifier(),
            "patient_name": person(study.patient_name, self._charset),
            "patient_sex": study.patient_sex if study.patient_sex in ("M", "F", "O") else "U",
            "predecessor_uid": statement.predecessor_uid,
            "processing_id": options.processing_id,
            "receiving_application": Encoded(options.receiving_application),
            "receiving_facility": Encoded(options.receiving_facility),
            "referring_physician": clinician(study.referring_physician, self._charset),
            "report_uid": statement.report_uid,
            "requesting_physician": clinician(study.requesting_physician or study.referring_physician, self._charset),
            "revision": str(statement.revision),
            "sending_application": Encoded(options.sending_application),
            "sending_facility": Encoded(options.sending_facility),
            "status": "C" if statement.predecessor_uid else "P",
            "study_time": study_time(study),
            "summary": statement.summary,
            "universal_service": self._universal_service(),
            "urgency": statement.urgency,
            "urgency_code": _coded(PRIORITIES[statement.urgency], self._charset),
        }

    def _patient_identifier(self) -> Encoded:
        """CX (2.A.14): the identifier, its assigning authority (a name or an ISO OID), and that it is the patient's."""
        study = self._statement.study
        if not study.patient_id:
            return Encoded("")
        issuer = self._encoded(study.issuer_of_patient_id)
        if issuer and set(issuer) <= set("0123456789.") and "." in issuer:
            issuer = Encoded(f"&{issuer}&ISO")
        return Encoded(f"{self._encoded(study.patient_id)}^^^{issuer}^PI")

    def _universal_service(self) -> Encoded:
        """OBR-4; where no code is known, the study's description stands as the alternative text (2.A.3)."""
        study = self._statement.study
        if study.procedure or not study.study_description:
            return _coded(study.procedure or IMAGING_STUDY, self._charset)
        return Encoded(f"{_coded(IMAGING_STUDY, self._charset)}^^{self._encoded(study.study_description)}")

    def _encoded(self, text: str) -> Encoded:
        return text if isinstance(text, Encoded) else escape(text, self._charset)

    @property
    def _charset(self) -> str:
        return self._options.character_set


_STUDY_TEXT: Final = (
    "accession_number", "admission_id", "body_part", "issuer_of_patient_id", "modality", "patient_birth_date",
    "patient_id", "placer_order_number", "requested_procedure_id", "scheduled_step_id", "study_description", "study_id",
    "study_instance_uid",
)  # fmt: skip
"""Facts that stand in :class:`StudyFacts` under the same name."""


def time_stamp(at: datetime) -> str:
    """TS with its zone (2.A.22): ``20261128113000.1234+0100``."""
    return f"{at:%Y%m%d%H%M%S}.{at.microsecond // 100:04d}{at:%z}"


def study_time(study: StudyFacts) -> str:
    """Study Date and Time as TS; a time without a date says nothing."""
    if not study.study_date:
        return ""
    clock, _, fraction = study.study_time.partition(".")
    if len(clock) not in (4, 6):  # TS has no form for hours alone
        clock, fraction = "", ""
    return f"{study.study_date}{clock}{f'.{fraction[:4]}' if fraction else ''}{study.timezone if clock else ''}"


def person(name: str, character_set: str) -> Encoded:
    """A DICOM PN as XPN (2.A.88): suffix before prefix, one repetition per group with its representation code.

    Example
    -------
    >>> person("Yamada^Tarou=山田^太郎", "UNICODE UTF-8")
    'Yamada^Tarou^^^^^L^A~山田^太郎^^^^^L^I'
    """
    groups = name.split("=")[:3]
    told = [
        [*_name_fields(group, character_set), "", "L", representation]
        for group, representation in zip(groups, ("A", "I", "P"), strict=False)
        if group.strip("^ ")
    ]
    if len(told) == 1:
        told = [[*told[0][:5], "", "L"]]
    return Encoded("~".join("^".join(fields) for fields in told))


def clinician(name: str, character_set: str) -> Encoded:
    """The first group of a PN as XCN without identifier (2.A.86)."""
    group = next((group for group in name.split("=") if group.strip("^ ")), "")
    return Encoded("^".join(["", *_name_fields(group, character_set)]).rstrip("^"))


def _name_fields(group: str, character_set: str) -> list[str]:
    family, given, middle, prefix, suffix = [*(part.strip() for part in group.split("^")), "", "", "", "", ""][:5]
    return [escape(part, character_set) for part in (family, given, middle, suffix, prefix)]


def _coded(code: Code, character_set: str) -> Encoded:
    """CE: identifier, text, coding system."""
    parts = (code.value, code.meaning, hl7_scheme(code.scheme))
    return Encoded("^".join(escape(part, character_set) for part in parts))


def _section(modality: str) -> str:
    return next((_SECTIONS[each] for each in modality.split("\\") if each in _SECTIONS), "RAD")


def _filled(parts: Sequence[Piece], facts: Facts) -> str:
    return "".join(facts[piece.text] if piece.is_fact else piece.text for piece in parts)
