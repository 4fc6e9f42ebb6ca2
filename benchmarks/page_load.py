"""What the pack adds to the time until ComfyUI's page is ready: `COMFYUI_PATH=FOLDER python benchmarks/page_load.py`.

A server with the pack as its only custom node and one with none take turns, since two lock one database. Each time the
page is opened in Chromium without a cache. Beside the time, the work of the page's main thread is measured, to which
other work on the machine matters less.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from hosts.conftest import python_of, running  # noqa: E402

READY = "window.app && window.app.graph && window.LiteGraph && Object.keys(LiteGraph.registered_node_types).length > 50"


def opened(browser, address):
    """Seconds until the page is ready, and seconds of its main thread's work."""
    context = browser.new_context()
    page = context.new_page()
    metrics = context.new_cdp_session(page)
    metrics.send("Performance.enable")
    began = time.perf_counter()
    page.goto(address)
    page.wait_for_function(READY, timeout=120_000)
    ready = time.perf_counter() - began
    work = {one["name"]: one["value"] for one in metrics.send("Performance.getMetrics")["metrics"]}
    context.close()
    return {"ready_seconds": ready, "task_seconds": work["TaskDuration"], "script_seconds": work["ScriptDuration"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3, help="of each server")
    parser.add_argument("--opened", type=int, default=6, help="times that the page is opened in each turn")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    comfyui = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "ComfyUI")
    python, chromium = python_of(comfyui), shutil.which("chromium") or shutil.which("chromium-browser")
    if not python or not chromium:
        sys.exit("A ComfyUI with a virtual environment in COMFYUI_PATH is needed, and Chromium.")
    found = {"with": [], "without": []}
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name in ("with", "without") * args.turns:
            packs = (ROOT,) if name == "with" else ()
            with tempfile.TemporaryDirectory() as folder, running(comfyui, python, Path(folder), packs=packs) as server:
                opened(browser, server.address)  # the first warms up
                found[name] += [opened(browser, server.address) for _ in range(args.opened)]
    figures = {"opened": len(found["with"])}
    for figure in found["with"][0]:
        kept, plain = ([one[figure] for one in found[name]] for name in ("with", "without"))
        figures[figure] = statistics.median(plain)
        figures[f"{figure}_added"] = statistics.median(kept) - statistics.median(plain)
    print(json.dumps(figures, indent=1))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
