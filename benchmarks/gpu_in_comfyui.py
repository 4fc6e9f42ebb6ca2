"""KSampler, Calibrate and Audit in ComfyUI's own Python, for `benchmarks/gpu.py`: writes their rows to OUT/rows.json.

`COMFYUI_PATH=FOLDER <ComfyUI's python> benchmarks/gpu_in_comfyui.py OUT normal|novram [--cpu] [--quick]`.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from gpu import CFG, SEED
from overhead import load_pack


@torch.inference_mode()
def measure(out, memory, cpu, quick):
    """Args as on the command line."""
    nodes = load_pack(Path(os.environ["COMFYUI_PATH"]), cpu=cpu, novram=memory == "novram")
    import folder_paths
    from comfy.model_management import get_torch_device

    from nodes import common_ksampler

    folder_paths.set_output_directory(str(out))
    folder_paths.set_temp_directory(str(out))
    nodes, rows = {node.GET_SCHEMA().node_id.removeprefix("RSCorrector"): node for node in nodes}, []

    def timed(call, *args, **options):
        started = time.perf_counter()
        result = call(*args, **options)
        return getattr(result, "result", result), time.perf_counter() - started

    def say(*row):
        rows.append(row)
        (out / "rows.json").write_text(json.dumps(rows))

    (model, clip, vae), _ = timed(nodes["Miniature"].execute)
    ((loaded,),), _ = timed(nodes["LoadPreference"].execute, "miniature-backdrop.safetensors")
    one = replace(loaded, path=None)  # or Calibrate would write into the user's models folder
    settings = dict(target=0.5, start_percent=0.0, end_percent=1.0, thinning_seed=0, cap=0.0, gate=True)
    (corrected,), _ = timed(nodes["Advanced"].execute, model, (one,), 1.0, **settings)
    conds = [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("a portrait of an Orvane person", "")]
    steps = images = 2 if quick else 16
    made = []
    for which in (model, model, corrected):  # the first warms up
        empty = {"samples": torch.zeros(8, 4, 16, 16)}
        (latent,), seconds = timed(common_ksampler, which, SEED, steps, CFG, "euler", "karras", *conds, empty)
        made.append((latent["samples"].cpu(), seconds))
    say(f"KSampler on {get_torch_device()}, target 0.5", made[1][1], made[2][1], "s", 8)
    changed = int((made[1][0] != made[2][0]).flatten(1).any(dim=1).sum())
    say("changed by the correction, target 0.5", 0, changed, "pictures", 8)
    assert changed and all(latent.isfinite().all() for latent, _ in made), "nothing was changed, or not all is finite"
    options = dict(cfg=CFG, steps=steps, seed=SEED, sampler="euler", scheduler="karras", width=128, height=128, batch=8)
    options |= dict(images=images, narrow=0.0)
    _, seconds = timed(nodes["Calibrate"].execute, model, clip, (one,), vae=vae, **options)
    say("RSCorrectorCalibrate", None, seconds, "s", images)
    options |= dict(strength=1.0, target=0.5, preference=(one,))
    (*_, text), seconds = timed(nodes["Audit"].execute, model, clip, vae, one.axis, **options)
    say("RSCorrectorAudit, target 0.5", None, seconds, "s", images)
    assert Path(text.splitlines()[0]).is_file(), "RSCorrectorAudit wrote no page"
    homes = {tensor.device.type for part in (one.source, one.judge) for tensor in part.parameters()}
    assert homes == {"cpu"}, f"after the run networks are on {homes}; expected the CPU"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("memory", choices=("normal", "novram"))
    parser.add_argument("--cpu", action="store_true", help="without a GPU")
    parser.add_argument("--quick", action="store_true", help="few pictures and steps")
    args = parser.parse_args()
    sys.argv = sys.argv[:1]  # ComfyUI reads it too
    measure(**vars(args))


if __name__ == "__main__":
    main()
