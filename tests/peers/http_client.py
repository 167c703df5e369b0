"""HTTP as the tests speak it."""

from __future__ import annotations

import httpx


def http_client(port: int, *, timeout: float = 20.0) -> httpx.Client:
    """A client of a server on this port of loopback, with a connection for each request.

    One kept open would be ended by the server when idle (Orthanc: 1 s, uvicorn: 5 s), and a request that is sent at
    that moment gets no answer.
    """
    return httpx.Client(
        base_url=f"http://127.0.0.1:{port}",
        timeout=timeout,
        trust_env=False,
        limits=httpx.Limits(max_keepalive_connections=0),
    )
