"""A network on the CPU, by ONNX Runtime: one image over all cores, several images on a core each.

On a CPU a batch gains nothing: the cores that share a layer wait for each other at its end, whatever the batch. Images
that are read side by side, each by one core, wait for nobody; and no number of an image depends on its neighbours in
the batch beyond rounding. Nothing here imports torch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from triage.errors import BundleError, InferenceError

SPIN_MICROSECONDS: Final = 50
"""How long a thread looks out for the next layer before it sleeps. To wake it at every layer costs a small network a
fifth of its time; ONNX Runtime's own milliseconds of looking out take the cores from the listener and from the commit
that follows, and on a busy machine the network itself then takes twice as long (docs/measurements)."""

Float32 = NDArray[np.float32]
_OUTPUTS: Final = ["logits", "features"]


class CpuNetwork:
    """A graph from "image" (N, channels, H, W) to "logits" and "features", loaded. Safe to share between threads.

    Parameters
    ----------
    path : Path
        ``network.onnx`` of a bundle.
    threads : int
        Cores to use; 0 for all.

    Raises
    ------
    BundleError
        The graph cannot be loaded, or has other inputs and outputs.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        self._path = path
        self._cores = threads or os.cpu_count() or 1
        self._shared = _session(path, threads)
        self._beside: Any = None
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        names = {output.name for output in self._shared.get_outputs()}
        if not names.issuperset(_OUTPUTS) or [entry.name for entry in self._shared.get_inputs()] != ["image"]:
            raise BundleError(f"{path} does not take 'image' and give 'logits' and 'features'.")

    def __call__(self, images: Float32) -> tuple[Float32, Float32]:
        """Logits (N, K) and features (N, C, h, w) of images (N, channels, H, W), all float32.

        Raises
        ------
        InferenceError
            ONNX Runtime failed.
        """
        each = [images[row : row + 1] for row in range(len(images))]
        even = len(each) // self._cores * self._cores if self._cores > 1 else 0
        try:
            # What is left over when every core has had its images is read by all cores together.
            found = self._side_by_side(each[:even]) + [_run(self._shared, image) for image in each[even:]]
        except Exception as error:
            raise InferenceError(f"ONNX Runtime failed: {type(error).__name__}.") from error
        if len(found) == 1:
            return found[0]
        logits, features = zip(*found, strict=True)
        return np.concatenate(logits), np.concatenate(features)

    def _side_by_side(self, each: Sequence[Float32]) -> list[tuple[Float32, Float32]]:
        if not each:
            return []
        with self._lock:  # loaded at the first use: a worker of single images never needs it
            if self._pool is None:
                self._beside = _session(self._path, 1)
                self._pool = ThreadPoolExecutor(self._cores, thread_name_prefix="network")
        return list(self._pool.map(lambda image: _run(self._beside, image), each))


def _run(session: Any, image: Float32) -> tuple[Float32, Float32]:
    logits, features = session.run(_OUTPUTS, {"image": image})
    return logits, features


def _session(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Images go one by one. A batch size that is known lets the graph's own arithmetic on shapes be done beforehand.
    options.add_free_dimension_override_by_name("n", 1)
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_MICROSECONDS))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3  # errors come as exceptions; warnings about graph details help nobody
    try:
        return onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BundleError(f"{path} cannot be loaded: {type(error).__name__}.") from error
