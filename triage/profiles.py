"""What one destination wants: which objects, and in which form. Frozen values, no network, no pixels.

Where a profile gives an object another content than the default, that object has another identity: its *variant* is
part of its UIDs and of its row, so that one UID never names two contents, and destinations that want the same share it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from string import Formatter
from typing import Final, Literal, Self, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class ResultKind(StrEnum):
    """A DICOM object that an analysis can be told in."""

    REPORT = "SR"
    HEAT_MAP = "SC"
    SEGMENTATION = "SEG"
    PARAMETRIC_MAP = "PM"
    PRESENTATION_STATE = "PR"
    PDF = "PDF"
    KEY_OBJECTS = "KO"

    @property
    def words(self) -> str:
        """As it stands in a series description."""
        return _WORDS[self]


class MessageKind(StrEnum):
    """What systems downstream of DICOM are told an analysis in."""

    HL7 = "HL7"
    FHIR = "FHIR"
    UPS = "UPS"
    LABEL = "LABEL"
    WEBHOOK = "WEBHOOK"


Kind: TypeAlias = ResultKind | MessageKind
CharacterSet: TypeAlias = Literal["source", "utf-8", "latin-1", "ascii"]
CHARACTER_SETS: Final[tuple[CharacterSet, ...]] = get_args(CharacterSet)
Segmentation: TypeAlias = Literal["binary", "fractional"]
Compression: TypeAlias = Literal["none", "jpeg", "jpeg-2000", "rle"]

MARKING: Final = frozenset(
    {ResultKind.HEAT_MAP, ResultKind.SEGMENTATION, ResultKind.PARAMETRIC_MAP, ResultKind.PRESENTATION_STATE}
)
"""Objects that mark regions on an image."""
OF_AN_IMAGE: Final = MARKING
"""Objects about one image each; the others are about the study."""
SERIES_OFFSET: Final[Mapping[ResultKind, int]] = {
    ResultKind.REPORT: 0,
    ResultKind.HEAT_MAP: 1,
    ResultKind.SEGMENTATION: 2,
    ResultKind.PARAMETRIC_MAP: 3,
    ResultKind.PRESENTATION_STATE: 4,
    ResultKind.PDF: 5,
    ResultKind.KEY_OBJECTS: 6,
}
"""Added to the series number of a profile, so that the kinds stand in this order behind the images."""
SERIES_NUMBER: Final = 9001
DESCRIPTION: Final = "AI firstread {kind} {bundle}"
LONGEST_DESCRIPTION: Final = 64
"""Characters of a Series Description (LO, PS3.5 6.2)."""
PLACEHOLDERS: Final = ("kind", "bundle", "version")

_WORDS: Final[Mapping[ResultKind, str]] = {
    ResultKind.REPORT: "report",
    ResultKind.HEAT_MAP: "heat map",
    ResultKind.SEGMENTATION: "segmentation",
    ResultKind.PARAMETRIC_MAP: "parametric map",
    ResultKind.PRESENTATION_STATE: "presentation state",
    ResultKind.PDF: "PDF report",
    ResultKind.KEY_OBJECTS: "key images",
}
_COMMON: Final = ("series_number", "series_description", "character_set")
"""What shows in every object."""
_ALSO: Final[Mapping[ResultKind, tuple[str, ...]]] = {
    ResultKind.HEAT_MAP: ("compression",),
    ResultKind.SEGMENTATION: ("segmentation", "compression", "eight_bit"),
    ResultKind.PDF: ("heat_map",),
}
_REFERS_TO: Final[Mapping[ResultKind, tuple[ResultKind, ...]]] = {
    ResultKind.REPORT: (ResultKind.HEAT_MAP, ResultKind.SEGMENTATION, ResultKind.PARAMETRIC_MAP),
}
"""Objects that name other results: other ones, or another variant of those, are another content."""
SHOWING: Final = _REFERS_TO[ResultKind.REPORT]
"""Objects about an image that the report names as explanation."""


class Profile(BaseModel):
    """What a destination wants; the default is what every PACS takes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    objects: tuple[ResultKind, ...] = (ResultKind.REPORT, ResultKind.HEAT_MAP)
    """Which DICOM objects: `SR` report, `SC` heat map as a picture, `SEG` segmentation, `PM` parametric map, `PR`
    presentation state, `PDF` report, `KO` key images."""
    heat_map: bool = True
    """Send objects that mark regions (SC, SEG, PM, PR). Marking an image is a regulatory question (a device that marks
    regions is not a triage-only device under 21 CFR 892.2080), so a site can switch it off per destination."""
    series_number: int = Field(default=SERIES_NUMBER, ge=1, le=2_000_000_000)
    """Series number of the report; the other kinds follow it: SC + 1, SEG + 2, PM + 3, PR + 4, PDF + 5, KO + 6."""
    series_description: str = DESCRIPTION
    """Template of the series descriptions, with `{kind}`, `{bundle}` and `{version}`; ASCII, cut to 64 characters."""
    character_set: CharacterSet = "source"
    """`source`: patient and study byte for byte as the images have them. `utf-8`, `latin-1`, `ascii`: written anew for
    a system that reads nothing else; what it cannot hold is transliterated, or shows as `?`."""
    compression: Compression = "none"
    """Of pictures: `none` is read by everything; `jpeg` (baseline, lossy) takes a tenth of the room; `jpeg-2000` and
    `rle` are lossless. Segmentations are never compressed with loss."""
    segmentation: Segmentation = "binary"
    """Of SEG: `binary`, the region that the report outlines, which viewers show; `fractional`, where the network looked
    in 256 steps, which few viewers show. A region is one bit per pixel, with `eight_bit` a byte of 0 or 255."""
    eight_bit: bool = False
    """For systems that show pictures of 8 bits per sample only."""

    @field_validator("objects")
    @classmethod
    def _each_once(cls, value: tuple[ResultKind, ...]) -> tuple[ResultKind, ...]:
        return tuple(kind for kind in ResultKind if kind in value)

    @field_validator("series_description")
    @classmethod
    def _template(cls, value: str) -> str:
        return checked_template(value)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.kinds:
            raise ValueError("objects: nothing would be sent; name at least SR")
        if self.eight_bit and ResultKind.PARAMETRIC_MAP in self.kinds:
            raise ValueError("objects: a parametric map (PM) has floating point pixels, which eight_bit excludes")
        return self

    @property
    def kinds(self) -> tuple[ResultKind, ...]:
        """The objects, without those that mark regions where these are switched off."""
        return tuple(kind for kind in self.objects if self.heat_map or kind not in MARKING)

    def series_number_of(self, kind: ResultKind) -> int:
        """Series Number of a kind's series."""
        return self.series_number + SERIES_OFFSET[kind]

    def description_of(self, kind: ResultKind, *, bundle: str, version: str) -> str:
        """Series Description of a kind's series, as the template has it; not cut yet."""
        return self.series_description.format(kind=kind.words, bundle=bundle, version=version)

    def variant(self, kind: ResultKind) -> str:
        """Digest of what differs from the default in an object of that kind, 12 hexadecimal digits; "" for nothing."""
        facts = [
            f"{name}={getattr(self, name)}"
            for name in (*_COMMON, *_ALSO.get(kind, ()))
            if getattr(self, name) != getattr(DEFAULT, name)
        ]
        for other in _REFERS_TO.get(kind, ()):
            referred, usual = self._referred(other), DEFAULT._referred(other)
            if referred != usual:
                facts.append(f"{other}:{referred}")
        return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:12] if facts else ""

    def _referred(self, kind: ResultKind) -> str:
        return (self.variant(kind) or "default") if kind in self.kinds else "none"


DEFAULT: Final = Profile()


def checked_template(text: str) -> str:
    """A template of series descriptions whose placeholders are known.

    Raises
    ------
    ValueError
        Unknown or malformed placeholders, text outside printable ASCII, or more than a description may have.
    """
    known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    try:
        fields = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(text) if name is not None]
    except ValueError:
        raise ValueError(f"series_description: braces stand around {known} only") from None
    for name, spec, conversion in fields:
        if name not in PLACEHOLDERS or spec or conversion:
            raise ValueError(f"series_description: {{{name}}} is none of {known}")
    if not text.strip() or not (text.isascii() and text.isprintable()) or "\\" in text:
        raise ValueError("series_description is printable ASCII text without backslash, which every character set has")
    if sum(len(literal) for literal, *_ in Formatter().parse(text)) > LONGEST_DESCRIPTION:
        raise ValueError(f"series_description has more than {LONGEST_DESCRIPTION} characters")
    return text
