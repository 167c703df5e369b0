"""What a run ran on: versions and processors, so that somebody can make it again. Needs torch."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from models.preprocessing import PREPROCESSING_VERSION
from models.training.plan import TrainingPlan
from models.training.ranks import Ranks

_PACKAGES = ("firstread", "torch", "torchvision", "numpy", "opencv-python-headless", "pydicom", "safetensors")


def environment(plan: TrainingPlan, ranks: Ranks) -> dict[str, Any]:
    """Plain facts for ``environment.json``; no name of host, user or path is among them."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "packages": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "gpus": [torch.cuda.get_device_name(number) for number in range(gpus)],
        "cuda": torch.version.cuda if gpus else None,
        "processes": ranks.size,
        "threads": plan.threads,
        "precision": plan.precision,
        "seed": plan.seed,
        "preprocessing": PREPROCESSING_VERSION,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
