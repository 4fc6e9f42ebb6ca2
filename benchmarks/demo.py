"""How long `python install.py demo` takes once it is installed: three runs, each of a process of its own.

python benchmarks/demo.py        writes benchmarks/figures-demo.json; README says what is in it
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from corrector.latents.devices import has_bfloat16

ROOT = Path(__file__).resolve().parents[1]
RUNS = 3


def main():
    import torch

    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(RUNS):
            started = time.perf_counter()
            subprocess.run([sys.executable, ROOT / "install.py", "demo", "--out", folder], check=True)
            seconds.append(round(time.perf_counter() - started, 1))
    figures = {
        "seconds": seconds,
        "median": statistics.median(seconds),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "bfloat16": has_bfloat16(torch.device("cpu")),
        "commit": subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip(),
    }
    (ROOT / "benchmarks/figures-demo.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
