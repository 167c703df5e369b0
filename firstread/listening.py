"""The listener as a process: DICOM port, archive and database put together. Runs until SIGTERM or Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from types import FrameType

from sqlalchemy.orm import Session

from dicom_node.admission import AllowedPeer
from dicom_node.alerts import Alert, SecurityAlerts
from dicom_node.archive import Archive
from dicom_node.association import AssociationSummary
from dicom_node.intake import Intake
from dicom_node.listener import Listener, ListenerConfig
from dicom_node.pace import AssociationLimits
from firstread.ground import stand
from triage.crash_points import CrashPoint, kill_at
from triage.database import Database
from triage.errors import DatabaseUnavailableError
from triage.group_commit import GroupCommit
from triage.instances import Arrival, InstanceHeader, IntakeOutcome, QuarantinedObject, Received, StoredFile
from triage.logging import configure, get_logger
from triage.repositories import associations, events, quarantine
from triage.repositories import intake as rows
from triage.settings import Settings
from workers.housekeeping import bury_the_dead
from workers.pulse import Pulse, process_name
from workers.workbench import utc_now

log = get_logger(__name__)


def listen(settings: Settings) -> None:
    """Run the DICOM listener.

    Raises
    ------
    SettingsError
        The port is taken, the database has another schema or another listener, or there is no ground to stand on.
    """
    configure(part="listen", as_json=settings.log_json)
    held = stand(settings, utc_now())
    database = Database(settings.database)
    database.require_current()
    archive = Archive(
        settings.archive, min_free_bytes=settings.min_free_megabytes * 1024 * 1024, reached=kill_at(settings.crash_at)
    )
    rules = rows.IntakeRules(
        listener=process_name("listen"),
        completion=settings.completion,
        targets=settings.targets,
        pixel_digest=archive.pixel_digest,
        is_here=lambda path: (settings.archive / path).is_file(),
    )

    def write(session: Session, received: Sequence[Received]) -> list[IntakeOutcome]:
        outcomes = rows.record_instances(session, received, rules)
        archive.reached(CrashPoint.RECORDED)
        return outcomes

    together = GroupCommit(database, write)

    def record(header: InstanceHeader, stored: StoredFile, arrival: Arrival) -> IntakeOutcome:
        return together(Received(header=header, stored=stored, arrival=arrival))

    def quarantined(kept: QuarantinedObject) -> None:
        with database.write() as session:
            quarantine.record(session, kept)

    def association_closed(summary: AssociationSummary) -> None:
        if summary.stored == summary.failed == 0:  # an echo; a refused conflict has rows too
            return
        try:
            with database.write() as session:
                associations.close_association(
                    session, summary.association_uid, at=utc_now(), policy=settings.completion
                )
        except DatabaseUnavailableError as error:  # the sweep ends it when this process's heartbeat says so
            log.warning("association_not_closed", advice=error.advice())

    def alerted(refusals: Sequence[Alert]) -> None:
        with database.write() as session:
            for refusal in refusals:
                events.record(
                    session, "security_alert", at=utc_now(), who=refusal.calling_ae_title, reason=refusal.reason,
                    peer_address=refusal.peer_address, count=refusal.count,
                )  # fmt: skip

    alerts = SecurityAlerts(alerted)
    intake = Intake(archive, record, on_quarantined=quarantined)
    listener = Listener(
        listener_config(settings), intake, on_association_closed=association_closed, on_refused=alerts.refused
    )
    bury_the_dead(database, settings.completion, utc_now())
    listener.start()
    pulse = Pulse(database, "listen", utc_now, {"port": listener.port, "ae_title": settings.ae_title})
    pulse.start()
    with alerts:
        _wait_for_the_end()
        listener.stop()
    pulse.stop()
    database.dispose()
    if held is not None:
        held.close()


def listener_config(settings: Settings) -> ListenerConfig:
    """The listener's part of the settings."""
    return ListenerConfig(
        ae_title=settings.ae_title,
        bind=settings.bind,
        port=settings.dicom_port,
        peers=tuple(AllowedPeer(peer.ae_title, peer.network or "") for peer in settings.calling_ae_titles),
        maximum_associations=settings.max_associations,
        maximum_associations_per_address=settings.max_associations,
        association_limits=AssociationLimits(
            seconds=settings.max_association_hours * 3600,
            seconds_without_store=settings.max_minutes_without_store * 60,
            received_bytes=int(settings.max_association_gigabytes * 1024**3),
        ),
    )


def _wait_for_the_end() -> None:
    ended = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ended.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, end)
    ended.wait()
