"""Which passwords are taken, and how they are compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.errors import IdentifierError
from triage.passwords import LONGEST, SHORTEST, Passwords, check_password
from triage.people import name_key, user_name


@pytest.fixture(scope="module")
def passwords() -> Passwords:
    return Passwords()


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "shorter"),
        ("elevenchars", "shorter"),
        ("ﬁ" * 5, "shorter"),  # ten letters in NFKC
        ("x" * (LONGEST + 1), "longer"),
        ("aaaaaaaaaaaaaaaa", "same few"),
        ("abababababababab", "same few"),
        ("abcdefghijklmnop", "counts"),
        ("9876543210987654", "counts"),
        ("maria.lang.maria", "name"),
        ("MARIA-LANG-2026!", "name"),
        ("PasswordPassword1", "everybody"),
        ("firstread-admin-1", "everybody"),
        ("correct horse battery staple", "everybody"),
        ("radiology2026", "everybody"),
        ("tab\tinside the password", "no keyboard"),
        ("nul\x00inside the password", "no keyboard"),
    ],
)
def test_what_is_guessed_first_is_refused(password: str, why: str) -> None:
    with pytest.raises(IdentifierError) as refused:
        check_password(password, name="maria.lang")
    assert why in refused.value.advice()
    assert not password or password not in refused.value.advice()


@pytest.mark.parametrize(
    "password",
    [
        "wet lamps hum softly",
        "tr0ub4dor&3-zz",
        "пароль из четырёх слов",
        "鍵盤で打てる長い合言葉です",
        "9f3Jq!mm2Lx_",
    ],
)
def test_what_is_taken(password: str) -> None:
    check_password(password, name="maria.lang")


def test_hashes_match_their_password_and_no_other(passwords: Passwords) -> None:
    kept = passwords.hash("wet lamps hum softly")
    assert kept.startswith("$argon2id$")
    assert "softly" not in kept
    assert passwords.matches(kept, "wet lamps hum softly")
    assert not passwords.matches(kept, "wet lamps hum softlY")
    assert not passwords.is_outdated(kept)
    assert not passwords.matches("", "wet lamps hum softly"), "no password is no password"
    assert not passwords.matches("$argon2id$broken", "wet lamps hum softly")


def test_every_keyboard_gives_the_same_password(passwords: Passwords) -> None:
    composed, decomposed = "café für alle Tage", "cafe\u0301 fu\u0308r alle Tage"
    assert composed != decomposed
    assert passwords.matches(passwords.hash(composed), decomposed)


def test_a_mebibyte_is_no_more_work_than_a_password(passwords: Passwords) -> None:
    assert not passwords.matches("", "ﷺ" * (1 << 20))


@given(st.text(min_size=SHORTEST, max_size=64))
def test_any_text_is_taken_or_refused_in_words(password: str) -> None:
    try:
        check_password(password, name="maria.lang")
    except IdentifierError as error:
        assert str(error).startswith("password: ")


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "-x",
        "x" * 65,
        "a\nb",
        "a\x00b",
        "<b>",
        "a/b",
        "a:b",
        "a  b",
        "'; --",
        "local",
        "LOCAL",
        "AI",
        "a\u202eb",
    ],
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(IdentifierError) as refused:
        user_name(name)
    assert refused.value.next_step


@pytest.mark.parametrize("name", ["m.lang", "Müller", "o'neil", "lang@hospital.example", "Ａnna", "李 明", "7"])
def test_names_that_people_have(name: str) -> None:
    assert name_key(user_name(name)) == name_key(name)


@given(st.text(max_size=80))
def test_a_name_is_stable_and_one_line(text: str) -> None:
    try:
        name = user_name(text)
    except IdentifierError:
        return
    assert user_name(name) == name
    assert name.isprintable()
    assert ":" not in name, "cli:… and token:… are never people"
    assert name_key(name_key(name)) == name_key(name)
