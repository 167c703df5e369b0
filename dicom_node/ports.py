"""The sockets that a listener accepts on. Opened before the processes that share them, so that a port is one port."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import Final

from triage.errors import SettingsError

_BACKLOG: Final = 512


@dataclass(frozen=True, slots=True)
class OpenPort:
    """A listening socket.

    Attributes
    ----------
    number : int
        The port in use, also when 0 was asked for.
    tls : ssl.SSLContext or None
        What connections to it speak first; None for plain DICOM.
    """

    sock: socket.socket
    number: int
    tls: ssl.SSLContext | None = None


def open_port(address: str, port: int, tls: ssl.SSLContext | None = None) -> OpenPort:
    """Listen; connections wait from here on until somebody accepts them.

    Raises
    ------
    SettingsError
        Address or port cannot be used. Names both.
    """
    server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(_BACKLOG)
    except OSError as error:
        server.close()
        raise SettingsError(f"The DICOM port {address}:{port} cannot be opened ({error.strerror}).") from error
    server.setblocking(False)
    return OpenPort(server, int(server.getsockname()[1]), tls)
