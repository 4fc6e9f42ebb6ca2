"""Soak: one ComfyUI over many prompts, and two with a shell that share a models folder and an output folder.

    COMFYUI_PATH=FOLDER python benchmarks/soak.py --prompts 200 --json figures.json
    COMFYUI_PATH=FOLDER python benchmarks/soak.py --beside

The prompts go round through STEPS: other preferences, models, sizes and axes, runs that are interrupted, files that are
damaged or gone. After each round ComfyUI is told to free its memory, and what is left is measured (soak_memory.py):
what is allocated and what is resident in MB, open files, threads, bytes of the log. The first round loads everything;
steps that train a network take minutes and are in every fourth round only, others draw plain corrected pictures
instead. `--plain` is the control, as many prompts without a preference. Linux only.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.soak_memory import ALLOCATOR, NODE, held  # noqa: E402
from corrector.files.whole_files import write_whole  # noqa: E402
from corrector.preference.file import PreferenceFileError, load_preference  # noqa: E402
from hosts.conftest import python_of, running  # noqa: E402
from webui_modules import relabelled  # noqa: E402

SHIPPED = [ROOT / "weights" / f"miniature-{axis}.safetensors" for axis in ("backdrop", "attire")]
SIZE = {"width": 128, "height": 128}
SMALL = {**SIZE, "sampler": "euler", "scheduler": "karras", "cfg": 2.0, "steps": 2, "batch": 16}
SETTLE = 3.0  # seconds after which a freed ComfyUI is measured


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def load(name):
    return node("RSCorrectorLoadPreference", file=name)


class Prompts:
    """Graphs in API format, each with another seed, and what should become of them."""

    def __init__(self, models, seed=0, plain=False):
        self.models, self.rng, self.plain, self.written = models, random.Random(seed), plain, 0

    def graph(self, preference, model="models", kind="RSCorrector", steps=4, batch=2, size=128, cfg=2.0, **more):
        """Pictures with a corrected model; `preference` is a node or, for several, {name: node}."""
        nodes = {"preference": preference} if "class_type" in preference else preference
        sampled = "models" if self.plain else "corrected"
        graph = {
            "models": node("RSCorrectorMiniature"),
            "positive": node("CLIPTextEncode", clip=["models", 1], text="a portrait of an Orvane person"),
            "negative": node("CLIPTextEncode", clip=["models", 1], text=""),
            "latent": node("EmptyLatentImage", width=size, height=size, batch_size=batch),
            "sampler": node(
                "KSampler", model=[model if self.plain else sampled, 0], positive=["positive", 0],
                negative=["negative", 0], latent_image=["latent", 0], seed=self.rng.randrange(2**31), steps=steps,
                cfg=cfg, sampler_name="euler", scheduler="karras", denoise=1.0,
            ),
            "decode": node("VAEDecode", samples=["sampler", 0], vae=["models", 2]),
            "save": node("SaveImage", images=["decode", 0], filename_prefix="soak"),
        }  # fmt: skip
        if model == "lora":
            graph["lora"] = node(
                "LoraLoader", model=["models", 0], clip=["models", 1], lora_name=more.pop("lora"), strength_model=1.0,
                strength_clip=1.0,
            )  # fmt: skip
        if not self.plain:
            corrected = node(kind, model=[model, 0], preference=["preference", 0], **{"strength": 1.0, **more})
            graph |= {**nodes, "corrected": corrected}
        return graph

    def replaced(self):
        """A preference whose file is another one each time."""
        write_whole(self.models / "replaced.safetensors", SHIPPED[self.written % 2].read_bytes())
        self.written += 1
        return load("replaced.safetensors")

    def both(self):
        files = {f"file {i}": load(path.name) for i, path in enumerate(SHIPPED)}
        sockets = {"preference_1": ["file 0", 0], "preference_2": ["file 1", 0]}
        return {**files, "preference": node("RSCorrectorCombinePreferences", **sockets)}

    def text(self):
        sides = {side: f"a portrait of an Orvane person in a {side}" for side in ("village", "city")}
        texts = dict(group="Orvane person", stereotype=sides["village"], counter=sides["city"])
        return node("RSCorrectorTextPreference", clip=["models", 1], **texts)

    def two_stages(self):
        graph = self.graph(load(SHIPPED[0].name))
        second = {**graph["sampler"]["inputs"], "latent_image": ["sampler", 0], "denoise": 0.5}
        graph["decode"]["inputs"]["samples"] = ["second", 0]
        return {**graph, "second": node("KSampler", **second)}

    def learned(self, **more):
        inputs = {**SMALL, "pairs": 16, "seed": self.rng.randrange(2**31), "name": "learned", "training_steps": 20}
        return self.own("RSCorrectorLearnPreference", axis=["axis", 0], **{**inputs, **more})

    def own(self, kind, **inputs):
        """A node of ours that learns or measures, with what it needs; plain pictures in the control."""
        if self.plain:
            return self.graph(load(SHIPPED[0].name))
        return {
            "models": node("RSCorrectorMiniature"),
            "axis": node("RSCorrectorLoadAxis", file="one-group.json"),
            "preference": load("learned.safetensors" if kind == "RSCorrectorCalibrate" else SHIPPED[0].name),
            "own": node(kind, model=["models", 0], clip=["models", 1], **inputs),
        }


LORAS = sorted((ROOT / "weights" / "miniature-derivatives").glob("*.safetensors"))
ADVANCED = {"target": 0.5, "start_percent": 0.0, "end_percent": 0.9, "thinning_seed": 5, "cap": 1.0, "gate": True}
CALIBRATION = {**SMALL, "images": 16, "seed": 1, "preference": ["preference", 0]}
AUDIT = {**SMALL, "images": 2, "narrow": 0.4, "seed": 1, "strength": 1.0, "preference": ["preference", 0]}
# (what, prompts -> graph, what becomes of it); of an interrupted run the seconds after which it is
STEPS = (
    ("one axis", lambda p: p.graph(load(SHIPPED[0].name)), "success"),
    ("another axis", lambda p: p.graph(load(SHIPPED[1].name)), "success"),
    ("both axes", lambda p: p.graph(p.both()), "success"),
    ("two texts", lambda p: p.graph(p.text()), "success"),
    ("a replaced file", lambda p: p.graph(p.replaced()), "success"),
    ("replaced again", lambda p: p.graph(p.replaced()), "success"),
    ("a LoRA", lambda p: p.graph(load(SHIPPED[0].name), "lora", lora=LORAS[0].name), "success"),
    ("another LoRA", lambda p: p.graph(load(SHIPPED[0].name), "lora", lora=LORAS[1].name), "success"),
    ("interrupted", lambda p: p.graph(load(SHIPPED[0].name), steps=2000), 2.0),
    ("a damaged file", lambda p: p.graph(load("damaged.safetensors")), "error"),
    ("a file for another model", lambda p: p.graph(load("other.safetensors")), "error"),
    ("a file that is gone", lambda p: p.graph(load("gone.safetensors")), "refused"),
    ("advanced", lambda p: p.graph(load(SHIPPED[0].name), kind="RSCorrectorAdvanced", **ADVANCED), "success"),
    ("off", lambda p: p.graph(load(SHIPPED[0].name), strength=0.0), "success"),
    ("two stages", Prompts.two_stages, "success"),
    ("larger", lambda p: p.graph(load(SHIPPED[0].name), batch=4, size=192, cfg=7.0), "success"),
    ("learned", Prompts.learned, "success"),
    ("calibrated", lambda p: p.own("RSCorrectorCalibrate", **CALIBRATION), "success"),
    ("audited", lambda p: p.own("RSCorrectorAudit", vae=["models", 2], axis=["axis", 0], **AUDIT), "success"),
    ("learning is interrupted", lambda p: p.learned(pairs=256, steps=50), 2.0),
)

TRAIN = ("two texts", "learned", "learning is interrupted")
TRAINED = 4  # one in so many rounds trains


def outcome(server, graph, expected):
    """Run a graph, and interrupt it after a number of seconds -> what became of it."""
    queued = server.post("/prompt", {"prompt": graph})
    if queued.get("node_errors"):
        return "refused"
    if not isinstance(expected, str):
        time.sleep(expected)
        server.post("/interrupt", {})
    history = server.wait(queued["prompt_id"])
    interrupted = "execution_interrupted" in json.dumps(history["status"]["messages"])
    return "interrupted" if interrupted else history["status"]["status_str"]


def freed(server):
    """What a ComfyUI holds that has freed its memory."""
    server.post("/history", {"clear": True})
    server.post("/free", {"unload_models": True, "free_memory": True})
    time.sleep(SETTLE)
    return held(server)


def prepared(folder):
    """Make the files of a ComfyUI's folder -> its folder of preferences."""
    models = folder / "models" / "rs_corrector"
    (models / "axes").mkdir(parents=True)
    axis = json.loads((ROOT / "axes" / "miniature-backdrop.json").read_text(encoding="utf-8"))
    (models / "axes" / "one-group.json").write_text(json.dumps({**axis, "groups": ["Orvane"]}), encoding="utf-8")
    shutil.copytree(LORAS[0].parent, folder / "models" / "loras")
    (models / "damaged.safetensors").write_bytes(SHIPPED[0].read_bytes()[:-99])
    relabelled(SHIPPED[0], models / "other.safetensors")
    (node := folder / "custom_nodes" / "soak").mkdir(parents=True)
    (node / "__init__.py").write_text(NODE, encoding="utf-8")
    return models


