"""Pixels that are none, lie, explode or are nobody's chest: a reason each, and the good image beside them unharmed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import sqlalchemy as sa
from node_under_test import Node, opened
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from bad_inputs.bombs import commented, jpeg_2000, progressive_jpeg
from bad_inputs.breaking_decoder import PROGRAM
from bad_inputs.cases import case, one
from bad_inputs.pictures import (
    ENCODERS,
    SIDE,
    Spoil,
    coded,
    compressed,
    drawn,
    elements,
    phantom,
    pixels_of,
    sibling,
    without,
)
from models.decoder import Decoder
from triage import tables
from triage.findings import NotAnalysedReason as Reason
from triage.findings import Urgency
from triage.repositories.totals import totals
from triage.states import AnalysisStatus
from workers.analysis import analyse_due
from workers.housekeeping import complete_due

JPEG = uid.JPEGLosslessSV1
JPEG_LS = uid.JPEGLSLossless
J2K = uid.JPEG2000Lossless
HTJ2K = uid.HTJ2KLossless


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for all cases: whatever came before must not matter."""
    with opened(tmp_path_factory.mktemp("pixels") / "data", ai_stat_share=1.0) as here:
        yield here


@pytest.fixture
def node(house: Node) -> Iterator[Node]:
    bench = house.bench
    yield house
    house.bench = bench


def images(node: Node, dataset: Dataset) -> dict[str, tables.AnalysisImage]:
    (analysis,) = node.study(dataset).analyses
    return {image.instance.sop_instance_uid: image for image in analysis.images}


def study_of(node: Node, image: tables.AnalysisImage) -> tables.Study:
    with node.bench.database.read() as session:
        uid_ = session.scalar(
            sa.select(tables.Study.study_instance_uid).where(tables.Study.id == image.instance.study_id)
        )
    asked = Dataset()
    asked.StudyInstanceUID = uid_
    return node.study(asked)


def left_out(node: Node, *spoils: Spoil) -> tables.AnalysisImage:
    """Send a spoilt image and a sound one of the same study; returns what became of the spoilt one.

    The sound one must be scored, the case must stand where its findings put it, the report must name both.
    """
    good = phantom(1, "pneumothorax")
    bad = sibling(good, 2)
    for spoil in spoils:
        spoil(bad)
    node.receive(bad, good)
    analyse_due(node.bench)
    node.clock.pass_by(minutes=2)  # a study that is not of radiographs alone waits for quiet
    if complete_due(node.bench):
        analyse_due(node.bench)
    case_ = node.study(good)
    (analysis,) = case_.analyses
    assert analysis.status is AnalysisStatus.SUCCEEDED, analysis.reason
    assert case_.urgency is Urgency.STAT
    both = images(node, good)
    assert both[str(good.SOPInstanceUID)].reason is None
    report = next(r for r in analysis.result_objects if r.kind == "SR")
    text = str(pydicom.dcmread(node.bench.settings.results / report.relative_path))
    assert str(bad.SOPInstanceUID) in text
    spoilt = both[str(bad.SOPInstanceUID)]
    assert (spoilt.reason is None) or not spoilt.findings
    return spoilt


# --- refused before any decoder sees them ---


def stored(change: Callable[[bytes], bytes]) -> Spoil:
    """The stored bytes of the pixels, changed."""

    def spoil(dataset: Dataset) -> None:
        dataset.PixelData = change(dataset.PixelData)

    return spoil


ENORMOUS = coded(J2K, jpeg_2000(65535, 65535), Rows=65535, Columns=65535)


