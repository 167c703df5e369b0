"""What the doctor looks at on the DICOM side: ports, certificates, listener processes."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from datetime import datetime

from dicom_node.scu import echo
from dicom_node.tls import PeerTls, TlsFiles, acceptor_context, expiring, fingerprint, requestor_tls
from firstread.finding import Finding, Grade
from triage.errors import SettingsError
from triage.identifiers import PeerAddress
from triage.settings import Settings
from triage.tables import Heartbeat
from workers.pulse import died_here
from workers.transport import tls_files


def ports(settings: Settings, now: datetime) -> Iterator[Finding]:
    """Each DICOM port, asked by C-ECHO."""
    if settings.plain_port is not None:
        yield _port(settings, f"DICOM port {settings.plain_port}", settings.plain_port, None)
        if not settings.on_loopback:
            message = "has no TLS: images can be read on the way, AE titles claimed from every listed network"
            advice = "Set dicom_tls_port for peers that can; dicom_plain = false closes this one."
            yield Finding(f"DICOM port {settings.plain_port}", Grade.WARNING, message, advice)
    files = tls_files(settings)
    if settings.dicom_tls_port is not None and files is not None:
        subject = f"DICOM port {settings.dicom_tls_port} (TLS)"
        try:
            # Our own certificate, not a name: what answers is this node, with the certificate that is on the disk now.
            tls = requestor_tls(files, now, certificate=fingerprint(files))
        except SettingsError:
            return  # said by :func:`certificates`
        yield _port(settings, subject, settings.dicom_tls_port, tls)


def certificates(settings: Settings, now: datetime) -> Iterator[Finding]:
    """Our TLS files, where there are any: usable, and for how long."""
    files = tls_files(settings)
    if files is None:
        if not settings.on_loopback:
            yield Finding("TLS", Grade.WARNING, "not set up", "Set dicom_tls_port and the three dicom_tls_… files.")
        return
    problems = [*_problems(settings, files, now)]
    yield from (Finding("TLS", Grade.BAD, str(problem), problem.next_step) for problem in problems)
    if problems:
        return
    soon = expiring(files, now)
    for expiry in soon:
        advice = "Renew it, then restart the listener; a certificate that has ended is refused by every peer."
        yield Finding("TLS", Grade.WARNING, expiry.describe(now), advice)
    if not soon:
        yield Finding("TLS", Grade.GOOD, f"{files.certificate} and its key go together, nothing ends within 30 days")


def listeners(settings: Settings, alive: Sequence[Heartbeat]) -> Iterator[Finding]:
    """As many listener processes as are set."""
    wanted = settings.listener_processes
    living = sum(row.part == "listen" and not died_here(row.name) for row in alive)
    if wanted > 1 and living:
        grade = Grade.GOOD if living >= wanted else Grade.WARNING
        advice = "" if living >= wanted else "The log of the listener says why; they are started again by themselves."
        yield Finding("listener processes", grade, f"{living} of {wanted} live", advice)


def _problems(settings: Settings, files: TlsFiles, now: datetime) -> Iterator[SettingsError]:
    """What start-up would refuse, each side that is used for itself."""
    try:
        if settings.dicom_tls_port is not None:
            acceptor_context(files, now)
        if any(destination.tls for destination in settings.destinations):
            requestor_tls(files, now)
    except SettingsError as error:
        yield error


def _port(settings: Settings, subject: str, port: int, tls: PeerTls | None) -> Finding:
    if port == 0:
        return Finding(subject, Grade.WARNING, "any free one is taken", "Set a number for senders to find us.")
    peer = PeerAddress(settings.ae_title, settings.bind, port)
    outcome = echo(peer, calling_ae_title=settings.ae_title, timeout=3.0, tls=tls)
    if outcome.ok:
        return Finding(subject, Grade.GOOD, f"answers C-ECHO in {outcome.milliseconds:.0f} ms")
    if outcome.rejected:
        return Finding(subject, Grade.GOOD, "answers; our own AE title is not among those that may send")
    with socket.socket(socket.AF_INET6 if ":" in settings.bind else socket.AF_INET) as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.bind, port))
        except OSError as error:
            if tls is not None:
                return Finding(subject, Grade.WARNING, outcome.message, "Restart the listener if files were renewed.")
            message = f"taken by another program or not ours to open ({error.strerror})"
            return Finding(subject, Grade.BAD, message, "Stop that program, or set another port.")
    return Finding(subject, Grade.WARNING, "free, nothing listens there", "`firstread up`, or `firstread listen`")
