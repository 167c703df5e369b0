"""Speed of reading an image: decoding, preprocessing, a worker's start, network and heat maps, beside the best others.

Everything that is compared alternates in one run; the medians of the repeats are shown. Goals: G9 to G12 of the
project's performance page.

Usage: ``python benchmarks/inference.py --repeats 5 --write``; ``--tiny`` tries it out.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import inference_decoding
import inference_networks
import inference_preparation
import inference_worker

ROOT = Path(__file__).parents[1]
PARTS = (
    ("decoding", inference_decoding.measure),
    ("preparation", inference_preparation.measure),
    ("worker", inference_worker.measure),
    ("shipped", inference_networks.measure_shipped),
    ("network-224", inference_networks.measure_224),
    ("network-512", inference_networks.measure_512),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="small networks and images: does it run?")
    parser.add_argument("--only", choices=[name for name, _ in PARTS], nargs="+", help="some parts")
    parser.add_argument("--write", action="store_true", help="keep the tables in docs/measurements/")
    arguments = parser.parse_args()
    parts = []
    with tempfile.TemporaryDirectory(prefix="firstread-bench-") as name:
        for part, measure in PARTS:
            if arguments.only is None or part in arguments.only:
                parts.append(measure(Path(name), repeats=arguments.repeats, tiny=arguments.tiny))
                print(parts[-1], flush=True)
    if arguments.write:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        stamp = datetime.now(UTC)
        (ROOT / "docs" / "measurements" / f"inference-{stamp:%Y-%m-%d}.md").write_text(
            f"# Reading an image, {stamp:%Y-%m-%d}, commit {commit.stdout.strip() or 'unknown'}\n\n"
            f"{os.cpu_count()} CPU cores, {platform.machine()}, Python {platform.python_version()}, "
            f"{arguments.repeats} repeats, everything in one table alternated. Compare inside a table: the machine's "
            "own speed changes from hour to hour. Written by `benchmarks/inference.py --write`.\n\n"
            + "\n\n".join(parts)
            + "\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