@pytest.mark.parametrize(
    ("spoil", "reasons"),
    [
        one("P1", without("PixelData"), {Reason.NO_PIXELS}, name="none"),
        one("P1", elements(PixelData=b""), {Reason.NO_PIXELS}, name="empty"),
        one("P1", without("PixelData", "Rows", "Columns"), {Reason.NO_PIXELS}, name="no matrix"),
        one("P2", stored(lambda data: data[:-2]), {Reason.DECODE_ERROR}, name="one pixel short"),
        one("P2", stored(lambda data: data[:2]), {Reason.DECODE_ERROR}, name="two bytes"),
        one("P3", elements(Rows=0), {Reason.DECODE_ERROR, Reason.UNUSABLE_GEOMETRY}, name="no rows"),
        one("P3", elements(Rows=65535, Columns=65535), {Reason.DECODE_ERROR}, name="65535 native"),
        one("P3", ENORMOUS, {Reason.DECODE_ERROR}, name="65535 compressed"),
        one("P3", elements(NumberOfFrames=-1), {Reason.DECODE_ERROR, Reason.MULTI_FRAME}, name="-1 frames"),
        one("P3", elements(NumberOfFrames=10**9), {Reason.MULTI_FRAME}, name="10^9 frames"),
        one("P4", elements(Rows=[SIDE, SIDE]), {Reason.DECODE_ERROR}, name="two values"),
        one("P5", elements(BitsAllocated=12, BitsStored=12, HighBit=11), {Reason.DECODE_ERROR}, name="allocated 12"),
        one("P5", elements(BitsStored=20, HighBit=19), {Reason.DECODE_ERROR}, name="stored 20"),
        one("P5", elements(HighBit=16), {Reason.DECODE_ERROR}, name="high bit 16"),
        one("P5", elements(PixelRepresentation=7), {Reason.DECODE_ERROR}, name="representation 7"),
        one("P6", elements(PhotometricInterpretation="FOO"), {Reason.COLOUR_IMAGE}, name="unknown"),
        one("P6", elements(PhotometricInterpretation="PALETTE COLOR"), {Reason.COLOUR_IMAGE}, name="no palette"),
        one("P6", elements(PhotometricInterpretation="YBR_PARTIAL_420"), {Reason.COLOUR_IMAGE}, name="retired"),
        one("P7", elements(SamplesPerPixel=3), {Reason.COLOUR_IMAGE, Reason.DECODE_ERROR}, name="MONOCHROME"),
        one(
            "P7",
            elements(SamplesPerPixel=3, PhotometricInterpretation="RGB"),
            {Reason.COLOUR_IMAGE, Reason.DECODE_ERROR},
            name="RGB",
        ),
        one("P16", elements(RescaleSlope="0", RescaleIntercept="0"), {Reason.DECODE_ERROR}, name="slope 0"),
        one("P16", elements(WindowCenter="100", WindowWidth="0"), {Reason.DECODE_ERROR}, name="width 0"),
    ],
)
def test_it_is_refused_before_decoding(
    node: Node, spoil: Spoil, reasons: set[Reason], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.bench.decoder, "decode", lambda _: pytest.fail("a codec was asked"))
    image = left_out(node, spoil)
    assert image.reason in reasons, image.detail


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian])
@case("P4")
def test_rows_of_another_value_representation(node: Node, syntax: str) -> None:
    def as_long(dataset: Dataset) -> None:
        dataset[0x00280010] = pydicom.DataElement(0x00280010, "UL", SIDE)

    image = left_out(node, as_long)
    assert (image.reason, "Rows" in image.detail) == (Reason.DECODE_ERROR, True)


@case("P16")
def test_rescale_slope_that_is_no_number(node: Node) -> None:
    def not_a_number(dataset: Dataset) -> None:
        dataset[0x00281053] = pydicom.DataElement(0x00281053, "DS", b"NaN", validation_mode=pydicom.config.IGNORE)

    image = left_out(node, elements(RescaleIntercept="0", RescaleSlope="1"), not_a_number)
    assert image.reason is Reason.DECODE_ERROR


@case("P2")
@pytest.mark.parametrize("more", [2, 100_000])
def test_more_pixel_data_than_pixels_is_padding(node: Node, more: int) -> None:
    image = left_out(node, stored(lambda data: data + bytes(more)))
    assert image.reason is None


