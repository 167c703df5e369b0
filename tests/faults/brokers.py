"""F7-F11, F30: a broker that dies, forgets, freezes, fills up or repeats itself. The rows are the truth."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import sqlalchemy as sa
from peers.processes import eventually

from faults.invariants import Verdict, await_settled
from faults.lab import Lab, count, events, load
from faults.neighbours import RedisServer, redis_server
from faults.rig import Rig
from triage.findings import Urgency
from triage.tables import Analysis, Study
from workers.celery_app import create_celery
from workers.names import Task

SOON = 60.0  # seconds within which everything is analysed after the broker is back


@contextmanager
def on_redis(lab: Lab, *, append_only: bool = True, **variables: str) -> Iterator[tuple[Rig, RedisServer]]:
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(lab.folder / f"redis{append_only}", append_only=append_only))
        yield stack.enter_context(lab.rig(scaled=True, FIRSTREAD_BROKER_URL=redis.url, **variables)), redis


def killed_full_of_bells(lab: Lab) -> Verdict:
    """F7: Redis is killed with bells in its queues and comes back, with and without its append-only file."""
    for append_only in (True, False):
        with on_redis(lab, append_only=append_only) as (here, redis):
            here.product.freeze("work")  # its bell rings no more, its pool eats none
            here.product.freeze("deliver")
            here.sender().deliver(*(here.exams.any() for _ in range(lab.much(30, 8))))
            app = create_celery(here.product.settings)
            for _ in range(50):
                app.send_task(Task.ANALYSE)
            redis.kill()
            here.product.thaw("work")
            here.product.thaw("deliver")
            here.sender().deliver(here.exams.radiograph())
            redis.start()
            took = await_settled(here.product, within=SOON)
            lab.note(f"append-only {'on' if append_only else 'off'}: settled {took:.1f} s after its return")
            verdict = here.check()
    return verdict


def flushed(lab: Lab) -> Verdict:
    """F8: FLUSHALL every ten seconds for five minutes."""
    with on_redis(lab) as (here, redis):
        times, pause = lab.much(30, 12), lab.much(10, 1)
        with load(here):
            for _ in range(times):
                redis.client.flushall()
                time.sleep(pause)
        took = await_settled(here.product, within=SOON)
        lab.note(f"{times} times every {pause} s; settled after {took:.1f} s")
        return here.check()


def frozen(lab: Lab) -> Verdict:
    """F9: Redis sleeps for two minutes with its connections open: senders do not notice."""
    with on_redis(lab) as (here, redis):
        for _ in range(10):
            here.sender().deliver(here.exams.radiograph())
        await_settled(here.product)
        before = here.receipts.latency(0.99)
        here.receipts.seconds.clear()
        redis.freeze()
        with load(here, streams=1):
            time.sleep(lab.much(120, 15))
        during = here.receipts.latency(0.99)
        redis.thaw()
        took = await_settled(here.product, within=SOON)
        lab.note(
            f"p99 of C-STORE {before * 1000:.0f} ms before, {during * 1000:.0f} ms while frozen; settled {took:.1f} s"
        )
        assert during < max(2.0, 20 * before), f"senders waited {during:.1f} s for a broker they do not need"
        return here.check()


def away_while_many_arrive(lab: Lab) -> Verdict:
    """F10: Redis is off while a thousand studies arrive: the list is right without it, the backlog drains by rank."""
    number = lab.much(1000, 24)
    with on_redis(lab) as (here, redis):
        redis.kill()
        exams = [here.exams.radiograph() if n % 4 == 0 else here.exams.ct(1) for n in range(number)]
        sender = here.sender()
        for exam in exams:
            sender.deliver(exam)
        urgent = [exam for n, exam in enumerate(exams) if n % 4 == 0][-3:]
        for exam in urgent:
            answer = httpx.patch(
                f"{here.product.http}/api/v1/studies/{exam.study_uid}/priority",
                json={"urgency": "STAT", "reason": "rig"}, timeout=20, trust_env=False,
            )  # fmt: skip
            assert answer.status_code == 200, answer.text
        _listed_in_order(here, number)
        redis.start()
        took = await_settled(here.product)
        with here.product.database.read() as session:
            started = session.execute(
                sa.select(Study.study_instance_uid, Study.manual_urgency, Analysis.started_at)
                .join(Analysis.study)
                .order_by(Analysis.started_at)
            ).all()
        # What was claimed before the broker left may stand in front; of the rest the urgent ones come first.
        late = [n for n, row in enumerate(started) if row.manual_urgency is Urgency.STAT]
        lab.note(f"{number} studies; drained in {took:.0f} s; the three STAT were run as {[n + 1 for n in late]}")
        assert max(late) < max(8, number // 4), "urgent cases waited behind the backlog"
        return here.check()


def _listed_in_order(here: Rig, number: int) -> None:
    items, cursor = [], ""
    while cursor is not None:
        page = here.product.get(f"/api/v1/worklist?limit=200{f'&cursor={cursor}' if cursor else ''}").json()
        items += page["items"]
        cursor = page["next_cursor"]
    assert len(items) == number, f"{len(items)} of {number} studies are listed"
    ranks = [(item["urgency"] != "STAT", item["due_at"]) for item in items]
    assert ranks == sorted(ranks), "the list is not in order"


def full(lab: Lab) -> Verdict:
    """F11: Redis has no memory left and refuses every write; the bell backs off and lives."""
    with on_redis(lab) as (here, redis):
        redis.client.config_set("maxmemory", "1")
        here.sender().deliver(*(here.exams.any() for _ in range(10)))
        time.sleep(lab.much(30, 5))
        log = here.product.log.read_text(errors="replace")
        assert "bell_without_broker" in log, "nobody said that the broker refuses"
        redis.client.config_set("maxmemory", "0")
        took = await_settled(here.product, within=SOON)
        lab.note(f"said `bell_without_broker`; settled {took:.1f} s after there was room")
        return here.check()


def doubled_bells(lab: Lab) -> Verdict:
    """F30: the same bell a hundred times, and four workers that race for each case: one run each."""
    with on_redis(lab) as (here, _):
        command = ("work", "--queue", "analysis")
        others = [here.product._start(command, here.product.environment) for _ in range(lab.much(3, 2))]
        try:
            eventually(
                lambda: count(here, sa.text("SELECT count(*) FROM heartbeats WHERE part = 'work'")) > len(others),
                within=60, what="all workers ready",
            )  # fmt: skip
            app = create_celery(here.product.settings)
            stop = threading.Event()

            def ring() -> None:
                for _ in range(100):
                    app.send_task(Task.ANALYSE)
                stop.set()

            bells = threading.Thread(target=ring, daemon=True)
            bells.start()
            here.sender().deliver(*(here.exams.radiograph() for _ in range(lab.much(40, 12))))
            bells.join()
            verdict = here.check()
        finally:
            from faults.product import signal_group  # noqa: PLC0415

            for other in others:
                signal_group(other, 9)  # type: ignore[arg-type]
        runs = events(here, "analysis_succeeded")
        assert runs == verdict.studies, f"{runs} runs for {verdict.studies} studies"
        lab.note(f"100 doubled bells, {len(others) + 1} workers, {runs} runs for {verdict.studies} studies")
        return verdict
