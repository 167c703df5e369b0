"""C8: certificates that cannot work are refused at the start, those that soon will not are told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from peers.certificates import Authority, Identity

from bad_inputs.cases import case, one
from bad_inputs.forked import Ended, firstread

DAY = timedelta(days=1)
UNUSABLE = 78  # EX_CONFIG


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands run; with an empty database of this version."""
    folder = tmp_path_factory.mktemp("certificates")
    assert firstread("db", "upgrade", "--data", folder / "data", cwd=folder).status == 0
    return folder


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder / "authority")


def run(command: str, folder: Path, authority: Authority, certificate: Path, key: Path) -> Ended:
    """A command of a node with these files."""
    settings = {
        "FIRSTREAD_DATA": str(folder / "data"),
        "FIRSTREAD_DICOM_PORT": "0",
        "FIRSTREAD_DICOM_TLS_PORT": "0",
        "FIRSTREAD_DICOM_TLS_CERTIFICATE": str(certificate),
        "FIRSTREAD_DICOM_TLS_KEY": str(key),
        "FIRSTREAD_DICOM_TLS_TRUSTED": str(authority.file),
    }
    return firstread(command, cwd=folder, settings=settings)


def broken(authority: Authority, how: str) -> tuple[Path, Path]:
    own, other = authority.issue("node"), authority.issue("other")
    late: Identity = authority.issue("late", begins=-3 * DAY, ends=-DAY)
    early = authority.issue("early", begins=DAY)
    return {
        "foreign key": (own.certificate, other.key),
        "ended": (late.certificate, late.key),
        "not begun": (early.certificate, early.key),
        "missing": (own.certificate.with_suffix(".none"), own.key),
    }[how]


@pytest.mark.parametrize(
    ("how", "named"),
    [
        one("C8", "foreign key", "does not belong to the certificate", name="key of another certificate"),
        one("C8", "ended", "has ended on", name="ended"),
        one("C8", "not begun", "begins on", name="not begun"),
        one("C8", "missing", "node.none", name="missing"),
    ],
)
def test_a_certificate_that_cannot_work_is_refused(folder: Path, authority: Authority, how: str, named: str) -> None:
    ended = run("listen", folder, authority, *broken(authority, how))
    assert ended.status == UNUSABLE, ended
    assert named in ended.lines[-1]
    assert "Traceback" not in ended.output


@case("C8")
def test_a_certificate_that_soon_ends_is_told(folder: Path, authority: Authority) -> None:
    soon = authority.issue("soon", ends=7 * DAY + timedelta(minutes=1))
    ended = run("doctor", folder, authority, soon.certificate, soon.key)
    assert "ends in 7 days" in " ".join(ended.output.split())
