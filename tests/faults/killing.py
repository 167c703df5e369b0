"""F1-F6, F31, F32 (crash points), F38: processes that die, sleep or are replaced at the worst moment."""

from __future__ import annotations

import random
import signal
import threading
import time
from datetime import UTC, datetime

import httpx
import sqlalchemy as sa
from peers.processes import eventually

from faults.invariants import Verdict, await_settled
from faults.lab import Lab, count, died, events, load, together, until
from faults.product import PARTS, signal_group
from faults.rig import Rig
from triage.crash_points import CrashPoint
from triage.database import Database, alembic_config
from triage.states import AnalysisStatus
from triage.tables import Analysis, Event, Instance, Study

INTAKE = (
    CrashPoint.WRITTEN, CrashPoint.FILE_SYNCED, CrashPoint.RENAMED, CrashPoint.FOLDER_SYNCED, CrashPoint.RECORDED,
    CrashPoint.COMMITTED, CrashPoint.ANSWERED,
)  # fmt: skip
WORKER = (
    CrashPoint.CLAIMED, CrashPoint.DECODED, CrashPoint.INFERRED, CrashPoint.SCORED, CrashPoint.BUILT,
    CrashPoint.CONCLUDED,
)  # fmt: skip


def receiver_at_every_step(lab: Lab) -> Verdict:
    """F1: the receiver dies after each of its steps under eight senders, and everything is sent again afterwards."""
    with lab.rig() as here:
        sent = []
        for point in INTAKE:
            here.product.crash_at["listen"] = f"{point}:{random.Random(lab.seed).randint(1, 2)}"
            here.product.restart("listen")
            here.product.await_ready("listen")
            exams = [here.exams.any() for _ in range(8)]
            sent += exams

            def send(exam: object) -> None:
                here.sender().deliver(exam)  # type: ignore[arg-type]

            def bring_back(point: str = point) -> None:
                died(here, "listen")
                here.product.start("listen")
                lab.note(f"killed after {point}")

            together([bring_back, *(lambda exam=exam: send(exam) for exam in exams)])
        here.check()
        before = _work(here)
        for exam in sent:
            here.sender().deliver(exam)
        verdict = here.check()
        assert _work(here) == before, "a resend of the same bytes made new work"
        left = list(here.product.settings.archive.glob("incoming/*.part"))
        lab.note(f"{len(left)} partial files wait for the sweep")
        return verdict


def _work(here: Rig) -> tuple[int, ...]:
    return tuple(count(here, sa.select(sa.func.count()).select_from(table)) for table in (Instance, Analysis))


def worker_at_every_step(lab: Lab) -> Verdict:
    """F2: the analysing process dies at each step; its case is run again within 60 s and ends once."""
    with lab.rig() as here:
        for point in WORKER:
            here.product.crash_at["work"] = str(point)
            here.product.restart("work")
            here.product.await_ready("work")
            pool = set(here.product.children("work"))
            here.sender().deliver(here.exams.radiograph())
            eventually(
                lambda pool=pool: pool - set(here.product.children("work")), within=20, what=f"a death after {point}"
            )
            took = await_settled(here.product, within=60)
            lab.note(f"after {point}: {took:.1f} s")
        here.sender().deliver(here.exams.radiograph())  # before the claim: nobody is there to make it
        here.product.kill("work")
        here.sender().deliver(here.exams.radiograph())
        here.product.start("work")
        lab.note(f"before the claim: {await_settled(here.product, within=60):.1f} s")
        assert events(here, "analysis_succeeded") == here.check().studies, "one terminal state per study"
        return here.check()


def bell_between_ring_and_note(lab: Lab) -> Verdict:
    """F3: the relay dies between telling the broker and noting it; the second bell finds nothing to claim."""
    with lab.rig(scaled=True) as here:
        for _ in range(3):
            here.product.crash_at["work"] = CrashPoint.RUNG
            here.product.restart("work")
            here.product.await_ready("work")
            here.sender().deliver(here.exams.radiograph(), here.exams.radiograph())
            died(here, "work")
            here.product.start("work")
            await_settled(here.product, within=60)
        attempts = count(here, sa.select(sa.func.max(Analysis.attempts)))
        assert events(here, "analysis_succeeded") == 6
        lab.note(f"3 deaths after the ring, {attempts} runs of a case at most")
        return here.check()


