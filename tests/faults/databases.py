"""F12-F16, F39: a database that dies, hangs, is locked, is read-only, is damaged or comes from an hour ago."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import psycopg
from peers.processes import eventually, listens
from peers.replay_sender import SUCCESS

from faults.below import need_root, shim
from faults.invariants import Verdict, await_settled
from faults.lab import Lab, load
from faults.neighbours import PostgresServer, postgres_server
from faults.product import ALIAS
from faults.rig import Rig

REFUSED = 0xA700
RECOVERED = 90.0  # seconds


@contextmanager
def on_postgres(lab: Lab, *options: str, **variables: str) -> Iterator[tuple[Rig, PostgresServer]]:
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server(*options))
        variables.setdefault("FIRSTREAD_DATABASE_URL", server.url())
        yield stack.enter_context(lab.rig(scaled=True, **variables)), server


def refused_meanwhile(here: Rig, number: int = 3) -> str:
    """Send while nothing can be recorded: no answer is Success."""
    before = here.receipts.answers[SUCCESS]
    for _ in range(number):
        here.sender(timeout=60).try_once(here.exams.radiograph())
    assert here.receipts.answers[SUCCESS] == before, "Success although nothing could be recorded"
    return (
        ", ".join(f"{status:#06x}" for status in here.receipts.answers if status not in (SUCCESS, None)) or "rejected"
    )


def stopped_at_once(lab: Lab) -> Verdict:
    """F12: PostgreSQL is stopped without a checkpoint and started again, under load."""
    with on_postgres(lab) as (here, server):
        for _ in range(lab.much(5, 2)):
            with load(here):
                time.sleep(1)
                server.stop()
                answered = refused_meanwhile(here)
                server.start()
        lab.note(f"answered {answered} while it was down")
        return here.check(failed=False)


def gone(lab: Lab) -> Verdict:
    """F13: PostgreSQL is away for ten minutes, its name does not resolve, no connection is left: parts recover."""
    preload = shim(lab.folder)
    with postgres_server("max_connections=40") as server:
        server.host = ALIAS
        with lab.rig(scaled=True, FIRSTREAD_DATABASE_URL=server.url(), ready=False, parts=()) as here:
            here.product.environment.update(preload.environment)
            here.product.start()
            here.product.await_ready()
            here.sender().deliver(here.exams.radiograph())
            server.stop()
            refused_meanwhile(here)
            time.sleep(lab.much(600, 5))
            assert all(here.product.alive(part) for part in here.product.parts), "a part gave up"
            preload.fail("resolve EAI_AGAIN rig.test")
            server.start()
            refused_meanwhile(here, 1)
            preload.heal()
            here.sender().deliver(here.exams.radiograph())
            lab.note(f"away, then unresolvable; back {await_settled(here.product, within=RECOVERED):.1f} s later")
            with _hogged(server):
                time.sleep(lab.much(30, 5))
            here.sender().deliver(here.exams.radiograph())
            assert all(here.product.alive(part) for part in here.product.parts), "a part gave up"
            lab.note(f"connections used up; settled {await_settled(here.product, within=RECOVERED):.1f} s later")
            return here.check()


@contextmanager
def _hogged(server: PostgresServer) -> Iterator[None]:
    """Take every connection there is, and end those of others."""
    taken: list[psycopg.Connection] = []
    try:
        server.terminate_backends()
        for _ in range(60):
            with suppress(psycopg.OperationalError):
                taken.append(server.connect())
        yield
    finally:
        for connection in taken:
            connection.close()


def broken_transactions(lab: Lab) -> Verdict:
    """F14: backends are ended in mid-transaction, deadlocks and serialization failures happen all the time."""
    with on_postgres(lab) as (here, server):
        with load(here):
            ended = 0
            for _ in range(lab.much(60, 15)):
                time.sleep(0.3)
                ended += server.terminate_backends()
        await_settled(here.product)
        lab.note(f"{ended} backends ended")
        with server.connect() as connection:
            connection.execute("ALTER DATABASE firstread SET default_transaction_isolation = 'repeatable read'")
        server.terminate_backends()
        stop = threading.Event()
        rival = threading.Thread(target=_lock_crosswise, args=(server, stop), daemon=True)
        rival.start()
        with load(here):
            time.sleep(lab.much(60, 10))
        stop.set()
        rival.join()
        with server.connect() as connection:
            deadlocks, aborted = connection.execute(
                "SELECT deadlocks, xact_rollback FROM pg_stat_database WHERE datname = 'firstread'"
            ).fetchone() or (0, 0)
        lab.note(f"{deadlocks} deadlocks, {aborted} transactions rolled back")
        return here.check(failed=False)


def _lock_crosswise(server: PostgresServer, stop: threading.Event) -> None:
    """Lock what the product locks, in the other order, and be slow about it."""
    while not stop.is_set():
        with suppress(psycopg.OperationalError), server.connect() as connection:
            connection.execute("SET deadlock_timeout = '20s'")
            with connection.transaction():
                connection.execute("SELECT id FROM analyses ORDER BY id DESC LIMIT 3 FOR UPDATE")
                time.sleep(0.2)
                connection.execute("SELECT id FROM studies ORDER BY id DESC LIMIT 3 FOR UPDATE")
        time.sleep(0.2)


def sqlite_locked(lab: Lab) -> Verdict:
    """F15: another writer holds SQLite for thirty seconds; then the file may not be written."""
    need_root()
    with lab.rig() as here:
        file = here.product.settings.data / "firstread.sqlite"
        here.sender().deliver(here.exams.radiograph())
        connection = sqlite3.connect(file, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        answered = refused_meanwhile(here, 2 if lab.full else 1)
        connection.execute("ROLLBACK")
        connection.close()
        here.sender().deliver(here.exams.radiograph())
        await_settled(here.product, within=RECOVERED)
        lab.note(f"answered {answered} while it was locked")
        here.product.stop()
        done = subprocess.run(["chattr", "+i", file], check=False, capture_output=True)
        if done.returncode == 0:
            try:
                here.product.start("listen")
                port = here.product.settings.dicom_port
                eventually(
                    lambda: listens(port) or not here.product.alive("listen"), within=30, what="a start or a refusal"
                )
                lab.note(f"file not writable: {refused_meanwhile(here, 1)}")
            finally:
                subprocess.run(["chattr", "-i", file], check=True)
            here.product.kill("listen")
            eventually(lambda: not here.product.alive("listen"), within=10, what="the receiver is gone")
        here.product.start()
        here.product.await_ready()
        here.sender().deliver(here.exams.radiograph())
        return here.check()


def sqlite_damaged(lab: Lab) -> Verdict:
    """F16: the database is damaged while the product is stopped: no start, and the archive makes it anew."""
    with lab.rig() as here:
        here.sender().deliver(*(here.exams.any() for _ in range(6)))
        here.check()
        here.product.stop()
        file = here.product.settings.data / "firstread.sqlite"
        with file.open("r+b") as stream:
            stream.seek(0)
            stream.write(b"\xff" * 8192)
        for rest in file.parent.glob("firstread.sqlite-*"):
            rest.unlink()
        here.product.start("listen")
        eventually(lambda: not here.product.alive("listen"), within=30, what="a start on a damaged database")
        log = here.product.log.read_text(errors="replace")[-3000:]
        assert "fsck" in log or "restore" in log, f"no word about the repair:\n{log}"
        file.rename(file.with_suffix(".damaged"))
        return _reindexed(lab, here)


def _reindexed(lab: Lab, here: Rig, how: str = "--reindex") -> Verdict:
    """The database, filled from the archive; what was acknowledged is all there again."""
    here.product.database.dispose()
    for words in (("db", "upgrade"), ("fsck", how)):
        done = here.product.command(*words)
        assert done.returncode in (0, 1), f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    here.product.start()
    here.product.await_ready()
    here.sender().deliver(here.exams.radiograph())
    verdict = here.check(forgotten=True)
    lab.note(f"{verdict.receipts} receipts found again by `firstread fsck {how}`")
    return verdict


def restored_from_earlier(lab: Lab) -> Verdict:
    """F39: an older database meets a newer archive; then the archive is all there is."""
    with lab.rig() as here:
        here.sender().deliver(*(here.exams.any() for _ in range(5)))
        here.check()
        here.product.stop()
        file = here.product.settings.data / "firstread.sqlite"
        here.product.database.dispose()
        # Closed before the copy: closing any descriptor of a file ends all locks that a process has on it, and the
        # product would take WAL and index away from below this process, which from then on read what was before.
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        earlier = file.with_suffix(".earlier")
        shutil.copy2(file, earlier)
        here.product.start()
        here.product.await_ready()
        here.sender().deliver(*(here.exams.any() for _ in range(5)))
        here.check()
        here.product.stop()
        for rest in file.parent.glob("firstread.sqlite*"):
            if rest != earlier:
                rest.unlink()
        earlier.rename(file)
        lab.note("database of before 5 of 10 studies")
        _reindexed(lab, here, "--repair")
        here.product.stop()
        for rest in file.parent.glob("firstread.sqlite*"):
            rest.unlink()
        lab.note("no database at all")
        return _reindexed(lab, here)
