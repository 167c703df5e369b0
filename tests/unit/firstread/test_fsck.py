"""``firstread fsck`` as an administrator meets it: what it says, what it mends, its exit status."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.data import get_testdata_file

from dicom_node.archive import Archive
from dicom_node.header import read_header
from firstread import fsck
from firstread.doctor import Grade, examine
from firstread.schema import make_or_require
from triage.database import Database
from triage.errors import DatabaseDamagedError, SettingsError, StateError
from triage.instances import Arrival
from triage.repositories import heartbeats
from triage.repositories.associations import close_association
from triage.repositories.intake import IntakeRules, record_instance
from triage.settings import Settings
from triage.tables import Instance, Study

CT = Path(str(get_testdata_file("CT_small.dcm")))
MR = Path(str(get_testdata_file("MR_small.dcm")))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A data directory with a database and two studies whose senders have gone."""
    settings = Settings(data=tmp_path / "data")
    settings.data.mkdir()
    archive = Archive(settings.archive)
    make_or_require(settings)
    database = Database(settings.database)
    rules = IntakeRules(
        listener="listen@test:1", completion=settings.completion, targets=settings.targets,
        pixel_digest=archive.pixel_digest,
    )  # fmt: skip
    now = datetime.now(UTC)
    for path in (CT, MR):
        header = read_header(path)
        data = path.read_bytes()
        offset = 144 + int.from_bytes(data[140:144], "little")
        with archive.receive(
            sop_class_uid=header.sop_class_uid, sop_instance_uid=header.sop_instance_uid,
            transfer_syntax_uid="1.2.840.10008.1.2.1", source_ae_title="CT1",
        ) as incoming:  # fmt: skip
            incoming.write(data[offset:])
            stored = incoming.commit(header.sop_instance_uid)
        arrival = Arrival(
            received_at=now, association_uid=f"2.25.{uuid.uuid4().int}", calling_ae_title="CT1",
            called_ae_title="FIRSTREAD", peer_address="127.0.0.1",
        )  # fmt: skip
        with database.write() as session:
            record_instance(session, header, stored, arrival, rules)
        with database.write() as session:
            close_association(session, arrival.association_uid, at=now, policy=settings.completion)
    database.dispose()
    return settings


def run(settings: Settings, **how: Any) -> tuple[int, dict[str, Any]]:
    output = io.StringIO()
    status = fsck.run(
        settings, deep=how.get("deep", False), repair=how.get("repair", False), logs=(), as_json=True, output=output
    )
    return status, json.loads(output.getvalue())


def text(settings: Settings, **how: Any) -> str:
    output = io.StringIO()
    fsck.run(
        settings, deep=how.get("deep", False), repair=how.get("repair", False), logs=(), as_json=False, output=output
    )
    return output.getvalue()


def stored(settings: Settings) -> list[Path]:
    return sorted(settings.archive.glob("store/*/*.dcm"))


def test_a_sound_node_is_clean_and_says_what_was_looked_at(settings: Settings) -> None:
    assert run(settings) == (
        0,
        {"live": False, "deep": False, "repair": False, "violations": 0, "left": 0, "kinds": [], "resend": []},
    )
    printed = text(settings, deep=True)
    assert "0 violations, 0 mended, 0 left (deep, stopped system)" in printed
    assert all(f"I{number} " in printed for number in range(1, 12))


def test_what_is_lost_is_listed_for_its_sender(settings: Settings) -> None:
    lost = stored(settings)[0]
    uid = read_header(lost).sop_instance_uid
    lost.unlink()
    status, report = run(settings, repair=True)
    assert (status, report["left"]) == (1, 1)
    (resend,) = report["resend"]
    assert (resend["sop_instance_uid"], resend["calling_ae_title"]) == (uid, "CT1")
    assert datetime.fromisoformat(resend["received_at"]).tzinfo is not None
    printed = text(settings)
    assert "To be sent again by their senders" in printed
    assert "flagged already" in printed


def test_nothing_it_says_names_a_patient(settings: Settings) -> None:
    for path in stored(settings):
        path.write_bytes(b"garbage")
    said = json.dumps(run(settings, deep=True, repair=True)[1]) + text(settings, deep=True)
    for path in (CT, MR):
        header = read_header(path)
        assert header.patient_name not in said
        assert header.patient_id not in said


