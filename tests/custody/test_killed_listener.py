"""The real ``firstread listen``, killed at each step towards its answer, started again, and sent the same once more."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest
import sqlalchemy as sa
from node_under_test import TAKEN_AT
from peers.node import FIRSTREAD
from peers.processes import await_port, eventually, free_port, running
from pydicom import Dataset
from pynetdicom import AE

from custody.grounds import SqliteGround
from dicom_node.archive import Archive
from models.phantom import generate, to_dataset
from triage.tables import Instance


@contextmanager
def listener(ground: SqliteGround, log: Path, port: int, **more: str) -> Iterator[Popen[bytes]]:
    kept: Mapping[str, str] = {name: value for name, value in os.environ.items() if not name.startswith("FIRSTREAD_")}
    environment = {**kept, "FIRSTREAD_DATA": str(ground.data), "FIRSTREAD_DICOM_PORT": str(port), **more}
    with running(FIRSTREAD, "listen", log=log, env=environment) as process:
        await_port(process, port, log)
        yield process


def send(dataset: Dataset, port: int) -> int | None:
    """The status that the sender hears, None when the connection breaks before."""
    sender = AE("MODALITY")
    sender.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = sender.associate("127.0.0.1", port, ae_title="FIRSTREAD")
    assert association.is_established
    status = association.send_c_store(dataset)
    if association.is_established:
        association.release()
    return int(status.Status) if "Status" in status else None


@pytest.mark.parametrize("point", ["written", "renamed", "committed"])
def test_a_resend_after_the_restart_makes_one_instance(tmp_path: Path, point: str) -> None:
    image = to_dataset(generate(7, 1, size=256), 7, 1, taken_at=TAKEN_AT)
    log, port = tmp_path / "log", free_port()
    with SqliteGround() as ground:
        ground.clear()
        with listener(ground, log, port, FIRSTREAD_CRASH_AT=point) as process:
            heard = send(image, port)
            status = eventually(process.poll, within=20, what="the listener is dead")
            assert status == -signal.SIGKILL
        assert heard is None
        with listener(ground, log, port):
            assert send(image, port) == 0
        with ground.database.read() as session:
            rows = session.execute(sa.select(Instance.sop_instance_uid, Instance.digest, Instance.relative_path)).all()
        ((uid, digest, path),) = rows
        assert uid == image.SOPInstanceUID
        assert Archive(ground.data / "archive").data_set_digest(path) == digest
        assert [file.name for file in (ground.data / "archive" / "store").rglob("*.dcm")] == [Path(path).name]
