"""How much room there is, what happens at which mark, and who refuses: for the API, the page and ``/metrics``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from triage.errors import NotFoundError
from triage.repositories import heartbeats, quarantine
from triage.room import Room
from triage.settings import Settings
from worklist.context import Context
from worklist.schemas.operations import RefusalOut, SpaceOut


def read_space(here: Context) -> SpaceOut:
    """What the file system says now, the marks, and which listeners refuse.

    Raises
    ------
    NotFoundError
        The file system does not answer.
    """
    policy, retention = here.settings.room_policy, here.settings.retention_policy
    room = room_of(here.settings)
    if room is None:
        raise NotFoundError("The file system of the archive does not answer.", next_step="Run `firstread doctor`.")
    below, until = retention.marks(room.total_bytes, policy.lower(room))
    with here.database.look() as session:
        refusing = heartbeats.refusing(session, here.clock())
        waiting = quarantine.waiting(session)
    return SpaceOut(
        free_bytes=room.free_bytes,
        total_bytes=room.total_bytes,
        free_inodes=room.free_inodes if room.total_inodes else None,
        refused_below_bytes=policy.lower(room),
        accepted_from_bytes=policy.upper(room),
        retention=retention.mode,
        retention_below_bytes=below,
        retention_until_bytes=until,
        refusing=[RefusalOut(listener=name, reason=reason) for name, reason in refusing.items()],
        quarantined=waiting,
    )


def room_of(settings: Settings) -> Room | None:
    """Room of the archive, None where its file system does not answer."""
    try:
        return Room.of(settings.archive)
    except OSError:
        return None


class RoomCollector(Collector):
    """Room and refusals as metric families."""

    def __init__(self, room: Room | None, refusing: Mapping[str, str]) -> None:
        self._room, self._refusing = room, refusing

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily(
            "firstread_refusing_listeners", "Listeners that take nothing new (0xA700).", value=len(self._refusing)
        )
        if self._room is None:
            return
        yield GaugeMetricFamily("firstread_free_bytes", "Free below the archive.", value=self._room.free_bytes)
        if self._room.total_inodes:
            yield GaugeMetricFamily("firstread_free_inodes", "Free below the archive.", value=self._room.free_inodes)
