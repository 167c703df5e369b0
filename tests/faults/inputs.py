"""F28, F32, F33, F36, F37: files that kill, networks that are not what they say, duplicates and latecomers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa
from peers.processes import eventually
from site_bundles import enable_all

from faults.below import memory_limit
from faults.exams import Exam
from faults.invariants import Verdict, await_settled
from faults.lab import Lab, count, events, split, together, until
from faults.rig import Rig
from models.registry import SHIPPED
from triage.states import AnalysisStatus
from triage.tables import Analysis, Finding, Instance, ResultObject, Study

BUNDLE = "phantom-cxr"
HOG = """
import os, sys, time
open("/proc/self/oom_score_adj", "w").write("-1000")
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
memory = bytearray(int(sys.argv[2]))
for page in range(0, len(memory), 4096):
    memory[page] = 1
time.sleep(600)
"""
"""Uses up the memory of a control group and is spared by the kernel."""


def out_of_memory(lab: Lab) -> Verdict:
    """F28: the kernel kills what analyses for want of memory, again and again; then there is memory again."""
    with memory_limit(64) as group, lab.rig() as here:
        here.sender().deliver(here.exams.radiograph())
        await_settled(here.product)
        stop = threading.Event()
        killed: set[int] = set()

        def starve() -> None:
            """Whatever is in the pool is put into a group whose memory somebody else has used up."""
            while not stop.wait(0.01):
                for pid in here.product.children("work"):
                    with suppress(OSError):
                        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
                        (group / "cgroup.procs").write_text(str(pid))
                        killed.add(pid)

        thread = threading.Thread(target=starve, daemon=True)
        thread.start()
        until(lambda: bool(killed), within=20, what="the pool is in the group")
        hog = subprocess.Popen([sys.executable, "-c", HOG, str(group), str(256 * 1024 * 1024)])
        try:
            here.sender().deliver(here.exams.radiograph())
            eventually(lambda: killed - set(here.product.children("work")), within=60, what="the kernel kills the pool")
            time.sleep(lab.much(20, 5))
        finally:
            stop.set()
            thread.join()
            hog.kill()
            hog.wait()
            for pid in (group / "cgroup.procs").read_text().split():
                (group.parent / "cgroup.procs").write_text(pid)
        here.sender().deliver(here.exams.radiograph())
        verdict = here.check(failed=True)
        with here.product.database.read() as session:
            ended = [(a.status.value, a.attempts, a.reason) for a in session.scalars(sa.select(Analysis))]
        gone = len(killed - set(here.product.children("work")))
        lab.note(
            f"{gone} killed by the kernel; the case ended {ended[1][0]} in attempt {ended[1][1]} {ended[1][2]}".strip()
        )
        assert ended[-1][0] == "SUCCEEDED", "the next case was not analysed"
        return verdict


def poison(lab: Lab) -> Verdict:
    """F32: a file that kills whoever decodes it, in a study of many and among many studies; good ones go on."""
    with lab.rig() as here:
        good = [here.exams.radiograph() for _ in range(lab.much(180, 20))]
        alone = _time_to_settle(here, good[: len(good) // 2])
        stop = threading.Event()
        here.exams.size = 320
        victims = [here.exams.radiograph(lab.much(40, 6)), *(here.exams.radiograph() for _ in range(lab.much(20, 3)))]
        marked = {victim.study_uid for victim in victims}

        def kill_who_touches() -> None:
            """Stands for the file: whoever holds one of these cases dies, at every attempt."""
            while not stop.wait(0.003):
                holder = _holder(here, marked)
                if holder:
                    try:
                        os.kill(holder, signal.SIGKILL)
                    except ProcessLookupError:
                        continue

        thread = threading.Thread(target=kill_who_touches, daemon=True)
        thread.start()
        for victim in victims:
            here.sender().deliver(victim)
        among = _time_to_settle(here, good[len(good) // 2 :])
        eventually(lambda: events(here, "analysis_failed") >= len(victims), within=280, what="poison is given up")
        stop.set()
        thread.join()
        verdict = here.check(failed=True)
        with here.product.database.read() as session:
            reasons = set(session.scalars(sa.select(Analysis.reason).where(Analysis.status == AnalysisStatus.FAILED)))
        assert all(reasons), "given up without a reason"
        lab.note(
            f"{len(victims)} poisoned: {'; '.join(sorted(reasons))}; good ones {alone:.1f} s alone, {among:.1f} s among"
        )
        return verdict


def _holder(here: Rig, studies: set[str]) -> int:
    query = (
        sa.select(Analysis.holder)
        .join(Analysis.study)
        .where(Study.study_instance_uid.in_(studies), Analysis.status == AnalysisStatus.RUNNING)
    )
    with here.product.database.read() as session:
        holder = session.scalar(query)
    return int(holder.rpartition(":")[2]) if holder else 0


def _time_to_settle(here: Rig, exams: list[Exam]) -> float:
    begin = time.monotonic()
    for exam in exams:
        here.sender().deliver(exam)
    wanted = [exam.study_uid for exam in exams]
    query = (
        sa.select(sa.func.count())
        .select_from(Analysis)
        .join(Analysis.study)
        .where(Study.study_instance_uid.in_(wanted), Analysis.status == AnalysisStatus.SUCCEEDED)
    )
    eventually(lambda: count(here, query) == len(wanted), within=280, what="the good ones are analysed")
    return time.monotonic() - begin


def wrong_weights(lab: Lab) -> Verdict:
    """F33: weights flipped, truncated, swapped or removed: no result, the node receives and lists on."""
    with lab.rig() as here:
        place = here.product.settings.site_bundles / BUNDLE
        for name, spoil in _SPOILS.items():
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(SHIPPED / BUNDLE, place)
            enable_all(place.parent)
            spoil(place)
            here.product.restart("work")
            here.product.await_ready("work")
            before = count(here, sa.select(sa.func.count()).select_from(Finding))
            here.sender().deliver(here.exams.radiograph())
            await_settled(here.product)
            scored = count(here, sa.select(sa.func.count()).select_from(Finding)) - before
            with here.product.database.read() as session:
                last = session.scalars(sa.select(Analysis).order_by(Analysis.id.desc()).limit(1)).one()
            assert not scored, f"{name}: {scored} findings of a bundle that is not what it says"
            lab.note(f"{name}: {last.status} {last.reason[:60]}")
        shutil.rmtree(place)
        shutil.copytree(SHIPPED / BUNDLE, place)
        here.product.restart("work")
        here.product.await_ready("work")
        here.sender().deliver(here.exams.radiograph())
        await_settled(here.product)
        shutil.rmtree(place)  # while running: what is loaded goes on, and says which weights it ran
        here.sender().deliver(here.exams.radiograph())
        verdict = here.check(failed=True)
        expected = json.loads((SHIPPED / BUNDLE / "metadata.json").read_text())["files"]["weights.safetensors"]
        with here.product.database.read() as session:
            ran = set(
                session.scalars(sa.select(Analysis.weights_sha256).where(Analysis.status == AnalysisStatus.SUCCEEDED))
            )
        assert ran == {expected}, "a result does not name the weights that ran"
        return verdict


def _flip(place: Path) -> None:
    file = place / "network.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _truncate(place: Path) -> None:
    os.truncate(place / "weights.safetensors", 1000)


def _other_version(place: Path) -> None:
    shutil.copy(SHIPPED / "nih-cxr-research" / "weights.safetensors", place / "weights.safetensors")


def _swap_labels(place: Path) -> None:
    """The same files under other names: the checksum of the metadata's own list no longer fits."""
    one, other = place / "weights.safetensors", place / "network.onnx"
    spare = place / "spare"
    one.rename(spare)
    other.rename(one)
    spare.rename(other)