@case("P3")
def test_no_frames_are_one_frame(node: Node) -> None:
    assert left_out(node, elements(NumberOfFrames=0)).reason is None


# --- headers that lie about their codestream ---

SYNTAXES = (JPEG, JPEG_LS, J2K, HTJ2K, uid.RLELossless)


def tiles_beside(stream: bytes) -> bytes:
    """The tile origin behind the image's: OpenJPH would look for a tile for ever."""
    return stream[:39] + b"\x47" + stream[40:]


@pytest.mark.parametrize(
    "spoil",
    [
        *(one("P8", compressed(s, more=(0, 1)), name=f"{s[-3:]} a column more") for s in SYNTAXES),
        *(one("P8", compressed(s, more=(-1, 0)), name=f"{s[-3:]} a row less") for s in SYNTAXES),
        one("P8", coded(J2K, jpeg_2000(8192, 8192)), name="90 much larger"),
        one("P8", coded(J2K, jpeg_2000(SIDE, SIDE, precision=38), Rows=SIDE, Columns=SIDE), name="90 deeper"),
        one("P8", compressed(HTJ2K, tiles_beside), name="201 tiles beside the image"),
        one("P8", compressed(JPEG_LS, label=JPEG, more=(0, 9)), name="of another codec and size"),
        *(one("P12", lambda d, s=s: coded(s, d.PixelData)(d), name=s[-3:]) for s in SYNTAXES),
        one("P12", lambda d: setattr(d.file_meta, "TransferSyntaxUID", JPEG), name="not even encapsulated"),
        *(one("P11", coded(s, b""), name=f"{s[-3:]} empty") for s in (JPEG_LS, uid.RLELossless)),
        one("P11", compressed(JPEG_LS, lambda data: data[:-900]), name="cut off"),
        one("P11", compressed(JPEG_LS, lambda data: data[:500] + b"\xff\xd9"), name="cut out"),
    ],
)
def test_a_codestream_that_is_not_the_described_picture_is_a_decode_error(node: Node, spoil: Spoil) -> None:
    image = left_out(node, spoil)
    assert image.reason is Reason.DECODE_ERROR, image.detail


@pytest.mark.parametrize(
    "spoil",
    [
        one("P11", compressed(JPEG_LS, fragments=10_000), name="10,000 fragments"),
        one("P11", compressed(J2K, table=(12345).to_bytes(4, "little")), name="wrong offset table"),
        one("P11", compressed(JPEG_LS, table=bytes(8)), name="offset table of two"),
        one("P12", compressed(JPEG_LS, label=JPEG), name="of another codec"),
    ],
)
def test_fragments_tables_and_labels_give_the_picture_or_a_reason(node: Node, spoil: Spoil) -> None:
    image = left_out(node, spoil)
    assert image.reason in {None, Reason.DECODE_ERROR}
    if image.reason is None:
        assert image.findings


@pytest.mark.parametrize("syntax", ENCODERS)
def test_a_sound_compressed_image_is_scored_like_its_uncompressed_twin(node: Node, syntax: str) -> None:
    plain = phantom(5, "pneumothorax")
    twin = sibling(plain, 2)
    compressed(syntax)(twin)
    node.receive(plain, twin)
    analyse_due(node.bench)
    scores = {u: [f.value for f in i.findings] for u, i in images(node, plain).items()}
    assert scores[str(twin.SOPInstanceUID)] == scores[str(plain.SOPInstanceUID)] != []


# --- bombs, crashes, hangs ---


