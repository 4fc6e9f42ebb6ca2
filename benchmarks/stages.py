"""Whether later stages of a picture keep what the first decided, in a real ComfyUI: decisions kept, by kind of stage.

`COMFYUI_PATH=... <ComfyUI's python> benchmarks/stages.py --runs 20 --json stages.json`, on the miniature at target 0.5:
batches of 8, each run another seed. Every stage starts from what the first gave, by the host's own nodes.
"""

import argparse
import json
import sys
from contextlib import contextmanager
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "hosts" / "inside"))

import host  # noqa: E402  ComfyUI's modules and our pack
from comfy_extras import nodes_custom_sampler as custom  # noqa: E402
from rs_pack.nodes import correction, metadata  # noqa: E402

import nodes as host_nodes  # noqa: E402

BATCH, CFG, STEPS, SAMPLER = 8, 2.0, 6, ("euler", "karras")


@contextmanager
def recorded():
    """-> a list of lists: what each run inside said of its pictures."""
    kept, original = [], metadata.record
    metadata.record = lambda entries: kept.append([image.split(":")[0] for image in entries[0]["images"]])
    try:
        yield kept
    finally:
        metadata.record = original


class Graph:
    """The miniature with the correction, and the first stage of one run."""

    def __init__(self, target=0.5):
        self.model, self.clip, self.vae = host.node("RSCorrectorMiniature")
        self.backdrop = host.node("RSCorrectorLoadPreference", "miniature-backdrop.safetensors")
        self.corrected = host.correct(self.model, self.backdrop, target=target)
        self.again = host.correct(self.model, self.backdrop, target=target)  # another node: a refiner
        self.positive, self.empty = (host.encode(self.clip, text) for text in ("a portrait of an Orvane person", ""))

    def sample(self, latent, seed, denoise=0.6, model=None, positive=None):
        latent = latent if isinstance(latent, dict) else {"samples": latent}
        model, positive = model or self.corrected, positive or self.positive
        return host_nodes.common_ksampler(
            model, seed, STEPS, CFG, *SAMPLER, positive, self.empty, latent, denoise=denoise
        )[0]  # fmt: skip

    def advanced(self, latent, seed, start, end, noise, leftover, model=None):
        switch = {True: "enable", False: "disable"}
        return host_nodes.KSamplerAdvanced().sample(
            model or self.corrected, switch[noise], seed, STEPS, CFG, *SAMPLER, self.positive, self.empty, latent,
            start, end, switch[leftover],
        )[0]  # fmt: skip

    def encode(self, pictures):
        return {"samples": self.vae.encode(pictures)}

    def pictures(self, latent, size=None):
        pictures = self.vae.decode(latent["samples"])
        if size is None:
            return pictures
        return host_nodes.ImageScale().upscale(pictures, "bicubic", size, size, "disabled")[0]


