"""What a person thinks of an AI's findings, as plain frozen data: the contract between list, rows and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from triage.findings import Code, Finding, Laterality

KIND: Final = "ASSESSMENT"
"""Kind of the result object that tells an assessment."""


class Opinion(StrEnum):
    """A reader's verdict on one finding, positive or negative."""

    AGREE = "AGREE"
    DISAGREE = "DISAGREE"
    CANNOT_TELL = "CANNOT_TELL"


class OpinionReason(StrEnum):
    """Why a reader does not agree."""

    NOTHING_THERE = "nothing_there"
    MISSED = "missed"
    NORMAL_VARIANT = "normal_variant"
    ARTEFACT = "artefact"
    DEVICE = "device"
    OTHER_FINDING = "other_finding"
    WRONG_PLACE = "wrong_place"
    KNOWN = "known"
    IMAGE_QUALITY = "image_quality"
    OTHER_VIEW_NEEDED = "other_view_needed"
    OTHER = "other"

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return _SENTENCES[self]


_SENTENCES: Final[Mapping[OpinionReason, str]] = {
    OpinionReason.NOTHING_THERE: "nothing of it is to be seen",
    OpinionReason.MISSED: "it is there and was missed",
    OpinionReason.NORMAL_VARIANT: "normal anatomy or a variant of it",
    OpinionReason.ARTEFACT: "an artefact, fold or superposition",
    OpinionReason.DEVICE: "a device or foreign body",
    OpinionReason.OTHER_FINDING: "another finding",
    OpinionReason.WRONG_PLACE: "the region marks another place",
    OpinionReason.KNOWN: "known and unchanged",
    OpinionReason.IMAGE_QUALITY: "the quality of the image",
    OpinionReason.OTHER_VIEW_NEEDED: "needs another view or modality",
    OpinionReason.OTHER: "another reason",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Assessed:
    """One finding of an AI's report and a person's verdict on it.

    Attributes
    ----------
    sop_instance_uid : str
        Of the image that the finding is about.
    reason : OpinionReason or None
        None where the person agrees or gave none.
    comment : str
        Free text.
    at : datetime
        Time zone aware.
    """

    sop_instance_uid: str
    finding: Finding
    opinion: Opinion
    reason: OpinionReason | None
    comment: str
    at: datetime

    @property
    def present(self) -> bool | None:
        """Whether the finding is there, in that person's view; None where they cannot tell."""
        if self.opinion is Opinion.CANNOT_TELL:
            return None
        return self.finding.positive is (self.opinion is Opinion.AGREE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Missed:
    """What a person sees and the AI's report does not say.

    Attributes
    ----------
    id : int
        That no other missed finding of the node has.
    code : Code or None
        None where the AI looks for nothing of the kind: then ``text`` names it.
    withdrawn : bool
        The person, or somebody else, has taken it back.
    at : datetime
        When it was marked, or withdrawn; time zone aware.
    """

    id: int
    code: Code | None
    laterality: Laterality | None
    text: str
    withdrawn: bool
    at: datetime
