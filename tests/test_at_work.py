"""Two processes that want to make the same thing: the second is refused at once and told who is at work."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest

from corrector.axis.axis import load_axis
from corrector.files.whole_files import BusyError, at_work
from corrector.learning.pairs import make_pairs
from test_pairs import Host

ROOT = Path(__file__).resolve().parents[1]
AXIS = ROOT / "axes" / "miniature-backdrop.json"
OTHER = """
import sys
sys.path[:0] = sys.argv[1:3]
from corrector.files.whole_files import at_work
with at_work(sys.argv[3], "pairs"):
    print("at work", flush=True)
    input()
"""


@pytest.fixture
def other(tmp_path):
    """-> a function: another process that is at work on a path, and is killed in the end."""
    children = []

    def start(path):
        command = [sys.executable, "-c", OTHER, str(ROOT), str(ROOT / "tests"), str(path)]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        children.append(child)
        assert child.stdout.readline() == "at work\n"
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


def make(folder, **more):
    return make_pairs(Host(), load_axis(AXIS), 2, 0, folder=folder, **more)


def test_a_second_process_that_would_draw_the_same_pairs_is_told_which_one_does(other, tmp_path):
    child, folder = other(tmp_path), tmp_path
    with pytest.raises(BusyError, match=rf"process {child.pid} is making pairs here; wait until it is done"):
        make(folder)
    assert not list(folder.glob("*.safetensors"))
    child.send_signal(signal.SIGKILL)
    child.wait()
    make(folder)
    assert len(list(folder.glob("*.safetensors"))) == 6


def test_a_file_that_is_made_for_hours_is_claimed_from_the_start(other, tmp_path):
    path = tmp_path / "mine.safetensors"
    child = other(path)
    with pytest.raises(BusyError, match=f"mine.safetensors: process {child.pid}"), at_work(path, "a preference"):
        pass
    with at_work(tmp_path / "yours.safetensors", "a preference"):
        pass


def test_one_that_waits_uses_what_the_other_made(other, tmp_path):
    child = other(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(make, tmp_path, wait=True)
        time.sleep(0.3)
        assert not waiting.done()
        child.stdin.write("\n")
        child.stdin.flush()
        assert waiting.result(timeout=60).latents.shape[2] == 2


def test_a_folder_that_cannot_be_locked_is_used_all_the_same(tmp_path, monkeypatch):
    make(tmp_path)
    monkeypatch.setattr("filelock.FileLock.acquire", Mock(side_effect=PermissionError(13, "Permission denied")))
    before = sorted(tmp_path.iterdir())
    make(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_nothing_is_left_behind_when_the_work_is_done_or_fails(tmp_path):
    with pytest.raises(KeyboardInterrupt), at_work(tmp_path / "mine.safetensors", "a preference"):
        raise KeyboardInterrupt
    with at_work(tmp_path, "pairs"), pytest.raises(BusyError, match=f"process {os.getpid()}"), at_work(tmp_path, "x"):
        pass
    assert list(tmp_path.iterdir()) == []
