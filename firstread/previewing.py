"""What one destination gets of a study, for a person at the command line; and sending it what it has not got."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.dataset import Dataset
from rich.console import Console
from rich.table import Table

from dicom_node.results import files
from triage.errors import SettingsError
from triage.identifiers import dicom_uid
from triage.repositories.previews import Previewed, Standing
from triage.repositories.results import BuiltObject, NotBuilt
from triage.settings import load_settings
from workers import sending_again
from workers.rebuilding import Rebuilt
from workers.workbench import Workbench
from worklist.api.destinations import describe_preview, destination_named


@contextmanager
def _bench(data: Path | None) -> Iterator[Workbench]:
    """A workbench beside those of a running node: it claims nothing."""
    bench = Workbench.open(load_settings({"data": data}))
    try:
        bench.database.require_current()
        yield bench
    finally:
        bench.decoder.close()
        bench.database.dispose()


def show(data: Path | None, study: str, to: str, out: Path | None, *, as_json: bool, console: Console) -> None:
    """Print what the destination gets; with ``out``, put the files there, building what is missing."""
    uid = dicom_uid(study, attribute="StudyInstanceUID")
    with _bench(data) as bench:
        destination = destination_named(bench.settings, to)
        items = sending_again.look(bench, uid, destination)
        folder = None if out is None else _Folder(out)
        missing: list[NotBuilt] = []
        if folder is not None:
            for item in items:
                folder.copy(bench.settings.results, item)
            _, missing = sending_again.build_missing(bench, destination, items, folder.keep)
    described = describe_preview(uid, destination, items)
    if as_json:
        built = {"files": folder.names, "not_built": [dataclasses.asdict(one) for one in missing]} if folder else {}
        console.print_json(data={**described.model_dump(mode="json"), **built})
        return
    table = Table(
        "Kind", "Series", "Description", "Standing", "Delivery", "Form", "Size", "SOP Instance UID", header_style="bold"
    )
    for one in described.items:
        table.add_row(
            one.kind, str(one.series_number or ""), one.series_description or "",
            one.standing, one.delivery.status if one.delivery else "",
            one.variant or "default", str(one.size or ""), one.sop_instance_uid or "",
        )  # fmt: skip
    console.print(table if described.items else "The study has no result yet.")
    if folder is not None:
        console.print(f"{len(folder.names)} files in {out}; they name a patient.", highlight=False)
    elif described.rebuild_needed:
        console.print("What is not built is built for looking with --out, for sending by `results send`.")
    _print_missing(missing, console)


def send(data: Path | None, study: str, to: str, *, who: str, as_json: bool, console: Console) -> None:
    """Owe the destination what it wants of the study and was never owed."""
    uid = dicom_uid(study, attribute="StudyInstanceUID")
    with _bench(data) as bench:
        destination = destination_named(bench.settings, to)
        came = sending_again.owe_study(bench, uid, destination, who=who)
    if as_json:
        console.print_json(data=dataclasses.asdict(came))
        return
    console.print(
        f"{came.owed} to be sent, {came.built} of them built now; {came.already} were owed before.", highlight=False
    )
    _print_missing(came.not_built, console)


def _print_missing(missing: list[NotBuilt] | tuple[NotBuilt, ...], console: Console) -> None:
    for one in dict.fromkeys(missing):
        console.print(f"[yellow]No {one.kind}[/]: {one.reason}", highlight=False)


class _Folder:
    """Where the files of a preview go: numbered in the order of sending, named by kind and standing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.names: list[str] = []
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"{path} cannot be made: {error.strerror}.") from error

    def copy(self, root: Path, item: Previewed) -> None:
        """A stored file, unless retention has removed it."""
        if item.row is None or item.row.removed_at is not None:
            return
        source = root / item.row.relative_path
        shutil.copyfile(source, self._next(item.kind, item.standing, source.suffix))

    def keep(self, made: Rebuilt) -> BuiltObject:
        """What would be built now."""
        content = made.content
        if not isinstance(content, Dataset):
            path = self._next(made.kind, Standing.NOT_BUILT, f".{content.suffix}")
            path.write_bytes(content.content)
            return _built(made, content.identifier, path)
        path = self._next(made.kind, Standing.NOT_BUILT, ".dcm")
        files.write(content, path)
        return dataclasses.replace(
            _built(made, str(content.SOPInstanceUID), path),
            sop_class_uid=str(content.SOPClassUID),
            series_instance_uid=str(content.SeriesInstanceUID),
        )

    def _next(self, kind: str, standing: Standing, suffix: str) -> Path:
        name = f"{len(self.names) + 1:02d}-{kind}-{standing.replace(' ', '-')}{suffix}"
        self.names.append(name)
        return self._path / name


def _built(made: Rebuilt, uid: str, path: Path) -> BuiltObject:
    """As much of a record as later objects need to refer to it; it is never recorded."""
    return BuiltObject(
        kind=made.kind, variant=made.variant, sop_instance_uid=uid, sop_class_uid="", series_instance_uid="",
        transfer_syntax_uid="", relative_path=path.name, sha256="", size=path.stat().st_size,
        source_instance_id=made.source_instance_id,
    )  # fmt: skip
