"""Every source times every kind of result object: built twice, written, and judged by the neighbours.

Whatever a source is like, each kind is either a valid object or a :class:`ResultError` that says why there is none.
"""

from __future__ import annotations

import functools
import math
import subprocess
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from odd_sources import ODD, SCRIPTS, axial
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from result_cases import ALGORITHM, CREATED_AT, NODE, negative, positive, tool, validator_errors

from dicom_node.part10 import PREAMBLE, read_head
from dicom_node.results import (
    build_assessment,
    build_heat_map,
    build_key_objects,
    build_parametric_map,
    build_pdf_report,
    build_presentation_state,
    build_report,
    build_segmentation,
)
from dicom_node.results.files import write
from triage.assessment import Assessed, Opinion, OpinionReason
from triage.errors import IdentifierError, ResultError
from triage.findings import AnalysisResult, ImageResult, NotAnalysed, NotAnalysedReason
from triage.identifiers import dicom_uid
from triage.profiles import Profile

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore::UserWarning:pydicom")]

REAL: Mapping[str, tuple[str, ...]] = {
    "Fuji CR": ("radiograph/CR-MONO1-10-chest.dcm",),
    "Philips CR, JPEG 2000": ("radiograph/RG1_J2KI.dcm",),
    "CR, JPEG-LS": ("radiograph/RG3_JLSN.dcm",),
    "DX": ("radiograph/dx_image.dcm",),
    "tagged ribcage": ("radiograph/udacity_test4_ribcage.dcm",),
    "CT by its tag": ("radiograph/udacity_test5_ct.dcm",),
    "NIH 12 bit": ("radiograph/nih-derived/01_J2KR_12bit_M2_Effusion.dcm",),
    "NIH RLE": ("radiograph/nih-derived/03_RLE_8bit_M1_Pneumothorax.dcm",),
    "NIH JPEG": ("radiograph/nih-derived/05_JPEG_8bit_M2_Effusion.dcm",),
    "NIH deflated": ("radiograph/nih-derived/07_DFL_8bit_M2_Cardiomegaly.dcm",),
    "CT series": tuple(f"ct/dcmqi_3slice_0{number}.dcm" for number in (1, 2, 3)),
    "CT without frame of reference": ("ct/693_J2KI.dcm",),
    "CT, lossy": ("ct/MAROTECH_CT_JP2Lossy.dcm",),
    "MR": ("mr/MR_small.dcm",),
    "MR series": tuple(f"mr/MR0{number}.dcm" for number in (1, 2, 3)),
}

