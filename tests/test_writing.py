"""Files are written whole, where they were meant to go, or refused by name; nothing is left beside them."""

import errno
import os
import shutil
import time
from pathlib import Path

import pytest

from audit_world import DRAWN, drawn_audit, plan
from corrector.auditing.page import publish
from corrector.files.errors import RSCorrectorError
from corrector.files.whole_files import PART, PART_IS_LEFT, check_writable, write_whole
from corrector.preference import file as preference_file


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


def test_parts_that_a_killed_process_left_go_after_a_day(tmp_path):
    old, new = (tmp_path / PART.format(name) for name in ("0a", "0b"))
    for part in (old, new):
        part.touch()
    os.utime(old, (0, time.time() - 2 * PART_IS_LEFT))
    write_whole(tmp_path / "a.json", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([new.name, "a.json"])


def test_a_lone_surrogate_does_not_cut_a_page_off(tmp_path):
    write_whole(tmp_path / "a.html", "before \ud800 after")
    assert (tmp_path / "a.html").read_text() == "before ? after"


def test_whether_a_file_can_be_written_is_known_before_and_leaves_nothing(tmp_path):
    check_writable(tmp_path / "new" / "a.safetensors")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"(?i)exists|not a directory"):
        check_writable(tmp_path / "file" / "a.safetensors")
    with pytest.raises(OSError, match="too long"):
        check_writable(tmp_path / ("x" * 260))


def test_a_disk_without_room_for_the_result_is_told_before_the_work(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    with pytest.raises(preference_file.PreferenceFileError, match="the disk is full; free some space"):
        preference_file.check_writable(tmp_path / "new" / "a.safetensors")
    assert not list(tmp_path.iterdir())


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