def custom_stage(graph, latent, seed):
    """SamplerCustomAdvanced, split in the middle; the second sampler goes on from the first's prediction."""
    guider = custom.CFGGuider.execute(graph.corrected, graph.positive, graph.empty, CFG)[0]
    sampler = custom.KSamplerSelect.execute(SAMPLER[0])[0]
    sigmas = custom.KarrasScheduler.execute(STEPS, 14.6, 0.03, 7.0)[0]
    high, low = custom.SplitSigmas.execute(sigmas, STEPS // 2)
    noise = custom.RandomNoise.execute(seed)[0]
    _, denoised = custom.SamplerCustomAdvanced.execute(noise, guider, sampler, high, latent)
    custom.SamplerCustomAdvanced.execute(noise, guider, sampler, low, denoised)


def mask(left=64, right=128):
    found = torch.zeros(1, 128, 128)
    found[:, 32:96, left:right] = 1
    return found


def tile(pictures, y, x, size=128):
    return pictures[:, y : y + size, x : x + size]


def overlapping(graph, latent, seed):
    larger = graph.pictures(latent, 256)
    for y, x in ((0, 0), (0, 128), (96, 64), (128, 0), (128, 128)):
        graph.sample(graph.encode(tile(larger, y, x)), seed, 0.35)


def tiles_of_one(graph, seed):
    overlapping(graph, graph.sample({"samples": torch.zeros(1, 4, 16, 16)}, seed, 1.0), seed)


# name -> a function (graph, what the first stage gave, seed) that runs one or more later stages.
def stages():
    def tiles(graph, latent, seed):
        larger = graph.pictures(latent, 256)
        for y in (0, 128):
            for x in (0, 128):
                graph.sample(graph.encode(tile(larger, y, x)), seed, 0.35)

    def tiles_of_the_first(graph, latent, seed):
        overlapping(graph, {"samples": latent["samples"][:1]}, seed)

    def taken_apart(graph, latent, seed):
        for index in (5, 2):
            part = host_nodes.LatentFromBatch().frombatch(latent, index, 1)[0]
            graph.sample(part, seed)

    def put_together(graph, latent, seed):
        other = graph.sample({"samples": torch.zeros(2, 4, 16, 16)}, seed + 1, 1.0)
        graph.sample(torch.cat([other["samples"], latent["samples"]]), seed)  # as LatentBatch does

    def upscaled(method, scale):
        def stage(graph, latent, seed):
            size = round(128 * scale)
            graph.sample(host_nodes.LatentUpscale().upscale(latent, method, size, size, "disabled")[0], seed)

        return stage

    return {
        "latent upscale 2x nearest-exact, denoise 0.6": upscaled("nearest-exact", 2),
        "latent upscale 1.5x bislerp, denoise 0.6": upscaled("bislerp", 1.5),
        "hires fix by the VAE, 1.5x": lambda g, latent, s: g.sample(g.encode(g.pictures(latent, 192)), s, 0.5),
        "img2img of the result": lambda g, latent, s: g.sample(g.encode(g.pictures(latent)), s, 0.7),
        "inpainting of the result": lambda g, latent, s: g.sample(
            host_nodes.SetLatentNoiseMask().set_mask(latent, mask())[0], s, 1.0
        ),
        "inpainting, VAEEncodeForInpaint": lambda g, latent, s: g.sample(
            host_nodes.VAEEncodeForInpaint().encode(g.vae, g.pictures(latent), mask())[0], s, 1.0
        ),
        "refiner, the same kind of latents": lambda g, latent, s: g.sample(latent, s, 0.4, model=g.again),
        "tiles of a batch": tiles,
        "tiles of one picture of the batch": tiles_of_the_first,
        "batch taken apart": taken_apart,
        "batch put together": put_together,
    }


def two_samplers(graph, seed, model=None):
    empty = {"samples": torch.zeros(BATCH, 4, 16, 16)}
    first = graph.advanced(empty, seed, 0, STEPS // 2, True, True)
    graph.advanced(first, seed, STEPS // 2, STEPS, False, False, model)


def measure(runs, first_seed=70_000_000, only=""):
    """-> rows {stage, kept, pictures, unlike}; `unlike`: pictures whose stages were decided differently."""
    graph, rows = Graph(), []
    whole = {
        "two KSamplerAdvanced": two_samplers,
        "two KSamplerAdvanced, another node": lambda g, s: two_samplers(g, s, g.again),
        "tiles of one picture": tiles_of_one,
        "SamplerCustomAdvanced, from its prediction": lambda g, s: custom_stage(
            g, {"samples": torch.zeros(BATCH, 4, 16, 16)}, s
        ),
    }
    followers = {name: stage for name, stage in stages().items() if only in name}
    kept = dict.fromkeys([*(name for name in whole if only in name), *followers, "the graph run again"], (0, 0))

    def count(name, first, later):
        for decisions in later:
            kept[name] = kept[name][0] + sum(map(str.__eq__, first, decisions)), kept[name][1] + len(decisions)

    for run in range(runs):
        seed = first_seed + run
        correction._prompt_id = lambda seed=seed: seed
        for name, stage in whole.items():
            if only in name:
                with recorded() as said:
                    stage(graph, seed)
                count(name, said[0], said[1:])
        with recorded() as said:
            latent = graph.sample({"samples": torch.zeros(BATCH, 4, 16, 16)}, seed, 1.0)
        (first,) = said
        for name, stage in followers.items():
            with recorded() as said:
                stage(graph, latent, seed + 500)
            wanted = first
            if name == "batch taken apart":
                count(name, first[5:6] + first[2:3], [said[0] + said[1]])
                continue
            if name == "batch put together":
                said[1:], wanted = [said[1]], said[0] + first
                count(name, wanted, said[1:])
                continue
            count(name, wanted, said)
        correction._prompt_id = lambda seed=seed: seed + 10**9  # the first stage came from the cache
        with recorded() as said:
            graph.sample(host_nodes.LatentUpscale().upscale(latent, "bislerp", 192, 192, "disabled")[0], seed + 7)
        count("the graph run again", first, said)
        print(run, {name: f"{good}/{n}" for name, (good, n) in kept.items()}, flush=True)
    for name, (good, n) in kept.items():
        rows.append({"stage": name, "kept": good, "n": n, "runs": runs, "seed": first_seed, "model": "miniature"})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--only", default="", help="stages whose name has this")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with torch.inference_mode():
        rows = measure(args.runs, only=args.only)
    for row in rows:
        print(f"{row['stage']:50} {row['kept']} of {row['n']}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