@pytest.mark.parametrize(
    ("spoil", "reasons"),
    [
        one(
            "P9",
            coded(J2K, jpeg_2000(8192, 8192, precincts=[0]), Rows=8192, Columns=8192),
            {Reason.OUT_OF_MEMORY},
            name="84 bytes that need gigabytes",
        ),
        one(
            "P9",
            coded(J2K, jpeg_2000(6000, 6000), Rows=6000, Columns=6000),
            {Reason.OUT_OF_DISTRIBUTION},
            name="83 bytes that decode to 72 MB of nothing",
        ),
    ],
)
def test_a_bomb_costs_its_decoder_and_nothing_else(node: Node, spoil: Spoil, reasons: set[Reason]) -> None:
    image = left_out(node, spoil, elements(BitsStored=16, HighBit=15))
    assert image.reason in reasons, image.detail
    assert resident() < 3 << 30


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def breakable(node: Node) -> Iterator[Node]:
    """A node whose codec does what the image says."""
    decoder = Decoder(program=PROGRAM, seconds=2)
    node.bench = replace(node.bench, decoder=decoder)
    yield node
    decoder.close()


def wish(word: str) -> Spoil:
    return compressed(JPEG_LS, lambda stream: commented(stream, b"please " + word.encode()))


def counted(node: Node) -> dict[Reason, int]:
    with node.bench.database.read() as session:
        return dict(totals(session).undecodable)


@pytest.mark.parametrize(
    ("spoil", "reason", "detail"),
    [
        one("P10", wish("SEGV"), Reason.DECODER_CRASH, "signal 11 (SIGSEGV)", name="crash"),
        one("P10", wish("ABRT"), Reason.DECODER_CRASH, "signal 6 (SIGABRT)", name="abort"),
        one("P10", wish("WAIT"), Reason.DECODE_TIMEOUT, "longer than 2 s", name="hang"),
        one("P9", wish("KILL"), Reason.OUT_OF_MEMORY, "the system killed", name="killed by the kernel"),
        one(
            "P10",
            coded("1.2.840.10008.1.2.4.55", progressive_jpeg(4096, 4096, scans=4000), Rows=4096, Columns=4096,
                  BitsAllocated=8, BitsStored=8, HighBit=7),
            Reason.DECODE_TIMEOUT,
            "longer than 2 s",
            name="a real JPEG that takes a minute",
        ),
    ],
)  # fmt: skip
def test_an_image_that_breaks_its_decoder_is_left_out_for_good(
    breakable: Node, spoil: Spoil, reason: Reason, detail: str
) -> None:
    before = counted(breakable)
    image = left_out(breakable, spoil)
    assert (image.reason, detail in image.detail) == (reason, True), image.detail
    with breakable.bench.database.read() as session:
        events = [e.detail for e in session.scalars(sa.select(tables.Event).where(tables.Event.study_id.is_not(None)))]
    (event,) = [e for e in events if e.get("sop_instance_uid") == image.instance.sop_instance_uid and "reason" in e]
    assert event["reason"] == f"{reason.sentence}: {image.detail}"
    assert counted(breakable) == {**before, reason: before[reason] + 1}
    breakable.clock.pass_by(minutes=30)
    assert analyse_due(breakable.bench) == 0  # nobody tries it again by itself


@case("P10")
def test_a_study_of_which_every_image_breaks_its_decoder_is_not_analysed(breakable: Node) -> None:
    bad = phantom(1)
    wish("SEGV")(bad)
    breakable.receive(bad)
    assert analyse_due(breakable.bench) == 1
    (analysis,) = breakable.study(bad).analyses
    assert analysis.status is AnalysisStatus.NOT_ANALYSED
    assert analysis.reason.startswith("the image crashes its decoder: ")


# --- the same picture, told in two ways ---


