"""pynetdicom's provider on a port of its own, gone the moment it is no longer needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from socketserver import BaseServer
from typing import Any, Final

from pynetdicom import AE
from pynetdicom.transport import ThreadedAssociationServer

POLL: Final = 0.02
"""Seconds until the server sees that it is to end; socketserver's own half second adds up over hundreds of tests."""


class Server(ThreadedAssociationServer):
    """pynetdicom's own, without its sweep through all memory at every sixtieth look, a fifth of a core in our tests."""

    def service_actions(self) -> None:
        """Nothing."""


@contextmanager
def serving(ae: AE, handlers: Sequence[Any] = (), *, port: int = 0) -> Iterator[int]:
    """Serve in a thread of this process; gives the port."""
    server = ae.make_server(("127.0.0.1", port), evt_handlers=list(handlers), server_class=Server)
    thread = threading.Thread(target=server.serve_forever, args=(POLL,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        BaseServer.shutdown(server)  # its own one expects to have been started by pynetdicom
        server.server_close()
        thread.join()
