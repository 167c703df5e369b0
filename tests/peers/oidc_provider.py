"""An OpenID provider as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest

from peers.processes import eventually, free_port


@contextmanager
def oidc_provider(people: Sequence[Mapping[str, Any]], *options: str) -> Iterator[str]:
    """The issuer's URL of an oidc-provider-mock that knows these claims; the test is skipped where it is missing."""
    pytest.importorskip("oidc_provider_mock")
    port = free_port()
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), *options]
    for person in people:
        command += ["--user-claims", json.dumps(person)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, "it ended"
        with suppress(httpx.HTTPError):
            return httpx.get(f"{url}/.well-known/openid-configuration", timeout=5).is_success
        return False

    try:
        eventually(answers, within=20, what="the OpenID provider answers")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)
