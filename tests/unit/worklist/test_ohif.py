"""A foreign viewer below /viewer: its files, its policy, and nothing else of the disk."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from triage.errors import SettingsError
from worklist.ohif import Ohif

SCRIPT = "window.PUBLIC_URL = '/';"
PAGE = f"""<!doctype html><link href="/manifest.json"><script>{SCRIPT}</script>
<script defer src="/app.bundle.1.js"></script><a href="//elsewhere.example/">x</a>"""


@pytest.fixture
def client(house: Any, tmp_path: Path) -> TestClient:
    folder = tmp_path / "dist"
    folder.mkdir()
    (folder / "index.html").write_text(PAGE)
    (folder / "app.bundle.1.js").write_text('x; __webpack_require__.p = "/"; y')
    (folder / "a.css").write_text("a{src:url(/f.woff2)}")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    client: TestClient = house.client(ohif_folder=folder)
    return client


def test_its_files_lie_below_viewer(client: TestClient) -> None:
    page = client.get("/viewer/viewer?StudyInstanceUIDs=1.2.3")
    assert page.headers["content-type"].startswith("text/html")
    assert 'src="/viewer/app.bundle.1.js"' in page.text
    assert 'href="/viewer/manifest.json"' in page.text
    assert 'href="//elsewhere.example/"' in page.text, "an address of another host is not ours to change"
    assert '__webpack_require__.p = "/viewer/"' in client.get("/viewer/app.bundle.1.js").text
    assert client.get("/viewer/a.css").text == "a{src:url(/viewer/f.woff2)}"
    assert '"qidoRoot": "/dicom-web"' in client.get("/viewer/app-config.js").text


def test_its_own_scripts_are_allowed_by_digest_and_only_there(client: TestClient) -> None:
    policy = client.get("/viewer/viewer").headers["content-security-policy"]
    script = SCRIPT.replace("'/'", "'/viewer/'")
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    assert "unsafe-eval" not in policy.replace("wasm-unsafe-eval", "")
    assert "wasm" not in client.get("/").headers["content-security-policy"]


@pytest.mark.parametrize("path", ["out.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "nothing.js"])
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    answer = client.get(f"/viewer/{path}")
    assert answer.status_code == 404
    assert "secret" not in answer.text


def test_a_folder_without_it_is_said_at_the_start(tmp_path: Path, house: Any) -> None:
    with pytest.raises(SettingsError, match=r"no index\.html of OHIF"):
        Ohif(tmp_path)
    assert house.client().get("/viewer/viewer").status_code == 404
