"""HL7 by libraries that know nothing of firstread: hl7apy checks and takes what we send, python-hl7 sends orders."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hl7
import pytest
from hl7.client import MLLPClient
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.mllp import AbstractErrorHandler, AbstractHandler, MLLPServer
from hl7apy.parser import parse_message
from message_cases import saying, statement
from migrated import migrate
from worklist_rows import NOON

from triage.database import Database
from triage.findings import Laterality, ScoreKind
from triage.message_options import Hl7Options
from triage.order_feeds import Hl7Orders
from triage.priority import Targets
from triage.repositories import order_listing
from workers.carriers.mllp_link import AckCode, MllpLink, Patience
from workers.messages.oru import build_oru, control_id
from workers.messages.statement import Statement
from workers.orders.mllp_receiver import MllpReceiver
from workers.orders.order_desk import OrderDesk

UNKNOWN = dict.fromkeys(
    (
        "accession_number", "study_date", "study_time", "timezone", "issuer_of_patient_id", "study_description",
        "placer_order_number", "filler_order_number", "requested_procedure_id", "admission_id", "referring_physician",
        "patient_birth_date", "patient_sex",
    ), "",
)  # fmt: skip
DELIMITERS = "A|B&C~D\\E"
LATE = Patience(connect=2.0, exchange=10.0)


def checked(about: Statement, **options: object) -> Message:
    """The message as hl7apy reads it, with v2.5.1's structure of ORU^R01, its segments, cardinalities and types."""
    content = build_oru(about, Hl7Options.model_validate(options)).decode()
    message = parse_message(content, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
    assert message.validate()  # raises with what is wrong
    return message


@pytest.mark.parametrize(
    ("about", "options"),
    [
        (statement(), {}),
        (statement(revision=2, predecessor_uid="2.25.9"), {"without": ["ORC", "PV1", "NTE"]}),
        (statement(result=saying(laterality=Laterality.LEFT, kind=ScoreKind.OPERATING_POINT)), {}),
        (statement(procedure=None, **UNKNOWN), {}),
        (
            statement(),
            {"fields": {"OBR-32": "AI", "ZDS-1": "{study_instance_uid}", "TQ1-9": "{urgency_code}", "PV2-3": "x"}},
        ),
    ],
    ids=["first", "correction", "one side", "little known", "a site's fields"],
)
def test_the_message_has_the_structure_of_its_version(about: Statement, options: dict[str, object]) -> None:
    checked(about, **options)


def test_what_others_decode_is_what_the_image_said() -> None:
    """Delimiters and line ends in names and texts; python-hl7 decodes escapes by itself."""
    name = f"{DELIMITERS}^Line\r\nend"
    about = statement(patient_name=name, study_description="First\r\nsecond ^~\\&|", procedure=None)
    checked(about)
    content = build_oru(about, Hl7Options()).decode()
    message = hl7.parse(content)
    family, given = str(message["PID"][0][5][0][0]), str(message["PID"][0][5][0][1])
    assert message.unescape(family) == DELIMITERS
    assert message.unescape(given) == "Line\r\nend"
    assert message.unescape(str(message["OBR"][0][4][0][4])) == "First\r\nsecond ^~\\&|"
    assert len(message["OBX"]) == len(hl7.parse(build_oru(statement(), Hl7Options()).decode())["OBX"])


# --- on the wire -----------------------------------------------------------------------------------------------------


class _Taken(AbstractHandler):
    """Reads the message strictly and acknowledges it as hl7apy writes an acknowledgement."""

    def reply(self) -> str:
        sent = parse_message(self.incoming_message, validation_level=VALIDATION_LEVEL.STRICT)
        sent.validate()
        return _acknowledgement(sent.msh.msh_10.value, "AA")


class _NotTaken(AbstractErrorHandler):
    def reply(self) -> str:
        return _acknowledgement(self.incoming_message.split("|")[9], "AE", type(self.exc).__name__)


def _acknowledgement(identifier: str, code: str, text: str = "") -> str:
    ack = Message("ACK", version="2.5.1")
    ack.msh.msh_9 = "ACK^R01^ACK"
    ack.msa.msa_1, ack.msa.msa_2, ack.msa.msa_3 = code, identifier, text
    framed: str = ack.to_mllp()
    return framed


@contextmanager
def receiver() -> Iterator[int]:
    """hl7apy's MLLP server on a free port of loopback; it closes the connection after each message."""
    handlers = {"ORU^R01^ORU_R01": (_Taken,), "ERR": (_NotTaken,)}
    server = MLLPServer("127.0.0.1", 0, handlers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_receiver_of_somebody_elses_takes_our_messages() -> None:
    with receiver() as port, MllpLink("127.0.0.1", port, patience=LATE) as link:
        for about in (statement(), statement(revision=2, predecessor_uid="2.25.9", patient_name="Yamada^T=山田^太郎")):
            said = link.exchange(build_oru(about, Hl7Options()), control_id(about, Hl7Options()))
            assert said.code is AckCode.ACCEPTED
        nameless = statement(patient_name="")  # PID-5 is required
        said = link.exchange(build_oru(nameless, Hl7Options()), control_id(nameless, Hl7Options()))
        assert (said.code, said.text) == (AckCode.ERROR, "ValidationError")


def test_a_sender_of_somebody_elses_is_acknowledged(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'orders.sqlite'}")
    migrate(database)
    order = (
        "MSH|^~\\&|RIS|HOSP|FIRSTREAD|RAD|20261128120000||ORM^O01|M-1|P|2.5.1||||||UNICODE UTF-8\r"
        "PID|1||P-1^^^HOSP^PI||山田^太郎\rPV1|1|I|救急^1\rORC|NW|PL-1\r"
        "OBR|1|PL-1||36643-5^Chest^LN||||||||||||||A-1|||||||||^^^^^S\r"
    )
    desk = OrderDesk(database, Hl7Orders(port=0), Targets(), lambda: NOON)
    with (
        MllpReceiver(desk, bind="127.0.0.1", port=0, maximum=20_000, stall_seconds=5.0) as running,
        MLLPClient("127.0.0.1", running.port) as client,
    ):
        said = hl7.parse(client.send_message(hl7.parse(order)))
        assert (str(said["MSA"][0][1]), str(said["MSA"][0][2])) == ("AA", "M-1")
        placeless = order.replace("M-1", "M-2").replace("A-1", "")
        refused = hl7.parse(client.send_message(hl7.parse(placeless)))
        assert (str(refused["MSA"][0][1]), str(refused["MSA"][0][2])) == ("AE", "M-2")
    with database.read() as session:
        (kept,) = [each.order for each in order_listing.listed(session)]
    database.dispose()
    assert (kept.accession_number, kept.ward) == ("A-1", "救急")
