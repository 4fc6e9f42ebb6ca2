"""`python -m benchmarks gpu` on the CPU, with few pictures and a small UNet."""

import sys

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks.records import load


def run(monkeypatch, tmp_path, *arguments):
    monkeypatch.setattr(command, "QUICK", tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(command.logging, "disable", lambda level: None)
    command.main()


@pytest.mark.usefixtures("one_thread")
def test_every_part_runs_and_writes_one_file(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path, "gpu", "--quick")
    parts = load("gpu", tmp_path)
    assert set(parts) == {"same", "step"} and all(part.commit and part.versions["torch"] for part in parts.values())
    (same,) = parts["same"].rows
    assert same.figures["corrected: difference"].value == 0 and same.figures["decided alike"].value == 1
    assert {row.settings["batch"] for row in parts["step"].rows} == {1, 4}


def test_an_unknown_part_is_refused_by_name(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="gpu has no part 'none'; its parts are: same, step"):
        run(monkeypatch, tmp_path, "gpu", "none", "--quick")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_gpu_it_says_so(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="No CUDA device was found"):
        run(monkeypatch, tmp_path, "gpu", "same")
