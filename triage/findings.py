"""What an analysis says, as plain frozen data: no torch, no pixels, no dataset.

This module is the contract between the network that finds (``models``), the report that tells
(``dicom_node.results``) and the list that orders (``worklist``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Urgency(StrEnum):
    """Class of a case on the reading list, most urgent first by :attr:`rank`."""

    STAT = "STAT"
    URGENT = "URGENT"
    ROUTINE = "ROUTINE"

    @property
    def rank(self) -> int:
        """0 for STAT, 1 for URGENT, 2 for ROUTINE: lower is read first."""
        return (Urgency.STAT, Urgency.URGENT, Urgency.ROUTINE).index(self)

    @staticmethod
    def highest(*classes: Urgency | None) -> Urgency:
        """The most urgent of the classes given; None counts as "says nothing"; ROUTINE when none speaks."""
        return min((c for c in classes if c is not None), key=lambda c: c.rank, default=Urgency.ROUTINE)


class ScoreKind(StrEnum):
    """What a number between 0 and 1 means. It travels with the number into the database and the SR."""

    CALIBRATED_PROBABILITY = "CALIBRATED_PROBABILITY"
    """Probability after calibration on held-out data (temperature scaling, Guo et al. 2017)."""
    UNCALIBRATED_PROBABILITY = "UNCALIBRATED_PROBABILITY"
    """Sigmoid or softmax output as the network gives it."""
    OPERATING_POINT = "OPERATING_POINT"
    """Rescaled so that 0.5 is the operating point: not a probability."""


class NotAnalysedReason(StrEnum):
    """Why an image or a study has no score. Shown as text by :attr:`sentence`; never replaced by a number."""

    UNSUPPORTED_SOP_CLASS = "unsupported_sop_class"
    UNSUPPORTED_MODALITY = "unsupported_modality"
    UNSUPPORTED_BODY_PART = "unsupported_body_part"
    UNSUPPORTED_VIEW = "unsupported_view"
    UNSUPPORTED_PATIENT = "unsupported_patient"
    FOR_PROCESSING = "for_processing"
    DERIVED_IMAGE = "derived_image"
    COLOUR_IMAGE = "colour_image"
    MULTI_FRAME = "multi_frame"
    OWN_RESULT = "own_result"
    UNUSABLE_GEOMETRY = "unusable_geometry"
    NO_PIXELS = "no_pixels"
    DECODE_ERROR = "decode_error"
    DECODER_CRASH = "decoder_crash"
    DECODE_TIMEOUT = "decode_timeout"
    OUT_OF_MEMORY = "out_of_memory"
    BURNED_IN_ANNOTATION = "burned_in_annotation"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    NO_BUNDLE = "no_bundle"
    OTHER_BUNDLE = "other_bundle"
    MODEL_UNAVAILABLE = "model_unavailable"
    MODEL_ERROR = "model_error"
    REPORT_ERROR = "report_error"
    MIXED_PATIENTS = "mixed_patients"
    REMOVED = "removed"

    @property
    def sentence(self) -> str:
        """The reason in words for a radiologist."""
        return _SENTENCES[self]


_SENTENCES = {
    NotAnalysedReason.UNSUPPORTED_SOP_CLASS: "not an image that a model reads",
    NotAnalysedReason.UNSUPPORTED_MODALITY: "no model for this modality",
    NotAnalysedReason.UNSUPPORTED_BODY_PART: "no model for this body part",
    NotAnalysedReason.UNSUPPORTED_VIEW: "no model for this view",
    NotAnalysedReason.UNSUPPORTED_PATIENT: "outside the model's intended patients",
    NotAnalysedReason.FOR_PROCESSING: "image is FOR PROCESSING, not for presentation",
    NotAnalysedReason.DERIVED_IMAGE: "secondary or derived image",
    NotAnalysedReason.COLOUR_IMAGE: "colour image",
    NotAnalysedReason.MULTI_FRAME: "multi-frame image",
    NotAnalysedReason.OWN_RESULT: "a result object of this node",
    NotAnalysedReason.UNUSABLE_GEOMETRY: "too small or of an unusable shape",
    NotAnalysedReason.NO_PIXELS: "no pixel data",
    NotAnalysedReason.DECODE_ERROR: "pixel data cannot be decoded",
    NotAnalysedReason.DECODER_CRASH: "the image crashes its decoder",
    NotAnalysedReason.DECODE_TIMEOUT: "decoding took too long",
    NotAnalysedReason.OUT_OF_MEMORY: "decoding needs more memory than it may have",
    NotAnalysedReason.BURNED_IN_ANNOTATION: "annotation is burnt into the image",
    NotAnalysedReason.OUT_OF_DISTRIBUTION: "unlike anything the model was made for",
    NotAnalysedReason.NO_BUNDLE: "no enabled bundle takes this image",
    NotAnalysedReason.OTHER_BUNDLE: "read by another bundle",
    NotAnalysedReason.MODEL_UNAVAILABLE: "the model is missing or altered",
    NotAnalysedReason.MODEL_ERROR: "the model failed",
    NotAnalysedReason.REPORT_ERROR: "the report could not be built",
    NotAnalysedReason.MIXED_PATIENTS: "no report, because whose it would be is not certain",
    NotAnalysedReason.REMOVED: "image removed by retention before this look",
}


MISSED: Final = frozenset(
    {
        NotAnalysedReason.UNUSABLE_GEOMETRY,
        NotAnalysedReason.DECODE_ERROR,
        NotAnalysedReason.DECODER_CRASH,
        NotAnalysedReason.DECODE_TIMEOUT,
        NotAnalysedReason.OUT_OF_MEMORY,
        NotAnalysedReason.BURNED_IN_ANNOTATION,
        NotAnalysedReason.OUT_OF_DISTRIBUTION,
    }
)
"""Reasons of images that a bundle would have read but for their own state: "no finding" says nothing about them."""


def nothing_found(read: int, missed: int) -> str:
    """What is said where nothing is positive: of how many images, where some that should have been read were not."""
    part = f" in {read} of {read + missed} images, the others were not analysed" if missed else ""
    return f"no finding above its threshold{part}"


class Laterality(StrEnum):
    """The side of a finding's site, where the bundle claims one side (PS3.16 CID 244)."""

    RIGHT = "R"
    LEFT = "L"
    BILATERAL = "B"


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """A coded concept (PS3.3 Table 8.8-1): value, coding scheme designator (SCT, DCM, ...), meaning."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A network's number for one finding.

    Attributes
    ----------
    value, threshold : float
        In [0, 1]; the finding is positive at ``value >= threshold``.
    kind : ScoreKind
        What the number means.

    Raises
    ------
    ValueError
        Value or threshold is NaN or outside [0, 1].
    """

    value: float
    threshold: float
    kind: ScoreKind

    def __post_init__(self) -> None:
        for name in ("value", "threshold"):
            number = getattr(self, name)
            if not (math.isfinite(number) and 0.0 <= number <= 1.0):
                raise ValueError(f"Score.{name} is {number!r}, expected a number in [0, 1]")

    @property
    def positive(self) -> bool:
        return self.value >= self.threshold


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """Where the network looked, on the source image's own pixel matrix.

    Coordinates are (column, row) in pixels with (0, 0) at the outer corner of the first pixel (PS3.3 C.18.6),
    so the centre of pixel (c, r) is (c + 0.5, r + 0.5). An activation region is not a lesion outline.

    Attributes
    ----------
    outline : tuple of (float, float)
        Closed polygon: first point equals last, at least four points, all inside the image.
    peak : (float, float)
        Point of highest activation.
    """

    outline: tuple[tuple[float, float], ...]
    peak: tuple[float, float]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) around the outline."""
        columns = [point[0] for point in self.outline]
        rows = [point[1] for point in self.outline]
        return min(columns), min(rows), max(columns), max(rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One finding of one bundle on one image.

    Attributes
    ----------
    key : str
        Snake-case name, unique in the bundle ("pleural_effusion"); names the output and the CSV column.
    code : Code
        The finding as a coded concept.
    site : Code or None
        Anatomic location as a coded concept.
    laterality : Laterality or None
        Side of the site, where this output of the network is about one side; None where it does not know.
    score : Score
    urgency : Urgency
        Class that a positive score asks for. ROUTINE: never moves a case.
    region : Region or None
        From the heat map; positives only.
    """

    key: str
    code: Code
    site: Code | None
    score: Score
    urgency: Urgency
    region: Region | None = None
    laterality: Laterality | None = None

    @property
    def positive(self) -> bool:
        return self.score.positive


