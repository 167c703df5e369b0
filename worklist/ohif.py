"""OHIF, where a site has installed it: its files below ``/viewer``, over our own ``/dicom-web``.

The files are OHIF's, as npm or a build brings them; they take it that they lie at the root of a host. Those that say
so are told otherwise while they are served, and the configuration is ours. Its scripts are allowed by their digests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from triage.errors import SettingsError

PREFIX: Final = "/viewer"
LINK: Final = PREFIX + "/viewer?StudyInstanceUIDs={study_uid}"
"""Opens a study."""
_INLINE: Final = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)
_ABSOLUTE: Final = re.compile(r'((?:src|href)=")/(?!/)')
_ELSEWHERE: Final[Mapping[str, tuple[bytes, bytes]]] = {
    ".js": (b'__webpack_require__.p = "/"', f'__webpack_require__.p = "{PREFIX}/"'.encode()),
    ".css": (b"url(/", f"url({PREFIX}/".encode()),
}
"""What files of each kind say of where they lie, and what they are to say."""
_SOURCE: Final[Mapping[str, Any]] = {
    "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
    "sourceName": "firstread",
    "configuration": {
        "friendlyName": "firstread",
        "name": "firstread",
        "qidoRoot": "/dicom-web",
        "wadoRoot": "/dicom-web",
        "wadoUriRoot": "/dicom-web",
        "qidoSupportsIncludeField": False,
        "imageRendering": "wadors",
        "thumbnailRendering": "wadors",
        "enableStudyLazyLoad": True,
        "supportsFuzzyMatching": False,
        "supportsWildcard": False,
        "omitQuotationForMultipartRequest": True,
    },
}
_CONFIGURATION: Final[Mapping[str, Any]] = {
    "routerBasename": PREFIX,
    "extensions": [],
    "modes": [],
    "showStudyList": False,
    "investigationalUseDialog": {"option": "always"},
    "showWarningMessageForCrossOrigin": False,
    "showCPUFallbackMessage": False,
    "defaultDataSourceName": "firstread",
    "dataSources": [_SOURCE],
}


class Ohif:
    """The viewer of one folder.

    Parameters
    ----------
    folder : Path
        With ``index.html``: ``dist`` of the npm package ``@ohif/app``.

    Attributes
    ----------
    policy : str
        Content Security Policy for what lies below :data:`PREFIX`: its own scripts, WebAssembly, workers and styles,
        and nothing from elsewhere.

    Raises
    ------
    SettingsError
        There is no OHIF in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        try:
            page = (self._folder / "index.html").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"ohif_folder: there is no index.html of OHIF in {folder}.",
                next_step="Name the folder `dist` of the package @ohif/app, or leave the setting out.",
            ) from error
        page = page.replace("PUBLIC_URL = '/'", f"PUBLIC_URL = '{PREFIX}/'")
        self._page = _ABSOLUTE.sub(rf"\1{PREFIX}/", page)
        digests = " ".join(f"'sha256-{_digest(script)}'" for script in _INLINE.findall(self._page))
        self.policy = (
            f"default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob: {digests}; worker-src 'self' blob:; "
            "style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; font-src 'self' data:; "
            "connect-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
            "frame-ancestors 'none'"
        )

    def application(self) -> Starlette:
        """To be mounted at :data:`PREFIX`."""
        return Starlette(
            routes=[
                Route("/app-config.js", lambda _: _script(f"window.config = {json.dumps(_CONFIGURATION)};")),
                Route("/init-service-worker.js", lambda _: _script("")),  # it would keep what it has seen
                Route("/{path:path}", self._file),
            ]
        )

    def _file(self, request: Request) -> Response:
        asked, headers = request.path_params["path"], {"Content-Security-Policy": self.policy}
        try:
            path = (self._folder / asked).resolve()
            found = path.is_file()
        except (ValueError, OSError):  # no name that a file could have
            raise HTTPException(404) from None
        if not path.is_relative_to(self._folder):
            raise HTTPException(404)
        if not asked or not found:
            if "." in asked.rpartition("/")[2]:
                raise HTTPException(404)
            return Response(self._page, media_type="text/html", headers=headers)  # the viewer's own addresses
        told = _ELSEWHERE.get(path.suffix)
        if told is not None:
            content = path.read_bytes()
            if told[0] in content:
                kind = "text/javascript" if path.suffix == ".js" else "text/css"
                return Response(content.replace(*told), media_type=kind, headers=headers)
        return FileResponse(path, headers=headers)


def _script(text: str) -> Response:
    return Response(text, media_type="text/javascript")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
