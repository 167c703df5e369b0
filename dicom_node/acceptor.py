"""One association as acceptor (PS3.8 section 9.2): admission, negotiation, then one operation after the other.

One thread blocks here per association; nothing polls. The states of PS3.8 Table 9-10 are places in this code:
Sta2 is :meth:`Acceptor.establish`, Sta6 :meth:`Acceptor.serve`, Sta13 the lingering close.
"""

from __future__ import annotations

import contextlib
import struct
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from dicom_node import dimse, negotiation, store_scp
from dicom_node.admission import Admission, AdmissionPolicy, AssociationRequest, Rejection, reason
from dicom_node.alerts import printable
from dicom_node.association import AssociationEnd, AssociationSummary
from dicom_node.contexts import ContextAnswer, ContextResult, answer, purpose
from dicom_node.dimse import CommandField, CommandSet, CommandSetError
from dicom_node.find_scp import FindOperation
from dicom_node.intake import Intake
from dicom_node.match_sending import MatchSender
from dicom_node.pace import AssociationLimits, Pace
from dicom_node.proposal import Proposal, encode_acceptance, read_proposal
from dicom_node.store_scp import Answer, Operation, RefusedOperation
from dicom_node.upper_layer import (
    AbortReason,
    Connection,
    ConnectionLost,
    Fragment,
    Interrupted,
    Pdu,
    PduType,
    PeerAborted,
    PeerReleased,
    PeerStalled,
    ProtocolViolation,
    UpperLayerError,
)
from triage.crash_points import CrashPoint
from triage.logging import get_logger