@dataclass(frozen=True, kw_only=True, slots=True)
class Algorithm:
    """Who says so: identity and standing of a bundle (TID 4019 Algorithm Identification).

    Attributes
    ----------
    name, version, manufacturer : str
    weights_sha256 : str
        Hex digest of the weights file; the Device UID in result objects changes with it.
    research : bool
        True: ContentQualification RESEARCH everywhere and "research only" on every picture.
    disclaimer : str
        ASCII line in pictures and reports ("not for primary diagnosis"); empty where a cleared product needs none.
    parameters : tuple of str
        Free ASCII "name=value" texts that make a result reproducible (calibration, preprocessing, input size).
    limits : tuple of str
        What it says that it cannot do, one sentence each; shown beside its scores.
    calibration : str
        How its scores were calibrated, in words.
    """

    name: str
    version: str
    manufacturer: str
    weights_sha256: str
    research: bool
    disclaimer: str
    parameters: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    calibration: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageResult:
    """All findings of one bundle on one image, in the bundle's own order, negatives included.

    Of a series that was read as a whole each finding stands on its key slice, with the score of the series; the other
    slices have none.

    Attributes
    ----------
    place : str
        Where the image lies in its series ("slice 14 of 28"); empty for an image that stands alone.
    """

    sop_instance_uid: str
    findings: tuple[Finding, ...]
    place: str = ""

    @property
    def positives(self) -> tuple[Finding, ...]:
        """Positive findings, highest score first."""
        return tuple(sorted((f for f in self.findings if f.positive), key=lambda f: -f.score.value))

    @property
    def urgency(self) -> Urgency:
        return Urgency.highest(*(f.urgency for f in self.findings if f.positive))


