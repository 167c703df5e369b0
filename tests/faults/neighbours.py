"""Redis and PostgreSQL that a test can kill, freeze, fill and bring back on the same port."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from peers.processes import await_port, eventually, free_port, program, run
from redis import Redis


@dataclass
class RedisServer:
    """A Redis under our thumb."""

    folder: Path
    append_only: bool = True
    port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(16))
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def client(self) -> Redis:
        return Redis.from_url(self.url, socket_timeout=5)

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        file, log = self.folder / "redis.conf", self.folder / "redis.log"
        file.write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\ndir {self.folder}\nsave ''\n"
            f"appendonly {'yes' if self.append_only else 'no'}\nmaxmemory-policy noeviction\n"
        )
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [program("redis-server"), file], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        await_port(self.process, self.port, log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def redis_server(folder: Path, *, append_only: bool = True) -> Iterator[RedisServer]:
    server = RedisServer(folder, append_only)
    server.start()
    try:
        yield server
    finally:
        if server.process is not None:
            server.thaw()
        server.kill()


@dataclass
class PostgresServer:
    """A PostgreSQL cluster of our own, stopped and started at will. Root runs it as the user postgres."""

    folder: Path
    places: list[str]
    as_owner: list[str]
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(16))
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    def url(self, *, driver: str = "+psycopg", database: str = "firstread") -> str:
        return f"postgresql{driver}://firstread:{self.password}@{self.host}:{self.port}/{database}"

    def connect(self, database: str = "firstread") -> psycopg.Connection:
        address = f"postgresql://firstread:{self.password}@127.0.0.1:{self.port}/{database}"
        return psycopg.connect(address, autocommit=True)

    def create(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)
        run(
            *self.as_owner, program("initdb", also_in=self.places), "--pgdata", self.folder / "data",
            "--username=firstread", f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale",
            "--no-sync",
        )  # fmt: skip
        secret.unlink()
        self.start("postgres")
        with self.connect("postgres") as connection:
            connection.execute("CREATE DATABASE firstread")

    def start(self, database: str = "firstread") -> None:
        server = program("postgres", also_in=self.places)
        command = [*self.as_owner, server, "-D", str(self.folder / "data"), "-p", str(self.port), "-k", ""]
        command += ["-h", "127.0.0.1", *(word for option in self.options for word in ("-c", option))]
        with (self.folder / "postgres.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def answers() -> bool:
            try:
                self.connect(database).close()
            except psycopg.OperationalError:
                return False
            return True

        eventually(answers, within=60, what="PostgreSQL answers")

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """SIGQUIT is `pg_ctl stop -m immediate`: no checkpoint, recovery at the next start."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def terminate_backends(self) -> int:
        """End every other connection, in whatever it is doing; returns how many there were."""
        with self.connect("postgres") as connection:
            rows = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'firstread'"
            ).fetchall()
        return len(rows)


@contextmanager
def postgres_server(*options: str) -> Iterator[PostgresServer]:
    """A cluster with an empty database; ``options`` are settings such as ``max_connections=30``."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    folder = Path(tempfile.mkdtemp(prefix="firstread-faults-"))
    as_owner: list[str] = []
    if os.geteuid() == 0:
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("running as root and there is no user postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        as_owner = [program("setpriv"), f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
    server = PostgresServer(folder, [str(path) for path in reversed(versions)], as_owner, options=options)
    try:
        server.create()
        yield server
    finally:
        server.stop()
        time.sleep(0.1)
        shutil.rmtree(folder, ignore_errors=True)
