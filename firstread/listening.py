"""The listener as a process, or several: DICOM ports, archive and database put together, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import gc
import threading
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from dicom_node.admission import AllowedPeer
from dicom_node.alerts import Alert, SecurityAlerts
from dicom_node.archive import Archive
from dicom_node.association import AssociationSummary
from dicom_node.association_table import AssociationTable
from dicom_node.commitment import Report, ReportService
from dicom_node.contexts import STORAGE_COMMITMENT
from dicom_node.find_scp import FIND_CLASSES, QUERIES_AT_ONCE, FindService
from dicom_node.information_models import Here
from dicom_node.intake import Intake
from dicom_node.listener import Listener, ListenerConfig
from dicom_node.pace import AssociationLimits
from dicom_node.ports import OpenPort
from dicom_node.space import Space
from dicom_node.stored import damage
from dicom_node.tls import expiring
from firstread.closings import Closings
from firstread.ending import Ending
from firstread.ground import require_database, stand
from firstread.peer_watch import PeerWatch
from firstread.siblings import Siblings
from triage.crash_points import CrashPoint, kill_at
from triage.database import Database
from triage.group_commit import GroupCommit
from triage.instances import Arrival, InstanceHeader, IntakeOutcome, QuarantinedObject, Received, StoredFile
from triage.logging import configure, get_logger
from triage.repositories import associations, events, quarantine
from triage.repositories import intake as rows
from triage.repositories.catalogue import DatabaseCatalogue
from triage.repositories.recorder import Recorder
from triage.settings import Settings
from workers.clock import utc_now
from workers.housekeeping import bury_the_dead
from workers.pulse import Pulse, process_name
from workers.reports import take_report
from workers.transport import tls_files

_COLLECT_AFTER: Final = 20_000
"""Objects made and not freed by their last reference before the collector looks for circles. A C-STORE leaves few."""

log = get_logger(__name__)


def listen(settings: Settings) -> None:
    """Run the DICOM listener.

    Raises
    ------
    SettingsError
        The port is taken, the database has another schema or another listener or is not the archive's, or there is no
        ground to stand on.
    """
    configure(part="listen", as_json=settings.log_json)
    held = stand(settings, utc_now())
    require_database(settings, utc_now()).dispose()  # a connection must not be forked
    config = listener_config(settings)
    _warn_of_certificates(config, utc_now())
    ports = config.open_ports(utc_now())
    table = config.table(shared=settings.listener_processes > 1)
    try:
        if settings.listener_processes == 1:
            receive(settings, ports, table, Ending())
        else:
            _receive_in_several(settings, ports, table)
    finally:
        if held is not None:
            held.close()


def _receive_in_several(settings: Settings, ports: Sequence[OpenPort], table: AssociationTable) -> None:
    def work(ending: Ending, again: bool) -> None:
        once = settings.model_copy(update={"crash_at": ""}) if again else settings  # or it would crash for ever
        receive(once, ports, table, ending)

    def close_ports() -> None:
        for port in ports:
            port.sock.close()

    Siblings(settings.listener_processes, work, on_death=table.give_back_all_of, on_end=close_ports).run()


def receive(settings: Settings, ports: Sequence[OpenPort], table: AssociationTable, ending: Ending) -> None:
    """Receive on open ports until asked to end, then end in order. One of several processes may do so."""
    gc.freeze()  # what the start has made stays for good: a collection need not walk it, which holds up every sender
    gc.set_threshold(_COLLECT_AFTER)
    database = Database(settings.database)
    space = Space(settings.archive, settings.room_policy)
    archive = Archive(settings.archive, space, reached=kill_at(settings.crash_at))
    rules = rows.IntakeRules(
        listener=process_name("listen"),
        completion=settings.completion,
        targets=settings.targets,
        pixel_digest=archive.pixel_digest,
        is_here=lambda path: (settings.archive / path).is_file(),
        damage=partial(damage, archive),
        site_rules=settings.site_rules,
    )

    recorder = Recorder(rules)

    def write(connection: sa.Connection, received: Sequence[Received]) -> list[IntakeOutcome]:
        outcomes = recorder(connection, received)
        archive.reached(CrashPoint.RECORDED)
        return outcomes

    together = GroupCommit(database, write)

    def record(header: InstanceHeader, stored: StoredFile, arrival: Arrival) -> IntakeOutcome:
        return together(Received(header=header, stored=stored, arrival=arrival))

    def quarantined(kept: QuarantinedObject) -> None:
        with database.write() as session:
            quarantine.record(session, kept)

    def close(association_uid: str, at: datetime) -> None:
        with database.write() as session:
            associations.close_association(session, association_uid, at=at, policy=settings.completion)

    closings = Closings(close)

    def association_closed(summary: AssociationSummary) -> None:
        if summary.stored == summary.failed == 0:  # an echo; a refused conflict has rows too
            return
        closings.closed(summary.association_uid, utc_now())

    def alerted(refusals: Sequence[Alert]) -> None:
        with database.write() as session:
            for refusal in refusals:
                events.record(
                    session, "security_alert", at=utc_now(), who=refusal.calling_ae_title, reason=refusal.reason,
                    peer_address=refusal.peer_address, count=refusal.count,
                )  # fmt: skip

    def reported(report: Report, who: str) -> bool:
        return take_report(database, settings, report, who, utc_now())

    alerts = SecurityAlerts(alerted)
    peers = PeerWatch(database)
    intake = Intake(archive, record, on_quarantined=quarantined)
    listener = Listener(
        listener_config(settings),
        intake,
        on_association_closed=association_closed,
        on_refused=alerts.refused,
        more_peers=peers.now,
        services={STORAGE_COMMITMENT: ReportService(reported), **queries(settings, database)},
        ports=ports,
        table=table,
    )
    where = {"ae_title": settings.ae_title, "port": listener.port, "tls_port": listener.tls_port}
    pulse = Pulse(database, "listen", utc_now, lambda: where | {"refusing": space.refusing})
    pulse.start()  # before the first association: who starts at the same time must know that this process lives
    bury_the_dead(database, settings.completion, utc_now(), starting=True)
    with alerts, closings, peers:
        listener.start()
        ending.wait()
        listener.stop()
    pulse.stop()
    database.dispose()


def queries(settings: Settings, database: Database) -> dict[str, FindService]:
    """What answers C-FIND: the query services of one process, which take turns."""
    zone = ZoneInfo(settings.time_zone) if settings.time_zone else None
    catalogue, here = DatabaseCatalogue(database), Here(settings.ae_title, zone)
    turns = threading.BoundedSemaphore(QUERIES_AT_ONCE)
    return {
        uid: FindService(uid, catalogue, here, maximum_matches=settings.max_matches, turns=turns)
        for uid in FIND_CLASSES
    }


def listener_config(settings: Settings) -> ListenerConfig:
    """The listener's part of the settings."""
    return ListenerConfig(
        ae_title=settings.ae_title,
        bind=settings.bind,
        port=settings.plain_port,
        tls_port=settings.dicom_tls_port,
        tls=tls_files(settings),
        peers=tuple(
            AllowedPeer(peer.ae_title, peer.network or "", peer.certificate or "", frozenset(peer.services))
            for peer in settings.calling_ae_titles
        ),
        maximum_associations=settings.max_associations,
        maximum_associations_per_address=settings.max_associations,
        maximum_data_set=settings.max_data_set_megabytes * 1024 * 1024,
        association_limits=AssociationLimits(
            seconds=settings.max_association_hours * 3600,
            seconds_without_store=settings.max_minutes_without_store * 60,
            received_bytes=int(settings.max_association_gigabytes * 1024**3),
        ),
    )


def _warn_of_certificates(config: ListenerConfig, now: datetime) -> None:
    for expiry in () if config.tls is None else expiring(config.tls, now):
        log.warning("certificate_ends_soon", certificate=expiry.describe(now))