def sweeper_in_the_middle(lab: Lab) -> Verdict:
    """F4: the sweep that completes studies dies in its batch, and two sweeps run at once: each study completes once."""
    with lab.rig(scaled=True, FIRSTREAD_QUIET_SECONDS="0.5") as here:
        here.product.crash_at["deliver"] = CrashPoint.COMPLETED
        here.product.restart("deliver")
        here.product.await_ready("deliver")
        here.sender().deliver(*(here.exams.ct() for _ in range(5)))
        died(here, "deliver")
        here.product.start("deliver")
        second = here.product._start(("work", "--queue", "housekeeping"), here.product.environment)
        try:
            for _ in range(lab.much(10, 3)):
                here.sender().deliver(*(here.exams.ct() for _ in range(5)))
            verdict = here.check()
        finally:
            signal_group(second, signal.SIGKILL)
        with here.product.database.read() as session:
            twice = session.execute(
                sa.select(Event.study_id, sa.func.count())
                .where(Event.kind == "study_complete")
                .group_by(Event.study_id)
                .having(sa.func.count() > 1)
            ).all()
        assert not twice, f"closed more than once: {twice}"
        return verdict


def sender_before_the_answer(lab: Lab) -> Verdict:
    """F5: the sender dies after the PACS has stored and before its answer: the same bytes come again under one UID."""
    with lab.rig() as here:
        killed = threading.Event()

        def store_and_kill(_event: object) -> int:
            if not killed.is_set():
                here.product.kill("deliver")
                until(lambda: not here.product.alive("deliver"), within=5, what="the sender is dead")
                killed.set()
            return 0

        here.pacs.behave(store_and_kill)
        here.sender().deliver(here.exams.radiograph())
        assert killed.wait(30), "nothing was sent"
        here.product.start("deliver")
        verdict = here.check(within=60)
        assert here.pacs.taken > verdict.results, "the object whose answer was lost was not sent again"
        lab.note(f"{here.pacs.taken} objects stored, {verdict.results} different ones, {verdict.settled_after:.0f} s")
        return verdict


def api_in_a_change_of_priority(lab: Lab) -> Verdict:
    """F6: page and API die while a person changes a class: the audit has a row if, and only if, the class changed."""
    with lab.rig() as here:
        exam = here.exams.ct()
        here.sender().deliver(exam)
        url = f"{here.product.http}/api/v1/studies/{exam.study_uid}/priority"
        change = {"urgency": "STAT", "reason": "rig"}

        here.product.crash_at["serve"] = CrashPoint.PRIORITY_SET
        here.product.restart("serve")
        here.product.await_ready("serve")
        _patch(url, change)
        died(here, "serve")
        _audited(here)
        for moment in range(lab.much(20, 5)):
            here.product.start("serve")
            here.product.await_ready("serve")
            thread = threading.Thread(target=_patch, args=(url, change))
            thread.start()
            time.sleep(0.002 * moment)
            here.product.kill("serve")
            thread.join()
            until(lambda: not here.product.alive("serve"), within=5, what="serve is dead")
            _audited(here)
        here.product.start("serve")
        here.product.await_ready("serve")
        answer = _patch(url, change)
        assert answer is not None
        assert answer.status_code == 200, answer.text
        assert _audited(here), "the change that was answered is not there"
        lab.note(f"killed in {lab.much(20, 5) + 1} requests")
        return here.check()


def _audited(here: Rig) -> bool:
    """Whether the class was changed; fails unless the audit trail says the same."""
    with here.product.database.read() as session:
        study = session.scalars(sa.select(Study)).one()
        rows = session.scalars(sa.select(Event).where(Event.study_id == study.id, Event.who == "local")).all()
        by_hand = study.manual_urgency is not None
    assert by_hand == bool(rows), f"class by hand {study.manual_urgency}, {len(rows)} rows of the audit trail"
    return by_hand


def _patch(url: str, change: dict[str, str]) -> httpx.Response | None:
    try:
        return httpx.patch(url, json=change, timeout=5, trust_env=False)
    except httpx.HTTPError:
        return None


