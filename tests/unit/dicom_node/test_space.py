from __future__ import annotations

import threading
import timeit
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.space import LOOK_AFTER, LOOK_EVERY, Space
from triage.errors import StorageFullError
from triage.room import Room, RoomPolicy

MIB = 1024 * 1024


@dataclass
class Disk:
    """A file system and a clock that a test moves by hand."""

    room: Room = field(
        default_factory=lambda: Room(
            free_bytes=1000 * MIB, total_bytes=10_000 * MIB, free_inodes=50_000, total_inodes=100_000
        )
    )
    now: float = 0.0
    looks: int = 0
    broken: OSError | None = None

    def look(self, _root: Path) -> Room:
        self.looks += 1
        if self.broken is not None:
            raise self.broken
        return self.room

    def has(self, **change: object) -> None:
        """Change the file system and let so much time pass that the next question looks at it."""
        self.room = replace(self.room, **change)
        self.now += LOOK_EVERY

    def space(self, **marks: float) -> Space:
        return Space(Path("/data"), RoomPolicy(**marks), look=self.look, monotonic=lambda: self.now)


@pytest.fixture
def disk() -> Disk:
    return Disk()


def test_a_gap_lies_between_refusing_and_accepting_again(disk):
    space = disk.space(min_free_bytes=400 * MIB)
    assert space.room_for()
    disk.has(free_bytes=399 * MIB)
    assert not space.room_for()
    disk.has(free_bytes=499 * MIB)
    assert not space.room_for(), "above the lower mark, below the upper one: still closed"
    disk.has(free_bytes=500 * MIB)
    assert space.room_for()
    disk.has(free_bytes=401 * MIB)
    assert space.room_for(), "once open, only the lower mark counts"


def test_the_greater_of_bytes_and_percent_is_the_mark(disk):
    space = disk.space(min_free_bytes=400 * MIB, min_free_percent=5)
    disk.has(free_bytes=499 * MIB)
    with pytest.raises(StorageFullError, match=r"499 MiB are free below /data, 500 must be\."):
        space.require()


def test_inodes_run_short_too_where_a_file_system_counts_them(disk):
    space = disk.space(min_free_inodes=1000)
    disk.has(free_inodes=999)
    with pytest.raises(StorageFullError, match="999 inodes are free"):
        space.require()
    disk.has(free_inodes=1249)
    assert not space.room_for()
    disk.has(free_inodes=1250)
    assert space.room_for()
    disk.has(free_inodes=0, total_inodes=0)
    assert space.room_for(), "a file system that makes inodes as needed counts none"


def test_a_read_only_or_silent_file_system_takes_nothing_and_comes_back(disk):
    space = disk.space()
    disk.has(read_only=True)
    with pytest.raises(StorageFullError, match="read-only"):
        space.require()
    disk.has(read_only=False)
    disk.broken = OSError(5, "Input/output error")
    with pytest.raises(StorageFullError, match="does not answer"):
        space.claim()
    assert "Input/output error" in space.refusing
    disk.has()
    disk.broken = None
    assert space.room_for()
    assert space.refusing == ""


def test_the_file_system_is_asked_seldom(disk):
    space = disk.space(min_free_bytes=MIB)
    for _ in range(1000):
        with space.claim(1000) as claim:
            claim.wrote(1000)
    assert disk.looks == 1
    with space.claim() as claim:
        claim.wrote(LOOK_AFTER)
    assert disk.looks == 2, "much was written: what was known is old, however recent"


def test_eight_senders_at_once_do_not_all_fit_into_the_same_gap(disk):
    space = disk.space(min_free_bytes=400 * MIB)
    disk.has(free_bytes=600 * MIB)
    claims = [space.claim(50 * MIB) for _ in range(4)]
    assert not space.room_for(50 * MIB)
    assert space.refusing == "", "crowded is not full"
    claims[0].wrote(50 * MIB)
    claims[0].close()
    disk.has(free_bytes=550 * MIB)
    assert not space.room_for(50 * MIB), "its bytes are on the disk now"
    for claim in claims[1:]:
        claim.close()
        claim.close()
    assert space.room_for(150 * MIB)
    assert not space.room_for(151 * MIB)


def test_an_instance_of_unknown_size_counts_as_much_as_the_largest_lately(disk):
    space = disk.space(min_free_bytes=400 * MIB)
    with space.claim() as claim:
        claim.wrote(100 * MIB)
    disk.has(free_bytes=450 * MIB)
    first = space.claim()
    assert not space.room_for(), "one such instance on its way needs all that is left"
    first.close()
    assert space.room_for(), "nothing is on its way: it does not stay closed"


def test_what_was_begun_may_use_half_of_the_reserve_and_then_ends_too(disk):
    space = disk.space(min_free_bytes=400 * MIB)
    disk.has(free_bytes=401 * MIB)
    claim = space.claim()
    disk.has(free_bytes=200 * MIB)
    claim.wrote(MIB)
    with pytest.raises(StorageFullError):
        claim.wrote(MIB)
    assert not space.room_for()


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60)), max_size=30),
    st.integers(1, 200),
)
def test_no_order_of_events_leaves_bytes_counted_for_ever(instances, free):
    disk = Disk()
    disk.room = replace(disk.room, free_bytes=free * MIB)
    space = disk.space(min_free_bytes=10 * MIB)
    for hint, size in instances:
        try:
            with space.claim(hint * MIB) as claim:
                for _ in range(size):
                    claim.wrote(MIB)
                    disk.room = replace(disk.room, free_bytes=disk.room.free_bytes - MIB)
        except StorageFullError:
            disk.now += LOOK_EVERY
        assert disk.room.free_bytes >= min(free, 5) * MIB - MIB, "the floor holds"
    disk.has(free_bytes=13 * MIB)
    assert space.room_for(3 * MIB)
    assert not space.room_for(3 * MIB + 1)


def test_many_threads_leave_nothing_behind(disk):
    space = disk.space(min_free_bytes=400 * MIB)

    def send() -> None:
        for _ in range(200):
            with space.claim(1000) as claim:
                claim.wrote(700)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    disk.now += LOOK_EVERY
    assert space.room_for(600 * MIB)
    assert not space.room_for(600 * MIB + 1)


def test_on_this_machine_a_question_costs_microseconds(tmp_path):
    space = Space(tmp_path, RoomPolicy(min_free_bytes=1, min_free_percent=0.001, min_free_inodes=1))

    def one_instance() -> None:
        with space.claim() as claim:
            claim.wrote(500_000)

    assert min(timeit.repeat(one_instance, number=200, repeat=5)) / 200 < 50e-6
    assert Room.of(tmp_path).total_bytes > Room.of(tmp_path).free_bytes > 0
