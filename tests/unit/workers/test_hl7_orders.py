"""HL7 orders as they come over a real socket: what is kept, what is acknowledged, and what a hostile peer gets."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from peers.certificates import Authority
from worklist_rows import NOON, arrive

from dicom_node.tls import TlsFiles, acceptor_context, requestor_tls
from triage.database import Database
from triage.findings import Urgency
from triage.order_feeds import Hl7Orders
from triage.priority import Targets
from triage.repositories import order_listing, orders
from triage.tables import Order, Study
from workers.messages.hl7 import Message, segment
from workers.orders.hl7_orders import OrderRefusedError, read_orders
from workers.orders.mllp_receiver import MOST_CONNECTIONS, MllpReceiver
from workers.orders.order_desk import OrderDesk

pytestmark = pytest.mark.timeout(60)
OPTIONS = Hl7Orders(port=0)


def orm(
    *,
    control: str = "NW",
    priority: str = "S",
    accession: str = "A-keller",
    patient: str = "P-keller",
    message_id: str = "MSG1",
    placer: str = "PL1",
    kind: str = "ORM^O01^ORM_O01",
) -> bytes:
    """An order as RIS write it: priority in OBR-27.6, accession number in OBR-18."""
    timing = f"^^^^^{priority}" if priority else ""
    lines = (
        f"MSH|^~\\&|RIS|HOSP|FIRSTREAD|RAD|20260301115900||{kind}|{message_id}|P|2.5.1|||||||UNICODE UTF-8",
        f"PID|1||{patient}^^^HOSP^MR||Keller^Anna||19610314|F",
        "PV1|1|E",
        segment("ORC", {1: control, 2: placer, 3: "FI1", 9: "20260301115900"}),
        segment("OBR", {1: "1", 2: placer, 3: "FI1", 4: "36643-5^Chest X-ray^LN", 18: accession, 27: timing}),
    )
    return "".join(f"{line}\r" for line in lines).encode()


def one(content: bytes, options: Hl7Orders = OPTIONS):
    (order,) = read_orders(Message.parse(content), options, content)
    return order


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path_factory.mktemp('orders') / 'orders.sqlite'}")
    made.migrate()
    yield made
    made.dispose()


@pytest.fixture(autouse=True)
def emptied(database: Database) -> None:
    with database.write() as session:
        session.query(Order).delete()


@pytest.fixture
def receiver(database: Database) -> Iterator[MllpReceiver]:
    desk = OrderDesk(database, OPTIONS, Targets(), lambda: NOON)
    with MllpReceiver(desk, bind="127.0.0.1", port=0, maximum=20_000, stall_seconds=1.0) as running:
        yield running


class Sender:
    """An interface engine's connection."""

    def __init__(self, port: int, sock: socket.socket | None = None) -> None:
        self.sock = sock or socket.create_connection(("127.0.0.1", port), timeout=20)
        self._held = b""

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, *messages: bytes) -> None:
        self.sock.sendall(b"".join(b"\x0b" + message + b"\x1c\r" for message in messages))

    def answer(self) -> Message:
        """The next acknowledgement; fails when the connection is closed before."""
        while b"\x1c\r" not in self._held:
            piece = self.sock.recv(4096)
            assert piece, "closed without an acknowledgement"
            self._held += piece
        frame, _, self._held = self._held.partition(b"\x1c\r")
        assert frame.startswith(b"\x0b")
        return Message.parse(frame[1:])

    def exchange(self, message: bytes) -> tuple[str, str, str]:
        """(code, control ID, text of the error)."""
        self.send(message)
        return code_of(self.answer())

    def is_closed(self) -> bool:
        try:
            return self.sock.recv(1) == b""
        except ConnectionError:
            return True


def code_of(answer: Message) -> tuple[str, str, str]:
    msa, err = answer.first("MSA"), answer.first("ERR")
    assert msa is not None
    return msa.text(1), msa.text(2), err.text(8) if err else ""


def kept(database: Database) -> list[Order]:
    with database.read() as session:
        return [one.order for one in order_listing.listed(session)]


# --- what a message says -------------------------------------------------------------------------------------------


