"""`kill -9` at random moments of learning, audit, saving, installing: nothing finished is lost, the end is the same.

    python -m benchmarks.kills --tries 30 [--parts learn audit save install]

Each part runs once undisturbed. Then it is started and killed again and again on other folders; whenever it reaches its
end, and after the last try, its result must be the undisturbed one, byte for byte, and no `.part` may be left.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEARN = """
from functools import partial
from corrector.axis.axis import load_axis
from corrector.learning import learn as learning
from corrector.learning.calibrate import calibrate
from corrector.learning.pairs import make_pairs
from corrector.miniature.host import Miniature
from corrector.preference.file import save_preference
axis, host = load_axis("axes/miniature-backdrop.json"), Miniature(bf16=True)
host.batch, host.steps = 4, 4
pairs = make_pairs(host, axis, 16, 0, steps=4, folder=folder / "pairs", batch=4)
learning.FEWEST_GATE_STEPS, learning.train_judge = 10, partial(learning.train_judge, steps=20)  # a short run
preference, judge = learning.learn(host, axis, 16, points=60, steps=20, pairs=pairs)
save_preference(preference, folder / "learned.safetensors")
preference = calibrate(host, preference, judge, 16, (2.0,), folder=folder / "calibration")
save_preference(preference, folder / "result.safetensors")
"""
AUDIT = """
from corrector.auditing.whole import audit
from corrector.axis.axis import load_axis
from corrector.miniature.host import Miniature
from corrector.preference.file import load_preference
host = Miniature(bf16=True)
host.steps = 4
preference = load_preference("weights/miniature-backdrop.safetensors")
audit(host, load_axis("axes/miniature-backdrop.json"), [preference], folder, images=20, explicit=4, steps=4)
(folder / "result.json").write_bytes((folder / "report.json").read_bytes() + (folder / "audit.html").read_bytes())
"""
SAVE = """
from corrector.preference.file import load_preference, save_preference
preference = load_preference("weights/miniature-backdrop.safetensors")
for number in range(40):
    save_preference(preference, folder / "kept.safetensors")
    load_preference(folder / "kept.safetensors")
(folder / "result.safetensors").write_bytes((folder / "kept.safetensors").read_bytes())
"""
INSTALL = """
import importlib.util, shutil, subprocess
shutil.copy("install.py", folder)
(folder / "requirements-demo.txt").write_text("einops\\n")
spec = importlib.util.spec_from_file_location("install", folder / "install.py")
install = importlib.util.module_from_spec(spec)
spec.loader.exec_module(install)
install.install_torch = lambda: None  # as where there is one
install.prepare("demo")
check = "import einops, importlib.metadata as m; print(sorted((d.name, d.version) for d in m.distributions()))"
(folder / "result.txt").write_bytes(subprocess.check_output([str(install.PYTHON), "-c", check]))
"""
PARTS = {"learn": LEARN, "audit": AUDIT, "save": SAVE, "install": INSTALL}


def started(code, folder):
    code = f"import sys; from pathlib import Path; folder = Path(sys.argv[1])\n{code}"
    with open(f"{folder}.log", "a") as log:
        command = [sys.executable, "-c", code, str(folder)]
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)


def finished(folder):
    """{name: digest} of the files that are complete: shards, preferences, pages."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".part"]
    ours = [path for path in files if ".venv" not in path.parts]  # a broken environment is made again
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in ours}


def result_of(folder):
    return next((digest for name, digest in finished(folder).items() if name.startswith("result.")), None)


def kill(part, tries, rng, base):
    """-> {kills, ends, lost: files that were finished and are gone, others: ends with another result, parts}."""
    start, whole = time.time(), base / "whole"
    whole.mkdir()
    if started(PARTS[part], whole).wait():
        raise SystemExit(f"{part} fails undisturbed:\n{Path(f'{whole}.log').read_text()[-2000:]}")
    took, wanted = time.time() - start, result_of(whole)
    counts = dict(seconds=round(took), kills=0, ends=0, lost=0, others=0, parts=0, errors=0)

    def check(folder):
        counts["ends"] += 1
        counts["others"] += result_of(folder) != wanted
        counts["parts"] += len(list(folder.rglob("*.part")))

    number, folder = 0, base / "0"
    while counts["kills"] < tries:
        folder.mkdir(exist_ok=True)
        work, before = started(PARTS[part], folder), finished(folder)
        try:
            work.wait(rng.uniform(0.15, 1.0) * took)
            counts["errors"] += work.returncode != 0
            check(folder)
            number, folder = number + 1, base / str(number + 1)
        except subprocess.TimeoutExpired:
            os.killpg(work.pid, signal.SIGKILL)  # with the pip that it started
            work.wait()
            counts["kills"] += 1
            # Written anew as part of the end: the same preference, or pages.
            counts["lost"] += len(before.keys() - finished(folder).keys())
            print(f"    {counts}", flush=True)
    if folder.exists():
        counts["errors"] += started(PARTS[part], folder).wait() != 0
        check(folder)
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--tries", type=int, default=30, help="kills of each part")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for part in args.parts:
        with tempfile.TemporaryDirectory() as folder:
            print(part, json.dumps(kill(part, args.tries, random.Random(args.seed), Path(folder))), flush=True)


if __name__ == "__main__":
    main()
