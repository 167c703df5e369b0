"""What somebody brings as a bundle is copied whole, or refused with the name of what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.bundle import FILES, METADATA, Bundle
from models.unpacking import unpack
from triage.errors import BundleError


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def zipped(directory: Path, prefix: str = "") -> Path:
    path = directory.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(directory.iterdir()):
            archive.write(file, f"{prefix}{file.name}")
    return path


def edit(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    metadata = json.loads((directory / METADATA).read_text())
    change(metadata)
    (directory / METADATA).write_text(json.dumps(metadata))


@pytest.mark.parametrize("form", ["folder", "zip", "zip with a folder"])
def test_every_file_arrives(bundle_copy: Path, target: Path, form: str) -> None:
    source = {"folder": lambda: bundle_copy, "zip": lambda: zipped(bundle_copy)}.get(
        form, lambda: zipped(bundle_copy, "tiny-cxr/")
    )()
    unpack(source, target)
    assert sorted(path.name for path in target.iterdir()) == sorted([*FILES, METADATA])
    bundle = Bundle.load(target)
    bundle.check_files()
    assert bundle.digest == Bundle.load(bundle_copy).digest


def test_a_licence_text_may_come_along_and_a_pickle_may_not(bundle_copy: Path, target: Path) -> None:
    for name in ("NOTICE.txt", "weights.pkl"):
        (bundle_copy / name).write_bytes(b"\x80\x04.")
        edit(bundle_copy, lambda m, name=name: m["files"].update({name: "0" * 64}))
    with pytest.raises(BundleError, match=r"of a kind that no bundle needs: weights\.pkl"):
        unpack(bundle_copy, target)
    (bundle_copy / "weights.pkl").unlink()
    edit(bundle_copy, lambda m: m["files"].pop("weights.pkl"))
    (target / "again").mkdir()
    unpack(zipped(bundle_copy), target / "again")
    assert (target / "again" / "NOTICE.txt").is_file()


@pytest.mark.parametrize("pack", [lambda d: d, zipped], ids=["folder", "zip"])
def test_a_file_that_nobody_listed_is_named(bundle_copy: Path, target: Path, pack: Callable[[Path], Path]) -> None:
    (bundle_copy / "setup.py").write_text("print('hello')")
    with pytest.raises(BundleError, match=r"does not list: setup\.py"):
        unpack(pack(bundle_copy), target)


@pytest.mark.parametrize("name", [METADATA, *FILES])
def test_a_file_that_is_missing_is_named(bundle_copy: Path, target: Path, name: str) -> None:
    (bundle_copy / name).unlink()
    with pytest.raises(BundleError, match=rf"has no {name}"):
        unpack(zipped(bundle_copy), target)


@pytest.mark.parametrize(
    "name",
    ["../evil.txt", "a/../../evil.txt", "/etc/evil.txt", "a/b/evil.txt", "..\\evil.txt", "C:\\e.txt", "other/evil.txt"],
)
def test_a_name_with_a_path_is_refused(bundle_copy: Path, target: Path, name: str) -> None:
    source = zipped(bundle_copy)
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr(name, "evil")
    with pytest.raises(BundleError, match=r"path|folder"):
        unpack(source, target)
    assert not [path for path in target.parents[1].rglob("*evil*") if target in path.parents]
    assert not list(target.iterdir())


def test_a_bomb_is_not_inflated(bundle_copy: Path, target: Path) -> None:
    """Half a gigabyte of zeros in half a megabyte: refused by its promise, before a byte of it is written."""
    source = bundle_copy.with_suffix(".zip")
    (bundle_copy / "network.onnx").unlink()
    source = zipped(bundle_copy)
    with zipfile.ZipFile(source, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("network.onnx", "w") as member:
        for _ in range(64):
            member.write(bytes(1 << 20))
    with pytest.raises(BundleError, match="holds more than"):
        unpack(source, target, largest=50 << 20)
    assert [path.name for path in target.iterdir()] == [METADATA]


def test_a_member_that_holds_more_than_it_promises_is_stopped(bundle_copy: Path, target: Path) -> None:
    source = zipped(bundle_copy)
    with zipfile.ZipFile(source) as archive:
        (info,) = (i for i in archive.infolist() if i.filename == "MODEL_CARD.md")
    data = bytearray(source.read_bytes())
    claimed = info.file_size.to_bytes(4, "little")
    directory = data.rindex(b"PK\x01\x02", 0, data.rindex(b"MODEL_CARD.md"))
    assert data[directory + 24 : directory + 28] == claimed
    data[directory + 24 : directory + 28] = (1).to_bytes(4, "little")
    source.write_bytes(data)
    with pytest.raises(BundleError, match=r"MODEL_CARD\.md"):
        unpack(source, target)
    assert (target / "MODEL_CARD.md").stat().st_size <= 1


def test_metadata_are_bounded_before_they_are_parsed(bundle_copy: Path, target: Path) -> None:
    (bundle_copy / METADATA).write_text(" " * (2 << 20) + "{}")
    with pytest.raises(BundleError, match="larger than"):
        unpack(zipped(bundle_copy), target)


def test_a_link_is_not_followed(bundle_copy: Path, target: Path) -> None:
    (bundle_copy / "MODEL_CARD.md").unlink()
    (bundle_copy / "MODEL_CARD.md").symlink_to("/etc/hostname")
    with pytest.raises(BundleError, match="not a plain file"):
        unpack(bundle_copy, target)
    (bundle_copy / "MODEL_CARD.md").unlink()
    source = zipped(bundle_copy)
    with zipfile.ZipFile(source, "a") as archive:
        info = zipfile.ZipInfo("MODEL_CARD.md")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/hostname")
    with pytest.raises(BundleError, match="link"):
        unpack(source, target)


def test_a_pipe_does_not_hold_the_command_up(bundle_copy: Path, target: Path) -> None:
    os.mkfifo(bundle_copy / "pipe.txt")
    with pytest.raises(BundleError, match="not a plain file"):
        unpack(bundle_copy, target)


def test_a_name_that_comes_twice_is_refused(bundle_copy: Path, target: Path) -> None:
    source = zipped(bundle_copy)
    with zipfile.ZipFile(source, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("MODEL_CARD.md", "# Another\n")
    with pytest.raises(BundleError, match="twice"):
        unpack(source, target)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04\x95", b"x" * 1000])
def test_a_file_that_is_no_zip_is_refused(tmp_path: Path, target: Path, content: bytes) -> None:
    (tmp_path / "bundle.zip").write_bytes(content)
    with pytest.raises(BundleError, match="neither a folder nor a zip file"):
        unpack(tmp_path / "bundle.zip", target)


def test_a_source_that_is_not_there_is_named(tmp_path: Path, target: Path) -> None:
    with pytest.raises(BundleError, match=r"nothing\.zip cannot be read"):
        unpack(tmp_path / "nothing.zip", target)


def test_damaged_zips_are_refused_wherever_the_damage_is(bundle_copy: Path, target: Path) -> None:
    data = zipped(bundle_copy).read_bytes()
    for number, position in enumerate(range(40, len(data), len(data) // 30)):
        spoiled = bytearray(data)
        spoiled[position] ^= 0x55
        source = target.parent / f"{number}.zip"
        source.write_bytes(spoiled)
        place = target / str(number)
        place.mkdir()
        try:
            unpack(source, place)
            Bundle.load(place).check_files()  # the zip's own fields may differ where nobody looks
        except BundleError:
            shutil.rmtree(place)