Source = Callable[[], list[Dataset]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """What one source gives: its images and the files of its objects, or why there is none."""

    headers: Sequence[Dataset]
    paths: Mapping[str, Path]
    digests: Mapping[str, tuple[str, int]]
    unavailable: Mapping[str, str]

    @property
    def key(self) -> Dataset:
        """The image that has the findings."""
        return self.headers[len(self.headers) // 2]


def built(headers: Sequence[Dataset]) -> tuple[dict[str, Dataset], dict[str, str]]:
    """Every kind of object about the middle image, and why there is none of the others."""
    objects: dict[str, Dataset] = {}
    unavailable: dict[str, str] = {}

    def build(kind: str, make: Callable[[], Dataset]) -> None:
        try:
            objects[kind] = make()
        except ResultError as error:
            unavailable[kind] = str(error)

    key = headers[len(headers) // 2]
    image = positive(key)
    silent = [ImageResult(sop_instance_uid=str(h.SOPInstanceUID), findings=()) for h in headers if h is not key]
    result = AnalysisResult(algorithm=ALGORITHM, images=(*silent, image))
    named = {"node": NODE, "revision": 1, "created_at": CREATED_AT}
    picture = np.zeros((32, 40, 3), np.uint8)
    build("SC", lambda: build_heat_map(key, picture, image, ALGORITHM, number=1, **named))
    pictures = {image.sop_instance_uid: objects["SC"]} if "SC" in objects else {}
    maps = {finding.key: activation(key) for finding in image.positives}
    about = (key, maps, image, ALGORITHM)
    build("SEG", lambda: build_segmentation(*about, number=1, **named))
    build("SEG fractional", lambda: build_segmentation(*about, number=1, **named, profile=_FRACTIONAL))
    build("PM", lambda: build_parametric_map(*about, number=1, **named))
    build("KO", lambda: build_key_objects(headers, result, **named))
    build("PR", lambda: build_presentation_state(key, image, ALGORITHM, number=1, **{**named, "created_at": _WINTER}))
    build("PDF", lambda: build_pdf_report(headers, result, pictures={image.sop_instance_uid: picture}, **named))
    shown = {image.sop_instance_uid: [objects[kind] for kind in ("SEG", "PM") if kind in objects]}
    build("SR", lambda: build_report(headers, result, heat_maps=pictures, activations=shown, predecessor=None, **named))
    if "SR" in objects:
        build("assessment", lambda: _assessment(objects["SR"], key, image))
    if len(headers) > 1:
        build("SR negative", lambda: _negative(headers, key, silent))
    return objects, unavailable


_WINTER = CREATED_AT.astimezone(timezone(timedelta(hours=1)))
"""dcmpschk of DCMTK 3.6.7 knows every offset but that of UTC."""
_FRACTIONAL = Profile(objects=("SEG",), segmentation="fractional", compression="rle")


def activation(header: Dataset) -> np.ndarray:
    """A spot a third from the left and from the top, over the whole image."""
    rows, columns = np.ogrid[: int(header.Rows), : int(header.Columns)]
    far = ((rows + 0.5) / header.Rows - 1 / 3) ** 2 + ((columns + 0.5) / header.Columns - 1 / 3) ** 2
    return np.exp(-20 * far).astype(np.float32)


def _assessment(report: Dataset, key: Dataset, image: ImageResult) -> Dataset:
    """A person who doubts the report's finding, with the report as it comes from its file."""
    assessed = Assessed(
        sop_instance_uid=image.sop_instance_uid, finding=image.positives[0], opinion=Opinion.DISAGREE,
        reason=OpinionReason.ARTEFACT, comment="", at=CREATED_AT,
    )  # fmt: skip
    return build_assessment(
        report, [assessed], images={image.sop_instance_uid: key}, algorithm=ALGORITHM, person="weber", node=NODE,
        number=1, serial=1, predecessor=None,
    )  # fmt: skip


def _negative(headers: Sequence[Dataset], key: Dataset, silent: Sequence[ImageResult]) -> Dataset:
    """The report of a second look that finds nothing and leaves the other images out."""
    nothing = AnalysisResult(
        algorithm=ALGORITHM,
        images=(negative(key),),
        not_analysed=tuple(
            NotAnalysed(sop_instance_uid=i.sop_instance_uid, reason=NotAnalysedReason.UNSUPPORTED_VIEW) for i in silent
        ),
    )
    return build_report(headers, nothing, heat_maps={}, node=NODE, revision=2, predecessor=None, created_at=CREATED_AT)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Study]:
    """All sources with their objects, built and written once."""
    sources: dict[str, Source] = {name: lambda odd=odd: [odd.make()] for name, odd in ODD.items()}  # type: ignore[misc]
    sources["an axial series"] = axial
    for name, files in REAL.items():
        data = request.getfixturevalue("test_data")
        sources[name] = lambda files=files, data=data: [dcmread(data / file, force=True) for file in files]  # type: ignore[misc]
    folder = tmp_path_factory.mktemp("matrix")
    return {
        name: _study(folder / f"{number:03d}", source) for number, (name, source) in enumerate(sources.items(), start=1)
    }


def _study(folder: Path, source: Source) -> Study:
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydicom says what is odd; here that is the point
        objects, unavailable = built(source())
        paths = {kind: folder / f"{kind.replace(' ', '_')}.dcm" for kind in objects}
        digests = {kind: write(made, paths[kind]) for kind, made in objects.items()}
        return Study(headers=source(), paths=paths, digests=digests, unavailable=unavailable)


def cells(studies: Mapping[str, Study], *kinds: str) -> Iterator[tuple[str, Study, str, Path]]:
    """(name, study, kind, path) of every object whose source may be named at all."""
    for name, study in studies.items():
        for kind, path in study.paths.items():
            if (not kinds or kind in kinds) and not (name in ODD and ODD[name].refused):
                yield f"{name}: {kind}", study, kind, path


@functools.cache
def without_pixels(path: Path) -> Dataset:
    """An object as pydicom reads it; several tests ask for each of the six hundred."""
    return dcmread(path, stop_before_pixels=True)


def in_parallel(check: Callable[[Path], list[str]], paths: Mapping[str, Path]) -> dict[str, list[str]]:
    """What a program finds wrong with each file; only those with which something is."""
    with ThreadPoolExecutor(4) as pool:
        return {name: found for name, found in zip(paths, pool.map(check, paths.values()), strict=True) if found}


def test_no_error_by_dciodvfy(studies: dict[str, Study]) -> None:
    program = tool("dciodvfy")

    def errors(path: Path) -> list[str]:
        run = subprocess.run([program, str(path)], capture_output=True, check=False)
        lines = (run.stdout + run.stderr).decode("latin-1").splitlines()
        return [line for line in lines if line.startswith("Error") and _SUMMARY not in line] or _unknown(lines)

    found = in_parallel(errors, {name: path for name, _, _, path in cells(studies)})
    blamed = {name: [line for line in lines if not excused(name, line)] for name, lines in found.items()}
    assert not any(blamed.values()), told(blamed)


_SUMMARY = "Dicom dataset contains invalid data values"


def _unknown(lines: Sequence[str]) -> list[str]:
    """A class that the validator does not know it does not judge."""
    return [] if any(line in _JUDGED for line in lines) else ["not judged"]


_JUDGED = frozenset(
    (
        "Comprehensive3DSR",
        "EncapsulatedPDF",
        "GrayscaleSoftcopyPresentationState",
        "KeyObjectSelectionDocument",
        "ParametricMap",
        "SCImage",
        "Segmentation",
    )
)


def excused(name: str, line: str) -> bool:
    """Whether the error is about a text that stays as the source has it, or the validator's own."""
    source = name.split(":", 1)[0]
    keyword = ODD[source].verbatim if source in ODD else ""
    if source == "Chinese GBK name":
        keyword = "PatientName"  # a defined term since 2015 (PS3.3 Table C.12-5), unknown to this validator
    tag = tag_for_keyword(keyword) if keyword else None
    return tag is not None and f"(0x{tag >> 16:04x},0x{tag & 0xFFFF:04x})" in line


def told(found: Mapping[str, Sequence[str]]) -> str:
    return "\n".join(f"{name}: {line}" for name, lines in found.items() for line in lines)


def test_what_is_excused_is_really_an_error_of_the_source(studies: dict[str, Study]) -> None:
    """An excuse that is needed no longer is taken back."""
    for name, odd in ODD.items():
        if odd.verbatim:
            errors = validator_errors(studies[name].paths["SR"])
            assert [line for line in errors if excused(name, line)], name


def test_the_same_arguments_give_the_same_bytes(studies: dict[str, Study], tmp_path: Path) -> None:
    different = []
    for name, study in studies.items():
        again, _ = built(study.headers)
        for kind, made in again.items():
            if write(made, tmp_path / "again.dcm") != study.digests[kind]:
                different.append(f"{name}: {kind}")
    assert different == []


def test_the_head_of_every_file(studies: dict[str, Study]) -> None:
    """PS3.10 section 7.1: preamble, prefix, meta information that names what follows."""
    for name, _, _, path in cells(studies):
        data = path.read_bytes()
        head, ds = read_head(data), without_pixels(path)
        meta = ds.file_meta
        assert data[:132] == PREAMBLE + b"DICM", name
        assert meta.FileMetaInformationVersion == b"\x00\x01", name
        assert 144 + meta.FileMetaInformationGroupLength == head.offset, name
        assert (head.sop_class_uid, head.sop_instance_uid) == (ds.SOPClassUID, ds.SOPInstanceUID), name
        assert (meta.ImplementationClassUID, head.transfer_syntax_uid) != ("", ""), name


def test_the_patient_reads_as_in_the_source(studies: dict[str, Study]) -> None:
    """By pydicom, in its own character set, and by DCMTK, which converts to UTF-8."""
    for name, study, _, path in cells(studies):
        source, result = study.key, without_pixels(path)
        if name.split(":", 1)[0] in _RESPELLED:
            continue
        for keyword in ("PatientName", "PatientID", "ReferringPhysicianName", "StudyDescription"):
            assert str(result.get(keyword) or "") == str(source.get(keyword) or ""), (name, keyword)


_RESPELLED = frozenset(("undeclared UTF-8", "UTF-8 under the default repertoire"))
"""What pydicom reads wrongly in the source, it reads rightly in the result."""


@pytest.mark.parametrize("name", sorted(_RESPELLED))
def test_utf_8_that_nobody_declared_is_read(name: str, studies: dict[str, Study]) -> None:
    for path in studies[name].paths.values():
        assert str(without_pixels(path).PatientName) == "Müller^Jörg"


_DCMTK_CANNOT_CONVERT = frozenset(("Japanese", "Japanese katakana", "Japanese supplementary"))
"""Where it converts by glibc, also DCMTK's and PixelMed's own samples (3.6.7)."""


@pytest.mark.parametrize("script", sorted(SCRIPTS.keys() - _DCMTK_CANNOT_CONVERT))
def test_dcmtk_reads_the_name_in(script: str, studies: dict[str, Study]) -> None:
    path = studies[f"{script} name"].paths["SC"]
    run = subprocess.run([tool("dcmdump"), "+U8", "+P", "PatientName", str(path)], capture_output=True, check=True)
    assert f"[{SCRIPTS[script][1]}]" in run.stdout.decode()


def test_dcmtk_renders_every_report(studies: dict[str, Study]) -> None:
    """``+Ca``: where the source declares no character set, DCMTK wants to be told one."""
    reports = {
        name: path for name, _, _, path in cells(studies, "SR", "SR negative", "KO") if name not in _UNKNOWN_CLASS
    }

    def fails(path: Path) -> list[str]:
        run = subprocess.run([tool("dsr2html"), "+Ca", "latin-1", str(path)], capture_output=True, check=False)
        return [] if b"</html>" in run.stdout else [run.stderr.decode("latin-1")]

    found = in_parallel(fails, reports)
    assert not found, told(found)
    declared = [str(path) for name, path in reports.items() if not name.startswith("undeclared Latin 1")]
    dump = subprocess.run([tool("dsrdump"), *declared], capture_output=True, check=False)
    told_of = dump.stdout.count(b"Completion Flag") + dump.stdout.count(b"Key Object Selection Document\n")
    assert told_of == len(declared), dump.stderr[-2000:]


def test_dcmtk_checks_every_presentation_state(studies: dict[str, Study]) -> None:
    """It warns of a patient without a name as well, which is no error."""
    program = tool("dcmpschk")

    def errors(path: Path) -> list[str]:
        run = subprocess.run([program, str(path)], capture_output=True, check=False)
        lines = (run.stdout + run.stderr).decode("latin-1").splitlines()
        assert any("Test passed" in line or "Test failed" in line for line in lines), lines
        return [line for line in lines if line.startswith("E:    Affected attribute: ")] or [
            line for line in lines if "graphic" in line.lower() or "layer" in line.lower()
        ]

    states = {name: path for name, _, _, path in cells(studies, "PR") if name.split(":", 1)[0] not in _IN_UTF_8}
    found = in_parallel(errors, states)
    verbatim = {f"{name}: PR": odd.verbatim for name, odd in ODD.items() if odd.verbatim}
    blamed = {
        name: [line for line in lines if f": {verbatim.get(name)} (" not in line] for name, lines in found.items()
    }
    assert len(states) > 100
    assert not any(blamed.values()), told(blamed)


_IN_UTF_8 = frozenset(("UTF-8 name", "character set named as its encoding", "a character set of its own in a sequence"))
"""dcmpschk takes each byte for a letter, some of them for control characters."""
_UNKNOWN_CLASS = frozenset(("says it was made by nobody known: SR", "says it was made by nobody known: KO"))
"""DCMTK refuses a reference to a class that it does not know; the gate leaves such an image out."""


def test_highdicom_reads_every_report(studies: dict[str, Study]) -> None:
    from highdicom.ko import KeyObjectSelectionDocument  # noqa: PLC0415  100 MB of code tables
    from highdicom.sr import srread  # noqa: PLC0415

    for name, study, _, path in cells(studies, "SR", "SR negative"):
        report = srread(path).content
        assert report[0].name.value == "126000", name
        for group in report.get_planar_roi_measurement_groups():
            assert [float(measurement.value) for measurement in group.get_measurements()] == [0.94], name
            assert group.finding_type.value == "36118008", name
            (source,) = group.roi.ContentSequence
            assert source.referenced_sop_instance_uid == study.key.SOPInstanceUID, name
    for name, study, _, path in cells(studies, "KO"):
        selection = KeyObjectSelectionDocument.from_dataset(dcmread(path)).content
        assert [item.referenced_sop_instance_uid for item in selection.get_references()] == [
            study.key.SOPInstanceUID
        ], name


def test_pixels_read_back_by_highdicom_are_those_that_were_put_in(studies: dict[str, Study]) -> None:
    from highdicom.seg import segread  # noqa: PLC0415

    for name, study, kind, path in cells(studies, "SEG", "SEG fractional"):
        read = segread(path).get_pixels_by_source_instance(
            [study.key.SOPInstanceUID], ignore_spatial_locations=True, rescale_fractional=False
        )[0, ..., 0]
        if kind == "SEG":
            (outline,) = [finding.region.box for finding in positive(study.key).positives if finding.region]
            left, top, right, bottom = (math.ceil(edge - 0.5) for edge in outline)  # by the pixels' centres
            assert read[top:bottom, left:right].all(), name
            assert read.sum() == (bottom - top) * (right - left), name
        else:
            np.testing.assert_array_equal(read, np.rint(activation(study.key) * 255), name)
    for name, study, _, path in cells(studies, "PM"):
        np.testing.assert_array_equal(dcmread(path).pixel_array, activation(study.key), name)


def test_every_reference_leads_to_an_object_of_its_class_series_and_study(studies: dict[str, Study]) -> None:
    for name, study in studies.items():
        made = {kind: without_pixels(path) for kind, path in study.paths.items()}
        known = {str(ds.SOPInstanceUID): ds for ds in (*study.headers, *made.values())}
        for kind, ds in made.items():
            assert ds.StudyInstanceUID == study.headers[0].StudyInstanceUID, (name, kind)
            found = list(references(ds))
            assert found, (name, kind)
            for reference in found:
                target = known[reference.sop_instance_uid]
                assert target.SOPClassUID == reference.sop_class_uid, (name, kind)
                assert reference.series_instance_uid in ("", target.SeriesInstanceUID), (name, kind)
                assert reference.study_instance_uid in ("", target.StudyInstanceUID), (name, kind)
                assert set(reference.parts) <= parts(target), (name, kind)
            if "ContentSequence" in ds:
                evidence = {r.sop_instance_uid for r in found if r.series_instance_uid}
                assert {r.sop_instance_uid for r in found} == evidence, (name, kind)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """An instance that an object refers to; series, study and segment or frame where the object says them."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    parts: tuple[int, ...] = ()


def parts(target: Dataset) -> set[int]:
    """Numbers of the segments or frames that a reference may name."""
    if "SegmentSequence" in target:
        return {int(segment.SegmentNumber) for segment in target.SegmentSequence}
    return set(range(1, int(target.get("NumberOfFrames") or 1) + 1))


def references(ds: Dataset, series: str = "", study: str = "") -> Iterator[Reference]:
    """Every reference to an instance, however deep."""
    if "ReferencedSOPInstanceUID" in ds:
        yield Reference(
            sop_class_uid=ds.ReferencedSOPClassUID, sop_instance_uid=ds.ReferencedSOPInstanceUID,
            series_instance_uid=series, study_instance_uid=study,
            parts=tuple(
                int(element.value) for element in ds
                if element.keyword in ("ReferencedSegmentNumber", "ReferencedFrameNumber")
            ),
        )  # fmt: skip
    for element in ds:
        if element.VR != "SQ":
            continue
        for item in element.value:
            named = element.keyword in ("ReferencedSeriesSequence", "CurrentRequestedProcedureEvidenceSequence")
            yield from references(
                item,
                item.get("SeriesInstanceUID", series) if named else series,
                item.get("StudyInstanceUID", study) if named else study,
            )


def test_what_cannot_be_named_is_refused_by_the_listener() -> None:
    for name, odd in ODD.items():
        source = odd.make()
        refused = []
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            try:
                dicom_uid(str(source[keyword].value), attribute=keyword)
            except IdentifierError:
                refused.append(keyword)
        assert bool(refused) == odd.refused, name


def test_what_is_not_there_has_a_reason(studies: dict[str, Study]) -> None:
    for name, study in studies.items():
        expected = set() if study.key.get("FrameOfReferenceUID") and study.key.Modality in ("CT", "MR") else {"PM"}
        if name == "multi-frame":
            expected |= {"SEG", "SEG fractional"}
        assert study.unavailable.keys() == expected, name
        assert all("not available" in reason for reason in study.unavailable.values()), name
