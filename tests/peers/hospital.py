"""A hospital's other systems as others have built them: a FHIR R4 server and an HL7 receiver, from packages.

`make neighbours` installs them apart from us (tests/peers/neighbours.lock); nothing is fetched by a test.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from peers.processes import await_port, free_port, running

PROGRAMS: Final = Path(__file__).parents[2] / ".neighbours" / "bin"


def _installed(name: str) -> Path:
    program = PROGRAMS / name
    if not program.exists():
        pytest.skip(f"{name} is not installed: make neighbours")
    return program


@dataclass
class FhirNeighbour:
    """SEKMET, a small hospital information system: checks what it takes, and takes a transaction whole or not at all.

    What it holds survives its end: started again on the same folder it has the same port and the same resources.
    """

    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/fhir"

    @property
    def address(self) -> str:
        return f"fhir+{self.url}"

    @contextmanager
    def running(self) -> Iterator[None]:
        settings = self.folder / "settings.yaml"
        settings.write_text(
            f"base_url: {self.url}\nhost: 127.0.0.1\nport: {self.port}\ndata_dir: {self.folder}\n"
            "simulator: {enabled: false}\n"
        )
        log = self.folder / "log"
        with running(_installed("sekmet"), "serve", "--config", settings, log=log) as process:
            await_port(process, self.port, log)
            yield

    def search(self, kind: str, identifier: str = "") -> list[dict[str, Any]]:
        """The current version of every resource of a type, or of those with an identifier (``system|value``)."""
        query = {"identifier": identifier} if identifier else {}
        answer = httpx.get(f"{self.url}/{kind}", params=query, timeout=20, trust_env=False)
        answer.raise_for_status()
        return [entry["resource"] for entry in answer.json().get("entry", [])]

    def read(self, reference: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.url}/{reference}", timeout=20, trust_env=False)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def create(self, resource: dict[str, Any]) -> dict[str, Any]:
        kind = resource["resourceType"]
        answer = httpx.post(f"{self.url}/{kind}", json=resource, timeout=20, trust_env=False)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def delete(self, reference: str) -> None:
        httpx.delete(f"{self.url}/{reference}", timeout=20, trust_env=False).raise_for_status()


@contextmanager
def hl7_neighbour(folder: Path, fhir_url: str) -> Iterator[str]:
    """hl7v2-fhir-bridge: takes HL7 v2 over MLLP into a FHIR server. Gives its address."""
    folder.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), folder / "log"
    command = ("serve", "--host", "127.0.0.1", "--port", str(port), "--fhir-url", fhir_url, "--out", folder / "taken")
    with running(_installed("hl7v2-fhir-bridge"), *command, log=log) as process:
        await_port(process, port, log)
        yield f"mllp://127.0.0.1:{port}"
