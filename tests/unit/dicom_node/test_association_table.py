"""Places for associations: bounded in all and per address, shared between processes, given back for the dead."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.association_table import AssociationTable

ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1"])


@given(
    places=st.integers(1, 5),
    per_address=st.integers(1, 5),
    steps=st.lists(st.one_of(ADDRESSES, st.integers(0, 9)), max_size=30),
)
def test_it_counts_as_a_list_would(places: int, per_address: int, steps: list[str | int]) -> None:
    table = AssociationTable(places, per_address)
    held: list[tuple[str, int]] = []
    for step in steps:
        if isinstance(step, str):
            place = table.take(step)
            expected = len(held) < places and sum(address == step for address, _ in held) < per_address
            assert (place is not None) is expected
            if place is not None:
                assert place not in [taken for _, taken in held]
                held.append((step, place))
        elif held:
            table.give_back(held.pop(step % len(held))[1])
        assert table.taken == len(held)


def test_a_forked_process_shares_it_and_leaves_its_places_when_it_dies() -> None:
    table = AssociationTable(3, 2, shared=True)
    assert table.take("10.0.0.1") is not None
    process = os.fork()
    if process == 0:
        got = [table.take("10.0.0.1"), table.take("10.0.0.1"), table.take("10.0.0.2"), table.take("10.0.0.2")]
        os._exit([place is not None for place in got] != [True, False, True, False])
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert table.take("10.0.0.3") is None
    assert table.give_back_all_of(process) == 2
    assert table.taken == 1
    assert table.take("10.0.0.1") is not None


@pytest.mark.parametrize("shared", [False, True])
def test_threads_and_processes_never_share_a_place(shared: bool) -> None:
    table = AssociationTable(8, 8, shared=shared)
    wrong: list[str] = []

    def churn() -> None:
        for _ in range(300):
            place = table.take("10.0.0.1")
            if place is None:
                wrong.append("none left")
            else:
                table.give_back(place)

    process = os.fork() if shared else None
    if process == 0:
        churn()
        os._exit(bool(wrong))
    threads = [threading.Thread(target=churn) for _ in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert process is None or os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert wrong == []
    assert table.taken == 0