_SPOILS: dict[str, Callable[[Path], None]] = {
    "flipped bit": _flip, "truncated": _truncate, "other version": _other_version, "swapped": _swap_labels,
}  # fmt: skip


def duplicates(lab: Lab) -> Verdict:
    """F36: the same study from modality and PACS at once, twenty threads, five times each: one study, one analysis."""
    with lab.rig() as here:
        exam = here.exams.ct(4)
        parts = split(exam)

        def send(number: int) -> Callable[[], None]:
            def run() -> None:
                sender = here.sender(calling="MODALITY" if number % 2 else "PACS1")
                for _ in range(5):
                    for part in parts:
                        sender.deliver(part)

            return run

        together([send(number) for number in range(20)])
        verdict = here.check()
        assert count(here, sa.select(sa.func.count()).select_from(Study)) == 1
        assert count(here, sa.select(sa.func.count()).select_from(Instance)) == len(parts)
        runs = count(here, sa.select(sa.func.count()).select_from(Analysis))
        assert runs == 1, f"{runs} analyses"
        resent = events(here, "instance_resent")
        assert resent == 20 * 5 * len(parts) - len(parts), f"{resent} resends in the audit trail"
        lab.note(f"{20 * 5 * len(parts)} instances sent, {len(parts)} kept, 1 analysis")
        return verdict


def latecomers(lab: Lab) -> Verdict:
    """F37: images that come before, during and after the analysis and after the delivery: the last result saw all."""
    with lab.rig(FIRSTREAD_QUIET_SECONDS_RADIOGRAPH="0.5") as here:
        first = here.exams.radiograph()
        here.sender().deliver(first, here.exams.more(first))  # before
        here.sender().deliver(here.exams.more(first))
        until(
            lambda: _status(here) is AnalysisStatus.RUNNING or events(here, "analysis_succeeded") > 0,
            within=20, what="an analysis runs",
        )  # fmt: skip
        here.sender().deliver(here.exams.more(first))  # during
        eventually(lambda: events(here, "analysis_succeeded") > 0, within=60, what="a first result")
        here.sender().deliver(here.exams.more(first))  # after
        await_settled(here.product)
        here.sender().deliver(here.exams.more(first))  # after the delivery
        verdict = here.check()
        with here.product.database.read() as session:
            study = session.scalars(sa.select(Study)).one()
            reports = session.scalar(sa.select(sa.func.count()).where(ResultObject.kind == "SR"))
            images = len([a for a in study.analyses if a.revision == study.revision][-1].images)
        assert study.revision >= 2, "the study was never opened again"
        assert images == study.instance_count == 6
        lab.note(f"6 images, revision {study.revision}, {reports} reports, the last about {images} images")
        return verdict


def _status(here: Rig) -> AnalysisStatus | None:
    with here.product.database.read() as session:
        return session.scalar(sa.select(Analysis.status).order_by(Analysis.id.desc()).limit(1))
