"""A stock Orthanc with `orthanc/`: studies go out by themselves, results come back, and nothing goes round."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from houses import Phantoms, kind
from peers.dcmtk import send, storescp
from peers.node import Node, embedded
from peers.orthanc_server import OrthancServer, orthanc
from peers.processes import await_port, eventually, free_port, program, running
from pydicom import dcmread

pytestmark = [pytest.mark.peer, pytest.mark.slow]

SHIPPED = Path(__file__).parents[2] / "orthanc"


@contextmanager
def neighbour(folder: Path, firstread_port: int, dicom_port: int | None = None) -> Iterator[OrthancServer]:
    """An Orthanc as a site sets it up: our configuration and our script, its own ports and storage."""
    configuration = json.loads((SHIPPED / "orthanc.json").read_text())
    configuration["LuaScripts"] = [str(SHIPPED / script) for script in configuration["LuaScripts"]]
    variables = {"ORTHANC_FIRSTREAD_PORT": str(firstread_port)}
    with orthanc(folder, configuration=configuration, dicom_port=dicom_port, variables=variables) as server:
        yield server


def jobs(server: OrthancServer, state: str) -> list[dict[str, Any]]:
    """Its jobs of forwarding that are in this state."""
    found = server.get("/jobs?expand")
    return [job for job in found if job["Type"] == "DicomModalityStore" and job["State"] == state]


def forwarded(server: OrthancServer) -> int:
    """How many instances its successful jobs sent."""
    return sum(job["Content"]["InstancesCount"] for job in jobs(server, "Success"))


def await_results(server: OrthancServer, path: Path) -> None:
    uid, image = _uids(path)
    eventually(
        lambda: sorted(map(kind, server.sop_classes(uid))) == sorted([kind(image), "SC", "SR"]),
        within=60,
        what=f"report and heat map of {path.name} in Orthanc",
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, phantoms: Phantoms) -> Iterator[tuple[OrthancServer, Node]]:
    """Orthanc with a study that firstread missed because it came up later."""
    folder, port = tmp_path_factory.mktemp("loop"), free_port()
    with neighbour(folder / "orthanc", port) as server:
        server.upload(phantoms.all[0])
        eventually(lambda: jobs(server, "Failure"), within=20, what="the first job fails")
        with embedded(folder / "node", [server.address], dicom_port=port) as node:
            yield server, node


def test_an_uploaded_study_comes_back_with_its_results(pair: tuple[OrthancServer, Node], phantoms: Phantoms) -> None:
    server, node = pair
    server.upload(phantoms.all[1])
    await_results(server, phantoms.all[1])
    uid, _ = _uids(phantoms.all[1])
    assert node.study(uid)["analysis_status"] == "SUCCEEDED"

    def committed() -> bool:
        deliveries = [d for result in node.study(uid)["result_objects"] for d in result["deliveries"]]
        proofs = [delivery["proof"] for delivery in deliveries]
        assert proofs == ["COMMITTED", "COMMITTED"], deliveries
        return True

    eventually(committed, within=30, what="Orthanc has taken responsibility for both")


def test_what_firstread_missed_is_sent_again(pair: tuple[OrthancServer, Node], phantoms: Phantoms) -> None:
    server, _ = pair
    server.upload(phantoms.all[2])  # anything new that arrives is an occasion to try what is owed
    await_results(server, phantoms.all[0])


def test_a_study_from_a_modality_is_forwarded_too(pair: tuple[OrthancServer, Node], phantoms: Phantoms) -> None:
    server, _ = pair
    send(phantoms.all[3], server.dicom_port, called="ORTHANC")
    await_results(server, phantoms.all[3])


def test_results_are_not_forwarded(pair: tuple[OrthancServer, Node], phantoms: Phantoms) -> None:
    server, node = pair
    server.upload(phantoms.all[4])
    for path in phantoms.all:
        await_results(server, path)
    eventually(lambda: forwarded(server) == len(phantoms.all), within=10, what="each image was sent once")
    assert jobs(server, "Running") == jobs(server, "Pending") == []
    assert {item["instance_count"] for item in node.worklist()} == {1}
    assert {item["revision"] for item in node.worklist()} == {1}


def test_what_is_owed_survives_a_restart_of_orthanc(tmp_path: Path, phantoms: Phantoms) -> None:
    with storescp(tmp_path / "later", ae_title="FIRSTREAD") as receiver:
        closed = free_port()
        with neighbour(tmp_path / "orthanc", closed) as server:
            server.upload(phantoms.all[0])
            eventually(lambda: jobs(server, "Failure"), within=20, what="the job fails")
        with neighbour(tmp_path / "orthanc", receiver.port):
            eventually(receiver.received, within=20, what="the instance arrives")


def test_a_study_that_grows_while_a_job_runs_is_forwarded_once(tmp_path: Path, phantoms: Phantoms) -> None:
    count = 12
    with (
        storescp(tmp_path / "pacs", ae_title="FIRSTREAD") as receiver,
        neighbour(tmp_path / "orthanc", receiver.port) as server,
    ):
        image = dcmread(phantoms.normal[0])
        for number in range(count):
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"2.25.99{number}"
            image.save_as(tmp_path / "next.dcm")
            server.upload(tmp_path / "next.dcm")
        eventually(lambda: len(receiver.received()) == count, within=30, what="all instances arrive")
        eventually(lambda: forwarded(server) == count, within=10, what="each was sent once")


def test_the_whole_folder_asks_for_user_and_password(tmp_path: Path) -> None:
    """As the compose file gives it to Orthanc, but for this machine only."""
    folder, http_port = tmp_path / "configuration", free_port()
    shutil.copytree(SHIPPED, folder)
    for name, changes in {
        "orthanc.json": {"HttpPort": http_port, "DicomPort": free_port()},
        "remote.json": {"RemoteAccessAllowed": False},
    }.items():
        configuration = json.loads((folder / name).read_text())
        assert configuration.keys() >= changes.keys()
        (folder / name).write_text(json.dumps({**configuration, **changes}))
    variables = {"ORTHANC_STORAGE": str(tmp_path), "ORTHANC_USER": "reader", "ORTHANC_PASSWORD": "only for this test"}
    command, log = [program("Orthanc", also_in=["/usr/sbin"]), folder], tmp_path / "orthanc.log"
    with running(*command, log=log, env={**os.environ, **variables}) as process:
        await_port(process, http_port, log)
        url = f"http://127.0.0.1:{http_port}/system"
        assert httpx.get(url).status_code == httpx.codes.UNAUTHORIZED
        assert httpx.get(url, auth=("", "")).status_code == httpx.codes.UNAUTHORIZED
        answer = httpx.get(url, auth=("reader", "only for this test"))
        assert answer.json()["DicomAet"] == "ORTHANC"


def _uids(path: Path) -> tuple[str, str]:
    header = dcmread(path, stop_before_pixels=True)
    return str(header.StudyInstanceUID), str(header.SOPClassUID)
