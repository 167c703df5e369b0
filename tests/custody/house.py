"""The real archive, intake, tables, claims and outbox, with a broker, a PACS and deaths that a test decides."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
import sqlalchemy as sa
from pydicom import dcmread

from custody.disk import Disk
from custody.grounds import Ground
from custody.reader import BUNDLE, NETWORK, Reader
from custody.studies import EXPLICIT, Image
from dicom_node import store_scp
from dicom_node.archive import Archive
from dicom_node.association import AssociationSummary
from dicom_node.dimse import CommandSet, Tag
from dicom_node.intake import Intake
from dicom_node.results import NodeIdentity
from dicom_node.scu import SendOutcome
from dicom_node.stored import damage
from models.registry import Registry
from triage.crash_points import CrashPoint, nowhere
from triage.group_commit import GroupCommit
from triage.instances import Arrival, InstanceHeader, IntakeOutcome, Received, StoredFile
from triage.repositories import analyses, associations, heartbeats
from triage.repositories import intake as rows
from triage.repositories.recorder import Recorder
from triage.settings import Settings
from workers import bell, housekeeping, result_files
from workers.carriers import c_store
from workers.claims import Claim, take
from workers.delivery import deliver_due
from workers.names import Queue, Task
from workers.workbench import Workbench

PACS: Final = "PACS@127.0.0.1:104"
FORKED: Final = 30.0
"""Seconds that a forked listener may take for one small image."""
BEGIN: Final = datetime(2026, 3, 1, 8, tzinfo=UTC)
STORE_POINTS: Final = (
    CrashPoint.WRITTEN, CrashPoint.FILE_SYNCED, CrashPoint.RENAMED, CrashPoint.FOLDER_SYNCED, CrashPoint.RECORDED,
    CrashPoint.COMMITTED, CrashPoint.ANSWERED,
)  # fmt: skip
WORK_POINTS: Final = (
    CrashPoint.DECODED, CrashPoint.INFERRED, CrashPoint.SCORED, CrashPoint.BUILT, CrashPoint.CONCLUDED,
)  # fmt: skip


class Killed(BaseException):
    """A worker dies here. No code of the product catches it; what its clean-up would do to files, none of it does."""


@dataclass
class Pacs:
    """A destination: what it holds, and how it behaves."""

    held: dict[str, set[str]] = field(default_factory=dict)
    up: bool = True
    answers: bool = True

    def __call__(self, *_: object, **__: object) -> Pacs:
        return self

    def close(self) -> None:
        """The association ends."""

    def serves(self, _sop_class_uid: str) -> bool:
        return False

    def send(self, paths: Sequence[Path]) -> list[SendOutcome]:
        (path,) = paths
        if not self.up:
            return [SendOutcome(sop_instance_uid="", error="away", retryable=True, unreachable=True)]
        received = dcmread(path)
        uid = str(received.SOPInstanceUID)
        self.held.setdefault(uid, set()).add(str(received.ImageComments))
        if not self.answers:
            return [SendOutcome(sop_instance_uid=uid, error="no answer", retryable=True, unreachable=True)]
        return [SendOutcome(sop_instance_uid=uid, status=0)]


@dataclass
class Broker:
    """Keeps messages until a worker comes, or loses them."""

    messages: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def send_task(self, name: str, args: Sequence[str] = (), **_: object) -> None:
        self.messages.append((name, tuple(args)))


@dataclass(frozen=True)
class Shift:
    """A worker at work: what it claimed, and when."""

    claims: list[Claim]
    began: datetime


class House:
    """One node on one data directory.

    Attributes
    ----------
    acks : dict
        SOP Instance UID and SHA-256 of what senders heard Success for.
    workers : list
        Claims of workers that are at it.
    """

    def __init__(self, ground: Ground, patch: pytest.MonkeyPatch) -> None:
        ground.clear()
        self.database = ground.database
        self.settings = Settings(
            data=ground.data, destinations=({"address": PACS, "commitment": "off"},), min_free_megabytes=0
        )
        self.now = BEGIN
        self.disk = Disk((self.settings.archive, self.settings.results), ground.data / "syncs")
        self.disk.watch(patch)
        self.reader, self.broker, self.pacs = Reader(), Broker(), Pacs()
        self.reader.take_seat(patch)
        patch.setattr(c_store, "StoreSession", self.pacs)
        patch.setattr(bell, "RING_AGAIN", 0.0)
        patch.setattr(bell, "SWEEP_EVERY", 0.0)
        self.acks: set[tuple[str, str]] = set()
        self.kept: set[tuple[str, str]] = set()
        """What senders heard 0xA900 for because it conflicts: kept beside the first."""
        self.workers: list[Shift] = []
        self.bad_ends: dict[int, set[str]] = {}
        """Tokens of claims that came to no good end, by analysis."""
        self.robbed: list[str] = []
        self.listener = 0
        """Number of the listener's process."""
        self.archive = Archive(self.settings.archive)
        result_files.make_folders(self.settings.results)
        self.bench = self._bench()
        self.bell = self._new_bell()
        self.new_listener()
        self.disk.format()

    def close(self) -> None:
        self.disk.close()

    # --- senders

    def store(self, image: Image, sender: str, die_at: CrashPoint | None) -> int | None:
        """A C-STORE by a process of its own where it is to die; the status that the sender hears."""
        self._beat()
        if die_at is None:
            return self._hear(image, self._receive(nowhere, image, sender))
        self.database.dispose()  # no connection goes through a fork
        answers, answer = os.pipe()
        child = os.fork()
        if child == 0:
            self._receive_and_die(image, sender, die_at, answer)
        os.close(answer)
        if not select.select([answers], [], [], FORKED)[0]:
            # A lock of another thread came along through the fork. kill -9 at any moment is a history like the others.
            os.kill(child, signal.SIGKILL)
        heard = os.read(answers, 2)
        os.close(answers)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        self.new_listener()
        return self._hear(image, int.from_bytes(heard)) if heard else None

    def _hear(self, image: Image, status: int) -> int:
        if status == store_scp.SUCCESS:
            self.acks.add((image.sop_uid, image.digest))
        else:
            assert status == 0xA900, hex(status)
            self.kept.add((image.sop_uid, image.digest))
        return status

    def _receive_and_die(self, image: Image, sender: str, die_at: CrashPoint, answer: int) -> None:
        def reached(point: CrashPoint) -> None:
            if point is die_at:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            status = self._receive(reached, image, sender, answer)
            if die_at is not CrashPoint.ANSWERED:
                os.write(answer, status.to_bytes(2))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)

    def _receive(
        self,
        reached: Callable[[CrashPoint], None],
        image: Image,
        sender: str,
        answer: int | None = None,
    ) -> int:
        """What a listener does with one C-STORE, put together as :func:`firstread.listening.receive` does."""
        archive = Archive(self.settings.archive, reached=reached)

        def write(connection: sa.Connection, received: Sequence[Received]) -> list[IntakeOutcome]:
            outcomes = self.recorder(connection, received)
            archive.reached(CrashPoint.RECORDED)
            return outcomes

        together = GroupCommit(self.database, write)

        def record(header: InstanceHeader, stored: StoredFile, arrival: Arrival) -> IntakeOutcome:
            return together(Received(header=header, stored=stored, arrival=arrival))

        intake = Intake(archive, record, lambda: self.now)
        request = CommandSet(
            {
                Tag.AFFECTED_SOP_CLASS_UID: image.sop_class_uid.encode(),
                Tag.AFFECTED_SOP_INSTANCE_UID: image.sop_uid.encode(),
                Tag.COMMAND_DATA_SET_TYPE: b"\x01\x00",
            }
        )
        operation = store_scp.begin(
            intake,
            request,
            abstract_syntax=image.sop_class_uid,
            transfer_syntax=EXPLICIT,
            association=self._association(sender),
            maximum_size=1 << 20,
        )
        operation.write(memoryview(image.data))
        status = operation.finish().status
        if answer is not None:
            os.write(answer, status.to_bytes(2))
        reached(CrashPoint.ANSWERED)
        return status

    def new_listener(self) -> None:
        """The listener's process is another one."""
        self.listener += 1
        rules = rows.IntakeRules(
            listener=self.listener_name,
            completion=self.settings.completion,
            targets=self.settings.targets,
            pixel_digest=self.archive.pixel_digest,
            is_here=lambda path: (self.settings.archive / path).is_file(),
            damage=partial(damage, self.archive),
        )
        self.recorder = Recorder(rules)
        self._beat()

    def _beat(self) -> None:
        with self.database.write() as session:
            heartbeats.beat(session, self.listener_name, "listen", at=self.now)

    @property
    def listener_name(self) -> str:
        return f"listen@elsewhere:{self.listener}"

    def _association(self, sender: str) -> AssociationSummary:
        return AssociationSummary(
            association_uid=f"1.2.9.{self.listener}.{ord(sender)}",
            calling_ae_title=sender,
            called_ae_title="FIRSTREAD",
            peer_address="127.0.0.1",
            opened_at=self.now,
        )

    def end_association(self, sender: str) -> None:
        with self.database.write() as session:
            uid = self._association(sender).association_uid
            associations.close_association(session, uid, at=self.now, policy=self.settings.completion)

    # --- deaths

    def kill_all(self) -> None:
        """Every process of the node dies, the broker with its messages too, and all are started again."""
        for shift in self.workers:
            self._count_bad_end(shift.claims)
        self.workers.clear()
        self.broker.messages.clear()
        self.new_listener()
        self.bell = self._new_bell()

    def lose_power(self, survives: Callable[[], bool]) -> None:
        self.kill_all()
        self.database.dispose()
        self.disk.lose_power(survives)
        self.archive = Archive(self.settings.archive)
        self.bench = self._bench()

    # --- workers

    def ring(self) -> None:
        self.bell._proofs_looked_at = float("-inf")
        self.bell._look()

    def hear(self, number: int) -> None:
        """A worker takes a message and does what it says; an analysis is begun, :meth:`work` goes on with it."""
        if number >= len(self.broker.messages):
            return
        name, arguments = self.broker.messages.pop(number)
        match name:
            case Task.ANALYSE:
                if claims := take(self.bench):
                    self._replace(claims)
                    self.workers.append(Shift(claims, self.now))
            case Task.DELIVER:
                deliver_due(self.bench, *arguments)
            case Task.COMPLETE:
                housekeeping.complete_due(self.bench)
            case Task.SWEEP:
                self.sweep()

    def sweep(self) -> None:
        self._beat()
        housekeeping.bury_the_dead(self.database, self.settings.completion, self.now)
        housekeeping.sweep_incoming(self.bench)

    def work(self, number: int, die_at: CrashPoint | None = None) -> None:
        """A worker brings its analysis as far as it goes, or dies on the way."""
        if number < len(self.workers):
            shift = self.workers.pop(number)
            claims = shift.claims
            if self.now > shift.began + analyses.LEASE:
                self._count_bad_end(claims)  # the try may be over already, whatever this worker still does
            try:
                self._dying(die_at, lambda: self._analyse(claims))
            except Killed:
                self._count_bad_end(claims)
            except Exception as error:
                raise AssertionError(f"a worker broke down: {error}") from error

    def _analyse(self, claims: list[Claim]) -> None:
        from workers.analysis import analyse  # noqa: PLC0415 - as it is now, seeded errors included

        analyse(self.bench, claims)

    def worker_dies(self, number: int) -> None:
        if number < len(self.workers):
            self._count_bad_end(self.workers.pop(number).claims)

    def deliver(self, die_at: CrashPoint | None = None) -> None:
        with contextlib.suppress(Killed):
            self._dying(die_at, lambda: deliver_due(self.bench, PACS))

    def _dying(self, die_at: CrashPoint | None, work: Callable[[], object]) -> None:
        def reached(point: CrashPoint) -> None:
            if point is die_at:
                raise Killed

        self.bench.reached = reached
        try:
            work()
        finally:
            self.bench.reached = nowhere

    def _count_bad_end(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self.bad_ends.setdefault(claim.analysis_id, set()).add(claim.token)

    def ended_badly(self, analysis_id: int) -> int:
        """How many tries of an analysis came to no good end; who overran the lease has none either."""
        overrun = {
            claim.token
            for shift in self.workers
            for claim in shift.claims
            if claim.analysis_id == analysis_id and self.now > shift.began + analyses.LEASE
        }
        return len(self.bad_ends.get(analysis_id, set()) | overrun)

    def _replace(self, claims: Sequence[Claim]) -> None:
        """Somebody who holds one of these already must have overrun the lease."""
        for claim in claims:
            for shift in self.workers:
                for held in shift.claims:
                    if held.analysis_id == claim.analysis_id:
                        self._count_bad_end([held])
                        if self.now <= shift.began + analyses.LEASE:
                            self.robbed.append(f"analysis {claim.analysis_id} was taken from a worker within its lease")

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def _bench(self) -> Workbench:
        decoder: Any = SimpleNamespace(decode=None)
        network: Any = NETWORK
        return Workbench(
            settings=self.settings,
            database=self.database,
            archive=self.archive,
            registry=Registry.load(check_files=False),
            node=NodeIdentity(software_version="0", name="FIRSTREAD", device_uid="1.2.4"),
            decoder=decoder,
            clock=lambda: self.now,
            _predictors={BUNDLE.metadata.name: network},
        )

    def _new_bell(self) -> bell.Bell:
        return bell.Bell(self.broker, self.database, frozenset(Queue), lambda: self.now)
