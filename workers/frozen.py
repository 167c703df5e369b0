"""The last look before a result leaves: are these the bytes that were built, and is it still this patient's study?"""

from __future__ import annotations

import hashlib
from typing import Final

from dicom_node import stored
from dicom_node.header import read_header
from dicom_node.results.forms import respelled
from dicom_node.results.transliteration import spelled_name
from triage.errors import DicomError
from triage.instances import InstanceHeader
from triage.profiles import CHARACTER_SETS
from triage.repositories import deliveries, scrubbing
from triage.tables import Delivery, ResultObject, Study
from workers.workbench import Workbench

IDENTITY: Final = (
    "study_instance_uid",
    "patient_id",
    "issuer_of_patient_id",
    "patient_name",
    "patient_birth_date",
    "accession_number",
)
"""What says whose result it is (IHE: the study, the patient within an issuer, the order)."""


def objection(bench: Workbench, delivery: Delivery) -> str:
    """Why a delivery must not go out, "" when nothing speaks against it.

    A damaged file is noted on the result itself, so that every destination and every list sees it. An identity that
    differs is a person's decision: a corrected result follows by itself when the corrected image came.

    Raises
    ------
    OSError
        The disk does not give the file: that says nothing about it.
    """
    result = delivery.result_object
    try:
        content = (bench.settings.results / result.relative_path).read_bytes()
    except FileNotFoundError:
        return _damaged(bench, result, stored.MISSING)
    if hashlib.sha256(content).hexdigest() != result.sha256:
        return _damaged(bench, result, stored.ALTERED)
    with bench.database.read() as session:
        study = session.get_one(Study, result.analysis.study_id)
        confirmed = deliveries.identity_confirmed(session, delivery)
    differing = [] if confirmed else differences(bench, result, study)
    return f"{deliveries.IDENTITY_DIFFERS}: {', '.join(differing)}" if differing else ""


def differences(bench: Workbench, result: ResultObject, study: Study) -> list[str]:
    """Names of the attributes of :data:`IDENTITY` that a result states otherwise than its study; never their values.

    What the result leaves empty is no contradiction: it was not known then.
    """
    if not result.sop_class_uid:
        return [name for name in IDENTITY if (own := result.identity.get(name)) and own != str(getattr(study, name))]
    try:
        header = read_header(bench.settings.results / result.relative_path)
    except DicomError:
        return ["header"]
    return [name for name in IDENTITY if (own := _own(header, name)) and own not in _expected(result, study, name)]


def identity_of(bench: Workbench, relative_path: str) -> dict[str, str]:
    """Whose study a source image of the archive says it is, as :attr:`ResultObject.identity` keeps it."""
    header = read_header(bench.archive.path(relative_path))
    return {name: _own(header, name) for name in IDENTITY}


def _own(header: InstanceHeader, name: str) -> str:
    return str(getattr(header, name))


def _expected(result: ResultObject, study: Study, name: str) -> set[str]:
    """The study's value as a result writes it: dates whose form is not legal are respelled; so are names, where a
    destination reads few characters."""
    value = str(getattr(study, name))
    if name == "patient_birth_date":
        return {(respelled("PatientBirthDate", "DA", value.encode("ascii", errors="replace")) or b"").decode("ascii")}
    if name == "patient_name" and result.variant:
        return {spelled_name(value, character_set) for character_set in CHARACTER_SETS}
    return {value}


def _damaged(bench: Workbench, result: ResultObject, damage: str) -> str:
    if result.removed_at is not None:
        return "The file of the result was removed by retention"
    with bench.database.write() as session:
        scrubbing.record_damage(session, ResultObject, result.id, damage, at=bench.clock(), who="delivery")
    return f"The file of the result is {damage}"