def test_an_order_is_read() -> None:
    order = one(orm())
    assert (order.accession_number, order.patient_ids, order.number) == ("A-keller", ("P-keller",), "PL1")
    assert (order.priority, order.urgency, order.cancelled) == ("S", Urgency.STAT, False)
    assert (order.sender, order.control_id) == ("RIS|HOSP", "MSG1")


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ("ORC|NW|1\rOBR|1|1||X|A", Urgency.URGENT),  # OBR-5, the oldest place
        ("ORC|NW|1|||||^^^^^A\rOBR|1|1||X", Urgency.URGENT),  # ORC-7.6
        ("ORC|NW|1|||||^^^^^S\rOBR|1|1||X|R", Urgency.STAT),  # the other one may be a default
        ("ORC|NW|1\rTQ1|1||||||||S^STAT^HL70485\rOBR|1|1||X|R", Urgency.STAT),  # TQ1-9, the newest
        ("ORC|NW|1\rOBR|1|1||X", None),
    ],
)
def test_the_highest_priority_counts_wherever_it_stands(segments: str, expected: Urgency | None) -> None:
    content = f"MSH|^~\\&|RIS|H|||1||OMI^O23|1|P|2.5.1\r{segments}\rIPC|A-1\r".encode()
    assert one(content).urgency is expected


@pytest.mark.parametrize(
    ("control", "status", "cancelled"),
    [("CA", "", True), ("DC", "", True), ("OC", "", True), ("SC", "CA", True), ("NW", "", False), ("XO", "IP", False)],
)
def test_a_cancelled_order_is_known(control: str, status: str, cancelled: bool) -> None:
    content = f"MSH|^~\\&|R|H|||1||ORM^O01|1|P|2.3\rORC|{control}|1|||{status}\rOBR|1|1|A-1\r".encode()
    assert one(content).cancelled is cancelled


def test_a_message_with_several_orders_places_each() -> None:
    content = (
        b"MSH|^~\\&|R|H|||1||ORM^O01|1|P|2.3\rPID|||P-1~P-2\r"
        b"ORC|NW|1\rOBR|1|1|A-1\rORC|NW|2\rOBR|1|2|A-2||S\rOBR|2|3|A-3\r"
    )
    placed = read_orders(Message.parse(content), OPTIONS, content)
    assert [(order.accession_number, order.urgency) for order in placed] == [
        ("A-1", None), ("A-2", Urgency.STAT), ("A-3", None),
    ]  # fmt: skip
    assert placed[0].patient_ids == ("P-1", "P-2")


def test_the_ward_is_the_point_of_care_of_the_visit() -> None:
    assert one(orm().replace(b"PV1|1|E", b"PV1|1|I|ICU 1^3^B^HOSP")).ward == "ICU 1"
    assert (
        one(orm().replace(b"PV1|1|E", "PV1|1|I|Süd\x0b\x1b4".encode("latin-1") + b"z" * 80)).ward == "Süd 4" + "z" * 59
    )
    assert one(orm()).ward == one(orm().replace(b"PV1|1|E\r", b"")).ward == ""


def test_a_site_says_where_its_accession_number_stands_and_what_its_codes_mean() -> None:
    options = Hl7Orders(port=0, accession=("ORC-2",), priorities={"1": Urgency.STAT})
    order = one(b"MSH|^~\\&|R|H|||1||ORM^O01|1|P|2.3\rORC|NW|A-77|F\rOBR|1|A-77|F||1\r", options)
    assert (order.accession_number, order.urgency) == ("A-77", Urgency.STAT)


@pytest.mark.parametrize(
    ("content", "field", "reject"),
    [
        (b"MSH|^~\\&|R|H|||1||ADT^A01|1|P|2.3\rPID|1\r", "MSH-9", True),
        (b"MSH|^~\\&|R|H|||1||ORM^O01|1|P|2.3\rPID|1||P\r", "ORC", False),
        (b"MSH|^~\\&|R|H|||1||ORM^O01|1|P|2.3\rORC|NW\rOBR|1\r", "OBR-18", False),
        (b"MSH|^~\\&|R|H|||1||ORM^O01|1|P|2.3\rORC|NW\rOBR|1||" + b"9" * 65 + b"\r", "OBR-18", False),
    ],
)
def test_what_places_no_order_is_refused_by_field(content: bytes, field: str, reject: bool) -> None:
    with pytest.raises(OrderRefusedError) as refused:
        read_orders(Message.parse(content), OPTIONS, content)
    assert (refused.value.field, refused.value.reject) == (field, reject)


# --- over the wire -------------------------------------------------------------------------------------------------