@case("P13")
@pytest.mark.parametrize("how", ["photometric", "presentation"])
def test_both_senses_of_grey_give_the_same_score(node: Node, how: str) -> None:
    one_way = phantom(7, "pneumothorax")
    for keyword in ("PresentationLUTShape", "WindowCenter", "WindowWidth"):
        if keyword in one_way:
            delattr(one_way, keyword)
    other = sibling(one_way, 2)
    top = (1 << one_way.BitsStored) - 1
    other.PixelData = (top - pixels_of(one_way)).tobytes()
    inverse = {"MONOCHROME1": "MONOCHROME2", "MONOCHROME2": "MONOCHROME1"}
    if how == "photometric":
        other.PhotometricInterpretation = inverse[one_way.PhotometricInterpretation]
    else:
        shape = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}[one_way.PhotometricInterpretation]
        one_way.PresentationLUTShape = shape
        other.PresentationLUTShape = {"INVERSE": "IDENTITY", "IDENTITY": "INVERSE"}[shape]
    node.receive(one_way, other)
    analyse_due(node.bench)
    scores = {u: [f.value for f in i.findings] for u, i in images(node, one_way).items()}
    assert len(scores) == 2
    np.testing.assert_allclose(*scores.values(), atol=2e-3)
    assert max(scores[str(one_way.SOPInstanceUID)]) > 0.5


# --- pictures that no model was made for ---

WIDE = np.zeros((SIDE, SIDE), "<u2")


@pytest.mark.parametrize(
    "spoil",
    [
        one("P14", drawn(WIDE), name="black"),
        one("P14", drawn(WIDE + np.uint16(2000)), name="constant"),
        one("P14", drawn(WIDE + np.uint16(4095)), name="saturated"),
        one(
            "P14",
            lambda d: drawn(np.where(np.arange(d.Columns) < 3, pixels_of(d), 0).astype("<u2"))(d),
            name="three columns",
        ),
        one("P14", lambda d: drawn(pixels_of(d)[:1, :1].copy())(d), name="1 x 1"),
        one("P14", lambda d: drawn(pixels_of(d)[:4].copy())(d), name="four rows"),
    ],
)
def test_what_is_no_picture_is_never_normal(node: Node, spoil: Spoil) -> None:
    image = left_out(node, spoil)
    assert image.reason in {Reason.OUT_OF_DISTRIBUTION, Reason.UNUSABLE_GEOMETRY}, image.detail


def coded_view(value: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return Sequence([item])


def of_class(sop_class: str, **values: Any) -> Spoil:
    def spoil(dataset: Dataset) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
        elements(**values)(dataset)

    return spoil


def hand(dataset: Dataset) -> None:
    dataset.BodyPartExamined, dataset.SeriesDescription = "HAND", "Hand PA"
    if "AnatomicRegionSequence" in dataset:
        dataset.AnatomicRegionSequence = coded_view("85562004", "Hand")


def lateral(dataset: Dataset) -> None:
    dataset.ViewPosition, dataset.SeriesDescription = "LL", "Chest LAT"
    if "ViewCodeSequence" in dataset:
        dataset.ViewCodeSequence = coded_view("399198007", "right lateral")


PHOTO = {"Modality": "XC", "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        one("P15", lateral, Reason.UNSUPPORTED_VIEW, name="lateral"),
        one("P15", elements(PatientOrientation=["A", "F"]), Reason.UNSUPPORTED_VIEW, name="lateral by orientation"),
        one("P15", hand, Reason.UNSUPPORTED_BODY_PART, name="hand"),
        one("P15", elements(Manufacturer="ACME", PatientAge="005Y"), Reason.UNSUPPORTED_PATIENT, name="child"),
        one(
            "P15", elements(PatientSpeciesDescription="Canis lupus familiaris"), Reason.UNSUPPORTED_PATIENT, name="dog"
        ),
        one(
            "P15",
            of_class(uid.CTImageStorage, Modality="CT", Manufacturer="ACME"),
            Reason.UNSUPPORTED_MODALITY,
            name="CT",
        ),
        one("P15", of_class(uid.CTImageStorage, Modality="CT"), Reason.UNSUPPORTED_BODY_PART, name="CT of the chest"),
        one("P15", of_class(uid.UltrasoundImageStorage, Modality="US"), Reason.UNSUPPORTED_MODALITY, name="US"),
        one(
            "P15",
            of_class(uid.DigitalMammographyXRayImageStorageForPresentation, Modality="MG"),
            Reason.UNSUPPORTED_MODALITY,
            name="mammography",
        ),
        one("P15", of_class(uid.VLPhotographicImageStorage, **PHOTO), Reason.UNSUPPORTED_MODALITY, name="photo"),
        one(
            "P15",
            of_class(uid.SecondaryCaptureImageStorage, ConversionType="DF"),
            Reason.UNSUPPORTED_SOP_CLASS,
            name="digitised film",
        ),
        one("P15", elements(PresentationIntentType="FOR PROCESSING"), Reason.FOR_PROCESSING, name="raw"),
    ],
)
def test_what_no_model_reads_says_why(node: Node, spoil: Spoil, reason: Reason) -> None:
    image = left_out(node, spoil)
    assert image.reason is reason, (image.reason, image.detail)


