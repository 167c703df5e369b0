"""Bad input at the HTTP door of a running node: one case of the catalogue after the other."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import resource
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from peers.http_client import http_client
from peers.node import FIRSTREAD, Node, embedded
from peers.postgres import postgres
from peers.processes import await_port, eventually, free_port, run, running
from worklist_rows import arrive

from bad_inputs.cases import case, one
from models.phantom import write_phantoms
from triage.database import Database
from triage.errors import SettingsError
from triage.settings import load_settings
from worklist.connections import CONNECTIONS, HEAD_SECONDS
from worklist.live import LISTENERS

TOKEN = "r7Kq" * 6
SIGNED_IN = {"Authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json"}
PROBLEM = "application/problem+json"
TERMINATE_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'firstread'"
)
STAT = {"urgency": "STAT", "reason": "called by the ward"}


@dataclass
class Doors:
    """One node with two doors: ``open`` asks nobody, ``guarded`` is for those with a token."""

    node: Node
    open: httpx.Client
    guarded: httpx.Client
    guarded_process: subprocess.Popen[bytes]
    study_uid: str

    @property
    def study(self) -> str:
        return f"/api/v1/studies/{self.study_uid}"

    def urgency(self) -> str:
        return str(self.open.get(self.study).json()["urgency"])


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    folder = tmp_path_factory.mktemp("api")
    write_phantoms(folder / "phantoms", 1, seed=5, taken_at=datetime(2026, 1, 5, 8, tzinfo=UTC), size=512)
    with embedded(folder / "node", []) as node, another_door(node) as (client, process):
        run(
            FIRSTREAD,
            "send",
            *(folder / "phantoms").glob("*.dcm"),
            "--to",
            f"FIRSTREAD@127.0.0.1:{node.dicom_port}",
            within=60,
        )
        study_uid = eventually(lambda: node.worklist()[0]["study_instance_uid"], within=30, what="the study is listed")
        node.settled(study_uid)
        yield Doors(node, node.http, client, process, study_uid)
        assert not node.errors(), node.errors()


@contextmanager
def another_door(node: Node) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """`firstread serve` on the same node, with a token."""
    port = free_port()
    environment = {
        **node.environment,
        "FIRSTREAD_DATA": str(node.data),
        "FIRSTREAD_HTTP_PORT": str(port),
        "FIRSTREAD_HTTP_TOKENS": f"reader:{TOKEN}",
    }
    with (
        running(FIRSTREAD, "serve", log=node.log, env=environment) as process,
        http_client(port) as client,
    ):
        await_port(process, port, node.log)
        yield client, process


def is_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The answer as an RFC 9457 document of that status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


def raw(port: int, request: bytes, *, within: float = 5) -> bytes:
    """What the server answers to these bytes until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=within) as wire:
        wire.sendall(request)
        return b"".join(iter(lambda: wire.recv(65536), b""))


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


# --- A1, A2: who ----------------------------------------------------------------------------------------------------


@case("A1")
def test_without_a_token_nothing_is_said(doors: Doors) -> None:
    paths = ("/api/v1/worklist", doors.study, "/metrics", "/docs", "/nothing", "/openapi.json", "/readyz")
    for path in paths:
        assert is_problem(doors.guarded.get(path), 401)["detail"] == "Sign in, or send a Bearer token."
    forged = "cmVhZGVy.99999999999." + "0" * 64
    for header in (
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer reader:{TOKEN}"},
        {"Cookie": f"firstread_session={forged}"},
    ):
        document = is_problem(doors.guarded.get(doors.study, headers=header), 401)
        assert doors.study_uid not in json.dumps(document)
    assert doors.guarded.patch(f"{doors.study}/priority", json=STAT).status_code == 401
    assert doors.guarded.get("/api/v1/worklist", headers=SIGNED_IN).status_code == 200


@case("A2")
def test_what_is_not_there_is_not_found(doors: Doors) -> None:
    case_ = doors.guarded.get(doors.study, headers=SIGNED_IN).json()
    foreign = "/api/v1/studies/1.2.840.99999.1"
    instance = case_["instances"][0]["sop_instance_uid"]
    for path in (foreign, f"{foreign}/instances/{instance}/preview", f"{doors.study}/instances/1.2.3/preview"):
        is_problem(doors.guarded.get(path, headers=SIGNED_IN), 404)
    for step in ("claim", "release", "read", "reanalyse"):
        is_problem(doors.guarded.post(f"{foreign}/{step}", headers=SIGNED_IN), 404)
    is_problem(doors.guarded.patch(f"{foreign}/priority", headers=SIGNED_IN, json=STAT), 404)
    is_problem(doors.guarded.post("/api/v1/admin/deliveries/999999/resend", headers=SIGNED_IN), 404)


