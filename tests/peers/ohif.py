"""The OHIF viewer, as npm packages it, before the DICOMweb service of an archive.

`make ohif` fetches the package once and checks it; nothing is fetched by a test.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

VERSION: Final = "3.12.10"
SHA256: Final = "fbabd410be33e5b9898931b725229b9da9553aac339914b5c29796d3aa5d4b2d"
"""Of the package `@ohif/app` in this version."""
FOLDER: Final = Path(__file__).parents[2] / ".ohif"
PASSED_ON: Final = ("Accept", "Content-Type", "Range")
CHROMIUM: Final = Path("/usr/bin/chromium")
FLAGS: Final = ("--no-sandbox", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
"""WebGL in software: these machines have no GPU."""
PATIENCE: Final = 150_000  # milliseconds; the viewer is 150 MB of scripts
TRIES: Final = 5
SHOWS_COLOUR: Final = """() => [...document.querySelectorAll('.cornerstone-canvas')].some(canvas => {
    const pixels = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
    let coloured = 0;
    for (let at = 0; at < pixels.length; at += 4) coloured += Math.abs(pixels[at] - pixels[at + 2]) > 60;
    return coloured > 500;
})"""
"""Whether any view shows something in colour, for the tab's wait_for_function."""


@contextmanager
def opened_study(archive_url: str, study: str, folder: Path) -> Iterator[Any]:
    """A tab of Chromium in which the viewer has opened a study; fails when a script does, or asks another host.

    Parameters
    ----------
    study : str
        Study Instance UID; the archive holds it.
    """
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}: install Debian's chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    trouble: list[str] = []
    with ohif(archive_url, folder) as url, playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        tab = chromium.new_page(viewport={"width": 1440, "height": 900})
        tab.set_default_timeout(PATIENCE)
        tab.on("pageerror", lambda error: trouble.append(f"script: {error}"))
        tab.on("request", lambda asked: None if _at_home(asked.url, url) else trouble.append(f"asked {asked.url}"))
        tab.goto(f"{url}/viewer?StudyInstanceUIDs={study}")
        tab.get_by_text("Skip all").click()  # the tour for newcomers, which begins when the image is there
        yield tab
        chromium.close()
    assert trouble == []


def open_report(tab: Any, pictures: Path) -> None:
    """Open the report with its measurement; what the tab shows instead is kept in the folder.

    About once in ten on a busy machine OHIF 3.12 has the report before the image it refers to, and then draws nothing,
    however often it is opened again, until the page is loaded anew.
    """
    timed_out = pytest.importorskip("playwright.sync_api").TimeoutError
    for attempt in range(TRIES):
        tab.get_by_text("AI firstread report").first.dblclick()
        try:
            tab.get_by_text("Probability: ").first.wait_for(timeout=PATIENCE / TRIES)
            return
        except timed_out:
            tab.screenshot(path=str(pictures / f"report_without_region_{attempt}.png"))
            tab.reload()
    pytest.fail(f"the report draws no region; the page says: {tab.inner_text('body')}")


def _at_home(asked: str, url: str) -> bool:
    return asked.startswith((url, "blob:", "data:"))


@contextmanager
def ohif(archive_url: str, folder: Path) -> Iterator[str]:
    """The viewer on a free port of loopback; gives its URL.

    Archive and viewer share an origin, as a reverse proxy in a hospital makes them: ``/dicom-web`` is passed on.

    Parameters
    ----------
    archive_url : str
        Base URL of the archive, below which ``/dicom-web`` lies.
    folder : Path
        An empty place for the unpacked viewer.
    """
    root = _configured(folder)
    archive = urlsplit(archive_url)

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *arguments: object, **keywords: object) -> None:
            super().__init__(*arguments, directory=str(root), **keywords)  # type: ignore[arg-type]

        def do_GET(self) -> None:
            if self.path.startswith("/dicom-web/"):
                self._pass_on()
                return
            if not (root / urlsplit(self.path).path.lstrip("/")).is_file():
                self.path = "/index.html"  # the viewer's own addresses
            super().do_GET()

        def _pass_on(self) -> None:
            connection = HTTPConnection(archive.hostname or "", archive.port or 80, timeout=30)
            headers = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
            connection.request("GET", self.path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/octet-stream"))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            connection.close()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def unpacked(folder: Path) -> Path:
    """Root of the viewer's files as npm packages them; skips where the package is not here."""
    package = FOLDER / f"ohif-app-{VERSION}.tgz"
    if not package.is_file():
        pytest.skip(f"no OHIF {VERSION} in {FOLDER}: run `make ohif`")
    assert _sha256(package) == SHA256, f"{package} is not the pinned package"
    with tarfile.open(package) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package" / "dist"


def _configured(folder: Path) -> Path:
    """Root of the viewer's files, with a configuration that asks nobody but us."""
    root = unpacked(folder)
    source = {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
        "sourceName": "archive",
        "configuration": {
            "friendlyName": "the archive",
            "name": "archive",
            "qidoRoot": "/dicom-web",
            "wadoRoot": "/dicom-web",
            "wadoUriRoot": "/dicom-web",
            "qidoSupportsIncludeField": False,
            "imageRendering": "wadors",
            "thumbnailRendering": "wadors",
            "enableStudyLazyLoad": True,
            "supportsFuzzyMatching": False,
            "supportsWildcard": True,
            "omitQuotationForMultipartRequest": True,
        },
    }
    configuration = {
        "routerBasename": "/",
        "extensions": [],
        "modes": [],
        "showStudyList": True,
        "investigationalUseDialog": {"option": "never"},
        "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": False,
        "maxNumberOfWebWorkers": 1,
        "defaultDataSourceName": "archive",
        "dataSources": [source],
    }
    (root / "app-config.js").write_text(f"window.config = {json.dumps(configuration)};")
    (root / "init-service-worker.js").write_text("")  # it would keep files for the next test
    return root


def fetch() -> Path:
    """Have npm fetch the package, unless it is here, and check it.

    Raises
    ------
    SystemExit
        npm is missing or fails, or the package is another one than was pinned.
    """
    package = FOLDER / f"ohif-app-{VERSION}.tgz"
    FOLDER.mkdir(exist_ok=True)
    if not package.is_file():
        npm = shutil.which("npm") or sys.exit("npm is not installed (Debian: npm)")
        subprocess.run([npm, "pack", "--silent", f"@ohif/app@{VERSION}"], cwd=FOLDER, check=True, timeout=300)
    if _sha256(package) != SHA256:
        package.unlink()
        sys.exit(f"{package} was another package than the pinned one, and is removed")
    return package


def _sha256(package: Path) -> str:
    with package.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    fetch()
