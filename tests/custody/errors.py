"""Twelve errors of design, seeded into the code that carries the duty.

They are those of the executable model of the protocol. Where this design differs from the model's (the message is only
a bell, deliveries are rows), the error is translated; each function says how.
"""

from __future__ import annotations

import inspect
import textwrap
import threading
import uuid
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import pytest

from dicom_node import incoming, intake
from dicom_node.results import uids
from triage.instances import IntakeOutcome
from triage.outbox import Next
from triage.repositories import analyses, deliveries
from triage.repositories import intake as rows
from workers import bell

Seed = Callable[[pytest.MonkeyPatch], None]


def rewrite(patch: pytest.MonkeyPatch, module: ModuleType, owner: Any, name: str, right: str, wrong: str) -> None:
    """Replace one passage of a function. An error that no longer fits the code fails its test."""
    source = textwrap.dedent(inspect.getsource(getattr(owner, name)))
    assert source.count(right) == 1, f"{name} has no such passage any more: {right}"
    made: dict[str, Any] = {}
    exec(compile(source.replace(right, wrong), f"<{name} with an error>", "exec"), vars(module), made)  # noqa: S102
    patch.setattr(owner, name, made[name])


def no_fsync(patch: pytest.MonkeyPatch) -> None:
    """The name of an instance is synced, its bytes are not."""
    rewrite(patch, incoming, incoming.IncomingFile, "_flush", "os.fsync(self._descriptor)", "pass")


def no_dirsync(patch: pytest.MonkeyPatch) -> None:
    """The bytes are synced, the name is not."""
    patch.setattr(incoming, "sync_folder", lambda _folder: None)


def ack_early(patch: pytest.MonkeyPatch) -> None:
    """The sender is answered before its row is committed; that happens a moment later."""

    def later(record: Callable[..., IntakeOutcome], *what: object) -> IntakeOutcome:
        threading.Timer(0.05, record, what).start()
        return IntakeOutcome.STORED

    patch.setattr(intake, "later", later, raising=False)
    rewrite(patch, intake, intake.Reception, "commit", "self._intake.record(", "later(self._intake.record, ")


def overwrite(patch: pytest.MonkeyPatch) -> None:
    """Files are named by SOP Instance UID alone: the last writer wins."""
    rewrite(patch, incoming, incoming.IncomingFile, "commit", ".{digest}.dcm", ".dcm")


def late_ignored(patch: pytest.MonkeyPatch) -> None:
    """What comes after completion is stored and never read."""
    right = "    if study.status is StudyStatus.COMPLETE:\n"
    rewrite(patch, rows, rows._Batch, "_open_for_analysis", right, f"{right}        return\n{right}")


def no_sweeper(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks for leases that ran out. Here that is the claim itself: it takes abandoned rows too."""
    rewrite(patch, analyses, analyses, "claimable", "sa.or_(waiting, abandoned)", "waiting")


def mark_before_publish(patch: pytest.MonkeyPatch) -> None:
    """A ring is noted first and never repeated. The model's outbox row and its missing sweeper are here the bell's
    memory of what it rang, which ends after a tenth of a second while the row is due."""
    rewrite(
        patch,
        bell,
        bell.Bell,
        "_ring",
        "if time.monotonic() - self._last(task, argument) < RING_AGAIN:\n        return\n",
        "if (task, argument) in self._rung:\n        return\n    self._rung[task, argument] = time.monotonic()\n",
    )


def no_claim(patch: pytest.MonkeyPatch) -> None:
    """A second message takes what a worker holds under a running lease."""
    rewrite(patch, analyses, analyses, "claimable", ", Analysis.lease_until < now", "")


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """A worker that lost its lease writes all the same."""
    right = " or analysis.token != token or analysis.status is not AnalysisStatus.RUNNING"
    rewrite(patch, analyses, analyses, "held", right, "")


def random_uid(patch: pytest.MonkeyPatch) -> None:
    """A result object gets a new name each time it is built. The model sees it at the PACS and only without a fence;
    here a delivery is a row with frozen bytes, and the second name is seen at the maker."""
    patch.setattr(uids, "derive_uid", lambda *_: f"2.25.{uuid.uuid4().int}")


def no_quarantine(patch: pytest.MonkeyPatch) -> None:
    """A file that kills its worker is tried for ever."""
    rewrite(patch, analyses, analyses, "claim", "if analysis.attempts >= attempts:", "if False:")


def forget_on_fail(patch: pytest.MonkeyPatch) -> None:
    """A delivery that failed counts as done."""
    patch.setattr(deliveries, "next_step", lambda _verdict, **_: Next.DONE)


ERRORS: Final[dict[str, Seed]] = {
    "NO_FSYNC": no_fsync,
    "NO_DIRSYNC": no_dirsync,
    "ACK_EARLY": ack_early,
    "OVERWRITE": overwrite,
    "LATE_IGNORED": late_ignored,
    "NO_SWEEPER": no_sweeper,
    "MARK_BEFORE_PUBLISH": mark_before_publish,
    "NO_CLAIM": no_claim,
    "NO_FENCE": no_fence,
    "RANDOM_UID": random_uid,
    "NO_QUARANTINE": no_quarantine,
    "FORGET_ON_FAIL": forget_on_fail,
}