@dataclass(frozen=True, kw_only=True, slots=True)
class Considered:
    """What became of one bundle that was asked for an image; those of an image stand in the order of asking.

    Attributes
    ----------
    reason : NotAnalysedReason or None
        Why it does not read the image; None: it does.
    detail : str
        More of the reason, for people: no patient data.
    remarks : tuple of str
        What was missing or unusual in the header and allowed ("view not stated").
    """

    bundle: str
    version: str
    reason: NotAnalysedReason | None = None
    detail: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def refusal(self) -> str | None:
        """The reason in words; None where the bundle reads the image."""
        if self.reason is None:
            return None
        return f"{self.reason.sentence}: {self.detail}" if self.detail else self.reason.sentence


@dataclass(frozen=True, kw_only=True, slots=True)
class NotAnalysed:
    """An image that was looked at and left out, with the reason (``detail`` is for people: no patient data)."""

    sop_instance_uid: str
    reason: NotAnalysedReason
    detail: str = ""
    considered: tuple[Considered, ...] = ()

    @property
    def sentence(self) -> str:
        return f"{self.reason.sentence}: {self.detail}" if self.detail else self.reason.sentence


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisResult:
    """One study × one bundle × one revision: what was read, what it says, what was left out.

    Raises
    ------
    ValueError
        No image was analysed: such a study is "not analysed", it has no result.
    """

    algorithm: Algorithm
    images: tuple[ImageResult, ...]
    not_analysed: tuple[NotAnalysed, ...] = ()

    def __post_init__(self) -> None:
        if not self.images:
            raise ValueError("an AnalysisResult needs at least one analysed image")

    @property
    def urgency(self) -> Urgency:
        """The worst image decides."""
        return Urgency.highest(*(image.urgency for image in self.images))
