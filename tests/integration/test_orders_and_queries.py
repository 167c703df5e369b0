"""A running product that is told orders and asked for its list: HL7 and a worklist come in, C-FIND and CSV go out."""

from __future__ import annotations

import csv
import io
import json
import re
import socket
from pathlib import Path

import pytest
from peers.dcmtk import PROMPT, send
from peers.node import Node, embedded
from peers.processes import eventually, free_port, program, run
from peers.raw_peer import part10_file, radiograph
from peers.worklist_server import worklist_server

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]


def told(port: int, accession: str, priority: str) -> bytes:
    """The acknowledgement of an order."""
    message = (
        "MSH|^~\\&|RIS|HOSP|||20260301||ORM^O01|1|P|2.5.1\rPID|1||P1\r"
        f"ORC|NW|1\rOBR|1|1||X|{priority}|||||||||||||{accession}\r"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=20) as engine:
        engine.sendall(b"\x0b" + message.encode() + b"\x1c\r")
        answer = b""
        while not answer.endswith(b"\x1c\r"):
            answer += engine.recv(4096)
    return answer


def arrives(node: Node, folder: Path, accession: str, uid: str) -> None:
    path = folder / f"{accession}.dcm"
    named = {"AccessionNumber": accession, "StudyInstanceUID": uid, "SeriesInstanceUID": f"{uid}.1"}
    path.write_bytes(part10_file(radiograph(**named, SOPInstanceUID=f"{uid}.1.1", PatientID="P1")))
    send(path, node.dicom_port)


def test_orders_come_in_and_the_order_goes_out(tmp_path: Path) -> None:
    hl7_port = free_port()
    with worklist_server(tmp_path) as ris:
        ris.schedule("A-ris", "HIGH", patient_id="P1")
        settings = {
            "FIRSTREAD_HL7_ORDERS": json.dumps({"port": hl7_port}),
            "FIRSTREAD_ORDER_FEEDS": ris.address,
            "FIRSTREAD_TIME_ZONE": "Europe/Berlin",
        }
        with embedded(tmp_path / "node", [], **settings) as node:
            arrives(node, tmp_path, "A-none", "2.25.1")
            arrives(node, tmp_path, "A-ris", "2.25.2")
            assert b"MSA|AA|1" in told(hl7_port, "A-hl7", "S")
            arrives(node, tmp_path, "A-hl7", "2.25.3")

            def look() -> list[str]:
                listed = [item["accession_number"] for item in node.worklist()]
                assert listed == ["A-hl7", "A-ris", "A-none"], listed
                return listed

            expected = eventually(look, within=60, what="the list follows the orders")
            assert node.worklist()[0]["explanation"].startswith("ordered STAT")

            assert b"MSA|AE|1" in told(hl7_port, "", "S")

            def feeds() -> None:  # by the next heartbeat
                orders = node.get("/api/v1/admin/orders/feeds")
                hl7, worklist = orders["feeds"]
                assert (hl7["state"], hl7["messages"], hl7["refused"], hl7["orders"]) == ("working", 2, 1, 1)
                assert (worklist["feed"], worklist["state"], worklist["orders"] > 0) == (ris.address, "working", True)
                assert [(line["sender"], line["times"]) for line in orders["refused"]] == [("RIS|HOSP", 1)]

            eventually(lambda: feeds() is None, within=60, what="the feeds say what they heard and refused")
            gave = {item["accession_number"]: item for item in node.get("/api/v1/admin/orders")["items"]}
            assert [study["urgency"] for study in gave["A-hl7"]["studies"]] == ["STAT"]
            assert gave["A-ris"]["source"] == "WORKLIST"

            output = run(
                program("findscu"), "-W", "-v", "-aec", "FIRSTREAD", "-k", "AccessionNumber",
                "-k", "RequestedProcedurePriority", "127.0.0.1", str(node.dicom_port), env=PROMPT,
            )  # fmt: skip
            assert re.findall(r"\(0008,0050\) SH \[(A-\w+)", output) == expected
            table = node.http.get("/api/v1/worklist.csv").content.decode("utf-8-sig")
            assert [row["accession_number"] for row in csv.DictReader(io.StringIO(table))] == expected
            workitems = node.get("/dicom-web/workitems")
            assert [item["00741200"]["Value"] for item in workitems] == [["HIGH"], ["MEDIUM"], ["LOW"]]
            assert not node.errors()
