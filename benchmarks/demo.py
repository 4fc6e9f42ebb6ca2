"""How long the commands of a newcomer take, once all is installed, each in a process of its own, with nothing kept.

`demo`: `python install.py demo`, three runs. `learn`: learning and calibrating the miniature's backdrop axis with the
defaults. Seconds of the processor tell what a busy machine does not change.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from statistics import median

import torch

from benchmarks.measuring import Options, number
from benchmarks.records import ROOT, Estimate, Row, cores
from corrector.latents.devices import has_bfloat16


def timed(command: list[str]) -> tuple[float, float]:
    """-> (seconds on the clock, seconds of the processor) of `python -m corrector COMMAND`; {folder} is a new one."""
    with tempfile.TemporaryDirectory() as folder:
        words = [word.format(folder=folder) for word in command]
        environment = os.environ | {"XDG_CACHE_HOME": f"{folder}/cache"}  # gates are trained anew
        before, started = os.times(), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "corrector", *words], cwd=ROOT, check=True, stdout=sys.stderr, env=environment
        )
        after, seconds = os.times(), time.perf_counter() - started
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, spent


def runs(command: list[str], count: int) -> Iterator[Row]:
    clock, spent = zip(*(timed(command) for _ in range(count)), strict=True)
    figures = {
        "seconds": Estimate(round(median(clock), 1), round(min(clock), 1), round(max(clock), 1), count),
        "processor seconds": number(median(spent), count),
    }
    yield Row({"cores": cores(), "bfloat16": has_bfloat16(torch.device("cpu"))}, figures)


def demo(options: Options) -> Iterator[Row]:
    few = ["--images", "1"] if options.quick else []
    return runs(["demo", "--out", "{folder}", *few], options.count(3, quick=1))


def learn(options: Options) -> Iterator[Row]:
    files = ["--pairs-folder", "{folder}", "--out", "{folder}/own.safetensors"]
    return runs(["learn", "axes/miniature-backdrop.json", *files], 1)


PARTS = {"demo": demo, "learn": learn}
