"""Sending (PS3.4 annex B, user side): objects to a peer, as they are, over as few associations as possible."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from pydicom.dataset import Dataset
from pynetdicom.status import GENERAL_STATUS, STORAGE_SERVICE_CLASS_STATUS, code_to_category

from dicom_node import outgoing
from dicom_node.contexts import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from dicom_node.negotiation import MAXIMUM_CONTEXTS
from dicom_node.outgoing import OutgoingObject
from dicom_node.requestor import (
    AssociationRejectedError,
    NoDicomError,
    PeerSilentError,
    Requestor,
    Timeouts,
    TlsRefusedError,
)
from dicom_node.tls import PeerTls
from triage.errors import DeliveryError, DicomError
from triage.identifiers import PeerAddress

UNCOMPRESSED: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""Offered beside each object's own transfer syntax, for peers that do not take that one."""

Source = Path | Dataset
Context = tuple[str, tuple[str, ...]]


class StatusClass(StrEnum):
    """What a C-STORE status asks the sender to do."""

    SUCCESS = "success"
    WARNING = "warning"
    """Stored, with a remark."""
    RETRY = "retry"
    """Not stored now; the same bytes may be taken later."""
    PERMANENT = "permanent"
    """Not stored; the same bytes will be refused again."""


def classify(status: int) -> StatusClass:
    """Sort a C-STORE status (PS3.4 B.2.3, PS3.7 annex C).

    0x0111 (duplicate SOP instance) counts as a warning: our UIDs are derived from the content, so what the peer has
    under this UID is what we sent before. Unknown failures are permanent: the outbox tries those a few times too.
    """
    if status == 0x0111:
        return StatusClass.WARNING
    if status in (0x0110, 0x0213) or status >> 8 == 0xA7:  # processing failure, resource limitation, out of resources
        return StatusClass.RETRY
    match code_to_category(status):
        case "Success":
            return StatusClass.SUCCESS
        case "Warning":
            return StatusClass.WARNING
        case _:
            return StatusClass.PERMANENT


@dataclass(frozen=True, kw_only=True, slots=True)
class SendOutcome:
    """What became of one object.

    Attributes
    ----------
    sop_instance_uid : str
        "" when the source is not a DICOM object.
    status : int or None
        The peer's status, None when no response came.
    error : str
        "" when it was stored; else what happened and what to do, without patient data.
    retryable : bool
        Trying the same again later can help.
    needs_attention : bool
        A setting at one end has to change first (rejected permanently, SOP class or syntax not accepted).
    unreachable : bool
        It says nothing about this object: the next one would fare the same now.
    """

    sop_instance_uid: str
    status: int | None = None
    error: str = ""
    retryable: bool = False
    needs_attention: bool = False
    unreachable: bool = False

    @property
    def stored(self) -> bool:
        return not self.error

    @property
    def remark(self) -> str:
        """What a Warning status says of an object that was stored; "" without one."""
        if not self.stored or not self.status:
            return ""
        meaning = STORAGE_SERVICE_CLASS_STATUS.get(self.status) or GENERAL_STATUS.get(self.status)
        return f"stored with status {self.status:#06x}" + (f" ({meaning[1]})" if meaning else "")


@dataclass(frozen=True, slots=True)
class EchoOutcome:
    """Answer of :func:`echo`; ``milliseconds`` from connecting to the response, 0 without one.

    ``rejected`` says that the peer answered, and does not take associations from us; ``problem`` is the message without
    its advice, which is about deliveries; ``advice`` is for who asks by hand.
    """

    ok: bool
    milliseconds: float
    message: str
    rejected: bool = False
    problem: str = ""
    advice: str = ""


Progress = Callable[[SendOutcome], None]


