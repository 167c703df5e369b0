"""F17-F20, F35: disks that are full, out of names, read-only, broken, slow, or change what they keep."""

from __future__ import annotations

import json
import time

import sqlalchemy as sa
from peers.processes import eventually
from peers.replay_sender import SUCCESS

from faults.below import Shim, ballast, ext4, need_root, shim, tmpfs
from faults.exams import Exam
from faults.invariants import Verdict, await_settled
from faults.lab import Lab, load
from faults.rig import Rig
from triage.tables import Instance

NO_RESERVE = {"FIRSTREAD_MIN_FREE_MEGABYTES": "0", "FIRSTREAD_MIN_FREE_PERCENT": "0", "FIRSTREAD_MIN_FREE_INODES": "0"}
"""The product's own look ahead is off: the faults shall reach the calls behind it."""


def _statuses(here: Rig) -> str:
    return ", ".join(f"{status:#06x}" for status in here.receipts.answers if status not in (SUCCESS, None)) or "none"


def no_space(lab: Lab) -> Verdict:
    """F17: twenty megabytes in all; they run out in every call that writes, and are freed again."""
    need_root()
    with (
        tmpfs(lab.folder / "small", "size=40m") as small,
        lab.rig(FIRSTREAD_DATA=str(small / "data"), **NO_RESERVE) as here,
    ):
        here.sender().deliver(here.exams.radiograph())
        await_settled(here.product)
        for leave in (*range(0, 400_000, 50_000), *range(0, 40_000, 4096 if lab.full else 16384)):
            with ballast(small, leave):
                for exam in (here.exams.ct(1), here.exams.radiograph()):
                    here.sender(timeout=60).try_once(exam)
        refused = _statuses(here)
        assert 0xA700 in here.receipts.answers, f"nothing was refused: {here.receipts.answers}"
        assert set(here.receipts.answers) <= {SUCCESS, 0xA700, None}, f"other answers than 0xA700: {refused}"
        here.sender().deliver(here.exams.radiograph(), here.exams.ct())
        verdict = here.check()
        lab.note(f"answered {refused}; settled {verdict.settled_after:.0f} s after there was room")
    _each_call(lab, ("write ENOSPC incoming", "fsync ENOSPC incoming", "rename ENOSPC store", "write ENOSPC sqlite"))
    return verdict


def no_names(lab: Lab) -> Verdict:
    """F18: no inodes, a quota, a file system that went read-only under open files."""
    need_root()
    with (
        tmpfs(lab.folder / "names", "size=200m,nr_inodes=700") as small,
        lab.rig(FIRSTREAD_DATA=str(small / "data"), **NO_RESERVE) as here,
    ):
        here.sender().deliver(here.exams.radiograph())
        await_settled(here.product)
        hogs = small / "hogs"
        hogs.mkdir()
        try:
            while True:
                (hogs / f"{time.monotonic_ns()}").touch()
        except OSError:
            pass
        for exam in (here.exams.ct(2), here.exams.radiograph()):
            assert here.sender().try_once(exam), "Success without an inode"
        for hog in hogs.iterdir():
            hog.unlink()
        here.sender().deliver(here.exams.radiograph())
        here.check()
        lab.note(f"inodes: answered {_statuses(here)}")
    _each_call(lab, ("write EDQUOT incoming", "write EDQUOT sqlite"))
    with (
        ext4(lab.folder / "disk", 300) as disk,
        lab.rig(FIRSTREAD_DATA=str(disk.folder / "data"), **NO_RESERVE) as here,
    ):
        here.sender().deliver(here.exams.radiograph())
        await_settled(here.product)
        disk.break_down()
        for exam in (here.exams.ct(1), here.exams.radiograph()):
            assert here.sender(timeout=60).try_once(exam), "Success on a read-only disk"
        lab.note(f"read-only: answered {_statuses(here)}")
        here.product.kill()
        eventually(lambda: not any(map(here.product.alive, here.product.parts)), within=10, what="parts are gone")
        here.product.database.dispose()
        disk.repair()
        here.product.start()
        here.product.await_ready()
        here.sender().deliver(here.exams.radiograph())
        verdict = here.check()
        here.product.kill()
        here.product.database.dispose()
    return verdict


