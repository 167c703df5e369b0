"""The listener is small: it loads nothing that looks at pixels, runs a network or, without TLS, reads certificates."""

from __future__ import annotations

import json
import subprocess
import sys

WEIGHTY = (
    "onnxruntime", "torch", "torchvision", "highdicom", "imagecodecs", "cv2", "sklearn", "fastapi", "cryptography",
)  # fmt: skip


def test_the_listener_loads_no_library_of_other_parts() -> None:
    code = "import json, sys; import firstread.listening; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert "dicom_node.listener" in loaded
    assert not set(WEIGHTY) & set(loaded)


def test_a_part_loads_networks_queue_and_web_only_when_it_is_the_one_that_needs_them() -> None:
    code = "import json, sys; import firstread.parts; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert not {*WEIGHTY, "celery"} & set(loaded)
