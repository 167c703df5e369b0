"""Files of the archive seen again: what is walked, what counts as damage, what a file tells, where damaged ones go."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from dicom_node import stored
from dicom_node.archive import Archive
from dicom_node.header import read_header
from triage.errors import DicomError, NotFoundError
from triage.instances import Arrival, StoredFile

CT = Path(str(get_testdata_file("CT_small.dcm")))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive")


def keep(archive: Archive, source: Path = CT, uid: str = "") -> StoredFile:
    header = read_header(source)
    data = source.read_bytes()
    with archive.receive(
        sop_class_uid=header.sop_class_uid, sop_instance_uid=uid or header.sop_instance_uid,
        transfer_syntax_uid="1.2.840.10008.1.2.1", source_ae_title="CT1",
    ) as incoming:  # fmt: skip
        incoming.write(data[144 + int.from_bytes(data[140:144], "little") :])
        return incoming.commit(uid or header.sop_instance_uid)


def test_files_are_walked_in_the_order_of_their_paths(archive: Archive) -> None:
    paths = [keep(archive, uid=f"2.25.{number}").relative_path for number in range(40)]
    assert list(stored.walk(archive)) == sorted(paths)


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        (f"store/ab/ab{'0' * 62}.{'1' * 64}.dcm", True),
        (f"store/ab/cd{'0' * 62}.{'1' * 64}.dcm", False),
        (f"store/ab/ab{'0' * 62}.{'1' * 64}.dcm.tmp", False),
        ("store/ab/DOE^JANE.dcm", False),
        (f"store/abc/ab{'0' * 62}.{'1' * 64}.dcm", False),
    ],
)
def test_a_name_of_ours_is_made_of_digests(path: str, ours: bool) -> None:
    assert stored.is_our_name(path) is ours


def test_what_a_file_tells_is_what_intake_knew(archive: Archive) -> None:
    kept = keep(archive)
    path = archive.root / kept.relative_path
    os.utime(path, (1_700_000_000, 1_700_000_000))
    found = stored.read_back(archive, kept.relative_path)
    assert found.file == kept
    assert found.header == read_header(CT)
    assert (found.calling_ae_title, found.written_at) == ("CT1", datetime.fromtimestamp(1_700_000_000, UTC))


def test_damage_is_found_by_reading_and_missing_is_not_altered(archive: Archive) -> None:
    kept = keep(archive)
    relative, path = kept.relative_path, archive.root / kept.relative_path
    assert stored.damage(archive, relative, kept.digest) == ""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert stored.damage(archive, relative, kept.digest) == stored.ALTERED
    with pytest.raises(DicomError):
        stored.read_back(archive, relative)
    path.write_bytes(b"")
    assert stored.damage(archive, relative, kept.digest) == stored.ALTERED
    path.unlink()
    assert stored.damage(archive, relative, kept.digest) == stored.MISSING
    assert stored.size(archive, relative) is None
    with pytest.raises(NotFoundError):
        stored.read_back(archive, relative)


def test_a_damaged_file_is_set_aside_whole_with_its_reason(archive: Archive) -> None:
    kept = keep(archive)
    path = archive.root / kept.relative_path
    path.write_bytes(path.read_bytes()[:100])
    arrival = Arrival(
        received_at=datetime.now(UTC), association_uid="x", calling_ae_title="", called_ae_title="", peer_address=""
    )
    aside = stored.set_aside(archive, kept.relative_path, "It is cut off.", arrival, 0xC000)
    assert not path.exists()
    assert (archive.root / aside.relative_path).stat().st_size == aside.size == 100
    assert "cut off" in (archive.root / aside.relative_path).with_suffix(".json").read_text()


@pytest.mark.parametrize(
    ("ending", "ours"),
    [
        ("dcm", True),
        ("image.jpg", True),
        ("pleural_effusion.heat.png", True),
        ("u16.gz", True),
        ("u16.gz.71.1400.part", True),
        ("DOE^JANE.heat.png", False),
        ("heat.png", False),
        ("txt", False),
    ],
)
def test_a_result_is_named_by_a_digest_and_a_known_ending(ending: str, ours: bool) -> None:
    assert stored.is_our_result_name(f"{'0a' * 32}.{ending}") is ours
