"""A backup is made while senders send; restored elsewhere, it has everything that was acknowledged before it began."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from peers.node import FIRSTREAD
from peers.postgres import postgres
from peers.processes import eventually, free_port, listens, run, running
from peers.raw_peer import CR, EXPLICIT, encoded, radiograph
from peers.replay_sender import Answer, Association, Instance

from dicom_node.part10 import encode_head, read_head

SENDERS = 4


def environment(data: Path, port: int, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FIRSTREAD_")}
    return kept | {
        "FIRSTREAD_DATA": str(data), "FIRSTREAD_DICOM_PORT": str(port), "FIRSTREAD_MIN_FREE_MEGABYTES": "0",
        "FIRSTREAD_MIN_FREE_PERCENT": "0", **more,
    }  # fmt: skip


@contextmanager
def listener(folder: Path, env: dict[str, str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    run(FIRSTREAD, "db", "upgrade", env=env)
    log = folder / "listen.log"
    with running(FIRSTREAD, "listen", log=log, env=env) as process:

        def up() -> bool:
            assert process.poll() is None, log.read_text()
            return listens(port)

        eventually(up, within=60, what="the listener listens")
        try:
            yield process
        except BaseException as error:
            error.add_note(log.read_text()[-4000:])
            raise


class Senders:
    """Send instance after instance until told to stop; keep every answer."""

    def __init__(self, port: int, size: int = 40_000) -> None:
        self._port, self._size = port, size
        self._ended = threading.Event()
        self.answers: list[Answer] = []
        self._threads = ThreadPoolExecutor(SENDERS)
        self._senders: list[Future[None]] = []

    def __enter__(self) -> Senders:
        self._senders = [self._threads.submit(self._send, number) for number in range(SENDERS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._threads.shutdown()

    def receipts(self) -> list[Answer]:
        """Answers so far that are receipts; raises what ended a sender before its time."""
        for sender in self._senders:
            if sender.done():
                sender.result()
        return [answer for answer in list(self.answers) if answer.receipt]

    def _send(self, sender: int) -> None:
        with Association(self._port, [(CR, EXPLICIT)]) as association:
            number = 0
            while not self._ended.wait(0.05):  # slowly: it goes on for as long as two backups take
                number += 1
                self.answers.append(association.store(instance(f"1.2.{sender}.{number}", self._size)))


def instance(uid: str, size: int) -> Instance:
    dataset = radiograph(
        SOPInstanceUID=uid, StudyInstanceUID=f"{uid}.1", SeriesInstanceUID=f"{uid}.2", PixelData=os.urandom(size)
    )
    return Instance.made(CR, uid, EXPLICIT, encoded(dataset))


def rows(database: Path) -> dict[str, str]:
    """SOP Instance UID to digest."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        return dict(connection.execute("SELECT sop_instance_uid, digest FROM instances"))


