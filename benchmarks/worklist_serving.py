"""`firstread serve` on a database, for benchmarks of the reading list."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from peers.processes import await_port, free_port, running  # noqa: E402


@contextmanager
def serving(url: str, data: Path) -> Iterator[tuple[int, int]]:
    """Port and process of a server that runs until the block ends."""
    port, log = free_port(), data / "serve.log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FIRSTREAD_")}
    settings = {"FIRSTREAD_DATA": str(data), "FIRSTREAD_DATABASE_URL": url, "FIRSTREAD_HTTP_PORT": str(port)}
    command = [sys.executable, "-m", "firstread", "serve"]
    with running(*command, log=log, env={**kept, **settings}) as process:
        await_port(process, port, log)
        yield port, process.pid
