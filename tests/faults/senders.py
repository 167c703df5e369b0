"""Modalities that never give up, and the receipts they hold."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from peers.replay_sender import Answer, Association, Instance

from faults.exams import Exam

PAUSE = 0.2  # seconds before a modality tries again


@dataclass
class Receipts:
    """What senders were told. Thread-safe.

    Attributes
    ----------
    acknowledged : dict
        SOP Instance UID to the SHA-256 of every data set that Success was answered for.
    studies : set
        Study Instance UIDs with at least one acknowledged instance.
    answers : Counter
        Statuses; None where none came.
    seconds : list
        Times to answer, of answered requests.
    """

    acknowledged: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    studies: set[str] = field(default_factory=set)
    answers: Counter[int | None] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, answer: Answer, study_uid: str) -> None:
        with self._lock:
            self.answers[answer.status] += 1
            if answer.status is not None:
                self.seconds.append(answer.seconds)
            if answer.receipt:
                self.acknowledged[answer.instance.sop_instance_uid].add(answer.instance.digest)
                self.studies.add(study_uid)

    def latency(self, share: float) -> float:
        with self._lock:
            ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


@dataclass
class Sender:
    """Sends studies; keeps what was not acknowledged and sends it again, as good senders do.

    Parameters
    ----------
    timeout : float
        Seconds it waits for an answer.
    """

    port: int
    receipts: Receipts
    calling: str = "MODALITY"
    timeout: float = 30.0
    host: str = "127.0.0.1"

    def try_once(self, exam: Exam) -> list[Instance]:
        """Send over one association; returns the instances without a receipt."""
        left = list(exam.instances)
        try:
            with Association(
                self.port, [i.context for i in left], host=self.host, calling=self.calling, timeout=self.timeout
            ) as association:
                while left:
                    answer = association.store(left[0])
                    self.receipts.note(answer, exam.study_uid)
                    if not answer.receipt:
                        break
                    left.pop(0)
        except OSError:
            pass
        return left

    def send(self, exam: Exam, *, within: float = 300.0, stop: threading.Event | None = None) -> bool:
        """Send until everything is acknowledged; False when it was stopped or time ran out before."""
        deadline = time.monotonic() + within
        left: Sequence[Instance] = exam.instances
        while True:
            left = self.try_once(Exam(exam.study_uid, left))
            if not left:
                return True
            if time.monotonic() > deadline or (stop is not None and stop.is_set()):
                return False
            time.sleep(PAUSE)

    def deliver(self, *exams: Exam) -> None:
        """Send and insist.

        Raises
        ------
        AssertionError
            Something was not acknowledged in time.
        """
        for exam in exams:
            assert self.send(exam), f"study {exam.study_uid} was not acknowledged: {self.receipts.answers}"


class Stream(threading.Thread):
    """Sends a study again and again at a rate until it is stopped; finishes the one in hand first.

    Parameters
    ----------
    next_exam : callable
        Gives the next study; called under ``lock`` where several streams share a source.
    every : float
        Seconds from one study to the next.
    """

    def __init__(
        self, sender: Sender, next_exam: Callable[[], Exam], every: float, lock: threading.Lock | None = None
    ) -> None:
        super().__init__(daemon=True)
        self._sender, self._next, self._every = sender, next_exam, every
        self._lock = lock or threading.Lock()
        self._stopped = threading.Event()
        self.sent = 0
        self.unsent: list[Exam] = []

    def run(self) -> None:
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._every, time.monotonic() - 5 * self._every)
            with self._lock:
                exam = self._next()
            if self._sender.send(exam):
                self.sent += 1
            else:
                self.unsent.append(exam)

    def stop(self) -> None:
        self._stopped.set()

    def finish(self) -> None:
        """Stop and wait for the study in hand."""
        self.stop()
        self.join()
        assert not self.unsent, f"{len(self.unsent)} studies were never acknowledged"
