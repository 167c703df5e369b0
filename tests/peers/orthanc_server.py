"""Orthanc, as Debian packages it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from peers.http_client import http_client
from peers.processes import await_port, free_port, program, running


@dataclass(frozen=True)
class OrthancServer:
    """A running Orthanc and its REST API."""

    ae_title: str
    dicom_port: int
    http: httpx.Client

    @property
    def address(self) -> str:
        return f"{self.ae_title}@127.0.0.1:{self.dicom_port}"

    @property
    def url(self) -> str:
        return str(self.http.base_url).rstrip("/")

    def get(self, path: str) -> Any:
        answer = self.http.get(path)
        answer.raise_for_status()
        return answer.json()

    def upload(self, path: Path) -> Any:
        """Store a file over REST; returns Orthanc's answer with the identifiers."""
        answer = self.http.post("/instances", content=path.read_bytes())
        answer.raise_for_status()
        return answer.json()

    def sop_classes(self, study_uid: str) -> list[str]:
        """SOP Class UIDs of everything it holds of a study, sorted."""
        found = self.http.post("/tools/lookup", content=study_uid).json()
        instances = [i["ID"] for s in found if s["Type"] == "Study" for i in self.get(f"/studies/{s['ID']}/instances")]
        return sorted(self.http.get(f"/instances/{i}/metadata/SopClassUid").text.strip() for i in instances)


@contextmanager
def orthanc(
    folder: Path,
    *,
    configuration: Mapping[str, Any] | None = None,
    dicom_port: int | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[OrthancServer]:
    """An Orthanc on free ports that keeps what it has below ``folder``.

    Parameters
    ----------
    configuration : mapping, optional
        As in ``orthanc.json``; ports and the place of its files are replaced.
    variables : mapping of str to str, optional
        Environment for the configuration's ``${...}``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    http_port, dicom_port = free_port(), dicom_port or free_port()
    settings = {
        "DicomAet": "ORTHANC",
        "DicomCheckCalledAet": True,
        "Plugins": [],
        **(configuration or {}),
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
    }
    file, log = folder / "orthanc.json", folder / "orthanc.log"
    file.write_text(json.dumps(settings))
    command = [program("Orthanc", also_in=["/usr/sbin"]), str(file)]
    with running(*command, log=log, env={**os.environ, **(variables or {})}) as process:
        await_port(process, http_port, log)
        await_port(process, dicom_port, log)
        with http_client(http_port) as http:
            yield OrthancServer("ORTHANC", dicom_port, http)


DICOMWEB: Final = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def dicomweb_plugin() -> str:
    """Path of Orthanc's DICOMweb plug-in; the test is skipped where it is not installed."""
    if not DICOMWEB.exists():
        pytest.skip("Orthanc's DICOMweb plug-in (orthanc-dicomweb) is not installed")
    return str(DICOMWEB)


def dicomweb_where_installed() -> list[str]:
    """The same for an Orthanc that does without it where it is missing."""
    return [str(DICOMWEB)] if DICOMWEB.exists() else []
