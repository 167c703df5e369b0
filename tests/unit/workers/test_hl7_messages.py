"""ORU^R01: what is built is what a receiver reads, whatever the names hold; a site changes fields and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from message_cases import RESULT, saying, statement
from pydantic import ValidationError

from triage import hl7_template
from triage.errors import ResultError
from triage.findings import Laterality, Score, ScoreKind, Urgency
from triage.message_options import Hl7Options
from workers.messages import oru
from workers.messages.hl7 import CHARACTER_SETS, Delimiters, Message, MessageError, escape, fitting, unescape
from workers.messages.oru import build_oru, person
from workers.messages.statement import Statement, measured

texts = st.text(max_size=60)
character_sets = st.sampled_from(sorted(CHARACTER_SETS))


def read(about: Statement, **options: object) -> Message:
    return Message.parse(build_oru(about, Hl7Options.model_validate(options)))


def field(message: Message, segment: str, *where: int) -> str:
    found = message.first(segment)
    assert found is not None, segment
    return found.text(*where)


# --- encoding --------------------------------------------------------------------------------------------------------


@given(texts, character_sets)
def test_an_escaped_text_reads_back_and_holds_no_delimiter(text: str, character_set: str) -> None:
    encoded = escape(text, character_set)
    assert not set(encoded) & set("|^~&\r\n\x0b\x1c\x00")
    assert unescape(encoded, character_set=character_set) == fitting(text, character_set)
    encoded.encode(CHARACTER_SETS[character_set])  # raises for what does not fit


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
def test_in_unicode_nothing_is_lost(text: str) -> None:
    assert fitting(text, "UNICODE UTF-8") == text


def test_two_quotation_marks_are_not_an_order_to_delete() -> None:
    assert escape('""') != '""'
    assert unescape(escape('""')) == '""'


def test_accents_go_before_letters_do() -> None:
    assert fitting("Žák Møller Weiß 山田", "ASCII") == "Zak Moller Weiss ??"
    assert fitting("Jörg Weiß", "8859/1") == "Jörg Weiß"
    assert fitting("Пётр Παπαδόπουλος", "8859/7") == "Petr Παπαδόπουλος"


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("8859/1", "Müller^Jörg"), ("8859/2", "Žák^Łukasz"), ("8859/5", "Иванов^Пётр"),
        ("8859/7", "Παπαδόπουλος^Διονύσιος"), ("8859/9", "Yılmaz^Ayşe"), ("8859/15", "Lœb^Žofie"),
        ("KS X 1001", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("UNICODE UTF-8", "Wang^XiaoDong=王^小东"), ("UNICODE UTF-8", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ],
)  # fmt: skip
def test_names_of_all_the_world_reach_a_receiver_in_its_own_set(character_set: str, name: str) -> None:
    content = build_oru(statement(patient_name=name), Hl7Options.model_validate({"character_set": character_set}))
    message = Message.parse(content)
    (pid,), (msh,) = message.all("PID"), message.all("MSH")
    assert msh.text(18) == character_set
    told = [
        "^".join((pid.text(5, 1, repetition=n), pid.text(5, 2, repetition=n))) for n in range(1, name.count("=") + 2)
    ]
    assert "=".join(told) == name
    assert content.decode(CHARACTER_SETS[character_set]).count("\r") == len(message.segments)


def test_an_identifier_is_never_spelled_otherwise() -> None:
    for about in ({"patient_id": "Ж-1"}, {"accession_number": "山-1"}, {"issuer_of_patient_id": "Klinik Köln"}):
        with pytest.raises(ResultError, match="characters that ASCII does not have"):
            read(statement(**about), character_set="ASCII")


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("GB 18030-2000", "gb18030"), ("ASCII~ISO IR87", "iso2022_jp"), ("8859/5", "iso8859_5"), ("BIG-5", "big5"),
        ("KS X 1001", "euc_kr"), ("", "latin-1"), ("", "utf-8"),
        ("EBCDIC", "latin-1"),
    ],
)  # fmt: skip
def test_what_comes_is_decoded_in_the_set_that_it_declares(declared: str, codec: str) -> None:
    """Second bytes of several sets look like delimiters: that of 功 in BIG-5 is a backslash."""
    ward = {"latin-1": "Chirurgie Süd", "iso8859_5": "Отделение", "euc_kr": "중환자실"}.get(codec, "外科功")
    sent = f"MSH|^~\\&|RIS|||||||1|P|2.5||||||{declared}\rPV1|1|I|{ward}^R1\r".encode(codec)
    (pv1,) = Message.parse(sent).all("PV1")
    assert (pv1.text(3), pv1.text(3, 2)) == (ward, "R1")


def test_a_receiver_with_other_delimiters_is_read() -> None:
    message = Message.parse(b"MSH#*~\\&#RIS###20260101##ACK#1#P#2.3\rMSA#AA#ABC*1\r")
    assert (field(message, "MSA", 1), field(message, "MSA", 2), field(message, "MSA", 2, 2)) == ("AA", "ABC", "1")


@pytest.mark.parametrize("content", [b"", b"PID|1", b"MSH", b"MSH|^^^^|", b"\x00\xff", b"HTTP/1.1 400 Bad Request"])
def test_what_is_no_message_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(MessageError):
        Message.parse(content)


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_worse(content: bytes) -> None:
    for start in (b"", b"MSH|^~\\&|"):
        try:
            Message.parse(start + content)
        except MessageError:
            continue


def test_delimiters_may_be_declared_in_part() -> None:
    assert Delimiters.of("MSH|^~|A").escape == "\\"


# --- the message -----------------------------------------------------------------------------------------------------


@given(texts, texts, texts, character_sets)
def test_whatever_the_names_hold_the_message_keeps_its_form(name: str, order: str, issuer: str, charset: str) -> None:
    about = statement(
        patient_id=order or "1", patient_name=name, accession_number=order, issuer_of_patient_id=issuer,
        study_description=name,
    )  # fmt: skip
    plain = read(statement(), character_set=charset)
    if any(fitting(text, charset) != text for text in (order, issuer)):
        with pytest.raises(ResultError, match="characters that"):
            build_oru(about, Hl7Options.model_validate({"character_set": charset}))
        return
    message = read(about, character_set=charset)
    kept = {"MSH", "PID", "PV1", "ORC", "OBR", "NTE", "OBX"}
    assert [s.name for s in message.segments] == [s.name for s in plain.segments if s.name in kept]
    assert field(message, "OBR", 18) == order
    assert field(message, "PID", 3) == (order or "1")


def test_a_result_as_a_receiver_reads_it() -> None:
    message = read(statement(), receiving_application="RIS^1.2.9^ISO", sending_facility="RAD")
    assert [s.name for s in message.segments][:7] == ["MSH", "PID", "PV1", "ORC", "OBR", "NTE", "NTE"]
    assert (field(message, "MSH", 3), field(message, "MSH", 4), field(message, "MSH", 5, 2)) == (
        "FIRSTREAD", "RAD", "1.2.9",
    )  # fmt: skip
    assert field(message, "MSH", 7) == "20261128120000.1234+0100"
    assert [field(message, "MSH", 9, c) for c in (1, 2, 3)] == ["ORU", "R01", "ORU_R01"]
    assert len(field(message, "MSH", 10)) == 20
    assert (field(message, "MSH", 12), field(message, "MSH", 18)) == ("2.5.1", "UNICODE UTF-8")
    assert [field(message, "PID", 3, c) for c in (1, 4, 5)] == ["P-1", "HOSPITAL", "PI"]
    assert [field(message, "PID", 5, c) for c in (1, 2, 4, 5)] == ["Müller", "Jörg", "jr", "Dr."]
    assert (field(message, "PID", 7), field(message, "PID", 8)) == ("19500102", "M")
    assert (field(message, "PV1", 8, 2), field(message, "PV1", 19)) == ("Weiß", "V-9")
    assert (field(message, "ORC", 1), field(message, "OBR", 2), field(message, "OBR", 3)) == ("RE", "PL-1", "FI-1")
    assert [field(message, "OBR", 4, c) for c in (1, 3)] == ["36643-5", "LN"]
    assert field(message, "OBR", 7) == "20261121070809+0100"
    assert (field(message, "OBR", 18), field(message, "OBR", 24), field(message, "OBR", 25)) == ("A-1", "RAD", "P")
    notes = [note.text(3) for note in message.all("NTE")]
    assert "no physician has verified it" in notes[0] and "Not for primary diagnosis" in notes[0]
    assert notes[1] == "1 of 3 images were not analysed: no model for this view."


def test_findings_stand_positives_first_each_where_it_scores_highest() -> None:
    rows = [
        (o.text(2), o.text(3), o.text(4), o.text(5), o.text(7), o.text(8), o.text(11))
        for o in read(statement()).all("OBX")
    ]
    assert rows[0] == ("ST", "113014", "", "1.2.3", "", "", "O")
    assert rows[2][:4] == ("CE", "TRIAGE", "", "S")
    assert rows[3:] == [
        ("CE", "36118008", "1", "121053", "", "AA", "P"),
        ("NM", "122157", "1", "0.9400", "<0.6000", "AA", "P"),
        ("ST", "IMAGE", "1", "1.2.3.4.5", "", "", "P"),
        ("CE", "60046008", "2", "121054", "", "N", "P"),
        ("NM", "122157", "2", "0.2000", "<0.6000", "N", "P"),
        ("ST", "IMAGE", "2", "1.2.3.4.6", "", "", "P"),
    ]
    assert [o.text(1) for o in read(statement()).all("OBX")] == [str(n) for n in range(1, 10)]


@pytest.mark.parametrize(
    ("urgency", "value", "flag"),
    [
        (Urgency.STAT, 0.9, "AA"), (Urgency.URGENT, 0.9, "AA"), (Urgency.ROUTINE, 0.9, "A"), (Urgency.STAT, 0.1, "N"),
    ],
)  # fmt: skip
def test_the_abnormal_flag_says_how_much_it_matters(urgency: Urgency, value: float, flag: str) -> None:
    message = read(statement(result=saying(urgency=urgency, value=value)))
    assert message.all("OBX")[-2].text(8) == flag


def test_a_score_that_is_no_probability_is_not_called_one() -> None:
    message = read(statement(result=saying(kind=ScoreKind.OPERATING_POINT)))
    assert [message.all("OBX")[-2].text(3, c) for c in (1, 3)] == ["SCORE", "99FIRSTREAD"]


def test_the_side_is_told_where_the_bundle_knows_it() -> None:
    told = read(statement(result=saying(laterality=Laterality.LEFT))).all("OBX")
    (side,) = [o for o in told if o.text(3) == "272741003"]
    assert (side.text(4), side.text(5), side.text(5, 2)) == ("1", "7771000", "Left")
    assert "Pneumothorax (left)" in told[1].text(5)


@given(st.floats(0, 1), st.floats(0, 1))
def test_rounding_never_moves_a_score_over_its_threshold(value: float, threshold: float) -> None:
    score = Score(value=value, threshold=threshold, kind=ScoreKind.CALIBRATED_PROBABILITY)
    shown, limit = measured(score)
    assert (float(shown) >= float(limit)) == score.positive


def test_a_resend_is_the_same_and_a_later_revision_corrects_it() -> None:
    first, again = (build_oru(statement(), Hl7Options()) for _ in range(2))
    assert first == again
    later = read(statement(revision=2, predecessor_uid="2.25.9"))
    assert field(later, "MSH", 10) != field(Message.parse(first), "MSH", 10)
    assert field(later, "OBR", 25) == "C"
    assert {o.text(11) for o in later.all("OBX")} == {"O", "C"}
    assert "2.25.9" in [o.text(5) for o in later.all("OBX") if o.text(3) == "REPLACES"]


def test_other_options_are_another_message() -> None:
    ids = {
        field(read(statement(), **options), "MSH", 10)
        for options in ({}, {"receiving_application": "RIS"}, {"fields": {"OBR-32": "AI"}}, {"character_set": "ASCII"})
    }
    assert len(ids) == 4


def test_a_study_of_which_little_is_known_says_little() -> None:
    bare = dict.fromkeys(
        ("patient_id", "patient_name", "patient_birth_date", "patient_sex", "accession_number", "study_date",
         "referring_physician", "admission_id", "placer_order_number", "filler_order_number", "study_description"), ""
    )  # fmt: skip
    message = read(statement(**bare, procedure=None))
    assert "PV1" not in [s.name for s in message.segments]
    assert (field(message, "PID", 3), field(message, "PID", 8), field(message, "OBR", 7)) == ("", "U", "")
    assert field(message, "OBR", 4) == "18748-4"


def test_each_group_of_a_name_is_a_repetition_with_its_script() -> None:
    assert person("Yamada^Tarou=山田^太郎=やまだ^たろう", "UNICODE UTF-8").split("~") == [
        "Yamada^Tarou^^^^^L^A", "山田^太郎^^^^^L^I", "やまだ^たろう^^^^^L^P",
    ]  # fmt: skip


# --- what a site changes ---------------------------------------------------------------------------------------------


def test_a_site_sets_empties_adds_and_leaves_out() -> None:
    message = read(
        statement(accession_number="A^1"),
        fields={
            "OBR-20": "{accession_number}^X", "OBR-18": "", "PV1-3": "RAD^{node}", "TQ1-9": "{urgency_code}",
            "score:OBX-8": "", "OBX-14": "", "ZDS-1": "{study_instance_uid}^firstread^Application^DICOM",
        },
        without=["ORC"],
        findings="positive",
    )  # fmt: skip
    assert [field(message, "OBR", 20, c) for c in (1, 2)] == ["A^1", "X"]
    assert (field(message, "OBR", 18), field(message, "PV1", 3, 2), field(message, "TQ1", 9)) == ("", "NODE-1", "S")
    names = [s.name for s in message.segments]
    assert "ORC" not in names and names[-1] == "ZDS" and names.index("TQ1") < names.index("OBX")
    flags = [(o.text(2), o.text(8), o.text(14)) for o in message.all("OBX")][3:]
    assert flags == [("CE", "AA", ""), ("NM", "", ""), ("ST", "", "")]


@pytest.mark.parametrize(
    ("where", "text", "says"),
    [
        ("OBR-32", "{patient_names}", "is no fact"),
        ("OBR-32", "{patient_id!r}", "is no fact"),
        ("OBR-32", "{patient_id:>10}", "is no fact"),
        ("OBR-32", "{patient_id.__class__}", "is no fact"),
        ("OBR-32", "{0}", "is no fact"),
        ("OBR-32", "{score}", "is no fact"),
        ("OBR-32", "a|b", "would end the field"),
        ("OBR-32", "a\rOBX|1", "would end the field"),
        ("OBR-32", "{patient_id", "brace is not closed"),
        ("OBR", "x", "is no field"),
        ("MSH-10", "x", "filled by firstread"),
        ("MSH-18", "x", "filled by firstread"),
        ("ORX-1", "x", "segments that begin with Z"),
        ("best:OBX-1", "x", "before OBX"),
        ("score:OBR-1", "x", "before OBX"),
    ],
)
def test_a_template_that_is_none_is_refused_when_settings_are_read(where: str, text: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Hl7Options(fields={where: text})


@pytest.mark.parametrize("options", [{"without": ["OBR"]}, {"observations": ["score", "colour"]}, {"observations": []}])
def test_a_message_that_could_not_be_one_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Hl7Options.model_validate(options)


def test_every_fact_that_is_promised_is_there_and_no_other() -> None:
    fields = {f"ZFA-{n}": f"{{{name}}}" for n, name in enumerate(hl7_template.FACTS, start=1)}
    constants = {"sending_facility": "RAD", "receiving_application": "RIS", "receiving_facility": "HOSP"}
    message = read(statement(predecessor_uid="2.25.9", scheduled_step_id="SPS-1"), fields=fields, **constants)
    (told,) = message.all("ZFA")
    assert [name for n, name in enumerate(hl7_template.FACTS, start=1) if not told.field(n)] == []
    fields = {f"presence:OBX-{n}": f"{{{name}}}" for n, name in enumerate(hl7_template.OBSERVATION_FACTS, start=30)}
    sided = statement(result=saying(laterality=Laterality.LEFT))
    message = read(sided, fields=fields, observations=["presence"])
    assert all(message.all("OBX")[0].field(n) for n in range(30, 30 + len(hl7_template.OBSERVATION_FACTS)))


def test_a_constant_that_does_not_fit_the_character_set_stops_nothing() -> None:
    assert field(read(statement(), character_set="ASCII", sending_facility="Köln"), "MSH", 4) == "K?ln"


def test_what_is_told_of_a_finding_is_what_the_result_says() -> None:
    told = {leading.finding.key: leading for leading in statement().leading}
    assert set(told) == {finding.key for image in RESULT.images for finding in image.findings}
    assert oru.control_id(statement(), Hl7Options()) == field(read(statement()), "MSH", 10)
