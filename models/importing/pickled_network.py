"""A whole pickled network (``torch.save(model, path)``) as the names and tensors that its ``state_dict()`` would give.

The network is a tree of records (:class:`~models.importing.opcodes.ObjectRecord`); its classes are never looked up. So
the tensors count, and what the class would have done with them in ``forward`` does not: the names say which
architecture they belong to, as for a state dict.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeGuard

from models.importing.opcodes import ObjectRecord, TensorRecord
from triage.errors import ForeignModelError

_MOST_LAYERS: Final = 100_000
"""Layers and tensors together; the largest classifiers of the field have a few thousand."""
_DEEPEST: Final = 64
_STATE: Final = ("_parameters", "_buffers", "_modules")
_ADVICE: Final = "Load it with its own library, only where you trust its source, and save model.state_dict()."


def is_network(value: object) -> TypeGuard[ObjectRecord]:
    """Whether a record is one of a ``torch.nn.Module``, of whatever class."""
    return isinstance(value, ObjectRecord) and all(isinstance(value.attributes.get(part), dict) for part in _STATE)


def state_of(network: ObjectRecord, where: str) -> dict[str, TensorRecord]:
    """Parameters and buffers by their dotted names, in the order of ``state_dict()``.

    Parameters
    ----------
    where : str
        The file, for messages.

    Raises
    ------
    ForeignModelError
        Something in the tree is no layer and no tensor, or the tree has no end.
    """
    found: dict[str, TensorRecord] = {}
    waiting: list[tuple[str, int, object]] = [("", 0, network)]
    entered = 0
    while waiting:
        prefix, depth, layer = waiting.pop()
        entered += 1
        if entered + len(found) > _MOST_LAYERS or depth > _DEEPEST:
            raise ForeignModelError(
                f"{where} has more than {_MOST_LAYERS} layers and tensors, or layers in layers {_DEEPEST} deep.",
                next_step="It is no classifier, or was made to deceive: compare its checksum with its source's.",
            )
        if not is_network(layer):
            raise ForeignModelError(f"{where}: {prefix.rstrip('.')} cannot be read as a layer.", next_step=_ADVICE)
        found.update((prefix + name, tensor) for name, tensor in _own(layer, f"{where}: {prefix}"))
        below = [(f"{prefix}{name}.", depth + 1, child) for name, child in layer.attributes["_modules"].items()]
        waiting.extend(entry for entry in reversed(below) if entry[2] is not None)
    return found


def _own(layer: ObjectRecord, where: str) -> Iterator[tuple[str, TensorRecord]]:
    """What ``state_dict()`` would save of a layer itself."""
    unsaved: Any = layer.attributes.get("_non_persistent_buffers_set")
    entries = [
        *layer.attributes["_parameters"].items(),
        *(
            (n, b)
            for n, b in layer.attributes["_buffers"].items()
            if not isinstance(unsaved, tuple) or n not in unsaved
        ),
    ]
    for name, tensor in entries:
        if isinstance(tensor, TensorRecord):
            yield str(name), tensor
        elif tensor is not None:
            raise ForeignModelError(f"{where}{name} is no plain tensor.", next_step=_ADVICE)
