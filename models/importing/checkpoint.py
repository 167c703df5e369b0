"""Weights from a file of elsewhere as named arrays, without running anything that the file holds.

======================  ==================================================================================
``.safetensors``        read by its library: a table of names and numbers
``.pt .pth .pth.tar``   PyTorch >= 1.6: a ZIP of stored (never compressed) parts, its pickle read by
                        :mod:`models.importing.opcodes`
the same, older         one pickle after another, then the raw numbers; read the same way
======================  ==================================================================================

A whole pickled network is read as the state dict it holds (:mod:`models.importing.pickled_network`). TorchScript, which
is a program, is refused with the way to convert it.
"""

from __future__ import annotations

import math
import mmap
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import ml_dtypes  # noqa: F401 - teaches numpy the name bfloat16, by which safetensors asks for it
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from models.importing.opcodes import STORAGES, ObjectRecord, StorageRecord, TensorRecord, read_pickle
from models.importing.pickled_network import is_network, state_of
from triage.errors import ForeignModelError

Array = NDArray[Any]
LARGEST_FILE = 4 << 30
"""Bytes; the largest classifier of the field has a tenth of it."""
_LARGEST_PICKLE = 64 << 20
_MOST_PARTS = 100_000
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights")
_LABEL_KEYS = ("pathologies", "targets", "labels", "classes", "class_names", "label_names")
_PART = re.compile(r"(?P<root>[^/\\]+)/(?P<name>[^\\]+)")

