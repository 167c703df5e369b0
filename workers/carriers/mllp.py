"""HL7 v2 over MLLP: what an acknowledgement means for a delivery."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from dicom_node.tls import PeerTls, TlsFiles, requestor_tls
from triage.errors import DeliveryError, DicomError, SettingsError
from triage.outbox import Verdict
from triage.peers import Destination
from triage.repositories.deliveries import Attempt
from triage.settings import Settings
from triage.tables import Delivery
from workers.carriers.message_carrier import MessageCarrier, Told, identity_of
from workers.carriers.mllp_link import (
    AckCode,
    Acknowledgement,
    MllpConfusedError,
    MllpLink,
    MllpSilentError,
    MllpTlsError,
    Patience,
)
from workers.carriers.protocol import CarrierKind, Checked
from workers.messages.hl7 import Message
from workers.messages.masking import masked
from workers.transport import tls_files

if TYPE_CHECKING:
    from workers.workbench import Workbench

PATIENCE: Final = Patience()
CHECKING: Final = Patience(connect=5.0, exchange=5.0)

_ACCEPTED: Final = (AckCode.ACCEPTED, AckCode.COMMIT_ACCEPTED)
_REJECTED: Final = (AckCode.REJECTED, AckCode.COMMIT_REJECTED)
_PASSING: Final = ("206", "207")
"""Table 0357: application record locked, application internal error."""
_OF_THE_MESSAGE: Final = ("100", "101", "102", "103", "200", "201", "202", "203")
"""Table 0357: sequence, required field, data type, table value; type, event, processing ID, version not supported."""


class MllpCarrier(MessageCarrier):
    """Sends over one connection, which is kept between messages.

    Raises
    ------
    SettingsError
        A certificate or key cannot be used.
    """

    def __init__(self, bench: Workbench, destination: Destination, _batch: Sequence[Delivery]) -> None:
        super().__init__(bench)
        where = destination.where
        tls = tls_of(bench.settings, destination, bench.clock())
        self._link = MllpLink(where.host, where.port, tls=tls, patience=PATIENCE)

    def close(self) -> None:
        self._link.close()

    def tell(self, delivery: Delivery, content: bytes) -> Told:
        try:
            header = Message.parse(content).first("MSH")
        except DicomError as error:
            return Told(attempt=Attempt(verdict=Verdict.HELD, error=error.advice()))
        control_id = header.text(10) if header else ""
        try:
            said = self._link.exchange(content, control_id)
        except DeliveryError as error:
            patient = isinstance(error, MllpSilentError)
            verdict = Verdict.TRANSIENT if patient else Verdict.UNWELCOME
            return Told(attempt=Attempt(verdict=verdict, error=error.advice()), answered=False)
        return Told(attempt=judged(self._link.where, said, identity_of(delivery)))


def judged(where: str, said: Acknowledgement, identity: Sequence[str]) -> Attempt:
    """What an acknowledgement means for a delivery."""
    verdict = _verdict(said)
    text = masked(said.text, identity)
    if verdict is Verdict.DELIVERED:
        return Attempt(verdict=verdict, note=f"{said.code}: {text}" if text else "")
    code = f"{said.code} {said.reason}" if said.reason in (*_PASSING, *_OF_THE_MESSAGE) else str(said.code)
    return Attempt(verdict=verdict, error=f"{where} answers {code}{f': {text}' if text else ''}.")


def _verdict(said: Acknowledgement) -> Verdict:
    """An error may be a patient or an order that is not there yet, so it is tried for a while. A rejection is about the
    message, or about a receiver that is down (v2.5.1 2.9.2.2): what is given up soon has to say that it is the former.
    """
    if said.code in _ACCEPTED:
        return Verdict.DELIVERED
    if said.reason in _PASSING:
        return Verdict.TRANSIENT
    if said.code in _REJECTED and said.reason in _OF_THE_MESSAGE:
        return Verdict.REFUSED
    return Verdict.UNWELCOME


def tls_of(settings: Settings, destination: Destination, now: datetime) -> PeerTls | None:
    """TLS towards an HL7 receiver, as ``mllps://`` asks for it; None for ``mllp://``.

    Our DICOM certificate is shown where there is one; the receiver's is checked against ``trusted_file``, else
    ``dicom_tls_trusted``, else what this system trusts.

    Raises
    ------
    SettingsError
        A file that cannot be used; says which and why.
    """
    if not destination.where.secure:
        return None
    certificate = destination.certificate or ""
    own = tls_files(settings)
    if own is not None:
        trusted = destination.trusted_file or own.trusted
        files = TlsFiles(certificate=own.certificate, key=own.key, trusted=trusted)
        return requestor_tls(files, now, certificate=certificate)
    try:
        context = ssl.create_default_context(cafile=destination.trusted_file)
    except (OSError, ssl.SSLError):
        raise SettingsError(f"{destination.trusted_file} cannot be read as certificates in PEM form.") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = not certificate
    return PeerTls(context, certificate)


def check(settings: Settings, destination: Destination, now: datetime) -> Checked:
    """Open a connection; a message that only tests does not exist in HL7 v2."""
    where = destination.where
    with MllpLink(where.host, where.port, tls=tls_of(settings, destination, now), patience=CHECKING) as link:
        try:
            link.check()
        except (MllpSilentError, MllpTlsError, MllpConfusedError) as error:
            return Checked(ok=False, message=str(error), next_step=error.next_step)
    return Checked(ok=True, message="takes a connection")


KIND = CarrierKind(open=MllpCarrier, check=check)
