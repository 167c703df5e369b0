"""PostgreSQL as a private cluster. It refuses to run as root, so root runs it as somebody else."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from peers.processes import eventually, free_port, program, run, running


@contextmanager
def postgres(kept: Path | None = None) -> Iterator[str]:
    """A private cluster with an empty database; yields its SQLAlchemy URL, password included.

    It lives below the system's temporary folder: pytest's own are closed to other users.

    Parameters
    ----------
    kept : Path, optional
        Folder of a cluster that stays: made if absent, started again as it was if not.
    """
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    places = [str(path) for path in reversed(versions)]
    initdb, server = program("initdb", also_in=places), program("postgres", also_in=places)
    folder = kept or Path(tempfile.mkdtemp(prefix="firstread-postgres-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        owner = as_owner(folder)
        port = free_port()
        secret = folder / "password"
        if not secret.exists():
            secret.write_text(secrets.token_hex(16))
            secret.chmod(0o644)
            run(
                *owner, initdb, "--pgdata", folder / "data", "--username=firstread", f"--pwfile={secret}",
                "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync",
            )  # fmt: skip
        password = secret.read_text()
        if kept is None:
            secret.unlink()
        command = [*owner, server, "-D", str(folder / "data"), "-p", str(port), "-k", "", "-h", "127.0.0.1"]
        log = folder / "postgres.log"
        with running(*command, log=log):
            url = f"postgresql://firstread:{password}@127.0.0.1:{port}/postgres"
            eventually(lambda: _create_database(url), within=30, what="PostgreSQL answers")
            yield f"postgresql+psycopg://firstread:{password}@127.0.0.1:{port}/firstread"
    finally:
        if kept is None:
            shutil.rmtree(folder)


def as_owner(folder: Path) -> list[str]:
    """Command that runs another one as the owner of ``folder``, who becomes somebody else where we are root."""
    if os.geteuid() != 0:
        return []
    try:
        owner = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("running as root and there is no user postgres")
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    # setpriv replaces itself by the server, which so gets our signals.
    return [program("setpriv"), f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]


def _create_database(url: str) -> bool:
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE firstread")
    except psycopg.errors.DuplicateDatabase:
        return True
    except psycopg.OperationalError:
        return False
    return True
