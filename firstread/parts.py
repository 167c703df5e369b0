"""Work and serve, two parts of the product as processes; the third is :mod:`firstread.listening`.

Each runs until SIGTERM or Ctrl-C.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from firstread.ground import require_database
from firstread.way_in import require_way_in
from triage.database import Database
from triage.errors import SettingsError
from triage.logging import configure
from triage.repositories.archived import ArchivedFile, files_of
from triage.repositories.catalogue import DatabaseCatalogue
from triage.settings import Settings
from workers.clock import utc_now
from workers.names import Queue
from workers.pulse import Pulse

if TYPE_CHECKING:
    from starlette.applications import Starlette

_COLLECT_AFTER: Final = 20_000
"""Objects made and not freed by their last reference before the collector looks for circles. A page of the list makes
thousands that are kept; by the usual 700 every few answers waited for all kept pages to be walked."""


def work(settings: Settings, queues: frozenset[Queue]) -> None:
    """Run a Celery worker for some or all queues.

    Raises
    ------
    SettingsError
        The clock is wrong, or the database has another schema or is not the archive's.
    """
    from workers.service import run_worker  # noqa: PLC0415 - networks and their runtimes, which the door needs not

    configure(part="work", as_json=settings.log_json)
    require_database(settings, utc_now()).dispose()
    run_worker(settings, queues)


def serve(settings: Settings) -> None:
    """Run page and API.

    Raises
    ------
    SettingsError
        The port is taken, the clock is wrong, the database has another schema or is not the archive's, or nobody on the
        network could sign in.
    """
    import uvicorn  # noqa: PLC0415 - half a second that the other parts need not wait

    from worklist.app import create_app  # noqa: PLC0415
    from worklist.connections import BoundedProtocol  # noqa: PLC0415

    configure(part="serve", as_json=settings.log_json)
    database = require_database(settings, utc_now())
    require_way_in(settings, database, utc_now())
    pulse = Pulse(database, "serve", utc_now, {"port": settings.http_port})
    pulse.start()
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings, database, dicom_web=archive_over_http(settings, database)),
            host=settings.bind,
            port=settings.http_port,
            http=BoundedProtocol,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            log_config=None,  # as every library: triage.logging writes what it says
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=3,
        )
    )
    gc.collect()
    gc.freeze()  # what start-up made stays for good: no answer waits for its being looked through
    gc.set_threshold(_COLLECT_AFTER)
    # uvicorn ends in order and then raises the signal again, which would end us before the heartbeat is taken back.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)
    try:
        server.run()
    except SystemExit as error:  # uvicorn's way to say that it could not bind
        raise SettingsError(f"The HTTP port {settings.bind}:{settings.http_port} cannot be opened.") from error
    finally:
        pulse.stop()
        database.dispose()


def archive_over_http(settings: Settings, database: Database) -> Starlette:
    """The archive over DICOMweb, read only."""
    from dicom_node.web_archive import web_archive  # noqa: PLC0415 - pydicom, which only this part of the door needs

    def files(study_uid: str, series_uid: str, sop_uid: str) -> Sequence[ArchivedFile]:
        with database.read() as session:
            return files_of(session, study_uid, series_uid, sop_uid)

    return web_archive(settings.archive, DatabaseCatalogue(database), files)
