"""What a message says of patient and order is what the header says, in any character set and however broken."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from triage.findings import Code
from workers.messages.facts import study_facts
from workers.messages.statement import StudyFacts


def as_read(dataset: Dataset) -> Dataset:
    """The header as dcmread returns it."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, implicit_vr=False, little_endian=True)
    buffer.seek(0)
    return pydicom.dcmread(buffer, force=True)


def header(**attributes: object) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = attributes.pop("SpecificCharacterSet", "ISO_IR 192")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = "1.2.3", "1.2.3.4", "1.2.3.4.5"
    dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.1", "CR"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def facts(dataset: Dataset) -> StudyFacts:
    read = as_read(dataset)
    return study_facts(read, [read])


@pytest.mark.parametrize(
    ("term", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 144", "Люкceмбypг"),
        ("ISO_IR 126", "Διονυσιος"),
        ("ISO_IR 192", "山田^太郎"),
        ("GB18030", "王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ],
)
def test_names_are_decoded(term: str | list[str], name: str) -> None:
    assert facts(header(SpecificCharacterSet=term, PatientName=name)).patient_name == name


def test_the_order_is_taken_from_the_request() -> None:
    request, procedure = Dataset(), Dataset()
    procedure.CodeValue, procedure.CodingSchemeDesignator, procedure.CodeMeaning = "RPID2", "RADLEX", "Thorax"
    request.RequestedProcedureCodeSequence = [procedure]
    request.RequestedProcedureID, request.ScheduledProcedureStepID, request.AccessionNumber = "RP", "SPS", "A-9"
    request.PlacerOrderNumberImagingServiceRequest = "Ü1"
    found = facts(header(RequestAttributesSequence=[request], PatientID="P"))
    assert (found.requested_procedure_id, found.scheduled_step_id, found.placer_order_number) == ("RP", "SPS", "Ü1")
    assert found.accession_number == "A-9"
    assert found.procedure == Code(value="RPID2", scheme="RADLEX", meaning="Thorax")
    assert [(s.uid, s.modality, len(s.instances)) for s in found.series] == [("1.2.3.4", "CR", 1)]


def test_values_of_a_form_are_respelled_or_left_out() -> None:
    dataset = header()
    with pydicom.config.disable_value_validation():
        dataset.PatientBirthDate, dataset.StudyDate, dataset.StudyTime = "1950.01.02", "20261399", "07:08:09"
        dataset.PatientSex, dataset.TimezoneOffsetFromUTC = "m", "somewhere"
        found = facts(dataset)
    assert (found.patient_birth_date, found.study_date, found.study_time) == ("19500102", "", "070809")
    assert (found.patient_sex, found.timezone) == ("M", "")


def test_a_header_without_anything_gives_empty_facts() -> None:
    assert facts(header()) == StudyFacts(
        study_instance_uid="1.2.3", modality="CR", series=facts(header()).series, procedure=None
    )


def test_real_headers_never_stop_a_message(test_data: Path) -> None:
    files = sorted(path for path in test_data.rglob("*.dcm"))[:150]
    assert files
    for path in files:
        try:
            dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        except (pydicom.errors.InvalidDicomError, ValueError, EOFError, OSError):
            continue
        found = study_facts(dataset, [dataset])
        assert found.study_date == "" or len(found.study_date) == 8
