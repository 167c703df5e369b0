from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import time
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from network_samples import CR, DEFLATED, EXPLICIT, IMPLICIT, encoded, files_below, part10_file, radiograph
from peers.digests import data_set_digest

from dicom_node.archive import Archive
from dicom_node.digests import of_pixels
from dicom_node.space import Space
from triage.errors import NotFoundError, StorageFullError
from triage.instances import StoredFile
from triage.room import RoomPolicy


def store(archive: Archive, body: bytes, uid: str = "1.2.3.4", syntax: str = EXPLICIT) -> StoredFile:
    with archive.receive(
        sop_class_uid=CR, sop_instance_uid=uid, transfer_syntax_uid=syntax, source_ae_title="CR1"
    ) as incoming:
        for start in range(0, len(body), 100):
            incoming.write(memoryview(body)[start : start + 100])
        return incoming.commit(uid)


def test_a_stored_file_is_the_data_set_behind_our_own_header(archive):
    body = encoded(radiograph())
    stored = store(archive, body)
    path = archive.path(stored.relative_path)
    content = path.read_bytes()
    assert content[:132] == bytes(128) + b"DICM"
    assert content.endswith(body)
    assert (stored.digest, stored.size) == (data_set_digest(body), len(content))
    assert stored.digest == archive.data_set_digest(stored.relative_path)
    dataset = pydicom.dcmread(path)
    assert dataset.file_meta.TransferSyntaxUID == stored.transfer_syntax_uid == EXPLICIT
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert dataset.file_meta.SourceApplicationEntityTitle == "CR1"
    assert dataset.file_meta.FileMetaInformationGroupLength + 144 == len(content) - len(body)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_name_is_made_of_digests_only(archive):
    stored = store(archive, encoded(radiograph()))
    uid_digest = hashlib.sha256(b"1.2.3.4").hexdigest()
    assert stored.relative_path == f"store/{uid_digest[:2]}/{uid_digest}.{stored.digest}.dcm"


def test_the_same_bytes_again_are_the_same_file(archive):
    first = store(archive, encoded(radiograph()))
    inode = archive.path(first.relative_path).stat().st_ino
    assert store(archive, encoded(radiograph())) == first
    assert archive.path(first.relative_path).stat().st_ino == inode
    assert len(files_below(archive.root)) == 1


def test_other_bytes_under_the_same_uid_are_another_file(archive):
    first = store(archive, encoded(radiograph()))
    second = store(archive, encoded(radiograph(PatientName="Other")))
    assert first.relative_path != second.relative_path
    assert archive.path(first.relative_path).read_bytes() != archive.path(second.relative_path).read_bytes()


def test_a_harmed_file_is_replaced_by_a_resend(archive):
    stored = store(archive, encoded(radiograph()))
    path = archive.path(stored.relative_path)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    store(archive, encoded(radiograph()))
    assert path.read_bytes() == good


def test_what_is_not_committed_leaves_nothing(archive):
    with archive.receive(sop_class_uid=CR, sop_instance_uid="1.2", transfer_syntax_uid=EXPLICIT) as incoming:
        incoming.write(b"abc")
        assert incoming.path.exists()
    assert files_below(archive.root) == []


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_failed_fsync_is_never_asked_again(archive, monkeypatch, error):
    asked = []

    def fail(descriptor: int) -> None:
        asked.append(descriptor)
        raise OSError(error, "injected")

    with archive.receive(sop_class_uid=CR, sop_instance_uid="1.2", transfer_syntax_uid=EXPLICIT) as incoming:
        incoming.write(b"abc")
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StorageFullError, match=errno.errorcode[error]):
            incoming.commit("1.2")
    assert len(asked) == 1
    monkeypatch.undo()
    assert files_below(archive.root) == []


def test_a_failed_write_leaves_nothing(archive, monkeypatch):
    incoming = archive.receive(sop_class_uid=CR, sop_instance_uid="1.2", transfer_syntax_uid=EXPLICIT)

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "injected")

    with incoming:
        monkeypatch.setattr(os, "writev", fail)
        incoming.write(b"abc")
        with pytest.raises(StorageFullError, match="ENOSPC"):
            incoming.commit("1.2")
        monkeypatch.undo()
    assert files_below(archive.root) == []


