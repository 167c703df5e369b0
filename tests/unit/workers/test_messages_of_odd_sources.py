"""Every message about every odd source: sound by others' readings of HL7, R4 and DICOM, and in the patient's name."""

from __future__ import annotations

import io
import json
from pathlib import Path

import fhirkit
import hl7
import pydicom
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from message_cases import CREATED_AT, NODE, RESULT
from odd_sources import ODD, SCRIPTS
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite

from triage.message_options import FhirOptions, Hl7Options, WebhookOptions
from workers.messages.facts import study_facts
from workers.messages.fhir import build_bundle
from workers.messages.oru import build_oru
from workers.messages.reading_task import build_reading_task
from workers.messages.statement import Statement
from workers.messages.webhook import build_document

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def about(source: Dataset) -> Statement:
    return Statement(study=study_facts(source, [source]), result=RESULT, node=NODE, revision=1, created_at=CREATED_AT)


def sound(told: Statement) -> hl7.Message:
    """Build every message, and read it back as others do; gives the HL7 one."""
    for imaging_study in ("reference", "resource"):
        bundle = json.loads(build_bundle(told, FhirOptions(imaging_study=imaging_study)))
        assert fhirkit.validate(bundle) == []
    assert json.loads(build_document(told, WebhookOptions()))["patient"]["id"] == told.study.patient_id
    (encoded,) = json.loads(build_reading_task(told))
    task = Dataset.from_json(encoded)
    assert str(task.PatientName) == told.study.patient_name.rstrip("=")
    assert task.ReferencedRequestSequence[0].AccessionNumber == told.study.accession_number
    task.SpecificCharacterSet = "ISO_IR 192"
    dcmwrite(io.BytesIO(), task, implicit_vr=False, little_endian=True)
    message = hl7.parse(build_oru(told, Hl7Options()).decode())
    assert [str(segment[0]) for segment in message][:2] == ["MSH", "PID"]
    if told.study.patient_id:
        assert message.unescape(str(message["PID"][0][3][0][0])) == told.study.patient_id
    return message


@pytest.mark.parametrize("name", ODD)
def test_messages_about_an_odd_image_are_sound(name: str) -> None:
    sound(about(ODD[name].make()))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_name_in_any_script_is_the_same_to_an_hl7_receiver_of_somebody_elses(script: str) -> None:
    told = about(ODD[f"{script} name"].make())
    message = sound(told)
    groups = [group for group in told.study.patient_name.split("=") if group.strip("^ ")]
    for group, said in zip(groups, message["PID"][0][5], strict=True):
        family, _, rest = group.partition("^")
        assert message.unescape(str(said[0])) == family
        assert message.unescape(str(said[1])) == rest.partition("^")[0]
    strictly = parse_message(build_oru(told, Hl7Options()).decode(), validation_level=VALIDATION_LEVEL.STRICT)
    assert strictly.validate()


def test_messages_about_real_images_are_sound(test_data: Path) -> None:
    seen = 0
    for path in sorted(test_data.rglob("*.dcm"))[:150]:
        try:
            source = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        except (pydicom.errors.InvalidDicomError, ValueError, EOFError, OSError):
            continue
        if all(source.get(f"{level}InstanceUID") for level in ("Study", "Series", "SOP")):  # else intake refuses it
            sound(about(source))
            seen += 1
    assert seen > 20