def frozen_worker(lab: Lab) -> Verdict:
    """F31: a worker sleeps until its lease is over; its successor ends the case, and the late writer is fenced."""
    with lab.rig(scaled=True) as here:
        frozen = 0
        deadline = time.monotonic() + 60
        while not frozen:
            assert time.monotonic() < deadline, "no analysis was caught in the act"
            here.sender().deliver(here.exams.radiograph())
            until(lambda: _running(here) > 0 or _open(here) == 0, within=30, what="an analysis runs")
            here.product.freeze("work")
            frozen = _running(here)
            if not frozen:
                here.product.thaw("work")
        second = here.product._start(("work", "--queue", "analysis"), here.product.environment)
        try:
            until(lambda: _open(here) == 0, within=120, what="the successor ends the case")
            time.sleep(lab.much(100, 0))
            here.product.thaw("work")
            here.sender().deliver(here.exams.radiograph())
            verdict = here.check()
        finally:
            signal_group(second, signal.SIGKILL)
        assert events(here, "lease_expired") >= 1, "nobody lost a lease"
        told = "lease_lost" in here.product.log.read_text()
        lab.note(f"late writer {'told that it lost its lease' if told else 'ended by its own watchdog'}")
        return verdict


def _running(here: Rig) -> int:
    query = sa.select(sa.func.count()).select_from(Analysis).where(Analysis.status == AnalysisStatus.RUNNING)
    return count(here, query)


def _open(here: Rig) -> int:
    states = (AnalysisStatus.RUNNING, AnalysisStatus.QUEUED)
    return count(here, sa.select(sa.func.count()).select_from(Analysis).where(Analysis.status.in_(states)))


def random_restarts_and_upgrade(lab: Lab) -> Verdict:
    """F38: everything is restarted at random moments under load; a database of the version before is upgraded."""
    chance = random.Random(lab.seed)
    restarts = lab.much(200, 10)
    with lab.rig(FIRSTREAD_ANALYSIS_ATTEMPTS="20") as here:
        with here.product.kept(), load(here):
            for _ in range(restarts):
                if chance.random() < 0.5:
                    here.product.kill(*PARTS)
                else:
                    here.product.restart(chance.choice(PARTS))
                time.sleep(chance.uniform(0.1, 1.5))
        verdict = here.check()
        lab.note(f"{restarts} restarts")
    _upgrade(lab)
    return verdict


def _upgrade(lab: Lab) -> None:
    """Rows of schema 0001 live on in this one; a part refuses to start on the old one."""
    from alembic import command  # noqa: PLC0415

    with lab.rig(parts=(), ready=False) as here:
        path = here.product.settings.data / "firstread.sqlite"
        here.product.database.dispose()
        for file in path.parent.glob("firstread.sqlite*"):
            file.unlink()
        old = Database(here.product.settings.database)
        with old.engine.connect() as connection:
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
            now = datetime(2026, 1, 1, tzinfo=UTC).isoformat(" ")[:19]
            columns = {c["name"]: c for c in sa.inspect(connection).get_columns("studies")}
            values = {name: _plausible(name, c, now) for name, c in columns.items() if not c["nullable"]}
            connection.execute(
                sa.text(
                    f"INSERT INTO studies ({', '.join(values)}) VALUES ({', '.join(f':{n}' for n in values)})"  # noqa: S608
                ),
                values,
            )
            connection.commit()
        old.dispose()
        here.product.start("listen")
        died(here, "listen")
        done = here.product.command("db", "upgrade")
        assert done.returncode == 0, done.stderr
        here.product.start("listen")
        here.product.await_ready("listen")
        assert count(here, sa.select(sa.func.count()).select_from(Study)) == 1
        lab.note("a study of schema 0001 is there after the upgrade")


def _plausible(name: str, column: object, now: str) -> object:
    kind = str(column["type"])  # type: ignore[index]
    if "INT" in kind:
        return 1
    if "DATE" in kind or "TIME" in kind:
        return now
    if "JSON" in kind:
        return "[]"
    return {"status": "COMPLETE", "urgency": "ROUTINE", "reading_status": "UNREAD", "study_instance_uid": "1.2.3"}.get(
        name, ""
    )
