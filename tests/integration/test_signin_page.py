"""Signing in in a real browser: accounts, roles, the way out, and the hospital's identity provider."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from page_node import Node
from peers.oidc_provider import oidc_provider

from triage.identity_provider import IdentityProvider
from triage.passwords import Passwords
from triage.people import Role
from triage.repositories import browser_sessions, users

pytestmark = pytest.mark.peer

PASSPHRASE = "wet lamps hum softly"  # noqa: S105 - of nobody
PERSON = {"sub": "s-1", "preferred_username": "k.ito", "name": "Dr Kei Ito", "groups": ["rad-readers"]}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with oidc_provider([PERSON]) as url:
        yield url


@pytest.fixture
def people(node: Node) -> Node:
    hashed = Passwords().hash(PASSPHRASE)
    with node.database.write() as session:
        for name, role in (("root.lee", Role.ADMIN), ("m.lang", Role.READER)):
            users.add(session, name, role, hashed, at=datetime.now(UTC), who="test", shown_as=f"Dr {name}")
    return node


def enter(page: Any, name: str, password: str = PASSPHRASE) -> None:
    page.fill("[name=name]", name)
    page.fill("[name=password]", password)
    page.press("[name=password]", "Enter")


def serious(page: Any) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in found if one["impact"] in ("serious", "critical")
    ]


def test_accounts_roles_and_the_way_out(page: Any, people: Node) -> None:
    page.goto(f"{people.url}/deliveries")
    assert page.url.endswith("/sign-in?next=/deliveries")
    assert page.evaluate("document.activeElement.name") == "name"
    assert serious(page) == []
    enter(page, "m.lang", "not the password")
    page.wait_for_selector("text=Name or password is wrong")
    enter(page, "m.lang")
    page.wait_for_selector("text=this takes the role technologist or admin")
    page.click("text=To the reading list")
    page.wait_for_selector("[data-live-state=live]")
    page.click("text=m.lang")
    page.wait_for_selector("text=with the role reader")
    assert serious(page) == []
    page.click("text=Sign out")
    page.wait_for_selector("h1:has-text('Sign in')")
    page.goto(people.url)
    assert "/sign-in" in page.url


def test_a_page_that_is_open_ends_with_its_account(page: Any, people: Node) -> None:
    page.goto(f"{people.url}/sign-in")
    enter(page, "m.lang")
    page.wait_for_selector("[data-live-state=live]")
    with people.database.write() as session:
        users.set_disabled(session, users.by_name(session, "m.lang"), True, at=datetime.now(UTC), who="test")
    page.wait_for_selector("h1:has-text('Sign in')")


def test_a_session_elsewhere_is_seen_and_ended(page: Any, people: Node) -> None:
    with people.database.write() as session:
        reader = users.by_name(session, "m.lang")
        secret = browser_sessions.begin(
            session, at=datetime.now(UTC), user=reader, address="10.0.0.7", browser="Safari on iPhone"
        )
    page.goto(f"{people.url}/sign-in?next=/account")
    enter(page, "m.lang")
    page.wait_for_selector("h2:has-text('Where you are signed in')")
    assert serious(page) == []
    assert page.locator("tr", has_text="this one").count() == 1
    page.on("dialog", lambda dialog: dialog.accept())
    elsewhere = page.locator("tr", has_text="Safari on iPhone from 10.0.0.7")
    elsewhere.locator("button").press("Enter")
    elsewhere.wait_for(state="detached")
    left = httpx.get(f"{people.url}/api/v1/worklist", cookies={"firstread_session": secret})
    assert left.status_code == 401
    assert page.locator("tr", has_text="this one").count() == 1


def test_users_and_tokens_are_made_and_ended_on_their_page(page: Any, people: Node) -> None:
    page.goto(f"{people.url}/sign-in?next=/admin/users")
    enter(page, "root.lee")
    page.wait_for_selector("h1:has-text('Users and tokens')")
    new = page.locator("form[data-post='/api/v1/admin/users']")
    new.locator("[name=name]").fill("t.berg")
    new.locator("[name=password]").fill("nine dry umbrellas sing")
    new.locator("select").select_option("technologist")
    new.locator("button").click()
    page.wait_for_selector("[aria-label='Disable t.berg']")
    page.click("[aria-label='Disable t.berg']")
    page.wait_for_selector("[aria-label='Enable t.berg']")
    page.select_option("[aria-label='Role of root.lee']", "reader")
    page.wait_for_selector("text=last local administrator")
    assert page.locator("[aria-label='Role of root.lee']").input_value() == "admin", "the page shows what is"
    token = page.locator("form[data-post='/api/v1/admin/tokens']")
    token.locator("[name=name]").fill("pacs-export")
    token.locator("[value='worklist:read']").check()
    token.locator("button").click()
    page.wait_for_selector("[data-secret]:not([hidden])")
    secret = page.locator("[data-secret-text]").inner_text()
    bearer = {"Authorization": f"Bearer {secret}"}
    assert httpx.get(f"{people.url}/api/v1/worklist", headers=bearer, timeout=30).status_code == 200
    assert serious(page) == []
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("[aria-label='Revoke pacs-export']")
    page.wait_for_selector("text=There are no tokens.")
    assert httpx.get(f"{people.url}/api/v1/worklist", headers=bearer, timeout=30).status_code == 401


def test_through_the_identity_provider_and_back(browser: Any, people: Node, issuer: str) -> None:
    """Not the fixture `page`: this tab is meant to ask another host."""
    secret = people.settings.data / "oidc.secret"
    secret.write_text("a secret between firstread and the provider\n")
    secret.chmod(0o600)
    people.stop()
    provider = IdentityProvider(
        issuer=issuer, client_id="firstread", client_secret_file=secret, roles={"rad-readers": Role.READER}
    )
    people.settings = people.settings.model_copy(update={"oidc": provider})
    people.start()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(f"{people.url}/account")
    page.click("text=Sign in with your hospital account")
    page.click("button[value='s-1']")
    page.wait_for_selector("h1:has-text('Dr Kei Ito')")
    assert page.url == f"{people.url}/account"
    page.wait_for_selector("text=Your hospital keeps this account")
    page.click("text=Sign out")
    page.wait_for_url(f"{issuer}/oauth2/end_session?**")
    page.goto(f"{people.url}/account")
    page.wait_for_selector("h1:has-text('Sign in')")
    context.close()