# --- A3 to A6: what is sent -----------------------------------------------------------------------------------------


@case("A3")
def test_a_body_without_measure_is_refused_at_once(doors: Doors) -> None:
    port = doors.open.base_url.port
    assert port is not None
    head = f"PATCH {doors.study}/priority HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
    began = time.monotonic()
    assert status_of(raw(port, head + b"Content-Length: 10000000000\r\n\r\n{")) == 413
    assert time.monotonic() - began < 10

    endless = socket.create_connection(("127.0.0.1", port), timeout=5)
    with endless:
        endless.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        sent, answer = 0, b""
        while not answer and sent < 64 << 20:
            try:
                endless.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
            except (BrokenPipeError, ConnectionResetError):
                break
            sent += 65536
            endless.setblocking(False)
            try:
                answer = endless.recv(65536)
            except (BlockingIOError, ConnectionResetError):
                answer = b""
            endless.settimeout(5)
    assert sent < 16 << 20, "the server went on reading"
    assert answer == b"" or status_of(answer) == 413
    assert time.monotonic() - began < 30

    bomb = gzip.compress(b" " * (100 << 20))
    packed = {**JSON, "Content-Encoding": "gzip"}
    is_problem(doors.open.patch(f"{doors.study}/priority", content=bomb, headers=packed), 415)
    is_problem(doors.open.patch(f"{doors.study}/priority", content=b" " * (2 << 20), headers=JSON), 413)


@pytest.mark.parametrize(
    "body",
    [
        one("A4", b"[" * 10_000 + b"]" * 10_000, name="deep"),
        one("A4", b'{"a":' * 10_000 + b"1" + b"}" * 10_000, name="deep objects"),
        one("A4", b'{"urgency": ' + b"9" * 100_000 + b', "reason": "a"}', name="huge number"),
        one("A4", b'{"urgency": NaN, "reason": "a"}', name="NaN"),
        one("A4", b'{"urgency": "STAT", "urgency": "ROUTINE", "reason": "a"}', name="duplicate key"),
        one("A4", b'{"urgency": "STAT"', name="cut"),
        one("A4", b"\xff\xfe\x00", name="no text"),
    ],
)
def test_what_is_no_plain_json_is_refused(doors: Doors, body: bytes) -> None:
    before = doors.urgency()
    is_problem(doors.open.patch(f"{doors.study}/priority", content=body, headers=JSON), 422)
    assert doors.urgency() == before


@pytest.mark.parametrize(
    ("path", "query"),
    [
        one("A5", "/api/v1/worklist", {"page": "-1"}, name="page"),
        one("A5", "/api/v1/worklist", {"limit": "1000000000"}, name="limit"),
        one("A5", "/api/v1/worklist", {"limit": "0"}, name="limit 0"),
        one("A5", "/api/v1/worklist", {"limit": "1e3"}, name="limit 1e3"),
        one("A5", "/api/v1/worklist", {"sort": "id;--"}, name="sort"),
        one("A5", "/api/v1/worklist", {"cursor": "id;--"}, name="cursor"),
        one("A5", "/api/v1/worklist", {"status": "' OR 1=1"}, name="status"),
        one("A5", "/api/v1/admin/deliveries", {"before": "-1"}, name="before"),
        one("A5", "/api/v1/admin/analyses", {"limit": "1000000000"}, name="admin limit"),
    ],
)
def test_impossible_paging_is_refused(doors: Doors, path: str, query: dict[str, str]) -> None:
    document = is_problem(doors.open.get(path, params=query), 422)
    assert next(iter(query)) in document["detail"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        one("A6", {**STAT, "colour": "crimson"}, "colour", name="unknown field"),
        one("A6", {"urgency": "NOW", "reason": "a"}, "urgency", name="unknown value"),
        one("A6", {"urgency": "STAT"}, "reason", name="missing field"),
        one("A6", {"urgency": "STAT", "reason": "a\u0000b"}, "reason", name="NUL"),
        one("A6", {"urgency": "STAT", "reason": "x" * 201}, "reason", name="too long"),
        one("A6", {"urgency": ["STAT"], "reason": "a"}, "urgency", name="wrong type"),
    ],
)
def test_an_unknown_field_or_value_is_named(doors: Doors, change: dict[str, Any], named: str) -> None:
    document = is_problem(doors.open.patch(f"{doors.study}/priority", json=change), 422)
    assert [error["field"] for error in document["errors"]] == [named]
    assert "crimson" not in json.dumps(document)


