"""The page as text: everything in it, nothing hostile, nothing loaded from elsewhere."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from worklist_rows import NOON, Seen, arrive, decline, deliver, score

from triage.findings import NotAnalysedReason
from triage.outbox import Verdict
from triage.people import Role
from triage.repositories import browser_sessions, outcomes, users, worklist
from triage.repositories.deliveries import Attempt
from worklist.page.rendering import STATIC, dicom_date, duration, instant, person_name, person_otherwise, why

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "'\"><svg onload=alert(1)>",
    "'; DROP TABLE studies;--",
    "=HYPERLINK(1)",
    "%0d%0aSet-Cookie: a=b",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "javascript:alert(1)",
    "&lt;b&gt;",
]


class Elements(HTMLParser):
    """Tags and attributes that a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_every_field_stays_text(house: Any, client: TestClient, text: str) -> None:
    pictures = outcomes.Previews(image="a.jpg", overlay="b.jpg")
    harmless, hostile = [], []
    for name, said in (("plain", "plain words"), ("hostile", text)):
        fields = dict.fromkeys(
            ("patient_name", "patient_id", "accession_number", "study_description", "body_part_examined",
             "view_position", "series_description", "ward", "referring_physician_name", "patient_sex",
             "patient_birth_date", "study_date"), said,
        )  # fmt: skip
        with house.database.write() as session:
            study = arrive(session, name, **fields)
            score(session, study, [Seen(said, 0.9)], previews=pictures)
            deliver(session, at=NOON, attempt=Attempt(verdict=Verdict.TRANSIENT, error=said))
            study.flags, study.modality, study.instances[0].modality = [said], said, said
            study.ai_reason = study.explanation = study.status_reason = said
            worklist.claim(session, study, who=said, at=NOON)
            uid = study.study_instance_uid
        found = harmless if name == "plain" else hostile
        for path in (f"/?q={uid}", f"/fragment/worklist?q={uid}", f"/studies/{uid}", f"/fragment/studies/{uid}"):
            answer = client.get(path)
            assert answer.status_code == 200
            assert "set-cookie" not in answer.headers
            page = Elements(answer.text)
            found.append([(tag, sorted(attributes)) for tag, attributes in page.seen])
            assert text in "".join(page.words) or name == "plain"
        assert client.get("/api/v1/worklist", params={"q": uid}).json()["items"][0]["study_description"] == said
    assert hostile == harmless, "other words, the same elements and attributes"


def test_hostile_search_words_stay_text(client: TestClient) -> None:
    for text in HOSTILE:
        page = Elements(client.get("/", params={"q": text}).text)
        assert [attributes["value"] for _, attributes in page.seen if attributes.get("name") == "q"] == [text]
        assert "script" not in [tag for tag, attributes in page.seen if "src" not in attributes]


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_inline(house: Any, client: TestClient) -> None:
    """What the Content-Security-Policy would block must not be there, and what is named must exist."""
    with house.database.write() as session:
        study = arrive(session, "keller")
        score(session, study, [Seen("pneumothorax", 0.9)])
        uid = study.study_instance_uid
    for path in ("/", f"/studies/{uid}", "/docs", "/sign-in", "/nothing"):
        answer = client.get(path, headers={"Accept": "text/html"})
        for tag, attributes in Elements(answer.text).seen:
            assert not [name for name in attributes if name.startswith("on") or name == "style"], (path, tag)
            assert tag != "style"
            assert tag != "script" or attributes["src"], path
            for name in ("src", "href", "action"):
                target = attributes.get(name) or ""
                assert "//" not in target, (path, target)
                if target.startswith("/static/"):
                    assert client.get(target).status_code == 200
    for file in STATIC.glob("*.*"):
        text = client.get(f"/static/{file.name}").text
        assert file.suffix != ".css" or not re.search(r"url\(|@import", text), file
        assert file.suffix != ".js" or "://" not in text, file