UNRECOGNIZED_OPERATION: Final = 0x0211
WITHDRAWN: Final = "ADMISSION_WITHDRAWN"
"""Reason of the alert for a request of a peer that may not ask for this any more."""
_LINGER_SECONDS: Final = 2.0

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bounds of one association; seconds and bytes, see :class:`dicom_node.listener.ListenerConfig`."""

    artim_seconds: float
    idle_seconds: float
    message_seconds: float
    send_seconds: float
    maximum_pdu: int
    maximum_data_set: int
    association: AssociationLimits = field(default_factory=AssociationLimits)


class Service(Protocol):
    """A SOP class that a listener serves besides Storage and Verification."""

    @property
    def requestor(self) -> negotiation.Roles:
        """The sides that a requestor may take."""
        ...

    def begin(self, request: CommandSet, transfer_syntax: str, association: AssociationSummary) -> Operation:
        """Start what a request asks for. Never raises."""
        ...


class Acceptor:
    """The accepting side of one association.

    Parameters
    ----------
    policy : callable
        Who may ask for what at this moment; the same object until that changes. What a message has begun is finished
        whatever changes meanwhile; the next one is refused (0x0124), and the association of a peer that is admitted
        no more is then released.
    services : mapping, optional
        By SOP class UID.
    take_slot : callable
        Called once the peer is admitted; a rejection says that there is no room.
    on_refused : callable, optional
        Told reason, calling AE title and address of each request that is rejected for good; never raises or waits
        (:meth:`dicom_node.alerts.SecurityAlerts.refused`).
    """

    def __init__(
        self,
        connection: Connection,
        peer_address: str,
        *,
        intake: Intake,
        policy: Callable[[], AdmissionPolicy],
        limits: Limits,
        take_slot: Callable[[], Rejection | None],
        services: Mapping[str, Service] | None = None,
        on_refused: Callable[[str, str, str], None] | None = None,
    ) -> None:
        self._connection = connection
        self._peer_address = peer_address
        self._intake = intake
        self._policy = policy
        self._admission: Admission
        self._limits = limits
        self._take_slot = take_slot
        self._services = services or {}
        self._on_refused = on_refused
        self._pace = Pace(limits.association, limits.message_seconds, waited=lambda: connection.waited)
        self._contexts: dict[int, tuple[str, str]] = {}
        self._receiving = False
        self._stored = self._failed = 0
        self._command = bytearray()
        self._pending: tuple[int, CommandSet, Operation] | None = None
        self._linger = 0.0
        self._matches: MatchSender | None = None
        self.summary: AssociationSummary | None = None

    def establish(self) -> bool:
        """Wait for a request within ARTIM and answer it. False: rejected, aborted or gone."""
        try:
            start = self._connection.waited
            pdu = self._connection.next_pdu(self._limits.artim_seconds, interruptible=True)
            self._connection.limit_time(self._limits.artim_seconds - (self._connection.waited - start))
            if pdu.type is PduType.ABORT:
                return False
            if pdu.type is not PduType.ASSOCIATE_RQ:
                raise ProtocolViolation(f"{pdu.type.name} before A-ASSOCIATE", AbortReason.UNEXPECTED_PDU)
            body = self._connection.body(pdu)
            proposal = read_proposal(body)
            request = AssociationRequest(
                calling_ae_title=proposal.calling_ae_title,
                called_ae_title=proposal.called_ae_title,
                peer_address=self._peer_address,
                certificate_names=self._connection.certificate_names,
                protocol_version=proposal.protocol_version,
                application_context_name=proposal.application_context_name,
            )
            self._admission = Admission(request, self._policy)
            rejection = self._admission.judge() or self._take_slot()
            if rejection is not None:
                self._reject(request, rejection)
                return False
            self._accept(body, proposal)
        except ProtocolViolation as error:
            log.warning("association_refused", peer=self._peer_address, problem=str(error))
            self._say_last(error.reason)
            return False
        except UpperLayerError as error:
            log.info("connection_unused", peer=self._peer_address, problem=type(error).__name__)
            return False
        return True

    def serve(self) -> AssociationSummary:
        """Serve operations until the association ends; :meth:`close` comes after."""
        end = AssociationEnd.FAILED
        try:
            end = self._serve_until_end()
        except ProtocolViolation as error:
            log.warning("association_aborted", association=self._uid, problem=str(error))
            self._say_last(error.reason)
            end = AssociationEnd.PROTOCOL_ERROR
        except PeerAborted:
            end = AssociationEnd.ABORTED
        except PeerReleased:
            self._linger, end = _LINGER_SECONDS, AssociationEnd.RELEASED
        except PeerStalled:
            self._say_last(AbortReason.NOT_SPECIFIED)
            end = AssociationEnd.TIMED_OUT
        except ConnectionLost:
            end = AssociationEnd.LOST
        finally:
            if self._pending is not None:
                self._pending[2].abandon()
            assert self.summary is not None  # noqa: S101 - establish() comes first
            self.summary = replace(
                self.summary, stored=self._stored, failed=self._failed, closed_at=self._intake.now(), end=end
            )
        return self.summary

    def close(self) -> None:
        """Close the connection; where we spoke last, wait a moment for the peer to read it (Sta13)."""
        self._connection.close(linger=self._linger)

    @property
    def _uid(self) -> str:
        return self.summary.association_uid if self.summary else ""

    def _reject(self, request: AssociationRequest, rejection: Rejection) -> None:
        policy = self._policy()
        why = reason(rejection, request, policy)
        # In our own name, from this host: `firstread doctor`, and no stranger.
        own = self._connection.own_address == self._peer_address
        ourselves = own and request.calling_ae_title.strip(" ") in policy.called_ae_titles
        calling, called = printable(request.calling_ae_title), printable(request.called_ae_title)
        say = log.info if ourselves else log.warning
        say("association_rejected", reason=why, peer=self._peer_address, calling=calling, called=called)
        if self._on_refused is not None and not rejection.transient and not ourselves:
            self._on_refused(why, request.calling_ae_title, self._peer_address)
        self._connection.send(negotiation.encode_rejection(rejection), self._limits.send_seconds)
        self._linger = _LINGER_SECONDS

    def _say_last(self, reason: AbortReason | None) -> None:
        self._connection.send_abort(reason)
        self._linger = _LINGER_SECONDS

    def _accept(self, body: bytes, proposal: Proposal) -> None:
        answers: dict[int, ContextAnswer] = {}
        for context in proposal.contexts():
            reply = answer(context.abstract_syntax, context.transfer_syntaxes, services=self._services)
            wanted = purpose(context.abstract_syntax)
            if (
                wanted is not None
                and wanted not in self._admission.services
                and reply.result is ContextResult.ACCEPTANCE
            ):
                reply = ContextAnswer(ContextResult.USER_REJECTION)
            answers[context.context_id] = reply
            if reply.result is ContextResult.ACCEPTANCE:
                self._contexts[context.context_id] = (context.abstract_syntax, reply.transfer_syntax)
        acceptance = encode_acceptance(
            body,
            answers,
            self._limits.maximum_pdu,
            window=proposal.asynchronous,
            roles={
                uid: self._services[uid].requestor & r for uid, r in proposal.roles.items() if uid in self._services
            },
        )
        self._connection.send(acceptance, self._limits.send_seconds)
        self._matches = MatchSender(
            self._connection, maximum_length=proposal.maximum_length, send_seconds=self._limits.send_seconds
        )
        self.summary = AssociationSummary(
            association_uid=f"2.25.{uuid.uuid4().int}",
            calling_ae_title=proposal.calling_ae_title.strip(" "),
            called_ae_title=proposal.called_ae_title.strip(" "),
            peer_address=self._peer_address,
            opened_at=self._intake.now(),
        )

    def _serve_until_end(self) -> AssociationEnd:
        while True:
            between = not self._receiving
            if between and self._admission.judge() is not None:
                return self._release(AssociationEnd.WITHDRAWN)
            if between and (limit := self._pace.limit_passed(self._connection.bytes_received)):
                log.warning("association_limit", association=self._uid, limit=limit)
                return self._release(AssociationEnd.LIMIT_REACHED)
            try:
                if between:
                    pdu = self._connection.next_pdu(self._limits.idle_seconds)
                else:
                    seconds, deadline = self._limits.message_seconds, self._pace.deadline
                    pdu = self._connection.next_pdu(seconds, interruptible=False, until=deadline)
            except Interrupted:
                return self._release(AssociationEnd.STOPPED)
            match pdu.type:
                case PduType.P_DATA:
                    for fragment in self._connection.fragments(pdu):
                        self._take(fragment)
                case PduType.RELEASE_RQ:
                    self._connection.body(pdu)
                    with contextlib.suppress(UpperLayerError):
                        self._connection.send(negotiation.RELEASE_RP, self._limits.send_seconds)
                    self._linger = _LINGER_SECONDS
                    return AssociationEnd.RELEASED
                case PduType.ABORT:
                    raise PeerAborted
                case _:
                    raise ProtocolViolation(f"unexpected {pdu.type.name}", AbortReason.UNEXPECTED_PDU)

    def _release(self, end: AssociationEnd) -> AssociationEnd:
        """Ask for release (Sta7). What is on its way to us is read and forgotten: unanswered, it is sent again."""
        self._connection.send(negotiation.RELEASE_RQ, self._limits.send_seconds)
        deadline = time.monotonic() + _LINGER_SECONDS
        with contextlib.suppress(UpperLayerError):
            while (left := deadline - time.monotonic()) > 0:
                pdu: Pdu = self._connection.next_pdu(left, interruptible=False)
                if pdu.type in (PduType.RELEASE_RP, PduType.ABORT):
                    return end
                if pdu.type is PduType.RELEASE_RQ:  # both sides asked at once
                    self._connection.send(negotiation.RELEASE_RP, self._limits.send_seconds)
                self._connection.limit_time(left)
                if pdu.type is PduType.P_DATA:
                    deque(self._connection.fragments(pdu), maxlen=0)
                else:
                    self._connection.body(pdu)
        self._say_last(None)
        return end

    def _take(self, fragment: Fragment) -> None:
        if fragment.is_command:
            if self._pending is not None:
                raise ProtocolViolation("command inside a data set", AbortReason.UNEXPECTED_PDU_PARAMETER)
            if not self._receiving:
                self._receiving = True
                self._pace.message_begins()
            self._pace.received(len(fragment.data))
            self._command += fragment.data
            if len(self._command) > dimse.MAXIMUM_COMMAND_SET:
                raise ProtocolViolation("command set too long", AbortReason.INVALID_PDU_PARAMETER_VALUE)
            if fragment.is_last:
                self._begin(fragment.context_id)
            return
        if self._pending is None or self._pending[0] != fragment.context_id:
            raise ProtocolViolation("data set without a command", AbortReason.UNEXPECTED_PDU_PARAMETER)
        _, request, operation = self._pending
        operation.write(fragment.data)
        self._pace.received(len(fragment.data))
        if operation.size > 2 * self._limits.maximum_data_set:
            raise ProtocolViolation("data set without an end", AbortReason.NOT_SPECIFIED)
        if fragment.is_last:
            self._pending = None
            self._receiving = False
            self._respond(fragment.context_id, request, self._result(fragment.context_id, request, operation))
            self._intake.archive.reached(CrashPoint.ANSWERED)

    def _begin(self, context_id: int) -> None:
        if context_id not in self._contexts:
            raise ProtocolViolation("presentation context not accepted", AbortReason.INVALID_PDU_PARAMETER_VALUE)
        try:
            request = dimse.decode(self._command)
        except CommandSetError as error:
            raise ProtocolViolation(f"command set: {error}", AbortReason.INVALID_PDU_PARAMETER_VALUE) from None
        self._command.clear()
        operation = self._operation(context_id, request)
        self._receiving = request.has_data_set and operation is not None
        if operation is None:
            return
        if self._receiving:
            self._pending = (context_id, request, operation)
        else:
            self._respond(context_id, request, operation.finish())

    def _operation(self, context_id: int, request: CommandSet) -> Operation | None:
        """What to do about a request; None for one that has no response."""
        abstract_syntax, transfer_syntax = self._contexts[context_id]
        assert self.summary is not None  # noqa: S101
        match request.command_field:
            case CommandField.C_CANCEL_RQ:
                return None
            case int() as field if field & 0x8000:
                raise ProtocolViolation("response without a request", AbortReason.UNEXPECTED_PDU_PARAMETER)
            case _ if not self._admission.allows(purpose(abstract_syntax)):
                if self._on_refused is not None:
                    self._on_refused(WITHDRAWN, self.summary.calling_ae_title, self._peer_address)
                return RefusedOperation(Answer(store_scp.NOT_AUTHORIZED, comment="may not be asked for any more"))
            case CommandField.N_ACTION_RQ | CommandField.N_EVENT_REPORT_RQ | CommandField.C_FIND_RQ if (
                abstract_syntax in self._services
            ):
                return self._services[abstract_syntax].begin(request, transfer_syntax, self.summary)
            case CommandField.C_STORE_RQ:
                return store_scp.begin(
                    self._intake,
                    request,
                    abstract_syntax=abstract_syntax,
                    transfer_syntax=transfer_syntax,
                    association=self.summary,
                    maximum_size=self._limits.maximum_data_set,
                )
            case CommandField.C_ECHO_RQ:
                return RefusedOperation(Answer(store_scp.SUCCESS))
            case _:
                return RefusedOperation(Answer(UNRECOGNIZED_OPERATION))

    def _result(self, context_id: int, request: CommandSet, operation: Operation) -> Answer:
        if isinstance(operation, FindOperation):
            assert self._matches is not None  # noqa: S101 - _accept() comes first
            return self._matches.answer(context_id, request, operation)
        return operation.finish()

    def _respond(self, context_id: int, request: CommandSet, reply: Answer) -> None:
        if request.command_field == CommandField.C_STORE_RQ:
            self._count(reply)
        body = dimse.response(request, reply.status, comment=reply.comment, offending=reply.offending)
        head = struct.pack(">BxLLBB", PduType.P_DATA, len(body) + 6, len(body) + 2, context_id, 3)
        self._connection.send(head + body, self._limits.send_seconds)

    def _count(self, reply: Answer) -> None:
        if reply.successful:
            self._pace.stored()
            self._stored += 1
        else:
            log.warning("store_refused", association=self._uid, status=f"{reply.status:#06x}", comment=reply.comment)
            self._failed += 1
