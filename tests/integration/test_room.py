"""A disk runs full under real senders: they hear 0xA700 in time, nothing acknowledged is lost, and it recovers."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from peers.dcmtk import PROMPT
from peers.node import FIRSTREAD
from peers.processes import eventually, free_port, listens, program, run, running
from peers.raw_peer import part10_file, radiograph

from triage.database import Database
from triage.repositories import heartbeats
from workers.clock import utc_now

MIB = 1024 * 1024
_SENT = re.compile(r"I: Sending file: (\S+)|Received Store Response \(([^)]*)\)")


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    """A small file system in memory."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it mounts a file system")
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)


@dataclass
class SmallNode:
    """A listener whose data lies on a small file system."""

    disk: Path
    port: int
    environment: dict[str, str]
    acknowledged: set[Path] = field(default_factory=set)

    @property
    def data(self) -> Path:
        return self.disk / "data"

    def send(self, *batches: list[Path]) -> list[str]:
        """Send batches at the same time with storescu; returns every answer that was not Success."""
        command = [program("storescu"), "-v", "-nh", "-R", "-aec", "FIRSTREAD", "127.0.0.1", str(self.port)]
        senders = [
            subprocess.Popen([*command, *batch], env=PROMPT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for batch in batches
        ]
        refusals = []
        for sender in senders:
            output, _ = sender.communicate(timeout=360)
            file = ""
            for sent, answer in _SENT.findall(output.decode(errors="replace")):
                file = sent or file
                if answer == "Success":
                    self.acknowledged.add(Path(file))
                elif answer:
                    refusals.append(answer)
        return refusals

    def refusing(self) -> list[str]:
        database = Database(f"sqlite:///{self.data / 'firstread.sqlite'}")
        try:
            with database.read() as session:
                return list(heartbeats.refusing(session, utc_now()).values())
        finally:
            database.dispose()

    def kept(self) -> dict[str, Path]:
        """Rows with their files; a row without its file fails the test."""
        with closing(sqlite3.connect(f"{(self.data / 'firstread.sqlite').as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT sop_instance_uid, relative_path, size FROM instances").fetchall()
        for _, path, size in rows:
            assert (self.data / "archive" / path).stat().st_size == size
        return {uid: Path(path) for uid, path, _ in rows}

    def check(self) -> None:
        """Everything acknowledged is there with its row, and nothing is left half-way."""
        assert {path.stem for path in self.acknowledged} <= self.kept().keys()
        eventually(
            lambda: not list((self.data / "archive" / "incoming").iterdir()), within=10, what="nothing is half-way"
        )


@contextmanager
def node_on(disk: Path, log: Path, **settings: str) -> Iterator[SmallNode]:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FIRSTREAD_")} | {
        "FIRSTREAD_DATA": str(disk / "data"), "FIRSTREAD_DICOM_PORT": str(port), "FIRSTREAD_MIN_FREE_PERCENT": "0",
        **settings,
    }  # fmt: skip
    run(FIRSTREAD, "db", "upgrade", env=environment)
    with running(FIRSTREAD, "listen", log=log, env=environment) as process:

        def up() -> bool:
            assert process.poll() is None, log.read_text()
            return listens(port)

        eventually(up, within=60, what="the listener listens")
        yield SmallNode(disk, port, environment)
        assert process.poll() is None, log.read_text()


def files(folder: Path, count: int, size: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    made = []
    for number in range(count):
        uid = f"1.2.840.{os.getpid()}.{size}.{number + 1}"
        dataset = radiograph(
            uid, StudyInstanceUID=f"{uid}.1", SeriesInstanceUID=f"{uid}.2", Rows=2, Columns=size // 4,
            PixelData=os.urandom(size),
        )  # fmt: skip
        made.append(folder / f"{uid}.dcm")
        made[-1].write_bytes(part10_file(dataset))
    return made


def free(disk: Path) -> int:
    state = os.statvfs(disk)
    return state.f_bavail * state.f_frsize


@pytest.mark.peer
def test_forty_megabytes_run_full_and_recover(tmp_path: Path) -> None:
    with (
        tmpfs(tmp_path / "disk", "size=40m") as disk,
        node_on(disk, tmp_path / "log", FIRSTREAD_MIN_FREE_MEGABYTES="8", FIRSTREAD_MIN_FREE_INODES="0") as node,
    ):
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(18 * MIB))
        images = files(tmp_path / "images", 80, 240_000)
        batches = [images[start::4] for start in range(4)]

        refusals = node.send(*batches)
        assert refusals, "80 images of 0.24 MB do not fit into what 40 MB have left"
        assert set(refusals) == {"Refused: OutOfResources"}
        # Of its 8 MB SQLite's log may take 4 before it is written back, and what was under way a part.
        assert free(disk) > 2 * MIB, "the reserve was not eaten up"
        assert node.acknowledged
        node.check()
        eventually(node.refusing, within=15, what="the heartbeat says that it refuses")
        assert "must be" in node.refusing()[0]
        told = subprocess.run(
            [FIRSTREAD, "doctor"], env=node.environment, capture_output=True, text=True, timeout=180, check=False
        )
        assert "takes nothing new" in told.stdout

        ballast.unlink()
        missing = [path for path in images if path not in node.acknowledged]
        eventually(lambda: not node.send(missing), within=10, what="it takes again, without anybody's help")
        assert node.acknowledged == set(images)
        node.check()
        eventually(lambda: not node.refusing(), within=15, what="the heartbeat says that it takes again")


@pytest.mark.peer
def test_inodes_run_out_and_come_back(tmp_path: Path) -> None:
    with (
        tmpfs(tmp_path / "disk", "size=60m,nr_inodes=900") as disk,
        node_on(disk, tmp_path / "log", FIRSTREAD_MIN_FREE_MEGABYTES="0", FIRSTREAD_MIN_FREE_INODES="100") as node,
    ):
        images = files(tmp_path / "images", 6, 2000)
        assert node.send(images[:2]) == []
        hogs = disk / "hogs"
        hogs.mkdir()
        for number in range(os.statvfs(disk).f_favail - 99):
            (hogs / str(number)).touch()
        # The last look at the disk may be a quarter of a second old.
        eventually(lambda: node.send(images[2:4]), within=10, what="a refusal")
        before = len(node.acknowledged)
        assert set(node.send(images[4:])) == {"Refused: OutOfResources"}
        assert len(node.acknowledged) == before
        for hog in hogs.iterdir():
            hog.unlink()
        eventually(lambda: not node.send(images), within=10, what="everything is taken")
        assert node.acknowledged == set(images)
        node.check()
