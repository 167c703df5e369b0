"""The DICOM ports: accepts connections, gives each a thread, and ends them all in order.

A connection is first *silent*: it has sent no association request yet. Silent ones live in a small waiting room
and never count as associations; when the room is full its oldest goes, so that a peer which speaks at once always
gets in, however many sockets somebody else holds open. A TLS handshake is part of the silence: the connection's own
thread takes it, within the same time.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from dicom_node.acceptor import Acceptor, Limits, Service
from dicom_node.admission import AdmissionPolicy, AllowedPeer, PolicyInForce, Rejection
from dicom_node.association import AssociationSummary
from dicom_node.association_table import AssociationTable
from dicom_node.intake import Intake
from dicom_node.pace import AssociationLimits
from dicom_node.ports import OpenPort, open_port
from dicom_node.secured import TlsConnection, TlsFailed
from dicom_node.tls import TlsFiles, acceptor_context
from dicom_node.upper_layer import Connection, UpperLayerError
from triage.errors import SettingsError
from triage.identifiers import is_loopback
from triage.logging import get_logger

_ALERT_SECONDS: Final = 1.0
"""For a peer to read why its handshake was refused."""

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ListenerConfig:
    """Everything a site can set about the DICOM ports.

    Attributes
    ----------
    ae_title : str
        Our AE title; requests that call another one are rejected unless ``any_called_ae_title``.
    bind, port
        Address and port to listen on without TLS; port 0 takes a free one, None opens none.
    tls_port, tls
        Port to listen on with TLS, and what to present and trust there; both or neither.
    peers : tuple of AllowedPeer
        Who may send. Empty: everybody, which is refused unless ``bind`` is loopback.
    maximum_associations, maximum_associations_per_address : int
        More are rejected as transient (local limit exceeded).
    maximum_silent, maximum_silent_per_address : int
        Connections without a request; beyond, the oldest is closed.
    artim_seconds : float
        Time for the association request to be complete (PS3.8 9.1.5).
    idle_seconds : float
        An association without a message this long is aborted.
    stall_seconds : float
        A message in which nothing comes for this long, or a PDU slower than 16 KiB/s, ends the association.
    maximum_pdu : int
        Bytes of P-DATA-TF that we announce to accept; a longer one ends the association. 0: any length.
    maximum_data_set : int
        Bytes of one data set; more are answered with 0xA700.
    association_limits : AssociationLimits
        When an association is released between two messages.
    """

    ae_title: str
    bind: str = "127.0.0.1"
    port: int | None = 11112
    tls_port: int | None = None
    tls: TlsFiles | None = None
    any_called_ae_title: bool = False
    peers: tuple[AllowedPeer, ...] = ()
    maximum_associations: int = 100
    maximum_associations_per_address: int = 100
    maximum_silent: int = 128
    maximum_silent_per_address: int = 32
    artim_seconds: float = 10.0
    idle_seconds: float = 60.0
    stall_seconds: float = 15.0
    maximum_pdu: int = 1024 * 1024
    maximum_data_set: int = 2 * 1024**3
    association_limits: AssociationLimits = field(default_factory=AssociationLimits)

    @property
    def on_loopback(self) -> bool:
        return is_loopback(self.bind)

    @property
    def policy(self) -> AdmissionPolicy:
        """Who may associate, of the settings alone.

        Raises
        ------
        SettingsError
            Open to other machines and no peers are listed.
        """
        if not self.peers and not self.on_loopback:
            raise SettingsError(f"Bound to {self.bind} the listener needs a list of peers that may send.")
        return AdmissionPolicy(
            called_ae_titles=() if self.any_called_ae_title else (self.ae_title,), peers=self.peers or None
        )

    @property
    def limits(self) -> Limits:
        return Limits(
            artim_seconds=self.artim_seconds,
            idle_seconds=self.idle_seconds,
            message_seconds=self.stall_seconds,
            send_seconds=self.stall_seconds,
            maximum_pdu=self.maximum_pdu,
            maximum_data_set=self.maximum_data_set,
            association=self.association_limits,
        )

    def open_ports(self, now: datetime) -> tuple[OpenPort, ...]:
        """Listen on every port; nobody accepts yet.

        Raises
        ------
        SettingsError
            A port or a certificate cannot be used, or no port is set.
        """
        if self.port is None and self.tls_port is None:
            raise SettingsError("Neither a plain nor a TLS port is set: nobody could send.")
        context = None
        if self.tls_port is not None:
            if self.tls is None:
                raise SettingsError(f"The TLS port {self.tls_port} needs a certificate.")
            context = acceptor_context(self.tls, now)
        wanted = ((self.port, None), (self.tls_port, context))
        return tuple(open_port(self.bind, number, tls) for number, tls in wanted if number is not None)

    def table(self, *, shared: bool = False) -> AssociationTable:
        """Places for the associations of all processes that listen on these ports."""
        return AssociationTable(self.maximum_associations, self.maximum_associations_per_address, shared=shared)


Opened = Callable[[AssociationSummary], None]


class Listener:
    """Storage and Verification provider on the ports of one node.

    Parameters
    ----------
    intake : Intake
        Takes custody of every instance.
    ports : sequence of OpenPort, optional
        Already open, shared with other processes; opened by :meth:`start` otherwise.
    table : AssociationTable, optional
        Shared with them too.
    on_association_open, on_association_closed : callable, optional
        Told of each association that was accepted, in its thread. A failure in one is logged and harms nobody.
    services : mapping, optional
        What else is served, by SOP class UID.
    on_refused : callable, optional
        Told reason, calling AE title and address of each peer that is turned away for good
        (:meth:`dicom_node.alerts.SecurityAlerts.refused`).
    more_peers : callable, optional
        Who may send besides those of ``config``, asked at each message; never raises or waits, and gives the same
        object until it changes. Where ``config`` lists nobody, everybody is admitted, and this changes nothing.
    """

    def __init__(
        self,
        config: ListenerConfig,
        intake: Intake,
        *,
        on_association_open: Opened | None = None,
        on_association_closed: Opened | None = None,
        services: Mapping[str, Service] | None = None,
        ports: Sequence[OpenPort] = (),
        table: AssociationTable | None = None,
        on_refused: Callable[[str, str, str], None] | None = None,
        more_peers: Callable[[], Sequence[AllowedPeer]] = tuple,
    ) -> None:
        self._config = config
        self._policy = PolicyInForce(config.policy, more_peers)
        self._intake = intake
        self._on_open = on_association_open
        self._on_closed = on_association_closed
        self._services = services or {}
        self._on_refused = on_refused
        self._lock = threading.Lock()
        self._threads: dict[threading.Thread, tuple[Connection, str]] = {}
        self._silent: dict[threading.Thread, float] = {}
        self._table = table or config.table()
        self._ports = tuple(ports)
        self._accepting: threading.Thread | None = None
        self._wake, self._waker = socket.socketpair()

    @property
    def port(self) -> int:
        """The plain port in use, also when 0 was asked for; 0 when there is none."""
        return next((port.number for port in self._ports if port.tls is None), 0)

    @property
    def tls_port(self) -> int:
        """The same of the TLS port."""
        return next((port.number for port in self._ports if port.tls is not None), 0)

    @property
    def open_associations(self) -> int:
        """Of all processes that share the table."""
        return self._table.taken

    def start(self) -> None:
        """Listen; returns when connections are accepted.

        Raises
        ------
        SettingsError
            A port or a certificate cannot be used; says which.
        """
        self._ports = self._ports or self._config.open_ports(datetime.now(UTC))
        self._accepting = threading.Thread(target=self._accept_all, name="dicom-accept", daemon=True)
        self._accepting.start()
        config = self._config
        log.info("listener_started", ae_title=config.ae_title, bind=config.bind, port=self.port, tls_port=self.tls_port)

    def stop(self, timeout: float = 30.0) -> None:
        """Stop listening, let running C-STOREs finish, release their associations; after ``timeout`` s cut the rest."""
        with contextlib.suppress(OSError):
            self._waker.send(b"\x00")
        if self._accepting is not None:
            self._accepting.join()
        end = time.monotonic() + timeout
        self._join_all(end)
        with self._lock:
            rest = [connection for connection, _ in self._threads.values()]
        for connection in rest:
            connection.drop()
        self._join_all(time.monotonic() + 5.0)
        for port in self._ports:
            port.sock.close()
        self._wake.close()
        self._waker.close()
        log.info("listener_stopped", cut=len(rest))

    def __enter__(self) -> Listener:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _join_all(self, end: float) -> None:
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _accept_all(self) -> None:
        poll = select.poll()
        by_number = {port.sock.fileno(): port for port in self._ports}
        for number in (*by_number, self._wake.fileno()):
            poll.register(number, select.POLLIN)
        while True:
            for number, _ in poll.poll():
                if number == self._wake.fileno():
                    for port in self._ports:
                        port.sock.close()
                    return
                self._accept(by_number[number])

    def _accept(self, port: OpenPort) -> None:
        try:
            sock, address = port.sock.accept()
        except BlockingIOError:  # another process was quicker
            return
        except OSError as error:
            # Out of descriptors: the connection stays in the backlog; give running associations time to end.
            log.error("accept_failed", error=type(error).__name__, number=error.errno)
            time.sleep(0.1)
            return
        try:
            self._admit(sock, str(address[0]), port.tls)
        except Exception as error:  # the boundary: without this thread the node is deaf and looks alive
            log.error("connection_not_served", peer=str(address[0]), error=type(error).__name__, exc_info=error)
            sock.close()

    def _admit(self, sock: socket.socket, address: str, tls: ssl.SSLContext | None) -> None:
        stall, maximum = self._config.stall_seconds, self._config.maximum_pdu
        try:
            connection = (
                Connection(sock, stall_seconds=stall, maximum_length=maximum, wake=self._wake)
                if tls is None
                else TlsConnection(sock, tls, stall_seconds=stall, maximum_length=maximum, wake=self._wake)
            )
        except OSError:
            sock.close()
            return
        thread = threading.Thread(target=self._run, args=(connection, address), name=f"dicom-{address}", daemon=True)
        with self._lock:
            self._make_room(address)
            self._threads[thread] = (connection, address)
            self._silent[thread] = time.monotonic()
        try:
            thread.start()
        except (RuntimeError, MemoryError):  # the system has no more threads
            log.error("thread_refused", peer=address)
            self._forget(thread)
            connection.close()

    def _make_room(self, address: str) -> None:
        """Close the oldest silent connection of a full waiting room. Called with the lock held."""
        own = [thread for thread in self._silent if self._threads[thread][1] == address]
        crowded = len(own) >= self._config.maximum_silent_per_address
        if not crowded and len(self._silent) < self._config.maximum_silent:
            return
        oldest = min(own if crowded else self._silent, key=self._silent.__getitem__)
        del self._silent[oldest]
        self._threads[oldest][0].drop()

    def _run(self, connection: Connection, address: str) -> None:
        thread = threading.current_thread()
        place: int | None = None

        def take_slot() -> Rejection | None:
            nonlocal place
            place = self._table.take(address)
            if place is None:
                return Rejection.LOCAL_LIMIT_EXCEEDED
            with self._lock:
                self._silent.pop(thread, None)
            return None

        acceptor = Acceptor(
            connection,
            address,
            intake=self._intake,
            policy=self._policy,
            limits=self._config.limits,
            take_slot=take_slot,
            services=self._services,
            on_refused=self._on_refused,
        )
        try:
            if self._secure(connection, address) and acceptor.establish():
                self._tell(self._on_open, acceptor)
                summary = acceptor.serve()
                log.info(
                    "association_closed",
                    association=summary.association_uid,
                    calling=summary.calling_ae_title,
                    peer=address,
                    end=summary.end,
                    stored=summary.stored,
                    failed=summary.failed,
                )
        except Exception as error:  # the boundary of the thread
            log.error("association_failed", peer=address, error=type(error).__name__, exc_info=error)
        finally:
            with self._lock:  # whoever has our last word still to read waits where the silent ones wait
                self._silent[thread] = time.monotonic()
            if place is not None:
                self._table.give_back(place)
            if acceptor.summary is not None:
                self._tell(self._on_closed, acceptor)
            acceptor.close()
            self._forget(thread)

    def _secure(self, connection: Connection, address: str) -> bool:
        """Take the TLS handshake where there is one to take. False: refused, gone or stopping."""
        if not isinstance(connection, TlsConnection):
            return True
        try:
            connection.handshake(self._config.artim_seconds)
        except TlsFailed as error:
            log.warning("tls_refused", peer=address, reason=str(error))
            if self._on_refused is not None:
                self._on_refused(f"TLS: {error}", "", address)
            connection.close(linger=_ALERT_SECONDS)
            return False
        except UpperLayerError as error:
            log.info("connection_unused", peer=address, problem=type(error).__name__)
            return False
        return True

    def _tell(self, listener: Opened | None, acceptor: Acceptor) -> None:
        if listener is None or acceptor.summary is None:
            return
        try:
            listener(acceptor.summary)
        except Exception as error:  # a caller's failure must not end the association
            log.error("association_callback_failed", error=type(error).__name__, exc_info=error)

    def _forget(self, thread: threading.Thread) -> None:
        with self._lock:
            self._silent.pop(thread, None)
            self._threads.pop(thread, None)