def host():
    """-> (ComfyUI's folder, its Python)."""
    comfyui = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "ComfyUI")
    return comfyui, python_of(comfyui)


def soak(folder, count, plain):
    """Run `count` prompts.

    -> {rounds: what was measured after each, seconds: of each step, others: [(number, step, what became of it)]}
    """
    seconds = {}
    os.environ |= ALLOCATOR
    prompts, rounds, others, start = Prompts(prepared(folder), plain=plain), [], [], time.time()
    with running(*host(), folder) as server:
        for number in range(count):
            name, graph, expected = STEPS[number % len(STEPS)]
            if name in TRAIN and number // len(STEPS) % TRAINED:
                name, graph, expected = STEPS[0]
            if plain and expected in ("error", "refused"):
                expected = "success"
            begun = time.time()
            found = outcome(server, graph(prompts), expected)
            seconds.setdefault(name, []).append(round(time.time() - begun, 1))
            if found != (expected if isinstance(expected, str) else "interrupted"):
                others.append((number, name, found))
                print(f"    prompt {number} ({name}): {found}", flush=True)
            if number % len(STEPS) == len(STEPS) - 1:
                rounds.append({"prompts": number + 1, "seconds": round(time.time() - start), **freed(server)})
                print(rounds[-1], flush=True)
        if others:
            print(server.log[-3000:])
    return {"rounds": rounds, "seconds": seconds, "others": others}


