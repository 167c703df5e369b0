"""What the API says of orders and of the feeds that they come by."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from triage.findings import Urgency
from triage.states import ReadingStatus


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class FeedOut(_Answer):
    """A feed of orders that is set, and how it stands."""

    feed: str
    """`HL7`, or the address of a Modality Worklist."""
    state: Literal["working", "failing", "silent"]
    """`failing`: `problem` says why; `silent`: no process that takes orders has shown life lately."""
    problem: str
    since: datetime | None
    """Counted from then on: the start of that process."""
    last_at: datetime | None
    """Of the last message, or of the last answer of the worklist."""
    messages: int
    """HL7 messages that were answered."""
    refused: int
    """Of these, with AE or AR."""
    orders: int
    """Orders that were heard of, repetitions included."""


class SenderOut(_Answer):
    """What one system has ordered, among the newest 20,000 orders."""

    source: str
    sender: str
    orders: int
    unknown: int
    """With a priority that nobody knows: it claims nothing until the settings say what it means (`priorities`)."""
    cancelled: int
    last_at: datetime


class RefusedOut(_Answer):
    """Messages that were refused lately, of one sender for one reason."""

    sender: str
    """Application and facility of MSH; empty for what was no HL7."""
    reason: str
    """Names fields, never values."""
    times: int
    last_at: datetime


class OrderedStudyOut(_Answer):
    """A study with an order's accession number."""

    study_instance_uid: str
    urgency: Urgency
    """Its class in the list."""
    order_urgency: Urgency | None
    """What its orders and its images ask for together."""
    reading_status: ReadingStatus
    of_this_patient: bool
    """False: the order names another patient and claims nothing."""


class OrderOut(_Answer):
    """An order as its sender said it last."""

    id: int
    source: str
    sender: str
    accession_number: str
    priority: str
    """As the sender wrote it."""
    urgency: Urgency | None
    """What that means; null where nobody knows, and then it claims nothing."""
    cancelled_at: datetime | None
    received_at: datetime
    changed_at: datetime
    studies: list[OrderedStudyOut]
    """The first five; none while no images have come."""


class OrderPage(_Answer):
    items: list[OrderOut]
    next_before: int | None
    """Send it as `before` for the next page; null on the last one."""


class OrderFeeds(_Answer):
    feeds: list[FeedOut]
    """Every feed of the settings; empty where none is set."""
    senders: list[SenderOut]
    refused: list[RefusedOut]
    waiting: int
    """Standing orders of the last day without a study."""
