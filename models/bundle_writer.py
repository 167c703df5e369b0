"""Writing a bundle: whole or not at all, and only if it verifies.

Heat maps that failed their check (:mod:`models.explaining.verdict`) are not shipped: the bundle is written with
``explanation: none`` whatever its author asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import card
from models.bundle import CARD, EVALUATION, METADATA, NETWORK, WEIGHTS, Bundle, BundleMetadata, file_digest
from models.explaining.statement import settled
from models.self_test import verify, write_self_test
from triage.errors import BundleError

if TYPE_CHECKING:
    from torch import Tensor


def write_bundle(
    directory: Path,
    metadata: BundleMetadata,
    state_dict: Mapping[str, Tensor],
    *,
    evaluation: Mapping[str, Any],
    model_card: str,
    extra_files: Mapping[str, bytes] | None = None,
    graph: bytes | None = None,
    proof: Callable[[Bundle], None] | None = None,
) -> Bundle:
    """Write a bundle; its directory appears whole or not at all. Needs torch.

    Parameters
    ----------
    directory : Path
        Where the bundle will lie; an older bundle there is replaced.
    metadata : BundleMetadata
        Its ``files`` are ignored and filled here.
    state_dict : mapping of str to Tensor
        Of ``models.networks.build(metadata.architecture, len(metadata.findings))``; of the graph, if that is given.
    evaluation : mapping
        Measured figures, JSON without NaN; under ``explanation`` those that
        :func:`models.explaining.faithfulness.measure` gives.
    model_card : str
        From :func:`models.card.render`.
    extra_files : mapping of str to bytes, optional
        Further files to keep and to checksum (a licence text).
    graph : bytes, optional
        ``network.onnx`` as it is, for a bundle of architecture "onnx"; else it is exported from the weights.
    proof : callable, optional
        Called with the finished bundle before it takes its place; what it raises leaves nothing behind.

    Returns
    -------
    Bundle
        Loaded back and verified.

    Raises
    ------
    BundleError
        The weights do not fit the architecture, the export differs from torch, or the directory is no bundle.
    """
    from safetensors.torch import save_file  # noqa: PLC0415 - torch only where a bundle is made

    from models import networks  # noqa: PLC0415

    if directory.exists() and not (directory / METADATA).is_file():
        raise BundleError(f"{directory} exists and is not a bundle; it is left alone.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}, work / WEIGHTS)
        if graph is None:
            network = networks.restore(metadata.architecture, len(metadata.findings), work / WEIGHTS)
            networks.export_onnx(network, metadata.input, work / NETWORK, metadata.channels)
        else:
            (work / NETWORK).write_bytes(graph)
        (work / EVALUATION).write_text(json.dumps(evaluation, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (work / CARD).write_text(model_card, encoding="utf-8")
        outputs = [finding.key for finding in metadata.findings]
        write_self_test(work, metadata.input, channels=metadata.channels, outputs=outputs)
        for name, content in (extra_files or {}).items():
            (work / name).write_bytes(content)
        _seal(work, settled(metadata, evaluation), proof)
        _swap(work, directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Bundle.load(directory)


def write_again(
    bundle: Bundle, directory: Path, evaluation: Mapping[str, Any], extra_files: Mapping[str, bytes] | None = None
) -> Bundle:
    """Copy a bundle with other figures, and the card that follows from them. The weights stay, so does its identity.

    Parameters
    ----------
    directory : Path
        Where the copy will lie, as of :func:`write_bundle`.
    evaluation : mapping
        The whole of the new ``evaluation.json``.
    extra_files : mapping of str to bytes, optional
        Further files that are new or replace those of that name.

    Raises
    ------
    BundleError
        A file of the bundle is not the one it was, or ``directory`` is something else.
    """
    if directory.exists() and not (directory / METADATA).is_file():
        raise BundleError(f"{directory} exists and is not a bundle; it is left alone.")
    bundle.check_files()
    directory.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        for name in bundle.metadata.files:
            shutil.copyfile(bundle.directory / name, work / name)
        for name, content in (extra_files or {}).items():
            (work / name).write_bytes(content)
        metadata = settled(bundle.metadata, evaluation)
        (work / EVALUATION).write_text(json.dumps(evaluation, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (work / CARD).write_text(card.render(metadata, evaluation), encoding="utf-8")
        _seal(work, metadata)
        _swap(work, directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Bundle.load(directory)


def _seal(work: Path, metadata: BundleMetadata, proof: Callable[[Bundle], None] | None = None) -> None:
    """Bind all files by their checksums, and see that the whole is a bundle."""
    files = {path.name: file_digest(path) for path in sorted(work.iterdir())}
    complete = BundleMetadata.model_validate({**dict(metadata), "files": files})
    (work / METADATA).write_text(complete.model_dump_json(indent=1) + "\n", encoding="utf-8")
    finished = Bundle.load(work)
    verify(finished)
    if proof is not None:
        proof(finished)
    work.chmod(0o755)


def _swap(work: Path, directory: Path) -> None:
    """Put ``work`` where ``directory`` is: a reader sees the old bundle, none, or the new one."""
    retired = work.with_name(f"{work.name}.old")
    if directory.exists():
        os.replace(directory, retired)  # noqa: PTH105 - replace of directories
    os.replace(work, directory)  # noqa: PTH105
    shutil.rmtree(retired, ignore_errors=True)
