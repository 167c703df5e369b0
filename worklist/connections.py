"""HTTP connections that cannot be held for nothing: bounded in number, in time to ask and in time to listen.

uvicorn waits for ever for a request head and for a reader that takes nothing; each such connection would keep a file
descriptor and its unsent answer.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS: Final = 900
"""At once: 400 live listeners, and the pages around them; below the 1,024 files that a process may commonly open.
More hear 503 at once."""
HEAD_SECONDS: Final = 10.0
"""From the first byte, or from connecting, to the end of the request's head."""
READER_SECONDS: Final = 30.0
"""A reader that acknowledges nothing for this long is let go."""
_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n"
    b"Content-Type: application/problem+json\r\nContent-Length: 87\r\n\r\n"
    b'{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"Too busy."}\n'
)


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with these bounds."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.write(_BUSY)
            transport.close()
            return
        wire = transport.get_extra_info("socket")
        if wire is not None and hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(READER_SECONDS * 1000))
        self._time_the_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            if self._head_timer is None:
                self._time_the_head()
        else:
            self._head_has_come()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_has_come()
        super().connection_lost(exc)

    def _time_the_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _head_has_come(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