def test_an_order_is_kept_before_it_is_acknowledged_and_moves_its_study(
    database: Database, receiver: MllpReceiver
) -> None:
    with database.write() as session:
        arrive(session, "keller")
    with Sender(receiver.port) as sender:
        assert sender.exchange(orm()) == ("AA", "MSG1", "")
        assert [order.accession_number for order in kept(database)] == ["A-keller"]
        with database.read() as session:
            study = session.query(Study).filter_by(accession_number="A-keller").one()
            assert (study.urgency, study.explanation) == (Urgency.STAT, "ordered STAT → STAT; due 12:15")
        assert sender.exchange(orm(control="CA", message_id="MSG2")) == ("AA", "MSG2", "")
    with database.read() as session:
        assert session.query(Study).filter_by(accession_number="A-keller").one().urgency is Urgency.ROUTINE


def test_a_message_again_is_acknowledged_again_and_changes_nothing(database: Database, receiver: MllpReceiver) -> None:
    with Sender(receiver.port) as sender:
        sender.exchange(orm())
        sender.exchange(orm(priority="R", message_id="MSG2"))
        assert sender.exchange(orm()) == ("AA", "MSG1", "")
    (order,) = kept(database)
    assert (order.urgency, order.control_id) == (Urgency.ROUTINE, "MSG2")


def test_the_acknowledgement_names_sender_and_receiver_turned_round(receiver: MllpReceiver) -> None:
    with Sender(receiver.port) as sender:
        sender.send(orm())
        msh = sender.answer().first("MSH")
    assert msh is not None
    assert [msh.text(field) for field in (3, 4, 5, 6)] == ["FIRSTREAD", "RAD", "RIS", "HOSP"]
    assert (msh.field(9), msh.text(11), msh.text(12)) == ("ACK^O01^ACK", "P", "2.5.1")


def test_enhanced_mode_is_answered_with_a_commit(receiver: MllpReceiver) -> None:
    asked = orm().replace(b"|P|2.5.1|||||||", b"|P|2.5.1|||AL|NE|||")
    with Sender(receiver.port) as sender:
        assert sender.exchange(asked)[0] == "CA"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"MSH|^~\\&|R|H|||1||ADT^A01|7|P|2.3\rPID|1\r", "AR"),
        (b"MSH|^~\\&|R|H|||1||ORM^O01|7|P|2.3\rORC|NW\r", "AE"),
        (b"<xml>hello</xml>", "AR"),
        (b"", "AR"),
        (b"MSH|^~\\&", "AR"),
        (b"\xff\xfe\x00M\x00S\x00H", "AR"),
    ],
)
def test_a_bad_message_is_refused_and_the_next_one_is_taken(
    database: Database, receiver: MllpReceiver, content: bytes, code: str
) -> None:
    with Sender(receiver.port) as sender:
        said, _, text = sender.exchange(content)
        assert said == code
        assert text
        assert sender.exchange(orm())[0] == "AA"
    assert len(kept(database)) == 1


def test_values_of_a_bad_message_are_not_repeated(receiver: MllpReceiver) -> None:
    with Sender(receiver.port) as sender:
        sender.send(orm(accession="").replace(b"|FI1|", b"||"))
        answer = sender.answer()
    assert code_of(answer)[0] == "AE"
    assert "Keller" not in " ".join("|".join(segment.fields) for segment in answer.segments)


def test_frames_may_be_split_anywhere_and_come_together(database: Database, receiver: MllpReceiver) -> None:
    stream = b"\r\n" + b"\x0b" + orm() + b"\x1c\r" + b"\x0b" + orm(message_id="M2", placer="PL2") + b"\x1c\r"
    with Sender(receiver.port) as sender:
        for begin in range(0, len(stream), 97):
            sender.sock.sendall(stream[begin : begin + 97])
        assert [code_of(sender.answer())[:2] for _ in range(2)] == [("AA", "MSG1"), ("AA", "M2")]
    assert len(kept(database)) == 2


def test_a_message_that_is_too_long_is_refused_and_its_connection_closed(receiver: MllpReceiver) -> None:
    with Sender(receiver.port) as sender:
        sender.sock.sendall(b"\x0b" + orm() + b"NTE|1||" + b"x" * 30_000)
        code, control_id, text = code_of(sender.answer())
        assert (code, control_id) == ("AR", "MSG1")
        assert "KiB" in text
        assert sender.is_closed()


@pytest.mark.parametrize("stream", [b"GET / HTTP/1.1\r\n\r\n", b"\x0bMSH|^~\\&|slow"])
def test_what_is_no_mllp_or_never_ends_is_cut_off(database: Database, receiver: MllpReceiver, stream: bytes) -> None:
    with Sender(receiver.port) as sender:
        sender.sock.sendall(stream)
        assert sender.is_closed()
    assert kept(database) == []


