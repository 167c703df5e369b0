"""Random histories of rows: whatever arrives, dies, waits or comes late, no study falls out of the house."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from migrated import migrate

from triage import tables
from triage.completion import CompletionPolicy
from triage.database import Database
from triage.errors import LeaseLostError
from triage.findings import NotAnalysedReason
from triage.instances import Arrival, InstanceHeader, IntakeOutcome, StoredFile
from triage.priority import Targets
from triage.repositories import analyses, completing, outcomes
from triage.repositories.associations import close_association
from triage.repositories.intake import IntakeRules, record_instance
from triage.states import AnalysisStatus, StudyStatus, terminal

ATTEMPTS = 3
POLICY = CompletionPolicy(quiet=60, max_open=900)
RULES = IntakeRules(listener="listen@test:1", completion=POLICY, targets=Targets(), pixel_digest=str)
studies = st.integers(0, 2)
instances = st.integers(0, 3)


class Journey(RuleBasedStateMachine):
    """Senders, workers and time, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        self.open: set[str] = set()
        self.acknowledged: set[tuple[str, str]] = set()
        self.held: list[tuple[int, str]] = []

    @initialize()
    def start(self) -> None:
        self.database = Database(f"sqlite:///{Path(self.folder.name) / 'rows.sqlite'}")
        migrate(self.database)

    def teardown(self) -> None:
        self.database.dispose()
        self.folder.cleanup()

    @rule(study=studies, instance=instances, sender=st.sampled_from("AB"), modality=st.sampled_from(["DX", "CT", "SR"]))
    def receive(self, study: int, instance: int, sender: str, modality: str) -> None:
        uid = f"1.2.{study}.{instance}"
        header = InstanceHeader(
            study_instance_uid=f"1.2.{study}",
            series_instance_uid=f"1.2.{study}.9",
            sop_instance_uid=uid,
            sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
            modality=modality,
        )
        stored = StoredFile(
            relative_path=uid,
            digest=f"{uid}{modality}",
            size=1,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
        )
        arrival = Arrival(
            received_at=self.now,
            association_uid=sender,
            calling_ae_title=sender,
            called_ae_title="FIRSTREAD",
            peer_address="127.0.0.1",
        )
        with self.database.write() as session:
            outcome = record_instance(session, header, stored, arrival, RULES)
        self.open.add(sender)
        self.acknowledged.add((uid, stored.digest))
        assert outcome is not IntakeOutcome.CONFLICT

    @rule(sender=st.sampled_from("AB"))
    def end_association(self, sender: str) -> None:
        with self.database.write() as session:
            close_association(session, sender, at=self.now, policy=POLICY)
        self.open.discard(sender)

    @rule(seconds=st.sampled_from([1, 30, 70, 1000]))
    def let_time_pass(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        with self.database.write() as session:
            for study in completing.due_studies(session, self.now):
                completing.reconsider(session, study, self.now, POLICY)

    @rule()
    def claim(self) -> None:
        with self.database.write() as session:
            analysis = analyses.claim(session, self.now, attempts=ATTEMPTS)
            if analysis is not None:
                self.held.append((analysis.id, analysis.token))

    @rule(end=st.sampled_from(["look", "retry", "die"]))
    def work(self, end: str) -> None:
        if not self.held:
            return
        analysis_id, token = self.held.pop(0)
        if end == "die":
            return
        with self.database.write() as session:
            try:
                analysis = analyses.held(session, analysis_id, token)
            except LeaseLostError:
                return
            if end == "retry":
                analyses.retry_later(session, analysis, "broken", at=self.now)
                return
            self.look_at(session, analysis)

    def look_at(self, session: sa.orm.Session, analysis: tables.Analysis) -> None:
        """What a worker does, without pixels: DX is read, everything else is left out."""
        seen = {image.instance_id for image in analysis.images}
        for instance in outcomes.current_instances(session, analysis.study_id):
            if instance.id not in seen:
                reason = None if instance.modality == "DX" else NotAnalysedReason.UNSUPPORTED_MODALITY
                analysis.images.append(tables.AnalysisImage(instance_id=instance.id, reason=reason))
        scored = any(image.reason is None for image in analysis.images)
        if completing.sending(session, analysis.study):
            analyses.park(analysis)
        elif not scored:
            analyses.decline(session, analysis, NotAnalysedReason.UNSUPPORTED_MODALITY, "", at=self.now)
        elif analysis.study.status is StudyStatus.RECEIVING:
            analyses.park(analysis)
        else:
            analyses.succeed(session, analysis, at=self.now)

    @invariant()
    def nothing_acknowledged_is_lost(self) -> None:
        with self.database.read() as session:
            query = sa.select(tables.Instance.sop_instance_uid, tables.Instance.digest)
            rows = {(uid, digest) for uid, digest in session.execute(query)}
        assert self.acknowledged <= rows

    @invariant()
    def every_study_is_listed_with_an_analysis_and_a_reason(self) -> None:
        with self.database.read() as session:
            for study in session.scalars(sa.select(tables.Study)):
                assert study.analyses
                assert study.status_reason
                assert study.explanation
                assert sum(not terminal(a.status) for a in study.analyses) <= 1
                assert all(a.attempts <= ATTEMPTS for a in study.analyses)
                assert study.status is StudyStatus.COMPLETE or study.look_at is not None

    @invariant()
    def what_waits_for_nobody_can_be_claimed(self) -> None:
        """An open analysis of a complete study is due, running, or pausing before a retry: never forgotten."""
        with self.database.read() as session:
            for study in session.scalars(sa.select(tables.Study).where(tables.Study.status == StudyStatus.COMPLETE)):
                for analysis in study.analyses:
                    assert analysis.status is not AnalysisStatus.QUEUED or analysis.due


Journey.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestJourney = Journey.TestCase
