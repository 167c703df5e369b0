"""The rooms of the house import only downwards; nothing but the door reads the environment; no file is a novel."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# firstread ─┬─> workers ─┬─> dicom_node ─┐
#            ├────────────┼─> models ─────┼─> triage
#            └────────────┴─> worklist ───┘
MAY_IMPORT: dict[str, set[str]] = {
    "triage": set(),
    "models": {"triage"},
    "dicom_node": {"triage"},
    "worklist": {"triage"},
    "workers": {"dicom_node", "models", "worklist", "triage"},
    "firstread": {"workers", "dicom_node", "models", "worklist", "triage"},
}
MODELS_MAY_IMPORT_OF_TRIAGE = {"triage.findings", "triage.errors"}
GROUND_NEVER_IMPORTS = {"pynetdicom", "highdicom", "celery", "torch", "fastapi"}
ONLY_IMPORTER = {"orthanc_api_client": "dicom_node/orthanc.py"}
LONGEST_FILE = 400  # lines


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(module, whether it is imported when the file is), of every import statement; TYPE_CHECKING blocks left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    top_level = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top_level) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, id(node) in top_level
            yield from ((f"{node.module}.{alias.name}", id(node) in top_level) for alias in node.names)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_below_it(package: str) -> None:
    others = MAY_IMPORT.keys() - {package} - MAY_IMPORT[package]
    upward = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources(package)
        for module, _ in imports(path)
        if module.partition(".")[0] in others
    ]
    assert upward == []


def test_models_know_of_the_ground_only_findings_and_errors() -> None:
    more = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources("models")
        for module, _ in imports(path)
        if module.startswith("triage")
        and not any(f"{module}.".startswith(f"{m}.") for m in MODELS_MAY_IMPORT_OF_TRIAGE)
        if module != "triage"
    ]
    assert more == []


def test_the_ground_stays_free_of_networks_web_and_queue() -> None:
    heavy = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources("triage")
        for module, _ in imports(path)
        if module.partition(".")[0] in GROUND_NEVER_IMPORTS
    ]
    assert heavy == []


@pytest.mark.parametrize(("module", "importer"), ONLY_IMPORTER.items())
def test_a_neighbours_library_has_one_importer(module: str, importer: str) -> None:
    importers = {
        str(path.relative_to(ROOT))
        for package in MAY_IMPORT
        for path in sources(package)
        for name, _ in imports(path)
        if name.partition(".")[0] == module
    }
    assert importers == {importer}


def test_serving_never_loads_torch_when_it_is_imported() -> None:
    asked_for = {"models/networks.py", "models/gpu_network.py", "models/training"}  # themselves loaded late
    eager = [
        str(path.relative_to(ROOT))
        for package in MAY_IMPORT
        for path in sources(package)
        for module, at_import in imports(path)
        if at_import
        and module.partition(".")[0] in {"torch", "torchvision"}
        and not any(str(path.relative_to(ROOT)).startswith(allowed) for allowed in asked_for)
    ]
    assert eager == []


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_only_entry_points_read_the_environment(package: str) -> None:
    entry_points = {"triage/settings.py", "firstread/up.py"}
    readers = [
        str(path.relative_to(ROOT))
        for path in sources(package)
        if "os.environ" in (text := path.read_text(encoding="utf-8")) or "os.getenv" in text
    ]
    assert set(readers) <= entry_points


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_file_is_read_in_one_sitting(package: str) -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources(package)
        if "migrations" not in path.parts  # a migration is a list, made by Alembic
        and (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_FILE
    }
    assert long == {}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_nothing_unsafe_is_called(package: str) -> None:
    forbidden = {"eval", "exec", "pickle.load", "pickle.loads", "torch.load", "os.system"}
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node.func)}"
        for path in sources(package)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in forbidden
    ]
    assert calls == []
