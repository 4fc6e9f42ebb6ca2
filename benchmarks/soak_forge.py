"""Soak of Forge's API: what a Forge holds after many requests, `FORGE_PATH=FOLDER python benchmarks/soak_forge.py`.

A full-size SD1.5 of random weights on the CPU. The requests go round through STEPS: other preferences and models,
sizes, hires fix, runs that are interrupted, files that are damaged, gone or for another model. After each round is
measured what `benchmarks/soak.py` measures; the first round loads everything. `--plain` is the control: as many
requests that do not name our script. Linux only.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.soak import SHIPPED  # noqa: E402
from benchmarks.soak_memory import ALLOCATOR, EXTENSION, held  # noqa: E402
from hosts.forge_server import make_folder, need, random_preference, running  # noqa: E402
from webui_checkouts import folder_of, python_of  # noqa: E402

PROMPT = "a portrait of an African man"
INTERRUPTED = 3.0  # seconds after which a run is


def checkpoint(name):
    return {"override_settings": {"sd_model_checkpoint": name}, "override_settings_restore_afterwards": False}


HIRES = {
    "enable_hr": True, "hr_scale": 2.0, "hr_upscaler": "Latent", "denoising_strength": 0.6, "hr_second_pass_steps": 2,
    "hr_additional_modules": ["Use same choices"],
}  # fmt: skip
# (what, our script's arguments, settings, what the infotext says, None where there is none)
STEPS = (
    ("corrected", (True, "random", 1.0), {}, "RS-Corrector result: corrected"),
    ("another preference", (True, "other", 1.0), {}, "RS-Corrector result: corrected"),
    ("another size", (True, "random", 1.0), {"width": 128, "height": 64}, "RS-Corrector result: corrected"),
    ("off", (False,), {}, None),
    ("strength 0", (True, "random", 0.0), {}, None),
    ("a share", (True, "random", 1.0, 0.5), {"batch_size": 4}, "RS-Corrector result: "),
    ("a window", (True, "random", 1.0, 1.0, 0.2, 0.8), {"steps": 6}, "RS-Corrector result: corrected"),
    ("another checkpoint", (True, "random", 1.0), checkpoint("other"), "RS-Corrector result: corrected"),
    ("for another model", (True, "miniature-backdrop"), {}, "RS-Corrector error"),
    ("a damaged file", (True, "damaged"), {}, "RS-Corrector error"),
    ("a file that is gone", (True, "gone"), {}, "RS-Corrector error"),
    ("the first checkpoint", (True, "other", 1.0), checkpoint("random"), "RS-Corrector result: corrected"),
    ("hires fix", (True, "random", 1.0), HIRES, "RS-Corrector result: corrected"),
    ("interrupted", (True, "random", 1.0), {"steps": 150}, "RS-Corrector result: "),
    ("a batch", (True, "other", 1.0), {"batch_size": 4}, "RS-Corrector result: corrected"),
    ("another prompt", (True, "random", 1.0), {"prompt": "a red house"}, "RS-Corrector result: "),
    ("a long prompt", (True, "random", 1.0), {"prompt": ", ".join([PROMPT] * 20)}, "RS-Corrector result: "),
    ("CFG 1", (True, "random", 1.0), {"cfg_scale": 1.0}, "RS-Corrector result: corrected"),
    ("another sampler", (True, "random", 1.0), {"sampler_name": "DPM++ 2M SDE"}, "RS-Corrector result: corrected"),
    ("without our script", (), {}, None),
)


def prepared(forge, python, folder):
    make_folder(forge, python, folder)
    models = folder / "models" / "rs_corrector"
    for seed, name in enumerate(("random", "other")):
        random_preference(models / f"{name}.safetensors", seed)
    (models / "damaged.safetensors").write_bytes(SHIPPED[0].read_bytes()[:-99])
    (scripts := folder / "extensions" / "soak" / "scripts").mkdir(parents=True)
    (scripts / "soak.py").write_text(EXTENSION, encoding="utf-8")


def soak(forge, python, folder, count, plain):
    """-> {rounds: what was held after each, others: [(number, step, infotext)] that were not as expected}"""
    prepared(forge, python, folder)
    os.environ |= ALLOCATOR
    rounds, others, start = [], [], time.time()
    with running(forge, python, folder) as server:
        for number in range(count):
            name, arguments, settings, expected = STEPS[number % len(STEPS)]
            if name == "interrupted":
                threading.Timer(INTERRUPTED, server.call, ("/sdapi/v1/interrupt", {})).start()
            _, infotext = server.generate(
                *([] if plain else arguments), **{"prompt": PROMPT, "seed": number, **settings}
            )
            says = expected is not None and expected in infotext
            if not plain and not (says or (expected is None and "RS-Corrector" not in infotext)):
                others.append((number, name, infotext))
                print(f"    request {number} ({name}): {infotext}", flush=True)
            if number % len(STEPS) == len(STEPS) - 1:
                rounds.append({"requests": number + 1, "seconds": round(time.time() - start), **held(server)})
                print(rounds[-1], flush=True)
    return {"rounds": rounds, "others": others}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--plain", action="store_true", help="the control: requests that do not name our script")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    forge = folder_of("FORGE_PATH", "stable-diffusion-webui-forge")
    need(forge)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        figures = soak(forge, python_of(forge, "FORGE_PYTHON"), folder, args.requests, args.plain)
        shutil.rmtree(folder / "models" / "Stable-diffusion")
    print(json.dumps(figures, indent=1))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