_ReadStorage = Callable[[StorageRecord], Array]


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What a file holds.

    Attributes
    ----------
    tensors : mapping of str to ndarray
        By the name that the file gives them; bfloat16 has become float32.
    labels : tuple of str
        Names of the outputs in their order, where the file states them; "" for an output without a meaning.
    thresholds : tuple of float or None
        Published operating points, one per output (torchxrayvision's ``op_threshs``; NaN where there is none).
    """

    tensors: Mapping[str, Array]
    labels: tuple[str, ...] = ()
    thresholds: tuple[float, ...] | None = None


@dataclass(slots=True)
class _Tensors:
    """Turns records into arrays, within a budget of bytes."""

    read: _ReadStorage
    where: str
    budget: int = LARGEST_FILE
    _storages: dict[str, Array] = field(default_factory=dict)

    def array(self, name: str, record: TensorRecord) -> Array:
        """The numbers of one tensor, C-contiguous."""
        shape, stride = _whole_numbers(record.shape), _whole_numbers(record.stride)
        (offset,) = _whole_numbers((record.offset,)) or (0,)
        if shape is None or stride is None or len(shape) != len(stride) or len(shape) > 8:
            raise self._bad(name, "has a shape that means nothing")
        count = math.prod(shape)
        last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        # An expanded tensor shows the same number many times: a few bytes that become terabytes.
        if count > record.storage.elements or (count and last >= record.storage.elements):
            raise self._bad(name, f"of shape {shape} does not lie inside its storage of {record.storage.elements}")
        storage = self._storage(name, record.storage)
        self.budget -= count * storage.itemsize
        if self.budget < 0:
            raise self._bad(name, f"brings the tensors over {LARGEST_FILE} bytes")
        steps = tuple(step * storage.itemsize for step in stride)
        view = np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)
        return np.ascontiguousarray(_widened(view, record.storage.kind)).reshape(shape)

    def _storage(self, name: str, record: StorageRecord) -> Array:
        if record.key not in self._storages:
            storage = self.read(record)
            if len(storage) != record.elements:
                raise self._bad(name, f"has {len(storage)} stored numbers where {record.elements} are announced")
            self._storages[record.key] = storage
        return self._storages[record.key]

    def _bad(self, name: str, what: str) -> ForeignModelError:
        return ForeignModelError(f"{self.where}: tensor {name} {what}.", next_step=_AGAIN)


_AGAIN = "The file is damaged or was made to deceive: fetch it again and compare its checksum with its source's."


def read(path: Path) -> Checkpoint:
    """Read a checkpoint; its kind is told from its first bytes, not from its name.

    Raises
    ------
    ForeignModelError
        Unreadable, too large, damaged, or anything but plain weights.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise ForeignModelError(f"{path.name} has {size} bytes, more than {LARGEST_FILE}.", next_step=_AGAIN)
        with path.open("rb") as stream:
            start = stream.read(16)
            stream.seek(0)
            if start.startswith(b"PK"):
                return _interpreted(*_read_zip(path.name, stream, size), path.name)
            if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < size:
                return _from_mapping(_read_safetensors(path), {}, path.name)
            if start.startswith(b"\x80"):
                # Mapped: what a pickle announces as its next terabyte is read as far as the file goes.
                with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                    return _interpreted(*_read_legacy(path.name, mapped), path.name)
    except OSError as error:
        raise ForeignModelError(f"{path} cannot be read: {error.strerror}.", next_step="Check the path.") from error
    raise ForeignModelError(
        f"{path.name} is neither safetensors nor a PyTorch checkpoint.",
        next_step="Give a .safetensors, .pt, .pth, .pth.tar or .onnx file, or the directory of a MONAI bundle.",
    )


def digest_names(names: list[str]) -> str:
    """A few names and how many more there are."""
    shown = ", ".join(sorted(names)[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


# --- containers ---


def _read_safetensors(path: Path) -> dict[str, Array]:
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a file, not a mapping
        return {name: a if a.dtype.kind in "fiub" else a.astype(np.float32) for name, a in arrays.items()}
    except (SafetensorError, TypeError) as error:  # TypeError: a type that numpy does not know (bfloat16)
        raise ForeignModelError(
            f"{path.name} cannot be read as safetensors: {error}.", next_step="Save the tensors as float32 anew."
        ) from error


def _read_zip(name: str, stream: IO[bytes], size: int) -> tuple[Any, _ReadStorage]:
    try:
        archive = zipfile.ZipFile(stream)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise ForeignModelError(f"{name} is a damaged ZIP: {error}.", next_step=_AGAIN) from error
    parts, root = _checked_parts(archive, name, size)

    def part(key: str) -> bytes:
        try:
            return archive.read(parts[key])
        except KeyError as error:
            raise ForeignModelError(f"{name} has no part {root}/{key}.", next_step=_AGAIN) from error
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
            raise ForeignModelError(f"{name}: part {root}/{key} is damaged: {error}.", next_step=_AGAIN) from error

    if "byteorder" in parts and part("byteorder") != b"little":
        raise ForeignModelError(f"{name} was written on a big-endian machine.", next_step="Save it anew.")
    content = read_pickle(BytesIO(part("data.pkl")), f"{name}, part {root}/data.pkl")
    return content, lambda record: _numbers(part(f"data/{record.key}"), record.kind)


def _checked_parts(archive: zipfile.ZipFile, name: str, size: int) -> tuple[dict[str, zipfile.ZipInfo], str]:
    """The parts of the archive below its one folder, none of them larger than the file says it is."""
    infos = archive.infolist()
    if len(infos) > _MOST_PARTS:
        raise ForeignModelError(f"{name} has {len(infos)} parts.", next_step=_AGAIN)
    if any("/code/" in info.filename or info.filename.endswith("/constants.pkl") for info in infos):
        raise ForeignModelError(
            f"{name} is TorchScript: a program with weights, which only torch can run, and only by trusting it.",
            next_step="Save the state_dict of the network that it was made from, or export it to ONNX.",
        )
    parts: dict[str, zipfile.ZipInfo] = {}
    roots = set()
    for info in infos:
        match = _PART.fullmatch(info.filename)
        if match is None or ".." in info.filename.split("/") or match["name"] in parts:
            raise ForeignModelError(f"{name} has a part named {info.filename!r}.", next_step=_AGAIN)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            # PyTorch never compresses: a compressed part is how a small file fills a memory.
            raise ForeignModelError(f"{name}: part {info.filename} is compressed.", next_step=_AGAIN)
        parts[match["name"]] = info
        roots.add(match["root"])
    if sum(info.file_size for info in infos) > size:
        raise ForeignModelError(f"{name}: its parts overlap, they are larger than the file.", next_step=_AGAIN)
    if "data.pkl" not in parts or len(roots) != 1:
        raise ForeignModelError(f"{name} is a ZIP but no PyTorch checkpoint.", next_step=_AGAIN)
    if parts["data.pkl"].file_size > _LARGEST_PICKLE:
        raise ForeignModelError(f"{name}: its table of contents is too large.", next_step=_AGAIN)
    return parts, roots.pop()


def _read_legacy(name: str, stream: mmap.mmap) -> tuple[Any, _ReadStorage]:
    """The layout before torch 1.6: magic, protocol, machine, the object, the storages' keys, their numbers."""
    where = f"{name} (old layout)"
    if read_pickle(stream, where) != _LEGACY_MAGIC:
        raise ForeignModelError(
            f"{name} is a pickle but no PyTorch checkpoint; nothing of it was run.",
            next_step="Give the file that torch.save wrote, or save the weights as safetensors.",
        )
    if read_pickle(stream, where) != _LEGACY_PROTOCOL:
        raise ForeignModelError(f"{where} has a protocol that is not {_LEGACY_PROTOCOL}.", next_step=_AGAIN)
    machine = read_pickle(stream, where)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ForeignModelError(f"{where} was not written on a little-endian machine.", next_step="Save it anew.")
    content, keys = read_pickle(stream, where), read_pickle(stream, where)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ForeignModelError(f"{where} has no list of its storages.", next_step=_AGAIN)
    data = memoryview(stream.read())
    kinds = {record.key: record.kind for record in _storages(content)}
    storages: dict[str, Array] = {}
    for key in keys:
        if key not in kinds:
            raise ForeignModelError(f"{where}: nothing says what storage {key} is for.", next_step=_AGAIN)
        count = int.from_bytes(data[:8], "little", signed=True)
        length = count * _element(kinds[key]).itemsize
        if len(data) < 8 or count < 0 or len(data) < 8 + length:
            raise ForeignModelError(f"{where} ends inside its numbers.", next_step=_AGAIN)
        storages[key] = np.frombuffer(data[8 : 8 + length], _element(kinds[key]))
        data = data[8 + length :]

    def storage(record: StorageRecord) -> Array:
        if record.key not in storages:
            raise ForeignModelError(f"{where} has no storage {record.key}.", next_step=_AGAIN)
        return storages[record.key]

    return content, storage


# --- contents ---


def _interpreted(content: Any, storage: _ReadStorage, name: str) -> Checkpoint:
    """Find the state dict: the object itself, or what lies below a well-known key, there also as a whole network."""
    tensors = _Tensors(storage, name)
    if is_network(content):
        return _from_records(state_of(content, name), content.attributes, tensors)
    if not isinstance(content, dict):
        raise ForeignModelError(f"{name} holds {_kind(content)}, not weights.", next_step="Save model.state_dict().")
    inside = (content.get(key) for key in _WRAPPERS)
    inner = next((value for value in inside if isinstance(value, dict) or is_network(value)), None)
    if is_network(inner):
        return _from_records(state_of(inner, name), {**inner.attributes, **content}, tensors)
    weights, beside = (inner, content) if isinstance(inner, dict) else (content, {})
    records = {key: value for key, value in weights.items() if isinstance(value, TensorRecord)}
    odd = [str(key) for key in weights if not isinstance(key, str) or not isinstance(weights[key], TensorRecord | None)]
    if not records or (odd and inner is not None):
        raise ForeignModelError(
            f"{name} has no dictionary of weights" + (f": {digest_names(odd)} is no tensor." if odd else "."),
            next_step=f"Save model.state_dict(), alone or under one of the keys {', '.join(_WRAPPERS)}.",
        )
    notes = beside or {key: weights[key] for key in weights if key not in records}
    return _from_records(records, notes, tensors)


def _from_records(records: Mapping[str, TensorRecord], notes: Mapping[Any, Any], tensors: _Tensors) -> Checkpoint:
    arrays = {key: tensors.array(key, record) for key, record in records.items()}
    return _from_mapping(arrays, notes, tensors.where, tensors)


def _kind(value: object) -> str:
    if isinstance(value, ObjectRecord):
        return f"an object of {value.kind.replace(' ', '.')}"
    return f"a {type(value).__name__}"


def _from_mapping(
    arrays: dict[str, Array], notes: Mapping[Any, Any], name: str, tensors: _Tensors | None = None
) -> Checkpoint:
    """Set apart what is no weight: labels and operating points."""
    thresholds = None
    for key in [key for key in arrays if key.split(".")[-1] == "op_threshs"]:
        thresholds = arrays.pop(key)
    beside = notes.get("op_threshs")
    if thresholds is None and isinstance(beside, TensorRecord) and tensors is not None:
        thresholds = tensors.array("op_threshs", beside)
    elif thresholds is None and isinstance(beside, list | tuple):
        if not all(isinstance(value, int | float) for value in beside):
            raise ForeignModelError(f"{name}: op_threshs are not numbers.", next_step=_AGAIN)
        thresholds = np.array(beside, dtype=np.float64)
    _check_finite(arrays, name)
    points = None if thresholds is None else tuple(float(value) for value in thresholds.ravel())
    return Checkpoint(arrays, _labels(notes), points)


def _labels(notes: Mapping[Any, Any]) -> tuple[str, ...]:
    for key in _LABEL_KEYS:
        value = notes.get(key)
        if isinstance(value, list | tuple) and value and all(isinstance(label, str) for label in value):
            return tuple(value)
    order = notes.get("class_to_idx")
    if not isinstance(order, dict) or not all(type(number) is int for number in order.values()):
        return ()
    numbered = sorted(order.values()) == list(range(len(order)))
    return tuple(str(label) for label in sorted(order, key=lambda label: order[label])) if numbered else ()


def _check_finite(arrays: Mapping[str, Array], name: str) -> None:
    bad = [key for key, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if bad:
        raise ForeignModelError(
            f"{name}: {digest_names(bad)} holds values that are not numbers (NaN or infinite).",
            next_step="Take an earlier checkpoint of that training: this one has diverged or is damaged.",
        )


def _storages(content: Any) -> list[StorageRecord]:
    """The storages of the tensors in nested containers and objects; each is entered once."""
    found, waiting, seen = [], [content], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, TensorRecord):
            found.append(value.storage)
        elif isinstance(value, ObjectRecord) and id(value) not in seen:
            seen.add(id(value))
            waiting.append(value.attributes)
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return found


def _element(kind: str) -> np.dtype[Any]:
    return np.dtype("<u2" if STORAGES[kind] == "bfloat16" else STORAGES[kind])


def _numbers(content: bytes, kind: str) -> Array:
    element = _element(kind)
    return np.frombuffer(content[: len(content) // element.itemsize * element.itemsize], element)


def _widened(array: Array, kind: str) -> Array:
    """bfloat16 is the upper half of a float32."""
    return (array.astype(np.uint32) << 16).view(np.float32) if STORAGES[kind] == "bfloat16" else array


def _whole_numbers(value: object) -> tuple[int, ...] | None:
    if isinstance(value, tuple | list) and all(type(number) is int and number >= 0 for number in value):
        return tuple(value)
    return None
