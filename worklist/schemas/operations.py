"""What the API says to those who look after the node: analyses, deliveries, disk, quarantine."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from triage.retention import Mode
from worklist.schemas.cases import AnalysisOut, DeliveryOut
from worklist.schemas.errands import ErrandOut


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class QueuedAnalysis(AnalysisOut):
    """An analysis with its study."""

    id: int
    study_instance_uid: str
    due: bool
    """False while it waits for the rest of its study."""
    worker: str
    """Process that is at it: part@host:pid."""
    lease_until: datetime | None
    """When its worker counts as gone and another one takes it."""


class AnalysisPage(_Answer):
    items: list[QueuedAnalysis]
    next_before: int | None
    """Send it as `before` for the next page; null on the last one."""


class AttemptOut(_Answer):
    started_at: datetime
    finished_at: datetime
    dicom_status: str | None
    """C-STORE status as 0xhhhh (PS3.4 B.2.3); null when no response came."""
    error: str


class QueuedDelivery(DeliveryOut):
    """A delivery with its object and every attempt."""

    study_instance_uid: str
    sop_instance_uid: str
    kind: str
    variant: str
    created_at: datetime
    identity_held: bool
    """It is held because the study's identity is no longer the result's; sending it takes a confirmation."""
    tried: list[AttemptOut]


class DeliveryPage(_Answer):
    items: list[QueuedDelivery]
    next_before: int | None
    """Send it as `before` for the next page; null on the last one."""


class RefusalOut(_Answer):
    """A listener that takes nothing new."""

    listener: str
    reason: str


class SpaceOut(_Answer):
    """Room on the file system of the archive, and what happens at which mark."""

    free_bytes: int
    total_bytes: int
    free_inodes: int | None
    """Null where the file system makes them as needed."""
    refused_below_bytes: int
    """Below this much free space new data is answered with 0xA700."""
    accepted_from_bytes: int
    """From this much on it is taken again."""
    retention: Mode
    retention_below_bytes: int
    """Below this much free space files of finished studies are removed, oldest first."""
    retention_until_bytes: int
    refusing: list[RefusalOut]
    """Listeners that refuse right now."""
    quarantined: int
    """Entries of the quarantine that nobody has dealt with."""


class QuarantinedOut(_Answer):
    """Bytes that came and could not become an instance."""

    id: int
    at: datetime
    reason: str
    """Names attributes, never values."""
    dicom_status: str
    """What the sender was told, as 0xhhhh."""
    calling_ae_title: str
    peer_address: str
    transfer_syntax_uid: str
    size: int
    digest: str
    """Of the data set."""
    bytes_kept: bool
    dismissed_at: datetime | None
    dismissed_by: str
    retried: ErrandOut | None = None
    """The last second try that was asked for."""


class QuarantinePage(_Answer):
    items: list[QuarantinedOut]
    next_before: int | None
    """Send it as `before` for the next page; null on the last one."""


class ResendWish(_Request):
    """How to send a delivery again."""

    confirm_identity: bool = False
    """Send a result that is held because the study's identity has changed, as it is."""


class ResendAll(_Request):
    """Send everything again that was given up for a destination."""

    destination: Annotated[str, StringConstraints(max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]
    reason: Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    """Only what was given up for this very reason; empty for any."""


class GivenUpOut(_Answer):
    """What was given up for one destination for one reason."""

    destination: str
    reason: str
    count: int


class GivenUp(_Answer):
    items: list[GivenUpOut]


class Resent(_Answer):
    destination: str
    resent: int
    """Deliveries that are PENDING again. What is held because of its identity is not among them."""