def backup(env: dict[str, str], target: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(run(FIRSTREAD, "backup", target, "--json", env=env))
    return manifest


def test_a_backup_beside_senders_holds_everything_acknowledged_before_it(tmp_path: Path) -> None:
    data, kept, new = tmp_path / "data", tmp_path / "backup", tmp_path / "restored"
    port = free_port()
    env = environment(data, port)
    with listener(tmp_path, env, port), Senders(port) as senders:
        eventually(lambda: len(senders.receipts()) > 40, within=60, what="senders send")
        first = backup(env, kept)
        before = senders.receipts()
        second = backup(env, kept)
        eventually(lambda: len(senders.receipts()) > len(before), within=60, what="nobody was held up")
        assert json.loads(run(FIRSTREAD, "fsck", "--json", env=env, within=120))["live"]
    assert first["missing_count"] == second["missing_count"] == 0
    assert second["trees"]["archive/store"]["files"] >= len(before)
    assert len(list(kept.glob("database-*"))) == 1, "the copy of the backup before is gone"

    restored = json.loads(run(FIRSTREAD, "restore", kept, "--data", new, "--json", env=env))
    assert (restored["missing_count"], restored["upgrade"]) == (0, False)
    look = [FIRSTREAD, "fsck", "--json", "--data", new]
    checked = json.loads(subprocess.run(look, env=env, capture_output=True, timeout=120, check=False).stdout)
    assert not checked["live"], "whoever lived when it was made does not live here: fsck mends all that is to be mended"
    found = rows(new / "firstread.sqlite")
    assert {a.instance.sop_instance_uid: a.instance.digest for a in before}.items() <= found.items()
    assert found.keys() <= {a.instance.sop_instance_uid for a in senders.answers}
    run(FIRSTREAD, "fsck", "--deep", "--repair", "--data", new, env=env, within=120)
    assert not new.with_name("restored.restoring").exists()


@pytest.fixture
def small(tmp_path: Path) -> dict[str, str]:
    """A node with three instances that has ended."""
    port = free_port()
    env = environment(tmp_path / "data", port)
    with listener(tmp_path, env, port), Association(port, [(CR, EXPLICIT)]) as association:
        for number in range(3):
            assert association.store(instance(f"1.2.{number}", 1000)).receipt
    return env


def refused(*command: str | Path, env: dict[str, str], status: int) -> str:
    done = subprocess.run([FIRSTREAD, *command], env=env, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == status, done.stderr
    return done.stderr


def test_what_is_no_backup_or_no_empty_place_is_refused(small: dict[str, str], tmp_path: Path) -> None:
    data, kept = Path(small["FIRSTREAD_DATA"]), tmp_path / "backup"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert "holds something that is no backup" in refused("backup", tmp_path / "mine", env=small, status=78)
    assert "hold each other" in refused("backup", data / "here", env=small, status=78)
    assert "no finished backup" in refused("restore", kept, "--data", tmp_path / "new", env=small, status=78)
    manifest = backup(small, kept)
    assert "not empty" in refused("restore", kept, "--data", data, env=small, status=78)
    with (kept / manifest["database"]).open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff")
    told = refused("restore", kept, "--data", tmp_path / "new", env=small, status=78)
    assert "not the copy that the manifest names" in told
    assert not (tmp_path / "new").exists()


def test_what_is_missing_is_said_and_the_rest_comes_back(small: dict[str, str], tmp_path: Path) -> None:
    data, kept, new = Path(small["FIRSTREAD_DATA"]), tmp_path / "backup", tmp_path / "new"
    lost = next((data / "archive" / "store").rglob("*.dcm"))
    away = shutil.move(lost, tmp_path / "away.dcm")
    assert "1 files that rows name are missing" in refused("backup", kept, env=small, status=1)
    told = refused("restore", kept, "--data", new, env=small, status=1)
    assert f"missing: archive/store/{lost.parent.name}/{lost.name}" in told
    assert len(list((new / "archive" / "store").rglob("*.dcm"))) == 2
    shutil.move(away, lost)
    tree = backup(small, kept)["trees"]["archive/store"]
    assert (tree["files"], tree["copied"]) == (3, 0), "the last pass found what the first had copied"
    assert len(list((kept / "archive" / "store").rglob("*.dcm"))) == 3


def test_an_instance_that_came_again_from_another_sender_is_not_missing(small: dict[str, str], tmp_path: Path) -> None:
    """Damaged and sent again, its file has another head than the row counted, and the same data set."""
    kept, new = tmp_path / "backup", tmp_path / "new"
    path = next((Path(small["FIRSTREAD_DATA"]) / "archive" / "store").rglob("*.dcm"))
    whole = path.read_bytes()
    head = read_head(whole)
    renewed = encode_head(
        sop_class_uid=CR, sop_instance_uid="1.2.3", transfer_syntax_uid=EXPLICIT, source_ae_title="ANOTHER_SENDER"
    )
    path.write_bytes(renewed + whole[head.offset :])
    assert path.stat().st_size != len(whole)
    assert backup(small, kept)["missing"] == []
    run(FIRSTREAD, "restore", kept, "--data", new, env=small)


@pytest.mark.parametrize("harm", ["cut", "altered"])
def test_a_file_that_is_damaged_since_keeps_its_sound_copy(small: dict[str, str], tmp_path: Path, harm: str) -> None:
    kept = tmp_path / "backup"
    store = Path(small["FIRSTREAD_DATA"]) / "archive" / "store"
    backup(small, kept)
    path = next(store.rglob("*.dcm"))
    whole = path.read_bytes()
    path.write_bytes(whole[:100] if harm == "cut" else whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(path, (0, 0))
    assert backup(small, kept)["missing"] == []
    assert (kept / "archive" / "store" / path.relative_to(store)).read_bytes() == whole


def test_a_database_of_another_version_is_copied_by_its_own_or_after_the_upgrade(
    small: dict[str, str], tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "data" / "firstread.sqlite")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0015'")
    said = refused("backup", tmp_path / "kept", env=small, status=78)
    assert "with the firstread that runs on it" in said


def identity(url: str) -> Any:
    """What the UIDs of results are derived from."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        return connection.execute("SELECT device_uid FROM installation").fetchone()


@pytest.mark.peer
def test_postgresql_comes_along_where_its_programs_are(tmp_path: Path) -> None:
    if shutil.which("pg_dump") is None:
        pytest.skip("pg_dump is not installed")
    data, kept, new = tmp_path / "data", tmp_path / "backup", tmp_path / "new"
    with postgres() as url, postgres() as other:
        port = free_port()
        env = environment(data, port, FIRSTREAD_DATABASE_URL=url)
        with listener(tmp_path, env, port), Association(port, [(CR, EXPLICIT)]) as association:
            assert association.store(instance("1.2.3", 1000)).receipt
        assert backup(env, kept)["database_kind"] == "postgresql"
        assert "is not empty" in refused("restore", kept, "--data", new, env=env, status=78)
        assert not new.exists(), "it is refused before anything is copied"
        restored = run(FIRSTREAD, "restore", kept, "--data", new, "--json", env=env | {"FIRSTREAD_DATABASE_URL": other})
        assert json.loads(restored)["missing_count"] == 0
        env = environment(new, port, FIRSTREAD_DATABASE_URL=other)
        run(FIRSTREAD, "fsck", "--deep", env=env)

        bare, again = tmp_path / "bare", tmp_path / "again"
        run(FIRSTREAD, "backup", bare, "--without-database", env=env)
        with postgres() as empty:
            said = refused("restore", bare, "--data", again, env=env | {"FIRSTREAD_DATABASE_URL": empty}, status=78)
            assert "pg_restore" in said
            assert not again.exists()
        before = identity(other)
        run(FIRSTREAD, "restore", bare, "--data", again, env=env)  # into the database that the site has brought back
        assert identity(other) != before, "others may hold results that it has forgotten"
        assert "sqlite" in refused("restore", kept, "--data", tmp_path / "x", env=environment(new, port), status=78)
