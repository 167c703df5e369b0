"""``firstread backup``, ``restore`` and ``quarantine``: keeping what was entrusted to the node."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from triage.errors import FirstreadError

Data = Annotated[Path | None, typer.Option("--data", help="Directory of archive, results and database.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def _settings(data: Path | None) -> Any:
    from triage.logging import configure  # noqa: PLC0415
    from triage.settings import load_settings  # noqa: PLC0415

    configure(part="keep", as_json=False, level="CRITICAL")
    return load_settings({} if data is None else {"data": data})


def _progress(as_json: bool) -> Any:
    console = Console(stderr=True)
    return (lambda _name: None) if as_json else (lambda name: console.print(f"copying {name}", highlight=False))


def backup(
    target: Annotated[Path, typer.Argument(help="Folder for the backup: new, empty, or an earlier backup.")],
    data: Data = None,
    without_database: Annotated[
        bool, typer.Option("--without-database", help="PostgreSQL that the site copies itself, before this.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy database, archive, results and bundles while everything runs; the next time only what is new.

    Exit status 0: complete; 1: files that rows name were not there, or it broke off (the backup before then stands).

    Example: `firstread backup /mnt/backup/firstread`
    """
    from firstread.backup import backup as copy  # noqa: PLC0415

    manifest = copy(
        _settings(data), target, now=datetime.now(UTC), database=not without_database, progress=_progress(as_json)
    )
    if as_json:
        Console().print_json(data=manifest.as_json())
    else:
        for name, tree in manifest.trees.items():
            Console().print(f"{name}: {tree.files} files, {_mebibytes(tree.size)}", highlight=False)
        word = manifest.database or "not copied, as you asked"
        Console().print(f"database: {word}, schema {manifest.schema}", highlight=False)
    _say_missing(manifest.missing, manifest.missing_count, "Run `firstread fsck`.", as_json=as_json)


def restore(
    source: Annotated[Path, typer.Argument(help="Folder that `firstread backup` has filled.")],
    data: Annotated[Path, typer.Option("--data", help="New data directory.")],
    as_json: AsJson = False,
) -> None:
    """Make a new data directory out of a backup. Then run `firstread fsck --repair` on it before the start.

    Exit status 0: complete; 1: files that rows name are not in the backup, or it broke off.

    Example: `firstread restore /mnt/backup/firstread --data /srv/firstread`
    """
    from firstread.restoring import restore as bring_back  # noqa: PLC0415

    restored = bring_back(source, _settings(data), progress=_progress(as_json))
    if as_json:
        Console().print_json(data=asdict(restored))
    else:
        Console().print(f"{restored.data} is as it was at {restored.made_at}: {restored.files} files.", highlight=False)
        if not restored.database:
            Console().print("The backup has no copy of the database: the one you brought back counts.", highlight=False)
        steps = ["firstread db upgrade"] if restored.upgrade else []
        for step in (*steps, "firstread fsck --repair", "firstread up"):
            Console().print(f"  next: {step} --data {restored.data}", highlight=False, soft_wrap=True)
    _say_missing(restored.missing, restored.missing_count, "`firstread fsck` says what to send again.", as_json=as_json)


def _say_missing(paths: list[str], count: int, advice: str, *, as_json: bool) -> None:
    if not count:
        return
    if not as_json:
        for path in paths[:10]:
            Console(stderr=True).print(f"missing: {path}", highlight=False, soft_wrap=True)
    raise FirstreadError(f"{count} files that rows name are missing.", next_step=advice)


def _mebibytes(size: int) -> str:
    return f"{size / 1024 / 1024:.1f} MiB"
