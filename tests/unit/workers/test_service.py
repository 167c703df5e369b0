"""A worker's start: what it loads before it is ready, and what it leaves in order."""

from __future__ import annotations

import gc
import json
import subprocess
import sys

from workers.service import collect_garbage


def test_a_worker_reads_without_the_code_tables_of_reports_and_without_torch() -> None:
    code = "import json, sys; import workers.service; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert "onnxruntime" in loaded
    assert not {"highdicom", "pydicom.sr", "torch"} & set(loaded)


def test_what_the_start_has_made_is_not_looked_through() -> None:
    gc.disable()
    try:
        collect_garbage()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.enable()