def test_a_message_that_breaks_off_is_not_taken(database: Database, receiver: MllpReceiver) -> None:
    with Sender(receiver.port) as sender:
        sender.sock.sendall(b"\x0b" + orm())
        sender.sock.shutdown(socket.SHUT_WR)
        assert sender.is_closed()
    assert kept(database) == []


def test_without_a_database_nothing_is_acknowledged(tmp_path: Path) -> None:
    away = Database(f"sqlite:///{tmp_path / 'nowhere' / 'firstread.sqlite'}")
    desk = OrderDesk(away, OPTIONS, Targets(), lambda: NOON)
    with MllpReceiver(desk, bind="127.0.0.1", port=0) as receiver, Sender(receiver.port) as sender:
        sender.send(orm())
        assert sender.is_closed()
    away.dispose()


def test_only_listed_peers_get_in(database: Database) -> None:
    desk = OrderDesk(database, OPTIONS, Targets(), lambda: NOON)
    with (
        MllpReceiver(desk, bind="127.0.0.1", port=0, peers=["10.0.0.0/8"]) as receiver,
        Sender(receiver.port) as sender,
    ):
        assert sender.is_closed()


def test_silent_connections_lock_nobody_out(receiver: MllpReceiver) -> None:
    silent = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(MOST_CONNECTIONS + 3)]
    try:
        with Sender(receiver.port) as sender:
            assert sender.exchange(orm())[0] == "AA"
    finally:
        for sock in silent:
            sock.close()


def test_tls_is_spoken_and_never_left(database: Database, tmp_path: Path) -> None:
    authority, now = Authority(tmp_path), datetime.now(UTC)
    ours, theirs = (
        TlsFiles(certificate=who.certificate, key=who.key, trusted=authority.file)
        for who in (authority.issue("firstread"), authority.issue("ris"))
    )
    desk = OrderDesk(database, OPTIONS, Targets(), lambda: NOON)
    with MllpReceiver(desk, bind="127.0.0.1", port=0, tls=acceptor_context(ours, now)) as receiver:
        context = requestor_tls(theirs, now, certificate="CN:firstread").context
        plain = socket.create_connection(("127.0.0.1", receiver.port), timeout=20)
        with Sender(receiver.port, context.wrap_socket(plain)) as sender:
            assert isinstance(sender.sock, ssl.SSLSocket)
            assert sender.exchange(orm())[0] == "AA"
        with Sender(receiver.port) as sender:
            sender.send(orm())
            assert sender.is_closed()


def two_examinations(first: str = "", second: str = "", placer: str = "PL1") -> bytes:
    """One ORC with two OBRs under one placer number, each with an accession number of its own."""
    head, _, _ = orm(priority="").partition(b"ORC|")
    lines = [segment("ORC", {1: "NW", 2: placer})]
    for number, (accession, priority) in enumerate((("A-one", first), ("A-two", second)), 1):
        lines.append(segment("OBR", {1: str(number), 2: placer, 18: accession, 27: f"^^^^^{priority}"}))
    return head + "".join(f"{line}\r" for line in lines).encode()


def test_two_examinations_under_one_number_are_both_kept(database: Database) -> None:
    content = two_examinations("R", "S")
    placed = read_orders(Message.parse(content), OPTIONS, content)
    for _ in range(2):  # the second time it is the same message
        with database.write() as session:
            for order in placed:
                orders.record(session, [order], Targets(), at=NOON)
    with database.read() as session:
        kept = {order.accession_number: order.urgency for order in [one.order for one in order_listing.listed(session)]}
    assert kept == {"A-one": Urgency.ROUTINE, "A-two": Urgency.STAT}


def test_examinations_under_one_orc_share_what_it_says() -> None:
    content = two_examinations().replace(b"ORC|NW", b"ORC|CA")
    assert [order.cancelled for order in read_orders(Message.parse(content), OPTIONS, content)] == [True, True]


def test_the_same_number_of_two_placers_names_two_orders() -> None:
    content = orm().replace(b"|PL1|", b"|1000^RIS_A|")
    assert one(content).number != one(content.replace(b"RIS_A", b"RIS_B")).number


def test_a_field_with_nul_is_refused_and_not_sent_for_ever() -> None:
    content = orm(placer="PL\\X00\\1")
    with pytest.raises(OrderRefusedError, match="NUL"):
        read_orders(Message.parse(content), OPTIONS, content)