# --- A7, A8: when, and how often ------------------------------------------------------------------------------------


@case("A7")
def test_a_change_for_an_outdated_version_is_refused(doors: Doors) -> None:
    url = f"{doors.study}/priority"
    seen = doors.open.get(doors.study).headers["etag"]
    first = doors.open.patch(url, json={"urgency": "URGENT", "reason": "first"}, headers={"If-Match": seen})
    assert first.status_code == 200
    for outdated in (seen, f"W/{first.headers['etag']}", '"0", "1"', "no tag", '"'):
        document = is_problem(doors.open.patch(url, json=STAT, headers={"If-Match": outdated}), 409)
        assert "If-Match" in document["detail"]
    assert doors.urgency() == "URGENT"
    current = first.headers["etag"]
    for tags in ("{}", '"0", {}', "*"):
        headers = {"If-Match": tags.format(current)}
        answer = doors.open.patch(url, json={"urgency": "URGENT", "reason": "seen"}, headers=headers)
        assert answer.status_code == 200
        assert current != answer.headers["etag"] == doors.open.get(doors.study).headers["etag"]
        current = answer.headers["etag"]


@case("A8")
def test_a_request_sent_twice_is_carried_out_once(doors: Doors) -> None:
    """By any process of the house: the second try goes through the other door."""
    url, key = f"{doors.study}/priority", {"Idempotency-Key": "2f1c5f9e-try"}
    change = {"urgency": "URGENT", "reason": "sent twice"}
    first = doors.guarded.patch(url, json=change, headers={**SIGNED_IN, **key})
    with another_door(doors.node) as (other, _):
        again = other.patch(url, json=change, headers={**SIGNED_IN, **key})
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    told = [entry["text"] for entry in doors.open.get(doors.study).json()["timeline"]]
    assert told.count("Set to URGENT: sent twice") == 1

    is_problem(doors.guarded.patch(url, json=STAT, headers={**SIGNED_IN, **key}), 422)
    assert doors.open.patch(url, json=change, headers=key).headers.get("idempotency-replayed") is None, (
        "another person's"
    )

    once = {**SIGNED_IN, "Idempotency-Key": "reading-1"}
    for _ in range(3):
        assert doors.guarded.post(f"{doors.study}/read", headers=once).json()["reading_status"] == "READ"
    is_problem(doors.guarded.post(f"{doors.study}/read", headers=SIGNED_IN), 409)
    assert doors.guarded.post(f"{doors.study}/release", headers=SIGNED_IN).json()["reading_status"] == "UNREAD"
    is_problem(doors.open.post(f"{doors.study}/claim", headers={"Idempotency-Key": "a b"}), 422)


# --- A9 to A11: from where ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        one("A9", {"Origin": "http://evil.example"}, name="foreign origin"),
        one("A9", {"Origin": "null"}, name="null origin"),
        one("A9", {"Sec-Fetch-Site": "cross-site"}, name="fetch metadata"),
    ],
)
def test_a_foreign_page_changes_nothing(doors: Doors, headers: dict[str, str]) -> None:
    before = doors.urgency()
    is_problem(doors.open.patch(f"{doors.study}/priority", json=STAT, headers=headers), 403)
    form = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
    is_problem(doors.open.post(f"{doors.study}/claim", content=b"a=b", headers=form), 403)
    is_problem(doors.open.post("/sign-out", content=b"", headers=form), 403)
    assert doors.urgency() == before


@case("A10")
def test_five_hundred_sign_ins_a_minute_are_too_many(doors: Doors) -> None:
    browser = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    seen: Counter[int] = Counter()
    for number in range(250):
        answer = doors.guarded.post("/sign-in", content=f"token=guess{number}", headers=browser)
        seen[answer.status_code] += 1
        answer = doors.guarded.get("/api/v1/worklist", headers={"Authorization": f"Bearer guess{number}"})
        seen[answer.status_code] += 1
    assert set(seen) == {401, 429}
    assert seen[429] >= 470
    document = is_problem(answer, 429)
    assert int(answer.headers["retry-after"]) > 0
    assert "wait" in document["detail"]
    assert doors.guarded.get("/api/v1/worklist", headers=SIGNED_IN).status_code == 200, "who has a token works on"


