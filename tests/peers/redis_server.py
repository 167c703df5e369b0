"""Redis with a password, as the compose file runs it: nothing is evicted."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peers.processes import await_port, free_port, program, running


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A private Redis; yields its URL, password included."""
    folder.mkdir(parents=True)
    port, password = free_port(), secrets.token_hex(16)
    file, log = folder / "redis.conf", folder / "redis.log"
    file.write_text(
        f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {folder}\nappendonly yes\n"
        "maxmemory-policy noeviction\n"
    )
    with running(program("redis-server"), file, log=log) as process:
        await_port(process, port, log)
        yield f"redis://:{password}@127.0.0.1:{port}/0"
