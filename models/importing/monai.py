"""A MONAI bundle directory for classification: its metadata and its weights. Nothing of its configuration is run.

``configs/metadata.json`` states the input (channels, size, range) and the meaning of the output channels;
``models/model.pt`` is a state dict. ``models/model.ts`` is TorchScript, and the other configuration files hold Python
expressions: neither is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from models.importing import checkpoint
from models.importing.checkpoint import Checkpoint
from models.metadata import InputSpec
from triage.errors import ForeignModelError

METADATA = Path("configs/metadata.json")
WEIGHTS = Path("models/model.pt")
_LIMIT = 4 << 20


@dataclass(frozen=True, slots=True, eq=False)
class MonaiBundle:
    """What a bundle says: its weights, the names of its outputs ("" where it has none), its input.

    ``input`` is stated as the network sees it: where MONAI exchanged rows and columns, so are height and width.
    """

    weights: Checkpoint
    labels: tuple[str, ...]
    input: InputSpec
    text: str


def is_bundle(path: Path) -> bool:
    """Whether a path is a directory with MONAI's metadata in it."""
    return (path / METADATA).is_file()


def read(directory: Path) -> MonaiBundle:
    """Read metadata and weights.

    Raises
    ------
    ForeignModelError
        No such files, no classifier of 2-D images, or weights that are a program.
    """
    path = directory / METADATA
    try:
        if path.stat().st_size > _LIMIT:
            raise ForeignModelError(f"{path} is larger than {_LIMIT} bytes.")
        metadata = json.loads(path.read_bytes())
        formats = metadata["network_data_format"]
        image, output = _only(formats["inputs"], "inputs"), _only(formats["outputs"], "outputs")
        labels = _channel_names(output)
        spec = _input(image)
        text = " ".join(str(metadata[key]) for key in ("description", "intended_use") if metadata.get(key))
    except OSError as error:
        raise ForeignModelError(f"{path} cannot be read: {error.strerror}.", next_step="Check the path.") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ForeignModelError(
            f"{path} does not describe a classifier of 2-D images: {_reason(error)}.",
            next_step="It needs network_data_format with one image input (num_channels, spatial_shape of two sizes, "
            "value_range) and one output (num_channels, channel_def).",
        ) from error
    weights = directory / WEIGHTS
    if not weights.is_file():
        script = " models/model.ts is TorchScript: a program, which is not run." if _has_script(directory) else ""
        raise ForeignModelError(
            f"{directory} has no {WEIGHTS}.{script}", next_step="Save the network's state_dict as models/model.pt."
        )
    return MonaiBundle(checkpoint.read(weights), labels, spec, text)


def _has_script(directory: Path) -> bool:
    return (directory / "models" / "model.ts").is_file()


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)


def _only(entries: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(entries, dict) or len(entries) != 1:
        raise ValueError(f"{what} has not exactly one entry")
    (entry,) = entries.values()
    return cast("Mapping[str, Any]", entry)


def _channel_names(output: Mapping[str, Any]) -> tuple[str, ...]:
    count, names = int(output["num_channels"]), output.get("channel_def") or {}
    if not 1 <= count <= 1000 or not isinstance(names, dict):
        raise ValueError("num_channels or channel_def of the output makes no sense")
    return tuple(str(names.get(str(number), "")) for number in range(count))


def _input(image: Mapping[str, Any]) -> InputSpec:
    shape = image["spatial_shape"]
    if not isinstance(shape, list) or len(shape) != 2:
        raise ValueError(f"spatial_shape is {shape}, not two sizes")
    low, high = (float(value) for value in image["value_range"])
    if not low < high:
        raise ValueError(f"value_range is {low:g} to {high:g}")
    # display * (high - low) + low, written as (display - mean) / std
    return InputSpec.model_validate(
        {
            "height": shape[0],
            "width": shape[1],
            "channels": image["num_channels"],
            "mean": -low / (high - low) + 0.0,
            "std": 1.0 / (high - low),
            "fit": "stretch",
        }
    )