def failed_sync(lab: Lab) -> Verdict:
    """F19: fsync of a file, of a folder, of the database says EIO: never acknowledged, and the file is not reused."""
    return _each_call(lab, ("fsync EIO incoming", "fsync EIO store", "fsync EIO sqlite"))


def _each_call(lab: Lab, rules: tuple[str, ...]) -> Verdict:
    """Inject each in turn: no Success while it lasts, all well after it."""
    preload = shim(lab.folder)
    with lab.rig(ready=False, parts=(), **NO_RESERVE) as here:
        here.product.extra["listen"] = preload.environment
        here.product.start()
        here.product.await_ready()
        here.sender().deliver(here.exams.radiograph())
        for rule in rules:
            await_settled(here.product)
            before = here.receipts.answers[SUCCESS]
            preload.fail(rule)
            exams = [here.exams.radiograph(), here.exams.ct(2)]
            for exam in exams:
                here.sender(timeout=60).try_once(exam)
            told = here.receipts.answers[SUCCESS] - before
            assert not told, f"{told} instances were acknowledged under `{rule}`"
            preload.heal()
            assert not list(here.product.settings.archive.glob("incoming/*.part")), f"a partial file after `{rule}`"
            here.sender().deliver(*exams)
            assert here.product.alive("listen"), f"the receiver ended under `{rule}`"
        lab.note(f"{'; '.join(rules)}: answered {_statuses(here)}")
        return here.check()


def slow_disk(lab: Lab) -> Verdict:
    """F20: every fsync takes five seconds; senders are answered inside their time-out, or told to come back."""
    preload: Shim = shim(lab.folder)
    with lab.rig(ready=False, parts=(), **NO_RESERVE) as here:
        here.product.extra["listen"] = preload.environment
        here.product.start()
        here.product.await_ready()
        pause = lab.much(5000, 1000)
        preload.fail(f"fsync {pause} {here.product.settings.data}")
        with load(here, streams=4, every=1.0):
            time.sleep(lab.much(60, 10))
        slowest = here.receipts.latency(1.0)
        assert here.receipts.answers[SUCCESS], "nothing was acknowledged"
        assert slowest < 30.0, f"a sender waited {slowest:.0f} s"
        preload.heal()
        verdict = here.check()
        lab.note(f"{pause} ms a sync: slowest answer {slowest:.1f} s, no answer {here.receipts.answers[None]} times")
        return verdict


def decayed_files(lab: Lab) -> Verdict:
    """F35: a stored file is flipped, another removed: `firstread fsck` says which, and what has to be sent again."""
    with lab.rig() as here:
        exams = [here.exams.ct(1) for _ in range(3)]
        here.sender().deliver(*exams)
        here.check()
        with here.product.database.read() as session:
            rows = session.scalars(sa.select(Instance).order_by(Instance.id)).all()
        flipped, removed = (here.product.settings.archive / row.relative_path for row in rows[:2])
        flipped.chmod(0o600)
        data = bytearray(flipped.read_bytes())
        data[-9] ^= 0x10
        flipped.write_bytes(data)
        removed.unlink()
        damaged = [row.sop_instance_uid for row in rows[:2]]
        found = here.product.command("fsck", "--deep", "--json")
        assert found.returncode != 0, "fsck found nothing"
        missed = [uid for uid in damaged if uid not in found.stdout]
        assert not missed, f"fsck does not name {missed}: {found.stdout[-2000:]}"
        assert json.loads(found.stdout) is not None
        lab.note("both named by `firstread fsck --json`")
        return _sent_again(lab, here, exams[:2], damaged)


def _sent_again(lab: Lab, here: Rig, exams: list[Exam], damaged: list[str]) -> Verdict:
    """The sender still has them: after a resend the archive is whole."""
    here.sender().deliver(*exams)
    healed = here.verify()
    if healed.holds:
        lab.note("whole again after a resend")
        return healed
    lab.note("a resend does not bring the file back")
    return here.check(damaged=damaged)
