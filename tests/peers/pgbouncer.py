"""PgBouncer before a PostgreSQL, in transaction mode."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from peers.postgres import as_owner
from peers.processes import await_port, free_port, program, running


@contextmanager
def pgbouncer(url: str, *, servers: int = 5) -> Iterator[str]:
    """Yields the URL through it; so many server processes serve everybody."""
    behind, port = sa.make_url(url), free_port()
    command = program("pgbouncer", also_in=["/usr/sbin"])
    with tempfile.TemporaryDirectory(prefix="firstread-pgbouncer-") as made:
        folder = Path(made)
        (folder / "users").write_text(f'"{behind.username}" "{behind.password}"\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n{behind.database} = host={behind.host} port={behind.port} dbname={behind.database}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\npool_mode = transaction\n"
            f"auth_type = plain\nauth_file = {folder}/users\nmax_client_conn = 200\ndefault_pool_size = {servers}\n"
        )
        log = folder / "log"
        with running(*as_owner(folder), command, folder / "pgbouncer.ini", log=log) as process:
            await_port(process, port, log)
            yield behind.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
