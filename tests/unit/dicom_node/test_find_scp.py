"""C-FIND asked by DCMTK's findscu, by pynetdicom and by a raw peer, of cases in a real database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, timedelta
from pathlib import Path

import pytest
from network_samples import CR, EXPLICIT, RawPeer, RecordingNode, pdata
from peers.dcmtk import PROMPT
from peers.processes import program, run
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pynetdicom import AE
from worklist_rows import NOON, arrive

from dicom_node import dimse
from dicom_node.admission import AllowedPeer
from dicom_node.archive import Archive
from dicom_node.contexts import MODALITY_WORKLIST_FIND, PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from dicom_node.dimse import CommandField, CommandSet, Tag
from dicom_node.find_scp import FIND_CLASSES, FindService
from dicom_node.information_models import Here
from dicom_node.listener import ListenerConfig
from dicom_node.match_encoding import Element, encode_match
from triage.database import Database
from triage.findings import Urgency
from triage.priority import Targets
from triage.repositories import placing, worklist
from triage.repositories.catalogue import DatabaseCatalogue
from triage.services import PeerService
from triage.states import ReadingStatus
from triage.tables import Study

pytestmark = pytest.mark.timeout(60)
MAXIMUM = 6


@dataclass(frozen=True)
class Department:
    """A node with a handful of cases: in reading order stat, old, fresh, yamada; and one that is read."""

    node: RecordingNode
    database: Database
    folder: Path

    @property
    def port(self) -> int:
        return self.node.port

    def find(self, model: str, *keys: str, calling: str = "VIEWER") -> list[Dataset]:
        """Matches as findscu writes them to files."""
        target = self.folder / f"answer-{time.monotonic_ns()}"
        target.mkdir()
        options = [word for key in keys for word in ("-k", key)]
        run(
            program("findscu"), model, "-X", "-od", target, "-aet", calling, "-aec", "NODE", *options, "127.0.0.1",
            str(self.port), env=PROMPT,
        )  # fmt: skip
        return [dcmread(path, force=True) for path in sorted(target.iterdir())]


@pytest.fixture(scope="module")
def department(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Department]:
    folder = tmp_path_factory.mktemp("department")
    database = Database(f"sqlite:///{folder / 'test.sqlite'}")
    database.migrate()
    with database.write() as session:
        arrive(session, "fresh", at=NOON, study_date="20260301", study_time="120000", count=2, instance_number="1")
        arrive(
            session, "old", at=NOON - timedelta(minutes=30), modality="CT", study_date="20260228", series_number="2",
            ward="ICU 1",
        )  # fmt: skip
        stat = arrive(session, "stat", at=NOON, patient_name="MÜLLER^JÖRG", study_date="20260301", study_time="0830")
        arrive(session, "yamada", at=NOON + timedelta(hours=1), patient_name="Yamada^Tarou=山田^太郎=やまだ^たろう")
        read = arrive(session, "read", at=NOON - timedelta(hours=9), study_date="20260227")
        placing.set_manual_urgency(
            session, stat, Urgency.STAT, reason="drop in haemoglobin", by="dr.o", targets=Targets(), at=NOON
        )
        worklist.mark_read(session, read, who="dr.o", at=NOON)
    catalogue, here = DatabaseCatalogue(database), Here("NODE", UTC)
    config = ListenerConfig(
        ae_title="NODE",
        port=0,
        peers=(
            AllowedPeer("VIEWER"),
            AllowedPeer("RAW"),
            AllowedPeer("CT1", services=frozenset({PeerService.STORE})),
            AllowedPeer("BOARD", services=frozenset({PeerService.WORKLIST})),
        ),
    )
    node = RecordingNode(
        Archive(folder / "archive"),
        config,
        services={uid: FindService(uid, catalogue, here, maximum_matches=MAXIMUM) for uid in FIND_CLASSES},
    )
    with node:
        yield Department(node, database, folder)
    database.dispose()


def names(matches: list[Dataset]) -> list[str]:
    return [str(match.PatientID) for match in matches]


# --- Query/Retrieve ------------------------------------------------------------------------------------------------


def test_studies_come_in_reading_order_and_read_ones_last(department: Department) -> None:
    found = department.find(
        "-S", "QueryRetrieveLevel=STUDY", "PatientID", "StudyInstanceUID", "RequestedProcedurePriority",
        "NumberOfStudyRelatedInstances", "StudyDescription", "ModalitiesInStudy", "RequestedProcedureComments",
    )  # fmt: skip
    assert names(found) == ["P-stat", "P-old", "P-fresh", "P-yamada", "P-read"]
    assert [match.RequestedProcedurePriority for match in found] == ["STAT", *["ROUTINE"] * 4]
    assert found[2].NumberOfStudyRelatedInstances == 2
    assert found[1].ModalitiesInStudy == "CT"
    assert found[0].StudyDescription == "Chest PA"
    assert "drop in haemoglobin -> STAT" in found[0].RequestedProcedureComments
    assert {match.QueryRetrieveLevel for match in found} == {"STUDY"}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["PatientID=P-o*"], ["P-old"]),
        (["PatientID=P-?ld"], ["P-old"]),
        (["PatientName=*ANNA", "PatientID"], ["P-old", "P-fresh", "P-read"]),
        (["PatientName=fresh^anna", "PatientID"], ["P-fresh"]),
        (["StudyDate=20260228-20260301", "PatientID"], ["P-stat", "P-old", "P-fresh"]),
        (["StudyDate=-20260227", "PatientID"], ["P-read"]),
        (["StudyDate=20260301", "StudyTime=0800-0900", "PatientID"], ["P-stat"]),
        (["AccessionNumber=A-old", "PatientID"], ["P-old"]),
        (["ModalitiesInStudy=CT", "PatientID"], ["P-old"]),
        (["RequestedProcedurePriority=STAT", "PatientID"], ["P-stat"]),
        (["CurrentPatientLocation=ICU*", "PatientID"], ["P-old"]),
        (["PatientID=%"], []),
        (["PatientID=' OR 1=1 --"], []),
    ],
)
def test_keys_narrow_the_answer(department: Department, keys: list[str], expected: list[str]) -> None:
    assert names(department.find("-S", "QueryRetrieveLevel=STUDY", *keys)) == expected


def test_a_list_of_uids_finds_each(department: Department) -> None:
    uids = {str(m.PatientID): m.StudyInstanceUID for m in department.find(
        "-S", "QueryRetrieveLevel=STUDY", "PatientID", "StudyInstanceUID"
    )}  # fmt: skip
    wanted = f"StudyInstanceUID={uids['P-old']}\\{uids['P-read']}"
    assert names(department.find("-S", "QueryRetrieveLevel=STUDY", "PatientID", wanted)) == ["P-old", "P-read"]


def test_series_and_images_are_listed_below_their_study(department: Department) -> None:
    (study,) = department.find("-S", "QueryRetrieveLevel=STUDY", "PatientID=P-fresh", "StudyInstanceUID")
    above = f"StudyInstanceUID={study.StudyInstanceUID}"
    (series,) = department.find(
        "-S", "QueryRetrieveLevel=SERIES", above, "SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances"
    )
    assert (series.Modality, series.NumberOfSeriesRelatedInstances) == ("DX", 2)
    images = department.find(
        "-S", "QueryRetrieveLevel=IMAGE", above, f"SeriesInstanceUID={series.SeriesInstanceUID}", "SOPInstanceUID"
    )
    assert len({image.SOPInstanceUID for image in images}) == 2
    assert department.find("-S", "QueryRetrieveLevel=SERIES", above, "Modality=MR") == []


def test_patients_are_listed_once(department: Department) -> None:
    found = department.find("-P", "QueryRetrieveLevel=PATIENT", "PatientID", "PatientName=*anna")
    assert names(found) == ["P-old", "P-fresh", "P-read"]


def test_names_come_in_a_character_set_that_holds_them(department: Department) -> None:
    keys = ("-S", "QueryRetrieveLevel=STUDY", "PatientID=P-yamada", "PatientName")
    (plain,) = department.find(*keys)
    assert plain.SpecificCharacterSet == "ISO_IR 192"
    assert plain.PatientName.ideographic == "山田^太郎"
    (ascii_only,) = department.find("-S", "QueryRetrieveLevel=STUDY", "PatientID=P-old", "PatientName")
    assert not ascii_only.get("SpecificCharacterSet")
    assert ascii_only.PatientName == "OLD^ANNA"


@pytest.mark.parametrize(
    ("character_set", "asked", "expected", "name"),
    [
        ("ISO_IR 100", "müller*", "ISO_IR 100", "MÜLLER^JÖRG"),
        ("ISO_IR 192", "=山田*", "ISO_IR 192", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 87"], "=山田*", ["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 144", "M*", "ISO_IR 192", "MÜLLER^JÖRG"),  # Cyrillic has no Ü
    ],
)
def test_the_character_set_of_the_question_is_read_and_kept(
    department: Department, character_set: str | list[str], asked: str, expected: str | list[str], name: str
) -> None:
    keys = Dataset()
    keys.SpecificCharacterSet = character_set
    keys.QueryRetrieveLevel = "STUDY"
    keys.PatientName = asked if not asked.startswith("=") else f"*{asked}*"
    ae = AE(ae_title="VIEWER")
    ae.add_requested_context(STUDY_ROOT_FIND)
    association = ae.associate("127.0.0.1", department.port, ae_title="NODE")
    found = [match for status, match in association.send_c_find(keys, STUDY_ROOT_FIND) if match]
    association.release()
    (match,) = found
    assert match.SpecificCharacterSet == expected
    assert str(match.PatientName) == name


# --- Modality Worklist ---------------------------------------------------------------------------------------------


def test_the_reading_list_is_a_worklist(department: Department) -> None:
    found = department.find(
        "-W", "PatientName", "PatientID", "RequestedProcedurePriority", "RequestedProcedureID", "StudyInstanceUID",
        "(0040,0100)[0].Modality", "(0040,0100)[0].ScheduledProcedureStepStartDate",
        "(0040,0100)[0].ScheduledProcedureStepStartTime", "(0040,0100)[0].ScheduledStationAETitle",
        "(0040,0100)[0].ScheduledProcedureStepStatus", "CurrentPatientLocation",
    )  # fmt: skip
    assert names(found) == ["P-stat", "P-old", "P-fresh", "P-yamada"]
    assert [str(match.CurrentPatientLocation or "") for match in found] == ["", "ICU 1", "", ""]
    steps = [match.ScheduledProcedureStepSequence[0] for match in found]
    assert [(s.ScheduledProcedureStepStartDate, s.ScheduledProcedureStepStartTime) for s in steps] == [
        ("20260301", "121500"), ("20260301", "133000"), ("20260301", "140000"), ("20260301", "150000"),
    ]  # fmt: skip
    assert steps[1].Modality == "CT"
    assert {step.ScheduledStationAETitle for step in steps} == {"NODE"}
    assert [step.ScheduledProcedureStepStatus for step in steps] == ["READY", "ARRIVED", "READY", "READY"]
    assert all(match.RequestedProcedureID and match.StudyInstanceUID for match in found)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (["Modality=CT"], ["P-old"]),
        (["ScheduledProcedureStepStartDate=20260301"], ["P-stat", "P-old", "P-fresh", "P-yamada"]),
        (["ScheduledProcedureStepStartTime=1330-1400"], ["P-old", "P-fresh"]),
        (
            ["ScheduledProcedureStepStartDate=20260228-20260301", "ScheduledProcedureStepStartTime=1800-1335"],
            ["P-stat", "P-old"],  # one period, from 18:00 of the first day to 13:35 of the last
        ),
        (["ScheduledStationAETitle=ANYBODY"], ["P-stat", "P-old", "P-fresh", "P-yamada"]),
    ],
)
def test_keys_of_the_scheduled_step_narrow_it(department: Department, step: list[str], expected: list[str]) -> None:
    found = department.find("-W", "PatientID", *(f"(0040,0100)[0].{key}" for key in step))
    assert names(found) == expected


def test_a_case_that_is_read_leaves_the_worklist(department: Department) -> None:
    with department.database.write() as session:
        arrive(session, "soon", at=NOON)
    assert "P-soon" in names(department.find("-W", "PatientID"))
    with department.database.write() as session:
        study = session.query(Study).filter_by(patient_id="P-soon").one()
        worklist.claim(session, study, who="dr.a", at=NOON)
    (claimed,) = department.find("-W", "PatientID=P-soon", "(0040,0100)[0].ScheduledProcedureStepStatus")
    assert claimed.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStatus == "STARTED"
    with department.database.write() as session:
        study = session.query(Study).filter_by(patient_id="P-soon").one()
        worklist.mark_read(session, study, who="dr.a", at=NOON)
        assert study.reading_status is ReadingStatus.READ
    assert "P-soon" not in names(department.find("-W", "PatientID"))


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "keys", "status"),
    [
        (STUDY_ROOT_FIND, {}, 0xA900),
        (STUDY_ROOT_FIND, {"QueryRetrieveLevel": "WARD"}, 0xA900),
        (STUDY_ROOT_FIND, {"QueryRetrieveLevel": "PATIENT"}, 0xA900),
        (STUDY_ROOT_FIND, {"QueryRetrieveLevel": "SERIES"}, 0xA900),
        (STUDY_ROOT_FIND, {"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1.2"}, 0xA900),
        (STUDY_ROOT_FIND, {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": ["1.2", "1.3"]}, 0xA900),
        (PATIENT_ROOT_FIND, {"QueryRetrieveLevel": "STUDY"}, 0xA900),
        (STUDY_ROOT_FIND, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.3"}, 0x0000),
    ],
)
def test_what_does_not_fit_the_model_is_refused(
    department: Department, model: str, keys: dict[str, str | list[str]], status: int
) -> None:
    identifier = Dataset()
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    identifier.PatientSex = ""
    ae = AE(ae_title="VIEWER")
    ae.add_requested_context(model)
    association = ae.associate("127.0.0.1", department.port, ae_title="NODE")
    ((answer, match),) = list(association.send_c_find(identifier, model))
    association.release()
    assert (answer.Status, match) == (status, None)


def test_an_odd_date_is_refused_and_names_no_value(department: Department) -> None:
    with asking(department) as peer:
        command, _ = peer.ask(keys(StudyDate="Müller"))[-1]
    assert command.status == 0xA900
    assert command.elements[Tag.OFFENDING_ELEMENT] == b"\x08\x00\x20\x00"
    assert "ller" not in command.text(Tag.ERROR_COMMENT)


def test_unknown_keys_are_left_out_and_said(department: Department) -> None:
    with asking(department) as peer:
        *matches, last = peer.ask(keys(StationName="", PatientID="P-old"))
    ((command, data),) = matches
    assert command.status == 0xFF01
    assert b"\x08\x00\x10\x10" not in data
    assert last[0].status == 0


@pytest.mark.parametrize("data", [b"", b"\x08\x00\x52\x00CS\xff\xff", b"not a data set at all", b"\x00" * 300_000])
def test_what_is_no_data_set_is_refused_and_the_association_lives_on(department: Department, data: bytes) -> None:
    with asking(department) as peer:
        command, _ = peer.ask(data)[-1]
        assert command.status in (0xA900, 0xC000)
        assert peer.ask(keys(PatientID="P-old"))[-1][0].status == 0


def test_too_many_matches_end_with_out_of_resources(department: Department) -> None:
    with department.database.write() as session:
        studies = [arrive(session, f"flood{number}", at=NOON, patient_sex="O") for number in range(MAXIMUM + 1)]
    try:
        with asking(department) as peer:
            *matches, (last, _) = peer.ask(keys(PatientSex="O"))
        assert len(matches) == MAXIMUM
        assert last.status == 0xA700
        assert str(MAXIMUM) in last.text(Tag.ERROR_COMMENT)
    finally:
        with department.database.write() as session:
            for study in studies:
                session.get_one(Study, study.id).reading_status = ReadingStatus.READ


def test_a_query_can_be_cancelled(department: Department) -> None:
    cancel = dimse.encode(
        {Tag.COMMAND_FIELD: CommandField.C_CANCEL_RQ, Tag.MESSAGE_ID_BEING_RESPONDED_TO: 1,
         Tag.COMMAND_DATA_SET_TYPE: dimse.NO_DATA_SET}
    )  # fmt: skip
    with asking(department) as peer:
        answers = peer.ask(keys(PatientID=""), then=cancel)
        assert answers[-1][0].status == 0xFE00
        assert len(answers) < MAXIMUM
        assert peer.ask(keys(PatientID="P-old"))[-1][0].status == 0


def test_a_peer_may_ask_only_what_it_is_listed_for(department: Department) -> None:
    accepted = {}
    for title in ("VIEWER", "CT1", "BOARD"):
        ae = AE(ae_title=title)
        for uid in (STUDY_ROOT_FIND, PATIENT_ROOT_FIND, MODALITY_WORKLIST_FIND, CR):
            ae.add_requested_context(uid, EXPLICIT)
        association = ae.associate("127.0.0.1", department.port, ae_title="NODE")
        accepted[title] = [str(c.abstract_syntax) for c in association.accepted_contexts]
        association.abort()
    assert len(accepted["VIEWER"]) == 4
    assert accepted["CT1"] == [CR]
    assert accepted["BOARD"] == [MODALITY_WORKLIST_FIND]


def test_small_pdus_are_filled_and_not_exceeded(department: Department) -> None:
    with asking(department, maximum=130) as peer:
        answers = peer.ask(keys(PatientID="P-old", PatientName="", StudyInstanceUID="", StudyDescription=""))
    assert [command.status for command, _ in answers] == [0xFF00, 0]
    assert b"OLD^ANNA" in answers[0][1]


# --- a raw peer ----------------------------------------------------------------------------------------------------


class asking:  # noqa: N801 - reads as what it does
    """An association for Study Root queries, in Explicit VR Little Endian."""

    def __init__(self, department: Department, *, maximum: int = 16384) -> None:
        self._peer, self._maximum = RawPeer(department.port), maximum

    def __enter__(self) -> asking:
        kind, _ = self._peer.associate((STUDY_ROOT_FIND, EXPLICIT), maximum=self._maximum)
        assert kind == 2
        return self

    def __exit__(self, *_: object) -> None:
        self._peer.sock.close()

    def ask(self, data: bytes, *, then: bytes = b"") -> list[tuple[CommandSet, bytes]]:
        """All responses to a query; ``then`` is a command sent in the same breath."""
        request = dimse.encode(
            {Tag.AFFECTED_SOP_CLASS_UID: STUDY_ROOT_FIND, Tag.COMMAND_FIELD: CommandField.C_FIND_RQ,
             Tag.MESSAGE_ID: 1, Tag.PRIORITY: 0, Tag.COMMAND_DATA_SET_TYPE: 1}
        )  # fmt: skip
        stream = pdata(1, 3, request)
        for begin in range(0, max(1, len(data)), 60_000):
            stream += pdata(1, 2 if begin + 60_000 >= len(data) else 0, data[begin : begin + 60_000])
        self._peer.send(stream + (pdata(1, 3, then) if then else b""))
        answers = []
        while True:
            command = dimse.decode(self._part(is_command=True))
            answers.append((command, self._part(is_command=False) if command.has_data_set else b""))
            if command.status not in (0xFF00, 0xFF01):
                return answers

    def _part(self, *, is_command: bool) -> bytes:
        whole = b""
        while True:
            kind, body = self._peer.receive()
            assert kind == 4, f"PDU type {kind}"
            assert len(body) <= self._maximum
            assert bool(body[5] & 1) is is_command
            whole += body[6:]
            if body[5] & 2:
                return whole


def keys(**values: str) -> bytes:
    """A Study Root identifier at STUDY level, explicit little endian; values may be no values of their attributes."""
    elements = [Element(0x00080052, "CS", "STUDY")]
    for keyword, value in values.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None
        elements.append(Element(tag, dictionary_VR(tag), value))
    return encode_match(elements, EXPLICIT, "ISO_IR 100")