@case("A10")
def test_right_sign_ins_are_counted_too(doors: Doors) -> None:
    with another_door(doors.node) as (door, _):
        own = {"Sec-Fetch-Site": "same-origin"}
        answers = [door.post("/sign-in", data={"token": TOKEN}, headers=own).status_code for _ in range(100)]
        assert answers[:60] == [303] * 60
        assert set(answers[60:]) == {429}


@pytest.mark.parametrize(
    ("request_", "statuses"),
    [
        one("A11", b"TRACE / HTTP/1.1\r\nHost: localhost", {405}, name="TRACE"),
        one("A11", b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost", {400, 404, 405}, name="CONNECT"),
        one("A11", b"GET /..%2f..%2fetc/passwd HTTP/1.1\r\nHost: localhost", {404}, name="encoded"),
        one("A11", b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost", {404}, name="dots"),
        one("A11", b"GET /static/..%2f..%2fguard.py HTTP/1.1\r\nHost: localhost", {404}, name="static"),
        one("A11", b"GET /static/%2e%2e/%2e%2e/guard.py HTTP/1.1\r\nHost: localhost", {404}, name="static dots"),
        one("A11", b"GET /%00 HTTP/1.1\r\nHost: localhost", {404}, name="NUL"),
        one("A11", b"GET /api/v1/studies/1.2%00.3 HTTP/1.1\r\nHost: localhost", {404, 422}, name="NUL in a UID"),
        one("A11", b"GET / HTTP/1.1\r\nHost: evil.example", {400}, name="foreign host"),
        one("A11", b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example", {400}, name="absolute form"),
        one("A11", b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example", {400}, name="two hosts"),
        one("A11", b"GET / HTTP/1.1", {400}, name="no host"),
        one("A11", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost", {400, 404, 414, 431}, name="long path"),
        one("A11", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400}, name="TLS"),
    ],
)
def test_strange_requests_end_outside(doors: Doors, request_: bytes, statuses: set[int]) -> None:
    port = doors.open.base_url.port
    assert port is not None
    answer = raw(port, request_ + b"\r\nConnection: close\r\n\r\n")
    assert status_of(answer) in statuses, answer[:200]
    assert b"root:" not in answer
    assert b"Traceback" not in answer
    assert doors.open.get("/healthz").status_code == 200


# --- A12: where results go ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        one("A12", host, name=host)
        for host in (
            "169.254.169.254", "[fd00:ec2::254]", "[fe80::1]", "[::ffff:169.254.169.254]", "0xa9fea9fe", "2852039166",
            "metadata.google.internal", "METADATA.google.internal.", "100.100.100.200", "0.0.0.0", "[::]", "224.0.0.1",
            "[ff02::1]", "255.255.255.255", "0",
        )
    ],
)  # fmt: skip
def test_a_destination_is_a_pacs(host: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Destinations come from the settings alone; there is no route that takes one."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="destination"):
        load_settings({"destinations": [f"PACS@{host}:6379"]})


@case("A12")
def test_a_node_in_the_network_sends_nothing_to_its_own_loopback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    opened = {"bind": "10.0.0.20", "calling_ae_titles": ["CR1@10.0.0.0/8"], "http_tokens": [f"reader:{TOKEN}"]}
    for host in ("127.0.0.1", "localhost", "127.1", "[::1]"):
        with pytest.raises(SettingsError, match="loopback"):
            load_settings({**opened, "destinations": [f"PACS@{host}:6379"]})
    assert load_settings({"destinations": ["PACS@127.0.0.1:4242"]}).destinations
    assert load_settings({**opened, "destinations": ["PACS@10.0.0.5:104"]}).destinations


@case("A12")
def test_the_running_product_refuses_it_in_one_line(tmp_path: Path) -> None:
    command = [FIRSTREAD, "up", "--data", tmp_path / "data", "--destination", "PACS@169.254.169.254:80"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (78, "")
    assert len(ended.stderr.splitlines()) == 1
    assert "169.254.169.254" in ended.stderr
    assert not (tmp_path / "data").exists()


# --- A13: when the database is away ---------------------------------------------------------------------------------


@case("A13")
@pytest.mark.peer
def test_a_database_that_is_down_is_said_and_the_last_list_is_shown_as_old(tmp_path: Path) -> None:
    port = free_port()
    with ExitStack() as databases, ExitStack() as parts:
        url = databases.enter_context(postgres())
        database = Database(url)
        database.migrate()
        with database.write() as session:
            study_uid = arrive(session, "keller", at=datetime.now(UTC)).study_instance_uid
        database.dispose()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FIRSTREAD_")}
        environment = {
            **kept,
            "FIRSTREAD_DATA": str(tmp_path / "data"),
            "FIRSTREAD_DATABASE_URL": url,
            "FIRSTREAD_HTTP_PORT": str(port),
        }
        log = tmp_path / "serve.log"
        process = parts.enter_context(running(FIRSTREAD, "serve", log=log, env=environment))
        await_port(process, port, log)
        client = parts.enter_context(http_client(port, timeout=30))
        browser = {"Accept": "text/html"}
        before = client.get("/api/v1/worklist").json()
        assert [item["study_instance_uid"] for item in before["items"]] == [study_uid]
        assert study_uid in client.get("/", headers=browser).text

        with database.engine.connect() as last:  # a cluster ends when nobody is connected
            last.exec_driver_sql(TERMINATE_OTHERS)
        database.dispose()
        databases.close()
        began = time.monotonic()
        answer = client.get("/api/v1/worklist")
        document = is_problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
        assert document["stale"] is True
        assert document["as_of"] <= datetime.now(UTC).isoformat()
        assert document["items"] == before["items"]
        page = client.get("/", headers=browser)
        assert (page.status_code, page.headers["retry-after"]) == (503, "5")
        assert study_uid in page.text
        assert "This is the list as of" in page.text

        assert "items" not in is_problem(client.get("/api/v1/worklist", params={"limit": 7}), 503), "never asked before"
        for path in ("/readyz", "/metrics", f"/api/v1/studies/{study_uid}", "/api/v1/worklist/events"):
            answer = client.get(path)
            assert is_problem(answer, 503)["next_step"]
            assert int(answer.headers["retry-after"]) > 0
        answer = client.patch(f"/api/v1/studies/{study_uid}/priority", json=STAT)
        assert is_problem(answer, 503)
        assert client.get("/healthz").status_code == 200
        assert time.monotonic() - began < 10, "nobody waits for what cannot come"
        assert "KELLER" not in log.read_text()


# --- A14: who never listens -----------------------------------------------------------------------------------------


@case("A14")
def test_a_thousand_listeners_and_slow_readers_are_bounded(doors: Doors) -> None:
    """Nobody is locked out for long: listeners above the bound are told so, silent ones are let go."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2200:
        pytest.skip("this machine allows a process fewer than 2,200 files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2200), hard))
    port, before = doors.guarded.base_url.port, resident(doors.guarded_process.pid)
    assert port is not None
    try:
        statuses = asyncio.run(_besiege(port))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert 1 <= statuses[200] <= LISTENERS
    assert statuses[503] >= 1000 - LISTENERS
    assert sum(statuses.values()) == 1000
    assert resident(doors.guarded_process.pid) - before < 150, "MiB"
    answer = eventually(
        lambda: doors.guarded.get("/api/v1/worklist", headers={**SIGNED_IN, "Connection": "close"}),
        within=HEAD_SECONDS + 10,
        what="the door is open again",
    )
    assert answer.status_code == 200


async def _besiege(port: int) -> Counter[int]:
    """First lines of 1,000 event streams that nobody reads on, with as many silent sockets beside them as fit."""
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS // 4)]
    request = f"GET /api/v1/worklist/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"

    async def listen() -> tuple[int, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(request.encode())
        return int((await asyncio.wait_for(reader.readline(), 60)).split(b" ")[1]), writer

    streams = []
    for _ in range(20):
        streams += await asyncio.gather(*(listen() for _ in range(50)))
    # Those without a request are cut off in time; a stream that is open stays so.
    for reader, _ in silent:
        assert await asyncio.wait_for(reader.read(), HEAD_SECONDS + 10) == b""
    for _, writer in (*streams, *silent):
        writer.close()
    return Counter(status for status, _ in streams)


def resident(pid: int) -> int:
    """Memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() >> 20
