"""Content items and templates beside those of highdicom, an independent implementation: the same bytes."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest
from highdicom.sr import CodedConcept, RelationshipTypeValues
from hypothesis import given
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset
from result_cases import ALGORITHM, EFFUSION, LUNG, NODE, PNEUMOTHORAX, box, finding, radiograph

from dicom_node.results import codes
from dicom_node.results.content_items import Relationship, composite, number
from dicom_node.results.content_tree import content_tree
from dicom_node.results.encoding import encode
from dicom_node.results.evidence import Observation, library_header, outline_inside
from dicom_node.results.image_library import image_library
from dicom_node.results.templates import person_observer
from dicom_node.results.uids import ResultNames
from triage.findings import Code, Finding, Laterality, ScoreKind, Urgency
from triage.profiles import DEFAULT

_KNOWN_CLASS = uid.SecondaryCaptureImageStorage
_MODIFIER = RelationshipTypeValues.HAS_CONCEPT_MOD
_CONTAINS = RelationshipTypeValues.CONTAINS


def concept(code: Code) -> CodedConcept:
    return CodedConcept(code.value, code.scheme, code.meaning)


def alike(ours: Dataset, theirs: Dataset) -> bool:
    assert encode(ours) == encode(theirs), f"{ours}\n\n{theirs}"
    return True


@pytest.mark.parametrize(
    "code",
    [
        EFFUSION,
        Code(value="1.3.6.1.4.1.9999", scheme="99X", meaning="sixteen"),
        Code(value="1.3.6.1.4.1.99999", scheme="99X", meaning="long"),
        Code(value="urn:oid:1.3.6.1.4.1.99999", scheme="99X", meaning="urn"),
        Code(value="https://example.org/finding", scheme="99X", meaning="locator"),
    ],
)
def test_a_code_goes_where_its_form_belongs(code: Code) -> None:
    assert alike(codes.code_item(code), concept(code))


@given(value=st.integers(0, 65535) | st.floats(-1e9, 1e9))
def test_a_number_has_the_digits_of_a_decimal_string(value: float) -> None:
    theirs = hd.sr.NumContentItem(
        concept(codes.PROBABILITY), value, concept(codes.NO_UNITS), relationship_type="CONTAINS"
    )
    assert alike(number(codes.PROBABILITY, value, codes.NO_UNITS), theirs)


IN_SPACE = {
    "PixelSpacing": [0.48828125, 0.5], "SliceThickness": "5", "ImagePositionPatient": [-125.1, 0, 33.3333333],
    "ImageOrientationPatient": [1, 0, 0, 0, 0.9998, 0.01999], "FrameOfReferenceUID": "1.2.3.4.8",
}  # fmt: skip
PICTURES = {
    "CR": radiograph(FrameOfReferenceUID="1.2.3.4.8"),
    "DX": radiograph(
        Modality="DX", SOPClassUID=uid.DigitalXRayImageStorageForPresentation, ImagerPixelSpacing=[0.1, 0.2]
    ),
    "MG": radiograph(Modality="MG", SOPClassUID=uid.DigitalMammographyXRayImageStorageForPresentation),
    "XA": radiograph(Modality="XA", SOPClassUID=uid.XRayAngiographicImageStorage),
    "RF": radiograph(Modality="RF", SOPClassUID=uid.XRayRadiofluoroscopicImageStorage),
    "IO": radiograph(Modality="IO", SOPClassUID=uid.DigitalIntraOralXRayImageStorageForPresentation),
    "CT": radiograph(Modality="CT", SOPClassUID=uid.CTImageStorage, **IN_SPACE),
    "MR": radiograph(Modality="MR", SOPClassUID=uid.MRImageStorage, **IN_SPACE),
    "PT": radiograph(Modality="PT", SOPClassUID=uid.PositronEmissionTomographyImageStorage, **IN_SPACE),
    "US": radiograph(Modality="US", SOPClassUID=uid.UltrasoundImageStorage),
    "NM": radiograph(Modality="NM", SOPClassUID=uid.NuclearMedicineImageStorage),
    "SM": radiograph(Modality="SM", SOPClassUID=uid.VLWholeSlideMicroscopyImageStorage),
    "OP": radiograph(Modality="OP", SOPClassUID=uid.OphthalmicPhotography8BitImageStorage),
    "SC": radiograph(Modality="OT", SOPClassUID=uid.SecondaryCaptureImageStorage),
    "no spacing": radiograph(ImagerPixelSpacing=None),
}


@pytest.mark.parametrize("name", PICTURES)
def test_an_image_is_described(name: str) -> None:
    described = library_header(PICTURES[name])
    theirs = hd.sr.ImageLibraryEntryDescriptors(described)
    (group,) = image_library([described]).ContentSequence
    (entry,) = group.ContentSequence
    assert len(entry.ContentSequence) == len(theirs)
    assert all(alike(*pair) for pair in zip(entry.ContentSequence, theirs, strict=True))


def test_an_image_of_a_class_without_code_is_listed() -> None:
    (group,) = image_library([library_header(radiograph(SOPClassUID="1.2.3.4.5.6"))]).ContentSequence
    assert [("ContentSequence" in entry, entry.ValueType) for entry in group.ContentSequence] == [(False, "IMAGE")]


def test_a_person_observes() -> None:
    theirs = hd.sr.ObserverContext(
        concept(codes.PERSON), hd.sr.PersonObserverIdentifyingAttributes(name="Weiss^Anna", login_name="Weiss^Anna")
    )
    assert all(alike(*pair) for pair in zip(person_observer("Weiss^Anna"), theirs, strict=True))
    assert person_observer("anna=w")[1].PersonName == "anna w^"


def test_a_report_is_referred_to() -> None:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = uid.Comprehensive3DSRStorage, "2.25.9"
    theirs = hd.sr.CompositeContentItem(
        concept(codes.SOURCE_REPORT), uid.Comprehensive3DSRStorage, "2.25.9", relationship_type=_CONTAINS
    )
    assert alike(composite(codes.SOURCE_REPORT, item), theirs)


FOUND = finding(PNEUMOTHORAX, 0.94, region=box(1.0, 1.25, 20.0, 30.0))
SIDED = Finding(
    key="effusion", code=EFFUSION, site=LUNG, laterality=Laterality.LEFT, score=FOUND.score, urgency=Urgency.URGENT
)  # fmt: skip


@pytest.mark.parametrize(
    "found",
    [
        (FOUND, finding(EFFUSION, 0.12)),
        (finding(PNEUMOTHORAX, 0.2), finding(EFFUSION, 0.12, site=None)),
        (SIDED, finding(PNEUMOTHORAX, 0.9999, threshold=0.9998)),
        (finding(PNEUMOTHORAX, 0.94, region=box(1.0, 1.0, 9.0, 9.0), kind=ScoreKind.OPERATING_POINT, site=None),),
    ],
    ids=["region", "negative", "side", "operating point"],
)
def test_a_report_is_highdicoms(found: tuple[Finding, ...]) -> None:
    header = library_header(radiograph())
    shown = Dataset()
    shown.ReferencedSOPClassUID, shown.ReferencedSOPInstanceUID = uid.SegmentationStorage, "2.25.8"
    shown.ReferencedSegmentNumber = 2
    observed = [
        Observation(
            finding=one, image=header, outline=outline_inside(one.region, header) if one.positive else (),
            tracking_uid=f"2.25.{number}", explanations=(shown,),
        )
        for number, one in enumerate(found, 1)
    ]  # fmt: skip
    names = ResultNames(study_instance_uid="1.2.3", algorithm=ALGORITHM, node=NODE, revision=1, profile=DEFAULT)
    ours = content_tree(observed, names=names, urgency=Urgency.STAT, sentences=("One.", "Two."))
    library, evaluations = (_only(ours, code) for code in ("111028", "C0034375"))
    alike(ours, _by_highdicom(observed, library, evaluations))


def _only(root: Dataset, value: str) -> Dataset:
    (item,) = (child for child in root.ContentSequence if child.ConceptNameCodeSequence[0].CodeValue == value)
    return item


def _by_highdicom(observed: list[Observation], library: Dataset, evaluations: Dataset) -> Dataset:
    """The report as highdicom's templates make it; what they have no row for is ours."""
    located = [one for one in observed if one.outline]
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(
            observer_device_context=hd.sr.ObserverContext(
                concept(codes.DEVICE),
                hd.sr.DeviceObserverIdentifyingAttributes(
                    uid=NODE.device_uid, name=NODE.name, manufacturer_name=NODE.manufacturer,
                    model_name=NODE.model_name, serial_number=NODE.name,
                ),
            )
        ),
        procedure_reported=concept(codes.IMAGING_PROCEDURE),
        imaging_measurements=[_group(one) for one in located or observed],
        title=concept(codes.IMAGING_MEASUREMENT_REPORT),
    )  # fmt: skip
    root = Dataset()
    root.update(report[0])
    *context, measured = report[0].ContentSequence
    root.ContentSequence = [*context, library, measured, evaluations]
    return root


