"""`benchmarks/gpu.py` on the CPU, with few pictures and a small UNet; its `calibrate` is what test_api.py calls."""

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu

PARTS = ("demo", "same", "learn", "audit", "step", "hosts")


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["gpu.py", *map(str, arguments)])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.syspath_prepend(Path(gpu.__file__).parent)
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    return ended.value.code


@pytest.mark.usefixtures("one_thread")
def test_every_part_runs_and_keeps_its_rows(monkeypatch, tmp_path):
    path = tmp_path / "gpu.json"
    code = run(monkeypatch, "--device", "cpu", "--quick", "--json", path, "--only", *PARTS)
    rows = json.loads(path.read_text())
    assert not code and not [row["figure"] for row in rows if "ERROR" in row["figure"]]
    assert {row["part"] for row in rows} == set(PARTS)
    (unlike,) = {row["corrected"] for row in rows if "largest difference" in row["figure"]}
    assert unlike == 0.0  # the CPU against itself


def test_a_part_that_fails_is_a_row_and_the_others_go_on(monkeypatch, tmp_path):
    def broken(bench):
        raise ValueError("out of order")

    monkeypatch.setitem(gpu.PARTS, "demo", broken)
    path = tmp_path / "gpu.json"
    assert run(monkeypatch, "--device", "cpu", "--quick", "--json", path, "--only", "demo", "hosts") == 1
    figures = [row["figure"] for row in json.loads(path.read_text())]
    assert figures == ["ERROR: demo: ValueError: out of order", "not run, since COMFYUI_PATH is not set"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_gpu_it_says_so(monkeypatch):
    assert "No CUDA device was found" in run(monkeypatch, "--only", "demo")