class StoreSession:
    """A standing association to one peer, opened when first needed and opened anew when it went away.

    Use as a context manager; leaving it releases the association. Not for several threads at once.

    Parameters
    ----------
    tls : PeerTls, optional
        Secure every association; without it none is.
    also : iterable of (SOP class UID, transfer syntax UIDs)
        Proposed with every association: for objects that will follow, or to learn what the peer serves.
    on_progress : callable, optional
        Told of each piece of an object that the peer has taken.
    """

    def __init__(
        self,
        peer: PeerAddress,
        *,
        calling_ae_title: str,
        timeouts: Timeouts | None = None,
        tls: PeerTls | None = None,
        also: Iterable[Context] = (),
        on_progress: Callable[[], None] | None = None,
    ) -> None:
        self._peer = peer
        self._on_progress = on_progress
        self._also = frozenset(also)
        self._calling_ae_title = calling_ae_title
        self._timeouts = timeouts or Timeouts()
        self._tls = tls
        self._association: Requestor | None = None
        self._offered: frozenset[Context] = frozenset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the association if there is one."""
        association, self._association = self._association, None
        if association is not None:
            association.release()

    def serves(self, sop_class_uid: str) -> bool:
        """True when the standing association has the SOP class."""
        return self._association is not None and any(uid == sop_class_uid for uid, _ in self._association.accepted)

    def send(self, sources: Sequence[Source], progress: Progress | None = None) -> list[SendOutcome]:
        """Send objects in order.

        Parameters
        ----------
        sources : sequence of Path or Dataset
        progress : callable, optional
            Called with each outcome as it is known.

        Returns
        -------
        list of SendOutcome
            One per source, in the same order. Nothing is raised for what a peer or a file does.
        """
        outcomes: list[SendOutcome | None] = [None] * len(sources)

        def settle(index: int, outcome: SendOutcome) -> None:
            outcomes[index] = outcome
            if progress is not None:
                progress(outcome)

        loaded: list[tuple[int, OutgoingObject]] = []
        for index, source in enumerate(sources):
            try:
                loaded.append((index, _load(source)))
            except DicomError as error:
                settle(index, SendOutcome(sop_instance_uid="", error=error.advice()))
        unreachable: DeliveryError | None = None
        for batch, contexts in _batches(loaded):
            for index, item in batch:
                if unreachable is None:
                    outcome, unreachable = self._send_one(item, contexts)
                else:
                    outcome = _failed(item, unreachable, unreachable=True)
                settle(index, outcome)
        return [outcome for outcome in outcomes if outcome is not None]

    def _send_one(self, item: OutgoingObject, contexts: frozenset[Context]) -> tuple[SendOutcome, DeliveryError | None]:
        """The outcome, and the error that makes trying the next object pointless now, if it was one."""
        for _ in range(2):
            standing = self._association is not None
            try:
                association = self._associate(contexts)
            except DeliveryError as error:
                return _failed(item, error, unreachable=True), error
            try:
                outcome = _store(association, item)
            except DeliveryError as error:
                self._association = None
                if standing and not isinstance(error, PeerSilentError):
                    continue  # the peer had closed an idle association: once more on a new one
                silent = isinstance(error, PeerSilentError)
                return _failed(item, error, unreachable=silent), error if silent else None
            except (DicomError, OSError) as error:
                return _unsendable(item, error), None
            return outcome, None
        raise AssertionError("not reached: the second round has a new association")

    def _associate(self, contexts: frozenset[Context]) -> Requestor:
        if self._association is not None and contexts <= self._offered:
            return self._association
        wanted = contexts | self._also | (self._offered if self._association is not None else frozenset())
        if len(wanted) > MAXIMUM_CONTEXTS:
            wanted = contexts
        self.close()
        self._association = Requestor.open(
            self._peer,
            calling_ae_title=self._calling_ae_title,
            contexts=sorted(wanted),
            timeouts=self._timeouts,
            tls=self._tls,
        )
        self._offered = wanted
        if self._on_progress is not None:
            self._association.on_progress = self._on_progress
        return self._association


def send(
    peer: PeerAddress,
    sources: Sequence[Source],
    *,
    calling_ae_title: str,
    timeouts: Timeouts | None = None,
    progress: Progress | None = None,
    tls: PeerTls | None = None,
) -> list[SendOutcome]:
    """Send files or Datasets over one association (more when they need over 128 contexts); see :class:`StoreSession`.

    Example
    -------
    >>> outcomes = send(PeerAddress.parse("PACS@10.0.0.5:104"), [Path("a.dcm")], calling_ae_title="FIRSTREAD")
    """
    with StoreSession(peer, calling_ae_title=calling_ae_title, timeouts=timeouts, tls=tls) as session:
        return session.send(sources, progress)


def echo(peer: PeerAddress, *, calling_ae_title: str, timeout: float = 10.0, tls: PeerTls | None = None) -> EchoOutcome:
    """Ask a peer whether it is there and knows us (C-ECHO, PS3.4 annex A). Raises nothing for what the peer does."""
    timeouts = Timeouts(connect=timeout, association=timeout, send=timeout, response=timeout)
    start = time.monotonic()
    try:
        association = Requestor.open(
            peer, calling_ae_title=calling_ae_title, contexts=[(VERIFICATION, UNCOMPRESSED)], timeouts=timeouts, tls=tls
        )
        status = association.echo()
    except DeliveryError as error:
        rejected = isinstance(error, AssociationRejectedError)
        advice = _advice(error, peer, calling_ae_title, secured=tls is not None)
        return EchoOutcome(False, 0.0, error.advice(), rejected, str(error), advice)
    milliseconds = (time.monotonic() - start) * 1000
    association.release()
    if status:
        message = f"{peer} answers C-ECHO with status {status:#06x}."
        return EchoOutcome(False, milliseconds, message, problem=message, advice="Its log says why.")
    return EchoOutcome(True, milliseconds, f"{peer} answers.")


def _advice(error: DeliveryError, peer: PeerAddress, calling_ae_title: str, *, secured: bool) -> str:
    """What to look at, most likely first."""
    if isinstance(error, AssociationRejectedError):
        return f"Check that it admits {calling_ae_title} as calling AE title, and that its own is {peer.ae_title}."
    if isinstance(error, TlsRefusedError) and error.next_step != TlsRefusedError.next_step:
        return error.next_step
    if isinstance(error, TlsRefusedError):
        return (
            f"Its certificate must be valid and name {peer.host}, or what `certificate` says, and each side must trust "
            f"the authority of the other's. What it shows: openssl s_client -connect {peer.host}:{peer.port}"
        )
    if isinstance(error, NoDicomError):
        return f"Check address and port, and that it is one {'with' if secured else 'without'} TLS."
    return "Check address and port, and that it runs."


def _load(source: Source) -> OutgoingObject:
    return outgoing.of_file(source) if isinstance(source, Path) else outgoing.of_dataset(source)


def contexts_of(sop_class_uid: str, transfer_syntax_uid: str) -> frozenset[Context]:
    """An object's own syntax in a context of its own, so that it is sent as it is; uncompressed ones beside it."""
    return frozenset((sop_class_uid, (uid,)) for uid in (transfer_syntax_uid, *UNCOMPRESSED))