def _group(one: Observation) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    told = one.finding
    side = None if told.laterality is None else concept(codes.SIDES[told.laterality])
    tracked = f"{ALGORITHM.name}/{told.key}"
    common = {
        "tracking_identifier": hd.sr.TrackingIdentifier(uid=one.tracking_uid, identifier=tracked),
        "finding_type": concept(told.code),
        "finding_sites": None if told.site is None else [hd.sr.FindingSite(concept(told.site), laterality=side)],
        "algorithm_id": hd.sr.AlgorithmIdentification(
            ALGORITHM.name, ALGORITHM.version, family=concept(codes.ARTIFICIAL_INTELLIGENCE),
            parameters=[f"weights_sha256={ALGORITHM.weights_sha256}", *ALGORITHM.parameters],
            manufacturer=ALGORITHM.manufacturer,
        ),
        "qualitative_evaluations": [
            hd.sr.QualitativeEvaluation(
                concept(told.code), concept(codes.PRESENT if told.positive else codes.ABSENT)
            ),
            *(
                [hd.sr.QualitativeEvaluation(concept(codes.PRIORITY), concept(codes.PRIORITIES[told.urgency]))]
                if told.positive
                else []
            ),
        ],
    }  # fmt: skip
    if one.outline:
        source = hd.sr.SourceImageForRegion(_KNOWN_CLASS, one.image.SOPInstanceUID)
        region = hd.sr.ImageRegion(hd.sr.GraphicTypeValues.POLYLINE, np.array(one.outline), source)
        measured = [hd.sr.Measurement(concept(codes.PROBABILITY), told.score.value, concept(codes.NO_UNITS))]
        group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            referenced_region=region, geometric_purpose=concept(codes.OUTLINE),
            measurements=None if told.score.kind is ScoreKind.OPERATING_POINT else measured, **common,
        )  # fmt: skip
    else:
        source = hd.sr.SourceImageForMeasurementGroup(_KNOWN_CLASS, one.image.SOPInstanceUID)
        group = hd.sr.MeasurementsAndQualitativeEvaluations(source_images=[source], **common)
    source.ReferencedSOPSequence[0].ReferencedSOPClassUID = one.image.SOPClassUID
    kind = {
        ScoreKind.CALIBRATED_PROBABILITY: "calibrated probability",
        ScoreKind.OPERATING_POINT: "relative to the operating point, not a probability",
    }[told.score.kind]
    group[0].ContentSequence.extend(
        hd.sr.TextContentItem(concept(codes.ALGORITHM_PARAMETERS), said, relationship_type=_MODIFIER)
        for said in (f"score={told.score.value}", f"threshold={told.score.threshold}", f"score_kind={kind}")
    )
    if one.outline:
        group[0].ContentSequence.append(
            hd.sr.ImageContentItem(
                concept(codes.VISUAL_EXPLANATION), uid.SegmentationStorage, "2.25.8", referenced_segment_numbers=2,
                relationship_type=_CONTAINS,
            )
        )  # fmt: skip
    return group


def test_relationships_are_the_standards() -> None:
    assert {one.value for one in Relationship} <= {one.value for one in RelationshipTypeValues}
