"""What the pack adds to the time until ComfyUI's page is ready: `COMFYUI_PATH=FOLDER python benchmarks/page_load.py`.

The pages of two servers, one with the pack as its only custom node and one with none, are opened in turn in Chromium
without a cache. Beside the time, the work of the page's main thread is measured, to which other work on the machine
matters less. What is added is the median of the differences between neighbours.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
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
    parser.add_argument("--opened", type=int, default=20, help="times that each page is opened")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    comfyui = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "ComfyUI")
    python, chromium = python_of(comfyui), shutil.which("chromium") or shutil.which("chromium-browser")
    if not python or not chromium:
        sys.exit("A ComfyUI with a virtual environment in COMFYUI_PATH is needed, and Chromium.")
    found = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started, ExitStack() as stack:
        servers = {}
        for name, packs in (("with", (ROOT,)), ("without", ())):
            own = Path(folder) / name
            own.mkdir()
            options = "--database-url", f"sqlite:///{own}/comfyui.db"
            servers[name] = stack.enter_context(running(comfyui, python, own, *options, packs=packs))
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(args.opened + 1):
            for name, server in servers.items():
                found[name].append(opened(browser, server.address))
    figures = {"opened": args.opened}
    for figure in found["with"][0]:
        kept, plain = ([one[figure] for one in found[name][1:]] for name in ("with", "without"))  # the first warms up
        figures[figure] = statistics.median(plain)
        figures[f"{figure}_added"] = statistics.median(a - b for a, b in zip(kept, plain, strict=True))
    print(json.dumps(figures, indent=1))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
