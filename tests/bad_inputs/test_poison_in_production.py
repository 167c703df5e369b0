"""Images and networks that hang or explode, in the product as users start it: nothing but their own case notices."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path

import pytest
from peers.node import Node, embedded
from peers.processes import eventually
from pydicom import uid
from pydicom.dataset import Dataset

from bad_inputs import hanging_network
from bad_inputs.bombs import jpeg_2000, progressive_jpeg
from bad_inputs.cases import case
from bad_inputs.pictures import Spoil, coded, compressed, phantom
from dicom_node.scu import send
from triage.identifiers import PeerAddress


def stored(node: Node, folder: Path, *datasets: Dataset) -> None:
    """C-STORE over one association; every instance is taken."""
    files = []
    for dataset in datasets:
        files.append(folder / f"{dataset.SOPInstanceUID}.dcm")
        dataset.save_as(files[-1], enforce_file_format=True)
    address = PeerAddress("FIRSTREAD", "127.0.0.1", node.dicom_port)
    outcomes = send(address, files, calling_ae_title="CR1")
    assert all(outcome.stored for outcome in outcomes), outcomes


def descendants(pid: int) -> dict[int, str]:
    """Command lines of everything below a process; what ends while we look is left out."""
    found: dict[int, str] = {}
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                for child in map(int, (task / "children").read_text().split()):
                    found |= _with_descendants(child)
    return found


def _with_descendants(pid: int) -> dict[int, str]:
    with suppress(FileNotFoundError, ProcessLookupError):
        return {pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip(), **descendants(pid)}
    return {}


def decoders(node: Node) -> set[int]:
    return {pid for pid, command in descendants(node.parts()["work"]).items() if "models.decoder_process" in command}


def workers(node: Node) -> set[int]:
    """The pool processes that analyse."""
    own = descendants(node.parts()["work"])
    return {pid for pid, command in own.items() if "decoder_process" not in command}


def poison(spoil: Spoil) -> Dataset:
    dataset = phantom(1, "pneumothorax")
    spoil(dataset)
    return dataset


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    settings = {"FIRSTREAD_DECODER_SECONDS": "2"}
    with embedded(tmp_path_factory.mktemp("poison"), [], **settings) as running:
        yield running
        assert running.errors() == []


@case("P9")
@case("P10")
def test_bombs_hangs_and_sound_images_through_one_worker(node: Node, tmp_path: Path) -> None:
    before = workers(node)
    good = [phantom(1, "pneumothorax") for _ in range(3)]
    for dataset, syntax in zip(good, (uid.JPEGLosslessSV1, uid.HTJ2KLossless), strict=False):
        compressed(syntax)(dataset)
    depth = {"BitsStored": 16, "HighBit": 15}
    flat = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    bad = {
        "decoding needs more memory": poison(
            coded(uid.JPEG2000Lossless, jpeg_2000(8192, 8192, precincts=[0]), Rows=8192, Columns=8192, **depth)
        ),
        "decoding took too long": poison(
            coded("1.2.840.10008.1.2.4.55", progressive_jpeg(4096, 4096, scans=4000), Rows=4096, Columns=4096, **flat)
        ),
        "every pixel has the same value": poison(
            coded(uid.JPEG2000Lossless, jpeg_2000(6000, 6000), Rows=6000, Columns=6000, **depth)
        ),
    }
    stored(node, tmp_path, good[0], *bad.values(), *good[1:])
    for dataset in good:
        case_ = node.settled(str(dataset.StudyInstanceUID), within=60)
        assert (case_["analysis_status"], case_["urgency"]) == ("SUCCEEDED", "STAT")
    for reason, dataset in bad.items():
        case_ = node.settled(str(dataset.StudyInstanceUID), within=60)
        assert case_["analysis_status"] == "NOT_ANALYSED"
        assert reason in case_["not_analysed"]
        assert case_["urgency"] == "ROUTINE"
    assert workers(node) == before  # the processes that analyse have noticed nothing
    metrics = node.http.get("/metrics").text
    assert 'firstread_images_not_decodable{reason="out_of_memory"} 1.0' in metrics
    assert 'firstread_images_not_decodable{reason="decode_timeout"} 1.0' in metrics


def test_a_decoder_that_the_system_kills_is_replaced(node: Node, tmp_path: Path) -> None:
    for pid in decoders(node):
        os.kill(pid, 9)
    dataset = phantom(1, "pneumothorax")
    compressed(uid.JPEGLSLossless)(dataset)
    stored(node, tmp_path, dataset)
    assert node.settled(str(dataset.StudyInstanceUID))["analysis_status"] == "SUCCEEDED"


@pytest.mark.alone
def test_one_poison_study_in_ten_does_not_double_the_wait_of_the_others(node: Node, tmp_path: Path) -> None:
    def waited(name: str, *, poisoned: int) -> float:
        """Seconds until 95 % of twenty sound studies are scored; they arrive together, poison among the first."""
        good = [phantom(1, "pneumothorax") for _ in range(20)]
        bomb = coded(
            uid.JPEG2000Lossless,
            jpeg_2000(8192, 8192, precincts=[0]),
            Rows=8192,
            Columns=8192,
            BitsStored=16,
            HighBit=15,
        )
        bad = [poison(bomb) for _ in range(poisoned)]
        folder = tmp_path / name
        folder.mkdir()
        mixed = [dataset for pair in zip_longest(good, bad) for dataset in pair if dataset is not None]
        start = time.monotonic()
        stored(node, folder, *mixed)
        done: set[str] = set()

        def look() -> bool:
            items = {item["study_instance_uid"]: item for item in node.worklist()}
            done.update(str(d.StudyInstanceUID) for d in good if items[str(d.StudyInstanceUID)]["findings"])
            return len(done) >= 0.95 * len(good)

        eventually(look, within=120, what="the sound studies are scored")
        took = time.monotonic() - start
        for dataset in (*good, *bad):
            node.settled(str(dataset.StudyInstanceUID), within=120)
        return took

    assert waited("poisoned", poisoned=2) < 2 * waited("alone", poisoned=0)


def test_a_network_that_hangs_costs_its_worker_and_the_case_says_so(tmp_path: Path) -> None:
    bundles = hanging_network.write(tmp_path / "bundles")
    settings = {
        "FIRSTREAD_BUNDLES": str(bundles),
        "FIRSTREAD_STALL_SECONDS": "2",
        "FIRSTREAD_ANALYSIS_ATTEMPTS": "2",
    }
    with embedded(tmp_path / "node", [], **settings) as node:
        before = workers(node)
        hanging, other = phantom(1, "pneumothorax"), phantom(2)
        other.ViewPosition = "LL"
        stored(node, tmp_path, hanging)
        eventually(lambda: workers(node) - before, within=30, what="the hanging worker is replaced")
        stored(node, tmp_path, other)
        assert node.settled(str(other.StudyInstanceUID), within=60)["analysis_status"] == "NOT_ANALYSED"
        case_ = node.settled(str(hanging.StudyInstanceUID), within=60)
        assert (case_["analysis_status"], case_["urgency"]) == ("FAILED", "ROUTINE")
        assert case_["not_analysed"] == "no step within 2 s: the worker process was ended"
        assert [entry["kind"] for entry in case_["timeline"]].count("analysis_retried") == 1