def test_the_list_shows_class_due_time_finding_and_reason(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        score(session, arrive(session, "keller"), [Seen("pneumothorax", 0.94)])
        decline(
            session,
            arrive(session, "hand", at=NOON - timedelta(hours=3)),
            NotAnalysedReason.UNSUPPORTED_BODY_PART,
            "HAND",
        )
        arrive(session, "head", at=NOON, modality="CT")
    text = " ".join("".join(Elements(client.get("/").text).words).split())
    assert text.index("KELLER, ANNA") < text.index("HAND, ANNA") < text.index("HEAD, ANNA")
    for words in (
        "1 STAT",
        "2 ROUTINE",
        "12:15 UTC in 5 min",
        "Pneumothorax 0.94 ≥ 0.60 → STAT",
        "1 h 10 min late",
        "not analysed: no model for this body part: HAND",
        "receiving",
        "They are no diagnosis",
        "this machine only, nobody signs in",
    ):
        assert words in text, words
    assert 'title="waiting for 60 s without a new instance"' in client.get("/").text
    assert "waiting for analysis" not in text, "what a case waits for first is enough"


def test_the_case_says_times_for_each_reader_s_zone_and_ends_a_sentence_once(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        study = arrive(session, "huge")
        decline(session, study, NotAnalysedReason.DECODE_ERROR, "9000 x 9000 pixels are not decoded.")
        uid = study.study_instance_uid
    text = client.get(f"/studies/{uid}").text
    assert "9000 x 9000 pixels are not decoded.</p>" in text
    journey = text[text.index('class="journey"') :]
    assert 'since <time datetime="2026-' in journey[: journey.index("</ol>")]


def test_the_case_shows_its_viewer_findings_and_deliveries(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        study = arrive(session, "keller", count=2)
        previews = outcomes.Previews(image="a.jpg", overlay="b.jpg")
        score(session, study, [Seen("pneumothorax", 0.94)], previews=previews)
        deliver(
            session,
            at=NOON + timedelta(seconds=9),
            attempt=Attempt(verdict=Verdict.TRANSIENT, error="connection refused"),
        )
        uid = study.study_instance_uid
        instances = {instance.sop_instance_uid for instance in study.instances}
    page = Elements(client.get(f"/studies/{uid}").text)
    (viewer,) = [attributes for _, attributes in page.seen if "data-case" in attributes]
    assert viewer["data-first"] in instances
    assert [attributes["aria-label"] for tag, attributes in page.seen if tag == "canvas" and "tabindex" in attributes]
    text = " ".join("".join(page.words).split())
    for words in (
        "AI – not a diagnosis",
        "2 × DX received",
        "connection refused",
        "Class ROUTINE → STAT",
        "0.94",
        "Send now",
    ):
        assert words in text, words


def test_a_page_that_is_not_there_says_so_in_words(client: TestClient) -> None:
    answer = client.get("/studies/1.2.3", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "No study with this Study Instance UID is known." in answer.text


def test_the_theme_is_the_readers(client: TestClient) -> None:
    assert 'data-theme="dark"' in client.get("/").text
    client.cookies.set("theme", "light")
    assert 'data-theme="light"' in client.get("/").text
    client.cookies.set("theme", '"><script>')
    assert 'data-theme="dark"' in client.get("/").text


def test_the_api_page_names_every_operation(client: TestClient) -> None:
    page = client.get("/docs").text
    paths = client.get("/openapi.json").json()["paths"]
    assert "/api/v1/worklist" in paths
    for path, operations in paths.items():
        for method in operations:
            assert f"<b>{method.upper()}</b> {path}" in page


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("DOE^JANE", "DOE, JANE"),
        ("DOE^JANE^MARY^DR^MD", "DOE, JANE MARY DR MD"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou"),
        ("=山田^太郎", "山田, 太郎"),
        ("^JANE", "JANE"),
        ("", "no name"),
        ("^^^^", "no name"),
        ("DOE", "DOE"),
    ],
)
def test_person_names(written: str, shown: str) -> None:
    assert person_name(written) == shown


@given(st.text())
def test_any_person_name_is_shown_somehow(text: str) -> None:
    assert person_name(text).strip()


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=900)))
def test_a_wait_in_words_never_says_more_than_there_was(span: timedelta) -> None:
    units = {"s": 1, "min": 60, "h": 3600, "d": 86400}
    words = duration(span).split()
    told = sum(int(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    smallest = units[words[-1]]
    assert told <= span.total_seconds() < told + smallest


def test_waits() -> None:
    assert [duration(timedelta(seconds=s)) for s in (-5, 0, 59, 60, 3599, 3600, 86400 * 2 + 4 * 3600)] == [
        "0 s", "0 s", "59 s", "1 min", "59 min", "1 h 00 min", "2 d 4 h",
    ]  # fmt: skip


def test_small_words() -> None:
    assert instant(NOON) == "2026-03-01T12:00:00Z"
    assert dicom_date("20260301") == "2026-03-01"
    assert dicom_date("2026.03.01") == "2026.03.01"
    assert why("Pneumothorax → STAT; due 12:15") == "Pneumothorax → STAT"
    assert why("no due time in it") == "no due time in it"


def test_a_technologist_is_offered_no_step_of_a_reader(house: Any) -> None:
    with house.database.write() as session:
        study = arrive(session, "doe", at=NOON)
        score(session, study, [Seen("pneumothorax", 0.9)], at=NOON)
        uid = study.study_instance_uid
        users.add(session, "root.lee", Role.ADMIN, "", at=NOON, who="test")
        people = {role: users.add(session, f"a.{role}", role, "", at=NOON, who="test") for role in Role}
        secrets = {role: browser_sessions.begin(session, at=house.clock(), user=user) for role, user in people.items()}

    def page(role: Role) -> str:
        browser = house.client()
        browser.cookies.set("firstread_session", secrets[role])
        return str(browser.get(f"/studies/{uid}").text)

    steps = ("/claim", "/read", "data-opinion=", "data-missed>", "/priority")
    assert all(step in page(Role.READER) for step in steps)
    assert not any(step in page(Role.TECHNOLOGIST) for step in steps)
    assert all("/reanalyse" in page(role) for role in Role)


def test_an_address_that_cannot_be_understood_is_told_what_it_may_say(client: TestClient) -> None:
    page = client.get("/?status=BAD", headers={"Accept": "text/html"}).text
    assert "<h1>Not understood</h1>" in page
    assert "status: Has to be one of OPEN, ALL, UNREAD, CLAIMED, READ, RECEIVING, COMPLETE" in page


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "山田, 太郎"),
        ("Yamada^Tarou==やまだ^たろう", ""),
        ("=山田^太郎", ""),
        ("^=山田^太郎", ""),
        ("DOE^JANE", ""),
        ("", ""),
    ],
)
def test_a_name_in_two_scripts_is_shown_in_both(written: str, shown: str) -> None:
    assert person_otherwise(written) == shown


def test_a_referrer_without_a_name_is_none(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        uid = arrive(session, "alpha", referring_physician_name="^^^^").study_instance_uid
    for path in ("/", f"/studies/{uid}"):
        assert "no name" not in "".join(Elements(client.get(path).text).words)


def test_list_and_case_show_the_name_in_both_scripts(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        uid = arrive(session, "yamada", patient_name="Yamada^Tarou=山田^太郎=やまだ^たろう").study_instance_uid
    for path in ("/", f"/studies/{uid}"):
        text = "".join(Elements(client.get(path).text).words)
        assert "Yamada, Tarou" in text
        assert "山田, 太郎" in text
