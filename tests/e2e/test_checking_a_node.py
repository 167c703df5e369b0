"""fsck beside a running node, and a node whose database is lost: from dcmsend to the list and back again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from peers.dcmtk import PROMPT, StoreScp, storescp
from peers.node import Node, embedded
from peers.processes import program, run
from pydicom import dcmread

from models.phantom import write_phantoms

pytestmark = [pytest.mark.peer, pytest.mark.slow]

STUDIES = 4
COPIES = 30
"""Small instances that keep coming while fsck looks."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, test_data: Path) -> tuple[list[Path], list[Path]]:
    """(radiographs that are analysed, many small images of one study)."""
    folder = tmp_path_factory.mktemp("images")
    write_phantoms(folder / "phantoms", STUDIES, seed=2, taken_at=datetime(2026, 1, 5, 8, tzinfo=UTC), size=512)
    small = []
    template = dcmread(sorted((folder / "phantoms").glob("*.dcm"))[0])
    template.Rows = template.Columns = 64
    template.PixelData = bytes(64 * 64 * 2)
    template.Modality, template.StudyInstanceUID, template.SeriesInstanceUID = "CT", "2.25.7100", "2.25.7101"
    for number in range(COPIES):
        template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = f"2.25.7102{number:03d}"
        template.save_as(folder / f"small-{number:03d}.dcm")
        small.append(folder / f"small-{number:03d}.dcm")
    return sorted((folder / "phantoms").glob("*.dcm")), small


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[StoreScp]:
    with storescp(tmp_path / "pacs") as receiver:
        yield receiver


def fsck(node: Node, *options: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "firstread", "fsck", "--data", node.data, "--json", *options],
        env=node.environment, cwd=node.data, capture_output=True, text=True, timeout=360, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def dcmsend(node: Node, *files: Path) -> None:
    run(
        program("dcmsend"),
        "-aec",
        "FIRSTREAD",
        "-aet",
        "MODALITY",
        "127.0.0.1",
        str(node.dicom_port),
        *files,
        env=PROMPT,
    )


def listed(node: Node) -> dict[str, tuple[str, str, int]]:
    return {
        item["study_instance_uid"]: (item["urgency"], item["patient_id"], item["instance_count"])
        for item in node.worklist()
    }


def test_nothing_is_wrong_while_images_come_and_a_lost_database_comes_back(
    tmp_path: Path, pacs: StoreScp, images: tuple[list[Path], list[Path]]
) -> None:
    radiographs, small = images
    uids = {str(dcmread(path, stop_before_pixels=True).StudyInstanceUID) for path in radiographs}
    with embedded(tmp_path / "node", [pacs.address], FIRSTREAD_QUIET_SECONDS="0.5") as node:
        with ThreadPoolExecutor() as pool:
            sending = [pool.submit(dcmsend, node, *small[place::3]) for place in range(3)]
            sending.append(pool.submit(dcmsend, node, *radiographs))
            looks = []
            while not looks or not all(sender.done() for sender in sending):
                looks.append(fsck(node, "--deep", "--phi", str(node.log)))
            for sender in sending:
                sender.result()
        assert [(status, found["kinds"]) for status, found in looks] == [(0, [])] * len(looks)
        assert all(found["live"] for _, found in looks)
        for uid in (*uids, "2.25.7100"):
            node.settled(uid, within=60)
        assert fsck(node, "--deep")[0] == 0
        before, held = listed(node), {path.name for path in pacs.folder.iterdir()}
        refused, said = fsck(node, "--reindex")
        assert (refused, "runs" in said["error"]) == (2, True)
        assert not node.errors()

    for path in node.data.glob("firstread.sqlite*"):
        path.unlink()
    status, recovered = fsck(node, "--reindex")
    assert (status, recovered["reports"]) == (0, STUDIES)
    assert recovered["instances"] == {"STORED": STUDIES + COPIES}
    assert fsck(node, "--deep")[0] == 0

    with embedded(tmp_path / "node", [pacs.address], FIRSTREAD_QUIET_SECONDS="0.5") as node:
        assert listed(node) == before
        dcmsend(node, *radiographs, *small)
        assert listed(node) == before, "known bytes are no news"
        assert fsck(node, "--deep")[0] == 0
        assert {path.name for path in pacs.folder.iterdir()} == held, "no result is made or sent a second time"
        assert not node.errors()