def _contexts(item: OutgoingObject) -> frozenset[Context]:
    return contexts_of(item.sop_class_uid, item.transfer_syntax_uid)


def _batches(
    items: Sequence[tuple[int, OutgoingObject]],
) -> Iterator[tuple[list[tuple[int, OutgoingObject]], frozenset[Context]]]:
    """Split so that no association proposes more than 128 contexts (PS3.8 9.3.2.2: ids are odd and below 256)."""
    batch: list[tuple[int, OutgoingObject]] = []
    contexts: frozenset[Context] = frozenset()
    for index, item in items:
        more = contexts | _contexts(item)
        if len(more) > MAXIMUM_CONTEXTS:
            yield batch, contexts
            batch, more = [], _contexts(item)
        batch.append((index, item))
        contexts = more
    if batch:
        yield batch, contexts


def _store(association: Requestor, item: OutgoingObject) -> SendOutcome:
    syntaxes = (item.transfer_syntax_uid, *UNCOMPRESSED)
    accepted = next((uid for uid in syntaxes if (item.sop_class_uid, uid) in association.accepted), None)
    if accepted is None:
        return SendOutcome(
            sop_instance_uid=item.sop_instance_uid,
            error="The peer does not accept this SOP class. Enable it for storage at the peer.",
            retryable=False,
            needs_attention=True,
        )
    if accepted != item.transfer_syntax_uid:
        item = item.converted(accepted)
    context_id = association.accepted[item.sop_class_uid, accepted]
    with item.data_set() as data:
        status = association.store(context_id, item.sop_class_uid, item.sop_instance_uid, data)
    kind = classify(status)
    if kind in (StatusClass.SUCCESS, StatusClass.WARNING):
        return SendOutcome(sop_instance_uid=item.sop_instance_uid, status=status)
    return SendOutcome(
        sop_instance_uid=item.sop_instance_uid,
        status=status,
        error=f"The peer refused the object with status {status:#06x}.",
        retryable=kind is StatusClass.RETRY,
    )


def _failed(item: OutgoingObject, error: DeliveryError, *, unreachable: bool) -> SendOutcome:
    return SendOutcome(
        sop_instance_uid=item.sop_instance_uid,
        status=error.status,
        error=error.advice(),
        retryable=error.retryable,
        needs_attention=not error.retryable
        or isinstance(error, TlsRefusedError)
        or (isinstance(error, AssociationRejectedError) and error.permanent),
        unreachable=unreachable,
    )


def _unsendable(item: OutgoingObject, error: DicomError | OSError) -> SendOutcome:
    if isinstance(error, DicomError):
        # The class's own advice is for a receiver, who has kept the bytes.
        own = error.next_step != DicomError.next_step
        text = error.advice() if own else f"{error} Nothing was sent; correct the file at its source."
    else:
        text = f"The file cannot be read ({error.strerror})."
    return SendOutcome(sop_instance_uid=item.sop_instance_uid, error=text, needs_attention=True)