SHELL = ("--cfg", "10", "--steps", "2", "--images", "16")
SHARED_CFG = (2.0, 4.0)  # of the two ComfyUIs


def beside(folder):
    """Two ComfyUIs and a shell calibrate one file, learn, and sample with a file that is replaced -> what was found."""
    models, failures = prepared(folder), []
    write_whole(models / "learned.safetensors", SHIPPED[0].read_bytes())
    shell = [sys.executable, "-m", "corrector", "calibrate", models / "learned.safetensors", *SHELL]
    shell += ["--pictures-folder", folder / "output" / "rs_corrector" / "calibrations" / "shell"]
    databases = [f"sqlite:///{folder}/{number}.db" for number in range(2)]
    with (
        running(*host(), folder, "--database-url", databases[0], log="first.txt") as first,
        running(*host(), folder, "--database-url", databases[1], log="second.txt") as second,
    ):
        queued, servers = [], (first, second)
        for server, cfg in zip(servers, SHARED_CFG, strict=True):
            prompts = Prompts(models)  # the same seed: the same folder of pairs
            several = [
                prompts.own("RSCorrectorCalibrate", **{**CALIBRATION, "cfg": cfg}),
                prompts.learned(name="by both"),
                prompts.learned(name=f"at {cfg:g}", seed=5),
                *(prompts.graph(load("replaced.safetensors"), steps=40 + n) for n in range(10)),
            ]
            prompts.replaced()
            queued += [(server, server.post("/prompt", {"prompt": graph})) for graph in several]
        done = subprocess.run(list(map(str, shell)), cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            failures.append(("shell", done.stderr[-300:]))
        while any(any(server.get("/queue").values()) for server in servers):  # running or pending
            prompts.replaced()
            time.sleep(0.05)
        for server, answer in queued:
            history = server.wait(answer["prompt_id"]) if "prompt_id" in answer else answer
            if history.get("status", {}).get("status_str") != "success":
                failures.append((str(server.address), json.dumps(history)[:1000]))
        # A run with the one file corrects both pictures, with the other none.
        runs = [[server.log.count(f"corrected {some} of 2") for some in (2, 0)] for server in servers]
    known = load_preference(models / "learned.safetensors")
    for name in ("by both", *(f"at {cfg:g}" for cfg in SHARED_CFG)):
        try:
            load_preference(next(folder.rglob(f"{name}.safetensors"), models / name))
        except PreferenceFileError as error:
            failures.append((name, str(error)))
    return {
        "failures": failures,
        "calibrated at": sorted({found.cfg for found in known.calibrations}),
        "groups": len({found.group for found in known.calibrations}),
        "replaced": prompts.written,
        "runs with the one and the other": runs,
        "parts": len(list(folder.rglob("*.part"))),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--plain", action="store_true", help="the control: no preference, no learning")
    parser.add_argument("--beside", action="store_true", help="two ComfyUIs and a shell instead of one ComfyUI")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = beside(Path(folder)) if args.beside else soak(Path(folder), args.prompts, args.plain)
    print(json.dumps(figures, indent=1))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
