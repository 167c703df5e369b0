"""The state machine of custody: everything that can happen to a node, in any order.

The shape is that of an executable model of the protocol; here the real code runs. What must hold all the time is
:mod:`custody.holding`; what must come in the end is in :meth:`Custody.teardown` (I6, I7).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import ClassVar

import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from custody.grounds import Ground
from custody.holding import check, look
from custody.house import STORE_POINTS, WORK_POINTS, House
from custody.studies import IMAGES, STUDIES
from triage.crash_points import CrashPoint
from triage.states import AnalysisStatus, DeliveryStatus, StudyStatus, terminal
from triage.tables import Analysis, AnalysisImage, Delivery, Instance, ResultObject, Study
from workers.names import Task

Seed = Callable[[pytest.MonkeyPatch], None]


class Custody(RuleBasedStateMachine):
    """Senders, listeners, workers, broker, PACS, time and power."""

    seed: ClassVar[Seed | None] = None
    """An error to seed into the code."""
    ground: ClassVar[Ground]

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.poisonous: str | None = None

    @initialize()
    def start(self) -> None:
        seed = type(self).seed
        if seed is not None:
            seed(self.patch)
        self.house = House(self.ground, self.patch)

    # --- what happens

    @rule(
        name=st.sampled_from("abcd"),
        content=st.sampled_from("XXXYx"),
        sender=st.sampled_from("MP"),
        die_at=st.none() | st.sampled_from(STORE_POINTS),
    )
    def store(self, name: str, content: str, sender: str, die_at: CrashPoint | None) -> None:
        self.house.store(IMAGES[name, content], sender, die_at)

    @rule(sender=st.sampled_from("MP"))
    def association_ends(self, sender: str) -> None:
        self.house.end_association(sender)

    @rule(name=st.sampled_from("abcd"), sender=st.sampled_from("MP"))
    def examination(self, name: str, sender: str) -> None:
        """An image, the end of its association and a ring: what a day is mostly made of."""
        self.house.store(IMAGES[name, "X"], sender, None)
        self.house.end_association(sender)
        self.house.ring()

    @rule()
    def all_is_done(self) -> None:
        """Everybody who is owed something is served: what a day is else made of."""
        self.house.ring()
        for _ in range(len(self.house.broker.messages)):
            self.house.hear(0)
            self.poison_works()
        while self.house.workers:
            self.house.work(0)

    @rule(data=st.data())
    def power_is_lost(self, data: st.DataObject) -> None:
        self.house.lose_power(lambda: data.draw(st.booleans(), label="survives"))

    @rule()
    def all_are_killed(self) -> None:
        self.house.kill_all()

    @rule()
    def bell_rings(self) -> None:
        self.house.ring()

    @rule(number=st.integers(0, 4))
    def broker_loses(self, number: int) -> None:
        if number < len(self.house.broker.messages):
            del self.house.broker.messages[number]

    @rule(number=st.integers(0, 4))
    def broker_doubles(self, number: int) -> None:
        messages = self.house.broker.messages
        if number < len(messages):
            messages.append(messages[number])

    @rule(number=st.integers(0, 4))
    def worker_hears(self, number: int) -> None:
        self.house.hear(number)
        self.poison_works()

    @rule(number=st.integers(0, 2), die_at=st.none() | st.sampled_from(WORK_POINTS))
    def worker_goes_on(self, number: int, die_at: CrashPoint | None) -> None:
        self.house.work(number, die_at)

    @rule(number=st.integers(0, 2))
    def worker_dies(self, number: int) -> None:
        self.house.worker_dies(number)

    @rule(
        up=st.booleans(),
        answers=st.booleans(),
        die_at=st.sampled_from([None, None, CrashPoint.DELIVERY_CLAIMED, CrashPoint.SENT]),
    )
    def deliveries_go_out(self, up: bool, answers: bool, die_at: CrashPoint | None) -> None:
        pacs = self.house.pacs
        pacs.up, pacs.answers = up, answers
        self.house.deliver(die_at)
        pacs.up = pacs.answers = True

    @rule(seconds=st.sampled_from([1, 20, 61, 250, 1000]))
    def time_passes(self, seconds: int) -> None:
        self.house.pass_by(seconds)

    @rule()
    def leases_run_out(self) -> None:
        """Whoever is at work stalls for longer than its lease, and another begins with the same."""
        self.house.pass_by(61)
        self.house.ring()
        for number, (task, _) in enumerate(self.house.broker.messages):
            if task == Task.ANALYSE:
                self.worker_hears(number=number)
                break

    @rule()
    def late_workers_come_back(self) -> None:
        """The new one is done when the old one writes."""
        self.leases_run_out()
        while self.house.workers:
            self.house.work(len(self.house.workers) - 1)

    @precondition(lambda self: self.poisonous is None)
    @rule(study=st.sampled_from(sorted(STUDIES)))
    def becomes_poison(self, study: str) -> None:
        self.poisonous = next(image.study_uid for image in IMAGES.values() if image.study == study)

    def poison_works(self) -> None:
        """Its pixels kill every worker that touches them."""
        for number, shift in reversed(list(enumerate(self.house.workers))):
            if any(claim.study_instance_uid == self.poisonous for claim in shift.claims):
                self.house.worker_dies(number)

    # --- what holds

    @invariant()
    def custody_holds(self) -> None:
        check(self.house, look(self.house))

    # --- what comes in the end

    def teardown(self) -> None:
        try:
            if hasattr(self, "house"):
                self._leave_alone()
                self._look_at_the_end()
        finally:
            self.give_up()

    def give_up(self) -> None:
        """Take back all that was changed for this history."""
        self.patch.undo()
        if hasattr(self, "house"):
            self.house.close()

    def _leave_alone(self) -> None:
        """Faults stop. Whoever is at work goes on, the bell rings, time passes."""
        house = self.house
        house.new_listener()  # senders have gone home
        for _ in range(30):
            house.sweep()
            house.ring()
            for _ in range(len(house.broker.messages)):
                house.hear(0)
                self.poison_works()
            while house.workers:
                house.work(0)
            if not self._waiting():
                return
            house.pass_by(400)

    def _waiting(self) -> list[str]:
        with self.house.database.read() as session:
            studies = session.scalars(sa.select(Study.status).where(Study.status != StudyStatus.COMPLETE)).all()
            analyses = [s for s in session.scalars(sa.select(Analysis.status)) if not terminal(s)]
            owed = session.scalars(sa.select(Delivery.status).where(Delivery.status != DeliveryStatus.SENT)).all()
        return [str(status) for status in (*studies, *analyses, *owed)]

    def _look_at_the_end(self) -> None:
        """I6, I7: everything came to its end, with everything that was acknowledged, and arrived."""
        waiting = self._waiting()
        assert not waiting, f"I6: for ever {Counter(waiting)}"
        self.custody_holds()
        with self.house.database.read() as session:
            for study in session.scalars(sa.select(Study)):
                self._look_at_study(session, study)
            for result in session.scalars(sa.select(ResultObject)):
                source = session.get(Instance, result.source_instance_id) if result.source_instance_id else None
                if result.analysis.status is AnalysisStatus.SUCCEEDED and (source is None or source.is_current):
                    assert len(result.deliveries) == 1, "I6: a result is owed to nobody"
                if result.deliveries:
                    assert result.sop_instance_uid in self.house.pacs.held, "I6: a result never arrived"

    def _look_at_study(self, session: sa.orm.Session, study: Study) -> None:
        last = max(study.analyses, key=lambda analysis: analysis.revision)
        if study.study_instance_uid == self.poisonous or last.status is AnalysisStatus.FAILED:
            return
        assert last.status is AnalysisStatus.SUCCEEDED, f"I6: {last.status}: {last.reason}"
        seen = set(
            session.scalars(
                sa.select(AnalysisImage.instance_id).where(
                    AnalysisImage.analysis_id == last.id, AnalysisImage.reason.is_(None)
                )
            )
        )
        current = {instance.id for instance in study.instances if instance.is_current}
        assert current <= seen, "I7: an acknowledged image was never read"
