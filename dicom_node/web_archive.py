"""Our archive over DICOMweb (PS3.18 chapters 10 and 8), read only: what a viewer needs to show a study.

Files are served as they lie, and frames as they are stored: nothing is decoded, nothing transcoded. A client that wants
another transfer syntax than the stored one is told 406. Searches know studies by UID, patient ID and accession number.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from triage.catalogue import Catalogue, InstanceFacts, Narrowing, SeriesFacts, StudyFacts
from triage.errors import DatabaseUnavailableError, IdentifierError
from triage.identifiers import dicom_uid
from triage.repositories.archived import ArchivedFile

DICOM_JSON: Final = "application/dicom+json"
MOST_STUDIES: Final = 200
_STUDY_KEYS: Final = frozenset(
    {"StudyInstanceUID", "0020000D", "PatientID", "00100020", "AccessionNumber", "00080050", "limit", "offset",
     "includefield", "fuzzymatching"}
)  # fmt: skip
LARGEST_VALUE: Final = 1 << 20
"""Bytes of one value in metadata; a longer one is left out, as Pixel Data always are."""
_CHUNK: Final = 1 << 18
_PIXEL_DATA: Final = 0x7FE00010
_JPEG: Final = "image/jpeg"
_TYPES: Final = {
    JPEGLSLossless: "image/jls", JPEGLSNearLossless: "image/jls", JPEG2000Lossless: "image/jp2",
    JPEG2000: "image/jp2", RLELossless: "image/dicom-rle",
}  # fmt: skip
_STUDY: Final = "/studies/{study}"
_SERIES: Final = _STUDY + "/series/{series}"
_INSTANCE: Final = _SERIES + "/instances/{instance}"


class Files(Protocol):
    """Who knows where the files of a study lie."""

    def __call__(self, study_uid: str, series_uid: str, sop_uid: str) -> Sequence[ArchivedFile]:
        """Of a whole study where the others are empty."""
        ...


class _RefusedError(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def web_archive(root: Path, catalogue: Catalogue, files: Files) -> Starlette:
    """The archive as an ASGI application, to be mounted at ``/dicom-web``. Who may ask is not its business.

    Parameters
    ----------
    root : Path
        Of the archive.
    catalogue : Catalogue
        For searches.
    files : callable
        For everything else.
    """
    service = _Service(root, catalogue, files)
    routes = [
        Route("/studies", service.search_studies),
        Route(_STUDY + "/series", service.search_series),
        Route(_SERIES + "/instances", service.search_instances),
        *(Route(level + "/metadata", service.metadata) for level in (_STUDY, _SERIES, _INSTANCE)),
        Route(_INSTANCE + "/frames/{frames}", service.frames),
        *(Route(level, service.retrieve) for level in (_STUDY, _SERIES, _INSTANCE)),
    ]
    handlers = {_RefusedError: _refused, IdentifierError: _refused, DatabaseUnavailableError: _away}
    return Starlette(routes=routes, exception_handlers=handlers)


async def _away(_request: Request, error: Exception) -> Response:
    told = {"status": 503, "detail": str(error)}
    return JSONResponse(told, 503, {"Retry-After": "5"}, media_type="application/problem+json")


async def _refused(_request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, _RefusedError) else 400
    return JSONResponse({"status": status, "detail": str(error)}, status, media_type="application/problem+json")


class _Service:
    def __init__(self, root: Path, catalogue: Catalogue, files: Files) -> None:
        self._root, self._catalogue, self._files = root.resolve(), catalogue, files

    # --- QIDO-RS (PS3.18 10.6) ---

    def search_studies(self, request: Request) -> Response:
        """By Study Instance UID, Patient ID or Accession Number, whole values; others are ignored with a warning."""
        asked = request.query_params
        limit = _whole(asked.get("limit", ""), MOST_STUDIES)
        offset = _whole(asked.get("offset", ""), 0, most=10_000)
        narrowing = Narrowing(
            study_uids=tuple(dicom_uid(uid, attribute="StudyInstanceUID") for uid in _listed(asked, "0020000D")),
            patient_ids=tuple(_listed(asked, "00100020")),
            accession_numbers=tuple(_listed(asked, "00080050")),
        )

        def accept(study: StudyFacts) -> bool:
            return (
                (not narrowing.study_uids or study.study_instance_uid in narrowing.study_uids)
                and (not narrowing.patient_ids or study.patient_id in narrowing.patient_ids)
                and (not narrowing.accession_numbers or study.accession_number in narrowing.accession_numbers)
            )

        found = self._catalogue.studies(narrowing, accept, offset + min(limit, MOST_STUDIES))[offset:]
        answer = _json([_study(study, len(self._catalogue.series(study.study_instance_uid))) for study in found])
        unused = [name for name in asked if name not in _STUDY_KEYS]
        if unused:  # or a client takes all studies for those that it asked for (PS3.18 8.3.4.1)
            answer.headers["Warning"] = f'299 firstread "{len(unused)} of the query parameters are not used"'
        return answer

    def search_series(self, request: Request) -> Response:
        study = _uids(request)[0]
        wanted = _listed(request.query_params, "0020000E")
        found = self._catalogue.series(study)
        return _json([_series(one) for one in found if not wanted or one.series_instance_uid in wanted])

    def search_instances(self, request: Request) -> Response:
        study, series, _ = _uids(request)
        wanted = _listed(request.query_params, "00080018")
        found = self._catalogue.instances(study, series)
        return _json([_instance(one) for one in found if not wanted or one.sop_instance_uid in wanted])

    # --- WADO-RS (PS3.18 10.4) ---

    def metadata(self, request: Request) -> Response:
        """DICOM JSON of each instance; Pixel Data and very long values are left out."""
        return _json([_without_bulk(self._read(file)) for file in self._found(request)])

    def retrieve(self, request: Request) -> Response:
        """The files as they lie, in one multipart/related answer."""
        found = self._found(request)
        _require(request, "application/dicom", {file.transfer_syntax_uid for file in found})
        boundary = uuid.uuid4().hex
        parts = (
            (f"application/dicom; transfer-syntax={file.transfer_syntax_uid}", self._chunks(file)) for file in found
        )
        return StreamingResponse(
            _multipart(parts, boundary),
            media_type=f'multipart/related; type="application/dicom"; boundary={boundary}',
        )

    async def frames(self, request: Request) -> Response:
        """Frames as they are stored: little endian values, or the codestream."""
        return await run_in_threadpool(self._frames, request)

    def _frames(self, request: Request) -> Response:
        (file,) = self._found(request)
        syntax = UID(file.transfer_syntax_uid)
        if syntax in (ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
            raise _RefusedError(406, f"Frames in transfer syntax {syntax} are not served; retrieve the instance.")
        kind = _TYPES.get(syntax, _JPEG) if syntax.is_encapsulated else "application/octet-stream"
        stated = str(syntax) if syntax.is_encapsulated else str(ExplicitVRLittleEndian)
        _require(request, kind, {stated})
        numbers = [_whole(text, 0, most=100_000) for text in request.path_params["frames"].split(",")]
        dataset = self._read(file, pixels=True)
        frames = [_frame(dataset, number, encapsulated=syntax.is_encapsulated) for number in numbers]
        boundary = uuid.uuid4().hex
        parts = ((f"{kind}; transfer-syntax={stated}", iter((frame,))) for frame in frames)
        return Response(
            b"".join(_multipart(parts, boundary)),
            media_type=f'multipart/related; type="{kind}"; boundary={boundary}',
        )

    def _found(self, request: Request) -> Sequence[ArchivedFile]:
        found = self._files(*_uids(request))
        if not found:
            raise _RefusedError(404, "Nothing of this is here, or retention has removed it.")
        return found

    def _path(self, file: ArchivedFile) -> Path:
        path = (self._root / file.relative_path).resolve()
        if not path.is_relative_to(self._root) or not path.is_file():
            raise _RefusedError(404, "The file is not on the disk; `firstread fsck` says more.")
        return path

    def _read(self, file: ArchivedFile, *, pixels: bool = False) -> Dataset:
        try:
            return pydicom.dcmread(self._path(file), force=True, stop_before_pixels=not pixels)
        except (InvalidDicomError, ValueError, OSError, EOFError) as error:
            raise _RefusedError(500, f"The file cannot be read as DICOM ({type(error).__name__}).") from error

    def _chunks(self, file: ArchivedFile) -> Iterator[bytes]:
        with self._path(file).open("rb") as source:
            while chunk := source.read(_CHUNK):
                yield chunk


def _uids(request: Request) -> tuple[str, str, str]:
    """UIDs of study, series and instance; empty where the path names none."""
    names = (("study", "StudyInstanceUID"), ("series", "SeriesInstanceUID"), ("instance", "SOPInstanceUID"))
    study, series, instance = (
        dicom_uid(request.path_params[name], attribute=attribute) if name in request.path_params else ""
        for name, attribute in names
    )
    return study, series, instance


def _frame(dataset: Dataset, number: int, *, encapsulated: bool) -> bytes:
    count = int(dataset.get("NumberOfFrames") or 1)
    if not 1 <= number <= count or "PixelData" not in dataset:
        raise _RefusedError(404, f"There is no frame {number}.")
    if encapsulated:
        return get_frame(dataset.PixelData, number - 1, number_of_frames=count)
    bits = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel", 1)) * dataset.BitsAllocated
    if bits % 8:
        raise _RefusedError(406, "Frames that do not begin at a byte are not served; retrieve the instance.")
    frame: bytes = dataset.PixelData[(number - 1) * bits // 8 : number * bits // 8]
    return frame


def _without_bulk(dataset: Dataset) -> dict[str, Any]:
    told = Dataset()
    told.update({element.tag: element for element in dataset if element.tag.group != 0x7FE0})
    told.file_meta = dataset.file_meta
    for element in list(told):
        value = element.value
        if isinstance(value, bytes) and len(value) > LARGEST_VALUE:
            del told[element.tag]
    written: dict[str, Any] = told.to_json_dict(suppress_invalid_tags=True)
    # A viewer learns from it how frames will come (PS3.18 table 8.7.3-5).
    written["00083002"] = {"vr": "UI", "Value": [str(dataset.file_meta.get("TransferSyntaxUID", ""))]}
    return written


def _require(request: Request, kind: str, syntaxes: set[str]) -> None:
    """Whether the client takes this (PS3.18 8.7.4).

    Raises
    ------
    _RefusedError
        Another media type, or another transfer syntax than what is stored.
    """
    accepted = [part.strip().lower() for part in ",".join(request.headers.getlist("accept")).split(",")]
    for one in accepted or ["*/*"]:
        family, *parameters = (piece.strip().replace('"', "") for piece in one.split(";"))
        named = dict(parameter.split("=", 1) for parameter in parameters if "=" in parameter)
        inner = named.get("type", "*/*") if family == "multipart/related" else family
        wanted = named.get("transfer-syntax", "*")
        if family not in ("", "*/*", "multipart/related", "multipart/*", kind):
            continue
        if inner in ("", "*/*", kind, "multipart/*") and (wanted == "*" or syntaxes <= {wanted}):
            return
    raise _RefusedError(406, f"This is stored as {kind} in transfer syntax {', '.join(sorted(syntaxes))}.")


def _multipart(parts: Iterator[tuple[str, Iterator[bytes]]], boundary: str) -> Iterator[bytes]:
    """RFC 2387, each part with its media type."""
    for kind, content in parts:
        yield f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n".encode()
        yield from content
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


# --- rows as data sets ---


def _study(study: StudyFacts, series: int) -> Dataset:
    ds = Dataset()
    ds.StudyInstanceUID, ds.StudyDate, ds.StudyTime = study.study_instance_uid, study.study_date, study.study_time
    ds.AccessionNumber, ds.StudyID = study.accession_number, study.study_id
    ds.ModalitiesInStudy = study.modality.split("\\")
    ds.ReferringPhysicianName = study.referring_physician_name
    ds.StudyDescription = study.study_description
    ds.PatientName, ds.PatientID = study.patient_name, study.patient_id
    ds.PatientBirthDate, ds.PatientSex = study.patient_birth_date, study.patient_sex
    ds.NumberOfStudyRelatedSeries, ds.NumberOfStudyRelatedInstances = series, study.instances
    return ds


def _series(series: SeriesFacts) -> Dataset:
    ds = Dataset()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = series.study_instance_uid, series.series_instance_uid
    ds.Modality, ds.SeriesDescription = series.modality, series.series_description
    ds.SeriesNumber = series.series_number if series.series_number.strip().isdecimal() else None
    ds.NumberOfSeriesRelatedInstances = series.instances
    return ds


def _instance(instance: InstanceFacts) -> Dataset:
    ds = Dataset()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = instance.study_instance_uid, instance.series_instance_uid
    ds.SOPInstanceUID, ds.SOPClassUID = instance.sop_instance_uid, instance.sop_class_uid
    ds.InstanceNumber = instance.instance_number if instance.instance_number.strip().isdecimal() else None
    return ds


def _json(items: Sequence[Dataset | dict[str, Any]]) -> Response:
    told = [item.to_json_dict(suppress_invalid_tags=True) if isinstance(item, Dataset) else item for item in items]
    return Response(json.dumps(told, ensure_ascii=False), media_type=DICOM_JSON)


def _listed(asked: Any, tag: str) -> list[str]:
    """Values of an attribute by its tag or keyword (PS3.18 8.3.4), several with commas."""
    keyword = pydicom.datadict.keyword_for_tag(tag)
    return [value for name in (tag, keyword) for text in asked.getlist(name) for value in text.split(",") if value]


def _whole(text: str, default: int, most: int = MOST_STUDIES) -> int:
    if not text:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise _RefusedError(400, "Not a whole number where one is wanted.")
    return min(int(text), most)
