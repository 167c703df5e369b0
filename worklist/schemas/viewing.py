"""What the page's viewer is told: the frames of a case, what their words mean, and what the AI marked in them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from triage.findings import Laterality, Urgency
from triage.states import RenderingStatus

MOST_FRAMES = 1 << 16
"""Of one object (:data:`models.layout.MAX_FRAMES`)."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ViewsAsked(BaseModel):
    """A person opens a case."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    first: Annotated[str, Field(max_length=64, pattern=r"^[0-9.]*$")] = ""
    """SOP Instance UID of the image that is looked at first; its neighbours follow."""


class WindowOut(_Answer):
    """PS3.3 C.11.2.1.2, on the scale of the values."""

    centre: float
    width: float
    name: str
    """What the scanner calls it."""


class FramesAsked(BaseModel):
    """A person looks at a frame of an object that has many."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    near: Annotated[int, Field(ge=1, le=MOST_FRAMES)]
    """Number of the frame, from 1; its neighbours follow."""


class FrameOut(_Answer):
    """How to read the words of a frame: value = word * slope + intercept. Of a colour image: bytes, to be shown."""

    rows: int
    columns: int
    source_rows: int
    """Of the image itself; outlines and peaks are in its pixels."""
    source_columns: int
    samples: int
    """1: words. 3: one byte each of red, green and blue, and no window."""
    slope: float
    intercept: float
    unit: str
    """"HU", or empty."""
    inverted: bool
    """Small values are white."""
    windows: list[WindowOut]
    """The first one is what the image asks for; none of a colour image."""
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
    """What windows are applied by (PS3.3 C.11.2.1.3)."""
    aspect: float
    """Height of a pixel divided by its width."""


class MarkOut(_Answer):
    """What the AI marks in an image."""

    finding_id: int
    key: str
    code: str
    meaning: str
    site: str
    laterality: Laterality | None
    score: float
    threshold: float
    urgency: Urgency
    outline: list[list[float]]
    """Closed polygon of (column, row) in pixels of the image; empty without region. Where the network looked, not the
    outline of a lesion."""
    peak: list[float]
    heat_url: str | None
    """PNG, 8-bit grey: how much each part of the image counted for this finding."""


class ViewOut(_Answer):
    """One image of a case, in the viewer."""

    sop_instance_uid: str
    instance_number: str
    view_position: str
    frames: int
    """Of a multi-frame object: what is told here is its first one; 1 until that one is made."""
    rate: float | None
    """Frames a second at which it asks to be played; null where it does not say."""
    place: str
    """ "slice 14 of 28", where a series was read as a whole."""
    status: RenderingStatus | None
    """Null: nobody has asked for it."""
    reason: str
    """Why it cannot be shown."""
    url: str | None
    """Its words, little endian uint16, row by row; bytes of red, green, blue of a colour image."""
    frame: FrameOut | None
    preview_url: str | None
    marks: list[MarkOut]
    """Positive findings only; of the first frame, since networks read objects of one frame."""


class FrameViewOut(_Answer):
    """One frame of an object, in the viewer."""

    number: int
    """From 1."""
    status: RenderingStatus | None
    """Null: nobody has asked for it."""
    reason: str
    """Why it cannot be shown."""
    url: str | None
    frame: FrameOut | None


class FramesOut(_Answer):
    """The frame that is looked at and its neighbours."""

    count: int
    """Frames that the object has."""
    frames: list[FrameViewOut]
    pending: int
    """Of these, how many a worker still has to make; ask again in a moment."""


class ViewedSeries(_Answer):
    """A series in the order of its slices, or of its images."""

    series_instance_uid: str
    modality: str
    description: str
    number: str
    images: list[ViewOut]


class CaseViews(_Answer):
    """What there is to look at in a case."""

    series: list[ViewedSeries]
    pending: int
    """Images that a worker still has to make; ask again in a moment."""
