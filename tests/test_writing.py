"""Files are written whole, where they were meant to go, or refused by name; nothing is left beside them."""

import errno
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from audit_world import DRAWN, drawn_audit, plan
from corrector.auditing.page import publish
from corrector.files.errors import RSCorrectorError
from corrector.files.whole_files import PART, BusyError, check_writable, target_of, why_not, write_whole
from corrector.preference import file as preference_file
from test_pairs import Host, make, same


def test_a_device_is_refused_and_stays_a_device(tmp_path):
    device = Path("/dev/null")
    if not device.is_char_device():
        pytest.skip("no device")
    for path in (device, tmp_path):
        with pytest.raises(OSError, match="not a file"):
            write_whole(path, "x")
    assert device.is_char_device() and not list(tmp_path.iterdir())


def test_of_a_symlink_the_target_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "a.json", tmp_path / "a.json"
    link.symlink_to(target)
    write_whole(link, "one")
    write_whole(link, "two")
    assert link.is_symlink() and target.read_text() == "two"
    assert [path.name for path in target.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize("name", ["CON", "nul.json", "com1.safetensors", "Lpt9", "x" * 260, "\u00e4" * 130, "a\0b"])
def test_names_that_no_system_or_not_all_can_have_are_refused_in_a_sentence(tmp_path, name):
    with pytest.raises(OSError, match=r"reserved on Windows|longer than 255 bytes|zero character") as caught:
        write_whole(tmp_path / name, "x")
    assert why_not(caught.value).endswith("; choose another place") and not list(tmp_path.iterdir())


def test_names_that_only_look_reserved_are_written(tmp_path):
    for name in ("console.json", "com10", "x" * 255, ".con"):
        write_whole(tmp_path / name, "x")
    assert len(list(tmp_path.iterdir())) == 4


def test_parts_of_dead_processes_go_and_those_of_live_ones_stay(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    parts = [tmp_path / PART.format(process, "0a") for process in (dead.pid, os.getpid(), 10**12)]
    for part in parts:
        part.touch()
    write_whole(tmp_path / "a.json", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([parts[1].name, "a.json"])


def test_a_lone_surrogate_does_not_cut_a_page_off(tmp_path):
    write_whole(tmp_path / "a.html", "before \ud800 after")
    assert (tmp_path / "a.html").read_text() == "before ? after"


def test_a_folder_that_vanishes_is_made_again(tmp_path, monkeypatch):
    fsync, gone = os.fsync, []

    def vanish(number):
        fsync(number)
        if not gone:
            gone.extend((tmp_path / "folder").iterdir())
            gone[0].unlink()
            (tmp_path / "folder").rmdir()

    monkeypatch.setattr(os, "fsync", vanish)
    write_whole(tmp_path / "folder" / "a.json", "x")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["a.json"] and gone


def test_whether_a_file_can_be_written_is_known_before_and_leaves_nothing(tmp_path):
    check_writable(tmp_path / "new" / "a.safetensors")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"(?i)exists|not a directory"):
        check_writable(tmp_path / "file" / "a.safetensors")
    with pytest.raises(OSError, match="it is a folder"):
        target_of(tmp_path)


def test_a_disk_without_room_for_the_result_is_told_before_the_work(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    with pytest.raises(preference_file.PreferenceFileError, match="the disk is full; free some space"):
        preference_file.check_writable(tmp_path / "new" / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_of_runs_that_share_a_folder_one_draws_and_the_others_are_refused_at_once(axis, tmp_path):
    whole = make(Host(), axis, batch=1)
    for number in range(5):
        folder, hosts = tmp_path / str(number), [Host(pause=0.0001) for _ in range(3)]
        with ThreadPoolExecutor(3) as pool:
            runs = [pool.submit(make, host, axis, folder, batch=1) for host in hosts]
            errors = [run.exception() for run in runs]
        assert None in errors and all(error is None or isinstance(error, BusyError) for error in errors)
        assert sum(len(host.sampled) for host in hosts) == 2 * 2 * 7, "no picture is drawn twice"
        assert all(same(run.result(), whole) for run, error in zip(runs, errors, strict=True) if error is None)
        assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}


def test_shards_that_are_exchanged_or_changed_are_drawn_again(axis, tmp_path):
    whole, folder = make(Host(), axis, tmp_path), tmp_path
    first, second = folder / "00-counter-00000.safetensors", folder / "00-counter-00002.safetensors"
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    third = folder / "01-stereotype-00004.safetensors"
    flipped = bytearray(third.read_bytes())
    flipped[-1] ^= 1
    third.write_bytes(flipped)
    host = Host()
    assert same(make(host, axis, folder), whole) and len(host.sampled) == 6
    assert (first.read_bytes(), second.read_bytes()) == contents


def drawn(folder):
    """A short audit in a folder -> its report."""
    run = drawn_audit(plan(("Orvane",), images=2, explicit=2, strengths=(1.0,)), [DRAWN])
    return publish(run, run.run(folder / "pictures"), folder)[0]


def contents(folder):
    """{name: content}; of chunks only that they are there, since safetensors orders its metadata at random."""
    files = [path for path in folder.rglob("*.*") if path.is_file()]
    return {path.name: path.suffix == ".safetensors" or path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """-> (contents, report) of an audit that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    report = drawn(folder)
    return contents(folder), report


@pytest.mark.parametrize(
    ("at", "code", "words"),
    [
        (0, errno.ENOSPC, "the disk is full; free some space"),  # the settings
        (3, errno.EROFS, "Read-only file system; choose another place"),  # the last chunk
        (7, errno.ENOENT, "No such file or directory; choose another place"),  # the blind page
    ],
)
def test_if_a_write_of_an_audit_fails_a_sentence_says_so_and_it_goes_on_later(
    whole, tmp_path, monkeypatch, at, code, words
):
    real, counted = os.fsync, []

    def fail(number):
        counted.append(number)
        if len(counted) > at:
            raise OSError(code, os.strerror(code))
        real(number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(RSCorrectorError, match=words):
            drawn(tmp_path)
    wanted, report = whole
    kept = contents(tmp_path)
    assert not list(tmp_path.rglob("*.part")) and kept.items() <= wanted.items() and len(kept) == at
    assert drawn(tmp_path) == report and contents(tmp_path) == wanted
