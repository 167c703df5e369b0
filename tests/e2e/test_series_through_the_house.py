"""A head CT slice by slice in, one report and the picture of its key slice out."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from houses import House, errors, kind
from peers.dcmtk import rendered_report, send_study
from peers.processes import program

from models.phantom import generate_head_ct
from models.phantom.head_dicom import write_series

pytestmark = [pytest.mark.peer, pytest.mark.slow]

SLICES = 24


def test_a_haemorrhage_stands_on_top_with_its_key_slice_in_both_archives(embedded_house: House, tmp_path: Path) -> None:
    head = generate_head_ct(5, 1, size=256, kinds={"epidural"}, slices=SLICES)
    datasets = write_series(head, tmp_path, 5, 1, taken_at=datetime(2026, 1, 5, 8, tzinfo=UTC))
    send_study(sorted(tmp_path.glob("*.dcm")), embedded_house.node.dicom_port)
    uid = str(datasets[0].StudyInstanceUID)
    case = embedded_house.node.settled(uid)
    assert case["analysis_status"] == "SUCCEEDED", case["not_analysed"]
    assert case["urgency"] == "STAT"
    assert case["explanation"].startswith("Intracranial hemorrhage")
    shown = [instance for instance in case["instances"] if instance["findings"]]
    assert len(shown) == 1
    assert len(case["instances"]) == SLICES
    embedded_house.await_kinds(uid, SR=1, SC=1)
    for received in embedded_house.results(uid):
        path = Path(str(received.filename))
        told = subprocess.run([program("dciodvfy"), path], check=False, capture_output=True, text=True).stderr
        assert errors(told) == []
        if kind(str(received.SOPClassUID)) == "SC":
            key = received.SourceImageSequence[0].ReferencedSOPInstanceUID
        else:
            assert f"of {SLICES})" in rendered_report(path)
    assert key == shown[0]["sop_instance_uid"]
