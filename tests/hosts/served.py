"""Programs that serve a page, and the browser that opens it."""

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_until(true, otherwise, seconds=600):
    """Wait until `true()` is true. Raises TimeoutError with `otherwise`."""
    for _ in range(2 * seconds):
        if true():
            return
        time.sleep(0.5)
    raise TimeoutError(otherwise)


@contextmanager
def served(command, log, ready, **options):
    """Run a program with its output in the file `log` until the block ends; wait first until `ready()` is true.

    `options` are of Popen.
    """
    with open(log, "w") as file:
        process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=subprocess.STDOUT, **options)

    def ready_or_broken():
        text = log.read_text(encoding="utf-8", errors="replace")
        assert process.poll() is None and "Exception in thread" not in text, text[-3000:]
        return ready()

    try:
        wait_until(ready_or_broken, f"{command[0]} did not start.")
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url):
    """-> a function: whether there is an answer at `url`."""

    def ready():
        try:
            return bool(urllib.request.urlopen(url, timeout=5))
        except OSError:
            return False

    return ready


@contextmanager
def chromium():
    """A browser; skips the tests if there is none."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: pip install playwright."
    )
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium.")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def screenshot(page, name, **options):
    """Save a screenshot in the folder RS_SCREENSHOTS, if it is set."""
    if folder := os.environ.get("RS_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", **options)
