"""The DICOM port: accepts connections, gives each a thread, and ends them all in order.

A connection is first *silent*: it has sent no association request yet. Silent ones live in a small waiting room
and never count as associations; when the room is full its oldest goes, so that a peer which speaks at once always
gets in, however many sockets somebody else holds open.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from dicom_node.acceptor import Acceptor, Limits, Service
from dicom_node.admission import AdmissionPolicy, AllowedPeer, Rejection
from dicom_node.association import AssociationSummary
from dicom_node.intake import Intake
from dicom_node.upper_layer import Connection
from triage.errors import SettingsError
from triage.identifiers import is_loopback
from triage.logging import get_logger

_BACKLOG: Final = 512

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ListenerConfig:
    """Everything a site can set about the DICOM port.

    Attributes
    ----------
    ae_title : str
        Our AE title; requests that call another one are rejected unless ``any_called_ae_title``.
    bind, port
        Address and port to listen on; port 0 takes a free one.
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
    """

    ae_title: str
    bind: str = "127.0.0.1"
    port: int = 11112
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

    @property
    def on_loopback(self) -> bool:
        return is_loopback(self.bind)

    @property
    def policy(self) -> AdmissionPolicy:
        """Who may associate.

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
        )


Opened = Callable[[AssociationSummary], None]


class Listener:
    """Storage and Verification provider on one port.

    Parameters
    ----------
    intake : Intake
        Takes custody of every instance.
    on_association_open, on_association_closed : callable, optional
        Told of each association that was accepted, in its thread. A failure in one is logged and harms nobody.
    services : mapping, optional
        What else is served, by SOP class UID.
    """

    def __init__(
        self,
        config: ListenerConfig,
        intake: Intake,
        *,
        on_association_open: Opened | None = None,
        on_association_closed: Opened | None = None,
        services: Mapping[str, Service] | None = None,
    ) -> None:
        self._config = config
        self._policy = config.policy
        self._intake = intake
        self._on_open = on_association_open
        self._on_closed = on_association_closed
        self._services = services or {}
        self._lock = threading.Lock()
        self._threads: dict[threading.Thread, tuple[Connection, str]] = {}
        self._silent: dict[threading.Thread, float] = {}
        self._associations: Counter[str] = Counter()
        self._port = config.port
        self._server: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._wake, self._waker = socket.socketpair()

    @property
    def port(self) -> int:
        """The port in use, also when 0 was asked for."""
        return self._port

    @property
    def open_associations(self) -> int:
        with self._lock:
            return self._associations.total()

    def start(self) -> None:
        """Listen; returns when connections are accepted.

        Raises
        ------
        SettingsError
            Address or port cannot be used. Names both.
        """
        family = socket.AF_INET6 if ":" in self._config.bind else socket.AF_INET
        server = socket.socket(family, socket.SOCK_STREAM)
        try:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((self._config.bind, self._config.port))
            server.listen(_BACKLOG)
        except OSError as error:
            server.close()
            raise SettingsError(
                f"The DICOM port {self._config.bind}:{self._config.port} cannot be opened ({error.strerror})."
            ) from error
        server.setblocking(False)
        self._server = server
        self._port = int(server.getsockname()[1])
        self._accepting = threading.Thread(target=self._accept_all, name="dicom-accept", daemon=True)
        self._accepting.start()
        log.info("listener_started", ae_title=self._config.ae_title, bind=self._config.bind, port=self.port)

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
        if self._server is not None:
            self._server.close()
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
        assert self._server is not None  # noqa: S101
        poll = select.poll()
        poll.register(self._server, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self._wake.fileno() in ready:
                self._server.close()
                return
            try:
                sock, address = self._server.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                # Out of descriptors: the connection stays in the backlog; give running associations time to end.
                log.error("accept_failed", error=type(error).__name__, number=error.errno)
                time.sleep(0.1)
                continue
            self._admit(sock, str(address[0]))

    def _admit(self, sock: socket.socket, address: str) -> None:
        try:
            connection = Connection(
                sock,
                stall_seconds=self._config.stall_seconds,
                maximum_length=self._config.maximum_pdu,
                wake=self._wake,
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
        except RuntimeError:  # the system has no more threads
            log.error("thread_refused", peer=address)
            self._forget(thread)
            connection.close()

    def _make_room(self, address: str) -> None:
        """Close the oldest silent connection of a full waiting room. Called with the lock held."""
        own = [thread for thread in self._silent if self._threads[thread][1] == address]
        if len(own) >= self._config.maximum_silent_per_address:
            crowd = own
        elif len(self._silent) >= self._config.maximum_silent:
            crowd = list(self._silent)
        else:
            return
        oldest = min(crowd, key=self._silent.__getitem__)
        del self._silent[oldest]
        self._threads[oldest][0].drop()

    def _run(self, connection: Connection, address: str) -> None:
        thread = threading.current_thread()
        taken = False

        def take_slot() -> Rejection | None:
            nonlocal taken
            with self._lock:
                self._silent.pop(thread, None)
                full = self._associations.total() >= self._config.maximum_associations
                if full or self._associations[address] >= self._config.maximum_associations_per_address:
                    return Rejection.LOCAL_LIMIT_EXCEEDED
                self._associations[address] += 1
                taken = True
                return None

        acceptor = Acceptor(
            connection,
            address,
            intake=self._intake,
            policy=self._policy,
            limits=self._config.limits,
            take_slot=take_slot,
            services=self._services,
        )
        try:
            if acceptor.establish():
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
            with self._lock:
                if taken:
                    self._associations[address] -= 1
                    self._associations += Counter()
            if acceptor.summary is not None:
                self._tell(self._on_closed, acceptor)
            acceptor.close()
            self._forget(thread)

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