def test_name_and_bytes_are_synced_in_order(archive, monkeypatch):
    steps: list[str] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        real_fsync(descriptor)

    def rename(source: str, target: str) -> None:
        steps.append("rename")
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    store(archive, encoded(radiograph()))
    assert steps == ["file", "rename", "folder"]


def test_too_little_space_is_refused_before_anything_is_written(tmp_path):
    archive = Archive(tmp_path, Space(tmp_path, RoomPolicy(min_free_bytes=2**60)))
    with pytest.raises(StorageFullError):
        archive.receive(sop_class_uid=CR, sop_instance_uid="1.2", transfer_syntax_uid=EXPLICIT)
    assert files_below(tmp_path) == []


def test_quarantine_keeps_bytes_and_reason(archive):
    relative = archive.quarantine(
        b"not dicom", "The data set is empty.", transfer_syntax_uid=EXPLICIT, peer="CR1@10.0.0.1"
    )
    path = archive.path(relative)
    assert path.read_bytes() == b"not dicom"
    note = json.loads(path.with_suffix(".json").read_text())
    assert note["reason"] == "The data set is empty."
    assert note["digest"] == data_set_digest(b"not dicom")
    assert files_below(archive.incoming) == []


def test_sweep_removes_old_parts_only(archive):
    old, new = archive.incoming / "old.part", archive.incoming / "new.part"
    for part in (old, new):
        part.write_bytes(b"")
    an_hour_ago = time.time() - 3600
    os.utime(old, (an_hour_ago, an_hour_ago))
    stored = store(archive, encoded(radiograph()))
    assert archive.sweep(600) == 1
    assert files_below(archive.incoming) == [new]
    assert archive.path(stored.relative_path).exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(["..", ".", "store", "/", "etc", "passwd", "~", "quarantine"]), min_size=1, max_size=6))
def test_no_path_leads_outside(archive, parts):
    try:
        found = archive.path("/".join(parts))
    except NotFoundError:
        return
    assert found.is_relative_to(archive.root)


def test_a_link_to_the_outside_is_not_followed(archive, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    (archive.store / "link").symlink_to(secret)
    with pytest.raises(NotFoundError):
        archive.path("store/link")


def test_pixel_digest_is_that_of_the_value_whatever_the_header(archive):
    pixels = data_set_digest(radiograph().PixelData)
    one = store(archive, encoded(radiograph()))
    other = store(archive, encoded(radiograph(PatientName="Corrected^Name"), IMPLICIT), syntax=IMPLICIT)
    assert archive.pixel_digest(one.relative_path) == archive.pixel_digest(other.relative_path) == pixels
    changed = store(archive, encoded(radiograph(PixelData=bytes(512))))
    assert archive.pixel_digest(changed.relative_path) != pixels
    without = radiograph()
    del without.PixelData
    assert archive.pixel_digest(store(archive, encoded(without)).relative_path) == ""


def test_pixel_digest_of_encapsulated_and_deflated_objects(tmp_path, test_data):
    compressed = next(path for path in sorted(test_data.rglob("*_JPLL*")) if path.is_file())
    dataset = pydicom.dcmread(compressed)
    first = of_pixels(compressed)
    dataset.PatientName = "Another"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "renamed.dcm")
    assert of_pixels(tmp_path / "renamed.dcm") == first != ""
    deflated = tmp_path / "deflated.dcm"
    deflated.write_bytes(part10_file(radiograph(), DEFLATED))
    assert len(of_pixels(deflated)) == 67


def test_a_file_named_by_sha256_is_checked_by_sha256(archive):
    stored = store(archive, encoded(radiograph()))
    uid_digest, _, _ = Path(stored.relative_path).name.partition(".")
    old = hashlib.sha256(encoded(radiograph())).hexdigest()
    renamed = archive.path(stored.relative_path).rename(archive.store / uid_digest[:2] / f"{uid_digest}.{old}.dcm")
    assert archive.data_set_digest(renamed.relative_to(archive.root)) == old