# --- annotation, frames, several studies ---


@case("P17")
@pytest.mark.parametrize("wanted", [True, False])
def test_burnt_in_annotation_is_flagged_and_analysed_only_where_wanted(node: Node, wanted: bool) -> None:
    node.bench = replace(node.bench, settings=node.bench.settings.model_copy(update={"analyse_burned_in": wanted}))
    image = left_out(node, elements(BurnedInAnnotation="YES"))
    assert image.reason is (None if wanted else Reason.BURNED_IN_ANNOTATION)
    study = study_of(node, image)
    assert study.flags == ["burned_in_annotation"]
    pictures = [
        pydicom.dcmread(node.bench.settings.results / r.relative_path)
        for r in study.analyses[0].result_objects
        if r.kind == "SC"
    ]
    burnt = [p.BurnedInAnnotation for p in pictures]  # a picture of the image shows what is burnt into it
    assert sorted(burnt) == (["NO", "YES"] if wanted else ["NO"])


@case("P17")
def test_without_burnt_in_annotation_nothing_is_flagged(node: Node) -> None:
    image = left_out(node, elements(BurnedInAnnotation="NO"))
    assert (image.reason, study_of(node, image).flags) == (None, [])


@case("P18")
def test_a_radiograph_of_several_frames_is_left_out_with_their_number(node: Node) -> None:
    image = left_out(node, elements(NumberOfFrames=3), stored(lambda data: data * 3))
    assert (image.reason, image.detail) == (Reason.MULTI_FRAME, "3 frames")


@case("P18")
def test_two_studies_over_one_association_are_two_cases_with_all_their_images(node: Node) -> None:
    first, second = phantom(1, "pneumothorax"), phantom(2)
    node.receive(first, second, sibling(first, 2), sibling(second, 2))
    assert analyse_due(node.bench) == 2
    for dataset, urgency in ((first, Urgency.STAT), (second, Urgency.ROUTINE)):
        study = node.study(dataset)
        assert study.urgency is urgency
        assert len(images(node, dataset)) == len(study.instances) == 2


# --- the neighbours of poison ---


def test_one_poison_image_among_forty_costs_no_other_its_score(breakable: Node) -> None:
    first = phantom(1, "pneumothorax")
    series = [first, *(sibling(first, number) for number in range(2, 41))]
    for poison in (series[10], series[20]):
        wish("SEGV")(poison)
    breakable.receive(*series)
    assert analyse_due(breakable.bench) == 1
    reasons = [image.reason for image in images(breakable, first).values()]
    assert (reasons.count(None), reasons.count(Reason.DECODER_CRASH)) == (38, 2)


def test_damage_without_a_crash_costs_no_decoder(node: Node) -> None:
    good = phantom(1)
    compressed(JPEG_LS)(good)
    node.receive(good)
    analyse_due(node.bench)
    pid = node.bench.decoder.pid
    left_out(node, compressed(JPEG_LS, lambda data: data[:500] + b"\xff\xd9"))
    assert node.bench.decoder.pid == pid is not None
