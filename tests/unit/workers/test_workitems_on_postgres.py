"""Workitems in both directions on PostgreSQL, whose locks and types differ from SQLite's."""

from __future__ import annotations

from pathlib import Path

import pytest
import test_performing
import test_reading_tasks
from node_under_test import opened
from peers.postgres import postgres
from peers.ups_server import ups_server

from triage.findings import Urgency
from triage.states import WorkitemStatus

pytestmark = [pytest.mark.peer, pytest.mark.timeout(120)]


def test_workitems_go_both_ways(tmp_path: Path) -> None:
    with postgres() as url, opened(tmp_path / "data", database_url=url) as node, ups_server() as (server, manager):
        reading = test_reading_tasks.Pair(node, server, manager)
        assert reading.deliver() == 1
        reading.set_class(Urgency.STAT)
        assert reading.deliver() == 1
        assert reading.priority() == "HIGH"

        performing = test_performing.Pair(node, server, manager)
        performing.schedule()
        performing.schedule("1.2.3.5", study="1.9.9")
        performing.analyse()
        performing.perform()
        assert performing.item().status is WorkitemStatus.CLAIMED
        performing.deliver()
        performing.perform()
        assert manager.state(test_performing.ITEM) == "COMPLETED"
        assert performing.item("1.2.3.5").status is WorkitemStatus.FOUND