def test_a_lost_database_comes_back_from_the_archive(settings: Settings) -> None:
    before = _rows(settings)
    for path in settings.data.glob("firstread.sqlite*"):
        path.unlink()
    with pytest.raises(SettingsError, match="There is no database"):
        run(settings)
    output = io.StringIO()
    assert fsck.reindex(settings, resend_results=False, as_json=True, output=output) == 0
    assert json.loads(output.getvalue())["instances"] == {"STORED": 2}
    assert _rows(settings) == before
    assert run(settings, deep=True)[0] == 0
    with pytest.raises(StateError, match="not empty"):
        fsck.reindex(settings, resend_results=False, as_json=True)


def test_a_damaged_file_does_not_come_back_but_is_kept(settings: Settings) -> None:
    for path in settings.data.glob("firstread.sqlite*"):
        path.unlink()
    damaged = stored(settings)[0]
    damaged.write_bytes(damaged.read_bytes()[:-10])
    output = io.StringIO()
    assert fsck.reindex(settings, resend_results=False, as_json=False, output=output) == 1
    assert "set aside quarantine/" in output.getvalue()
    assert (settings.archive / "quarantine" / damaged.name).is_file()
    assert run(settings, deep=True)[0] == 0


def test_a_running_node_is_not_indexed_anew(settings: Settings) -> None:
    for path in settings.data.glob("firstread.sqlite*"):
        path.unlink()
    make_or_require(settings)
    database = Database(settings.database)
    with database.write() as session:
        heartbeats.beat(session, "work@elsewhere:1", "work", at=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(StateError, match="runs"):
        fsck.reindex(settings, resend_results=False, as_json=True)
    database.dispose()


def _wal_of_another_life(settings: Settings) -> None:
    (settings.data / "firstread.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 8192)


def _scribbled(settings: Settings) -> None:
    """The header is whole, the pages behind it are not: what a partial checkpoint without its -wal leaves."""
    file = settings.data / "firstread.sqlite"
    data = bytearray(file.read_bytes())
    for page in range(1, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = b"\x5a" * 64
    file.write_bytes(data)


@pytest.mark.parametrize("harm", [_wal_of_another_life, _scribbled])
def test_a_damaged_database_is_refused_with_the_way_out(settings: Settings, harm: Any) -> None:
    harm(settings)
    with pytest.raises(DatabaseDamagedError) as refused:
        make_or_require(settings)
    assert "firstread fsck --reindex" in refused.value.next_step
    started = subprocess.run(
        [sys.executable, "-m", "firstread", "up", "--data", str(settings.data), "--dicom-port", "0"],
        capture_output=True, text=True, timeout=180, check=False, cwd=settings.data,
    )  # fmt: skip
    assert started.returncode not in (0, 2)
    assert "--reindex" in started.stderr
    assert "Traceback" not in started.stderr
    checked = subprocess.run(
        [sys.executable, "-m", "firstread", "fsck", "--data", str(settings.data), "--json"],
        capture_output=True, text=True, timeout=180, check=False, cwd=settings.data,
    )  # fmt: skip
    (said,) = [finding for finding in examine(settings) if finding.subject == "database"]
    assert (said.grade, "--reindex" in said.next_step) == (Grade.BAD, True)
    assert checked.returncode == 2
    assert "--reindex" in json.loads(checked.stdout)["next_step"]


def test_the_way_out_of_a_damaged_database_works_as_it_is_written(settings: Settings) -> None:
    before = _rows(settings)
    _scribbled(settings)
    aside = settings.data / "damaged"
    aside.mkdir()
    for path in settings.data.glob("firstread.sqlite*"):
        shutil.move(path, aside)
    done = subprocess.run(
        [sys.executable, "-m", "firstread", "fsck", "--data", str(settings.data), "--reindex"],
        capture_output=True, text=True, timeout=180, check=False, cwd=settings.data,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 instances stored" in done.stdout
    assert _rows(settings) == before


def _rows(settings: Settings) -> list[tuple[str, ...]]:
    """What is known of each instance, as far as a file can tell it."""
    database = Database(settings.database)
    with database.read() as session:
        query = sa.select(
            Study.study_instance_uid, Study.patient_id, Study.modality, Instance.sop_instance_uid, Instance.digest,
            Instance.relative_path, Instance.calling_ae_title, Instance.transfer_syntax_uid, Instance.size,
        ).join(Instance.study)  # fmt: skip
        rows = sorted(tuple(map(str, row)) for row in session.execute(query))
    database.dispose()
    return rows
