from __future__ import annotations

from http import HTTPStatus

import pytest
from network_samples import RawPeer, RecordingNode

from dicom_node import contexts
from dicom_node.conformance import CreatedClass, statement
from dicom_node.find_scp import FIND_CLASSES
from dicom_node.listener import ListenerConfig
from dicom_node.part10 import IMPLEMENTATION_CLASS_UID
from dicom_node.results.classes import SOP_CLASS
from triage.profiles import ResultKind

CONFIG = ListenerConfig(ae_title="FIRSTREAD")


def rows(text: str, heading: str) -> list[list[str]]:
    """Cells of the table that follows a heading."""
    section = text.split(f"{heading}\n", 1)[1].split("\n#", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_it_lists_what_the_listener_negotiates():
    text = statement(CONFIG)
    assert [row[1] for row in rows(text, "## Services accepted (provider)")] == list(contexts.STORAGE_SOP_CLASSES)
    syntaxes = rows(text, "### Transfer syntaxes, in order of choice")
    assert [row[1] for row in syntaxes] == list(contexts.TRANSFER_SYNTAXES)
    assert all(name and not name.startswith("1.2.") for name, _ in syntaxes)


def test_the_same_input_gives_the_same_text():
    assert statement(CONFIG) == statement(CONFIG)
    assert statement(CONFIG) != statement(ListenerConfig(ae_title="OTHER"))
    assert "1.2.3.4.5" in statement(CONFIG, created=[CreatedClass("1.2.3.4.5", "test")])


def test_every_status_that_is_answered_is_listed():
    listed = {row[0].split()[0] for row in rows(statement(CONFIG), "### Statuses of C-STORE")}
    assert listed == {"0x0000", "0x0110", "0x0117", "0x0122", "0x0124", "0xA700", "0xA900", "0xC000"}


def test_every_attribute_that_queries_know_is_listed_with_its_matching():
    text = statement(CONFIG)
    assert {row[1] for row in rows(text, "## Queries answered (provider)")} == set(FIND_CLASSES)
    worklist = {row[0]: row[3] for row in rows(text, "### Attributes of queries: Modality Worklist")}
    assert worklist["Requested Procedure Priority"] == "single value, wildcard"
    assert worklist["> Scheduled Procedure Step Start Time"] == "single value, range"
    assert worklist["> Scheduled Station AE Title"] == "answered only"
    listed = {row[0].split()[0] for row in rows(text, "### Statuses of C-FIND")}
    assert listed >= {"0x0000", "0xFF00", "0xFF01", "0xFE00", "0xA700", "0xA900", "0xC000"}


def test_what_proves_a_delivery_is_listed():
    listed = rows(statement(CONFIG), "## Proof of delivery")
    assert [row[1] for row in listed] == [contexts.STORAGE_COMMITMENT, contexts.STUDY_ROOT_FIND]
    statuses = {row[0] for row in rows(statement(CONFIG), "### Statuses of N-EVENT-REPORT")}
    assert statuses == {"0x0000", "0x0110", "0x0113", "0x0115", "0x0124", "0x0211", "0x0213"}


@pytest.mark.parametrize("position", [0, 50, 100, 169])
def test_a_listed_class_is_accepted_on_the_wire(node: RecordingNode, position):
    sop_class = rows(statement(CONFIG), "## Services accepted (provider)")[position][1]
    with RawPeer(node.port) as peer:
        kind, body = peer.associate((sop_class, contexts.TRANSFER_SYNTAXES[position % 30]))
    assert kind == 2
    assert IMPLEMENTATION_CLASS_UID.encode() in body
    assert b"\x01\x00\x00\x00\x40" in body


def test_every_kind_of_result_is_listed_with_its_class():
    listed = {row[1] for row in rows(statement(CONFIG), "## Services used (user)")}
    assert listed == set(SOP_CLASS.values())
    assert set(SOP_CLASS) == set(ResultKind)


def test_every_http_status_has_one_reaction():
    reactions = rows(statement(CONFIG), "### Reaction to HTTP statuses")
    listed = [int(status) for row in reactions for status in row[0].split(", ")]
    assert sorted(listed) == sorted(status for status in HTTPStatus if status >= 200)
    retried = next(row[0] for row in reactions if row[1] == "sent again later")
    assert "503" in retried
    assert "401" not in retried


def test_the_integration_statement_claims_no_conformance():
    text = statement(CONFIG).split("# IHE integration statement\n")[1]
    actors = [row[:2] for row in rows(f"\n{text}", "\n")]
    assert ["AI Results (AIR)", "Evidence Creator"] in actors
    assert "claims no conformance" in text
    primitives = {row[0] for row in rows(text, "## Result primitives of AIR")}
    assert "Qualitative findings" in primitives
