"""RS-Corrector on a CUDA GPU, each figure beside the plain run's: `python benchmarks/gpu.py --json gpu.json`.

Needs the repository, requirements-demo.txt and a torch with CUDA; downloads nothing. `demo`: rates of the miniature.
`same`: corrected latents and decisions against the CPU's. `learn`, `calibrate`, `audit`: short runs on the miniature.
`step`: time, kernels and memory of a sampling step, full-size UNet of random weights. `hosts`: KSampler, Calibrate and
Audit in a real ComfyUI, if COMFYUI_PATH is set. `--device cpu --quick` only tries the script: its figures mean nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from unittest import mock

import torch

ROOT = Path(__file__).resolve().parents[1]
SEED, CFG = 2026, 2.0  # CFG of the miniature
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SD15 = dict(sample_size=64, cross_attention_dim=768, block_out_channels=(320, 640, 1280, 1280))
SDXL = dict(
    sample_size=128, cross_attention_dim=2048, use_linear_projection=True, block_out_channels=(320, 640, 1280),
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), attention_head_dim=(5, 10, 20),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), transformer_layers_per_block=(1, 2, 10),
    addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
)  # fmt: skip


class Bench:
    """The rows of all parts, and what the parts share.

    Args:
        device: name of the torch device.
        quick: few pictures and steps, small UNet.
        sdxl: `step` has an SDXL UNet.
        path: JSON file that gets the rows as they come, or None.
    """

    def __init__(self, device, quick, sdxl, path):
        self.device, self.quick, self.sdxl, self.path = torch.device(device), quick, sdxl, path
        self.cuda, self.rows, self.failed, self.steps = self.device.type == "cuda", [], False, 2 if quick else 16
        name = torch.cuda.get_device_name(self.device) if self.cuda else "CPU"
        self.name = f"{name}, torch {torch.__version__}"

    def say(self, figure, plain=None, corrected=None, unit="", n=1, **more):
        """Print and keep one row; `more` is what differs from the miniature's settings."""
        row = dict(part=self.part, figure=figure, plain=plain, corrected=corrected, unit=unit, model="miniature")
        row |= dict(device=self.name, dtype="fp32", cfg=CFG, steps=self.steps, sampler="euler", n=n, seed=SEED) | more
        self.rows.append(row)
        values = ("" if value is None else f"{value:.4g}" for value in (plain, corrected))
        print("{:10}{:62}{:>10}{:>11} {}, n={}".format(self.part, figure, *values, unit, n), flush=True)
        if self.path:
            self.path.write_text(json.dumps(self.rows, indent=1) + "\n")

    def check(self, holds, error):
        if not holds:
            self.failed = True
            self.say(f"ERROR: {error}")

    @contextmanager
    def trying(self, what):
        """An exception inside becomes a row."""
        try:
            yield
        except Exception as error:
            self.check(False, " ".join(f"{what}: {type(error).__name__}: {error}".split())[:600])

    def now(self):
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def ms(self, start, end):
        """Milliseconds between two results of `now`."""
        if not self.cuda:
            return 1000 * (end - start)
        end.synchronize()
        return start.elapsed_time(end)

    def timed(self, call, *args, **options):
        """-> (what the call returns, seconds)."""
        start = self.now()
        result = call(*args, **options)
        return result, self.ms(start, self.now()) / 1000

    def check_networks(self, *preferences):
        from corrector.latents.devices import device_of

        parts = [part for one in preferences for part in (one.source, one.gate, one.judge)]
        found = {str(device_of(part)) for part in parts if part is not None}
        self.check(found == {"cpu"}, f"after the run networks are on {sorted(found)}; expected the CPU")

    def miniature(self, device=None):
        from corrector.miniature.host import Miniature

        host = Miniature()
        host.pipe.to(device or self.device).set_progress_bar_config(disable=True)
        host.steps = self.steps
        return host

    def preference(self, name="backdrop"):
        """A shipped one, in a quick run of one group only."""
        from corrector.files.folders import WEIGHTS
        from corrector.preference.file import load_preference

        one = load_preference(WEIGHTS / f"miniature-{name}.safetensors")
        return replace(one, axis=replace(one.axis, groups=one.axis.groups[:1])) if self.quick else one


def prompts_and_seeds(group, n):
    from corrector.miniature.prompts import HELD_OUT_NEUTRAL, held_out

    return [held_out(HELD_OUT_NEUTRAL, group, index) for index in range(n)], [SEED + index for index in range(n)]


def demo(bench):
    from corrector.cli.demo import STEREOTYPES
    from corrector.correction.sampled import sample_corrected
    from corrector.correction.update import Settings

    host, both, n = bench.miniature(), [bench.preference(name) for name in STEREOTYPES], 4 if bench.quick else 64
    host.sample(host.encode(["a portrait"]), [0])  # warms up
    for group in both[0].axis.groups:
        prompts, seeds = prompts_and_seeds(group, n)
        plain, plain_seconds = bench.timed(host.sample, host.encode(prompts), seeds)
        (made, _), seconds = bench.timed(sample_corrected, host, prompts, seeds, both, Settings())
        read = [host.reader.read(host.decode(latents)) for latents in (plain, made)]
        for attribute, side in STEREOTYPES.items():
            rates = (sum(label in (side, "unreadable") for label in labels[attribute]) / n for labels in read)
            bench.say(f"{group}: {attribute} {side}", *rates, "share", n)
        bench.say(f"{group}: sampling", plain_seconds, seconds, "s", n)
    bench.check_networks(*both)


def same(bench):
    from corrector import corrected
    from corrector.correction.sampled import sample_corrected
    from corrector.correction.update import Settings

    n, preference, found = 4 if bench.quick else 32, bench.preference(), {"our sampler": [], "diffusers": []}
    prompts, seeds = prompts_and_seeds(preference.axis.groups[0], n)
    options = dict(num_inference_steps=bench.steps, guidance_scale=CFG, output_type="latent")
    for device in ("cpu", bench.device):
        host = bench.miniature(device)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # matrix products have none by default
            plain = host.sample(host.encode(prompts), seeds).cpu()
            made, reasons = sample_corrected(host, prompts, seeds, [preference], Settings(target=0.5))
            found["our sampler"].append((plain, made, reasons))
            plain = host.pipe(prompts, latents=host.noise(seeds), **options).images.cpu()
            with corrected(host.pipe, preference, target=0.5) as run:
                made = host.pipe(prompts, latents=host.noise(seeds), **options).images.cpu()
            found["diffusers"].append((plain, made, run.reasons))
    for sampler, ((*on_cpu, expected), (*here, reasons)) in found.items():
        apart = (float((a - b).abs().max()) for a, b in zip(on_cpu, here, strict=True))
        bench.say(f"{sampler}: largest difference from the CPU", *apart, "latent units", n)
        alike = sum(a == b for a, b in zip(expected[0], reasons[0], strict=True))
        bench.say(f"{sampler}: decided as on the CPU, target 0.5", None, alike, "pictures", n)
        bench.check(alike == n, f"{sampler}: {n - alike} pictures are decided differently than on the CPU")
    bench.check_networks(preference)


def learn(bench):
    import corrector
    from corrector.learning import learn as module

    sizes, fewer = dict(count=64, steps=1000), {}
    if bench.quick:
        sizes = dict(count=4, steps=4, points=20)
        fewer = dict(
            FEWEST_GATE_STEPS=0,
            train_gate=partial(module.train_gate, count=60),
            train_judge=partial(module.train_judge, steps=4),
        )
    with mock.patch.multiple(module, **fewer) if fewer else nullcontext():
        made, seconds = bench.timed(corrector.learn, bench.miniature(), bench.preference().axis, seed=SEED, **sizes)
    bench.say(f"time, {sizes['steps']} training steps", None, seconds, "s", sizes["count"])
    for name in ("update_r2", "judge_cross_fitted_accuracy"):
        bench.say(name, None, made.training[name], "R2" if name == "update_r2" else "share", sizes["count"])
    bench.check_networks(made)


def calibrate(bench):
    import corrector

    sizes, before = dict(count=2) if bench.quick else dict(count=84), bench.preference()
    after, seconds = bench.timed(corrector.calibrate, bench.miniature(), before, cfgs=(CFG,), seed=SEED, **sizes)
    bench.say("time", None, seconds, "s", sizes["count"])
    for known in (known for known in after.calibrations if known.cfg == CFG):
        bench.say(f"{known.group}: counter side", known.base_rate, known.full_rate, "share", known.full_n)
    bench.check_networks(before, after)


def audit(bench):
    import corrector

    one, n, shown = bench.preference(), 2 if bench.quick else 40, {}
    with tempfile.TemporaryDirectory() as folder:
        options = dict(images=n, explicit=max(1, n // 4), target=0.5, seed=SEED)
        report, seconds = bench.timed(corrector.audit, bench.miniature(), one.axis, [one], Path(folder), **options)
        written = {path.name for path in Path(folder).rglob("*")}
    bench.say("time, target 0.5", None, seconds, "s", n)
    for row in report["figures"]:
        if row["figure"] == "stereotype rate":
            shown.setdefault(f"{row['group']}: stereotype, target 0.5, {row['judge']} judge", []).append(row["value"])
    for figure, rates in shown.items():
        bench.say(figure, *rates, "share", n)
    bench.check({"report.json", "audit.html"} <= written, "report.json or audit.html was not written")
    bench.check_networks(one)


def full_size(bench):
    """A pipeline of random weights with the UNet of SD1.5 or SDXL; prompts are given as embeddings."""
    import diffusers

    config = SDXL if bench.sdxl else SD15
    if bench.quick:
        small = dict(sample_size=16, layers_per_block=1, attention_head_dim=4, transformer_layers_per_block=1)
        config = config | small | dict(block_out_channels=(32,) * len(config["block_out_channels"]))
    blocks = dict(down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
    torch.manual_seed(SEED)
    with bench.device:
        unet = diffusers.UNet2DConditionModel(**config).eval().requires_grad_(False)
        scale = 0.13025 if bench.sdxl else 0.18215
        vae = diffusers.AutoencoderKL(**blocks, block_out_channels=(32,) * 4, scaling_factor=scale)
    betas = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    parts = dict(vae=vae, unet=unet, scheduler=diffusers.EulerDiscreteScheduler(**betas), text_encoder=None)
    if bench.sdxl:
        return diffusers.StableDiffusionXLPipeline(**parts, tokenizer=None, text_encoder_2=None, tokenizer_2=None)
    parts |= dict(tokenizer=None, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    return diffusers.StableDiffusionPipeline(**parts)


def work(bench, call, *args):
    """What a call does: {"kernels": n, "copies": n} on a GPU, else {"operations": n}."""
    if not bench.cuda:
        from overhead import Count

        with Count() as count:
            call(*args)
        return {"operations": count.operations}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call(*args)
        torch.cuda.synchronize()
    names = [event.name for event in profile.events() if str(event.device_type).endswith("CUDA")]
    copies = sum(name.startswith(("Memcpy", "Memset")) for name in names)
    return {"kernels": len(names) - copies, "copies": copies}


def measure(bench, pipe, preference, dtype, batch, what):
    """Rows of one way to run a pipeline; plain and corrected calls from the same seed alternate.

    Args:
        bench: Bench.
        pipe: the pipeline, in the precision `dtype`.
        preference: the Preference that corrects.
        dtype: name in DTYPES.
        batch: pictures at once.
        what: name of this way.
    """
    from corrector import corrected

    size, shapes = 8 * pipe.unet.config.sample_size, {"prompt_embeds": (77, pipe.unet.config.cross_attention_dim)}
    more = dict(dtype=dtype, cfg=7.0, steps=4 if bench.quick else 20)
    more["model"] = f"{'SDXL' if bench.sdxl else 'SD1.5'} UNet, random weights, {size} x {size}, batch {batch}"
    options = {
        sign + name: torch.randn(batch, *shape).to(bench.device, DTYPES[dtype])
        for name, shape in (shapes | ({"pooled_prompt_embeds": (1280,)} if bench.sdxl else {})).items()
        for sign in ("", "negative_")
    } | dict(guidance_scale=more["cfg"], output_type="latent")  # fmt: skip

    def call(corrects, steps=more["steps"]):
        """-> (latents [B, C, H, W], milliseconds of each step but the first, MiB at most)."""
        marks, own = [], dict(num_inference_steps=steps, generator=torch.Generator().manual_seed(SEED))
        own["callback_on_step_end"] = lambda *_: marks.append(bench.now()) or {}
        if bench.cuda:
            torch.cuda.reset_peak_memory_stats()
        with corrected(pipe, preference, strength=float(corrects)) as run:  # 0 replaces nothing
            latents = pipe(**options, **own).images
        if corrects and set(run.outcomes()) != {"corrected"}:
            raise RuntimeError(f"not all pictures were corrected: {run.report()}")
        ms = [bench.ms(*both) for both in pairwise(marks)]
        return latents, ms, torch.cuda.max_memory_allocated() / 2**20 if bench.cuda else None

    both, times = (False, True), ([], [])
    last = [call(corrects) for corrects in both]  # warms up
    for number in range(1 if bench.quick else 4):
        for corrects in both if number % 2 else both[::-1]:
            last[corrects] = call(corrects)
            times[corrects].extend(last[corrects][1])
    added, n = median(after - before for before, after in zip(*times, strict=True)), len(times[0])
    rows = [("a step", *map(median, times), "ms", n), ("added to a step, in pairs", None, added, "ms", n)]
    few, many = ([work(bench, call, corrects, steps) for corrects in both] for steps in (2, 4))
    rows += [(f"{name} a step", *((many[i][name] - few[i][name]) / 2 for i in both), "", 2) for name in few[0]]
    rows += [("peak memory", *(peak for *_, peak in last), "MiB", 1)] if bench.cuda else []
    finite = [int(latents.isfinite().flatten(1).all(dim=1).sum()) for latents, *_ in last]
    for figure, *values in (*rows, ("finite", *finite, "pictures", batch)):
        bench.say(f"{dtype}, batch {batch}, {what}: {figure}", *values, **more)
    bench.check(finite == [batch] * 2, f"{dtype}, batch {batch}, {what}: latents with NaN or infinity")
    bench.check(not last[0][0].equal(last[1][0]), f"{dtype}, batch {batch}, {what}: the correction changed nothing")


def step(bench):
    pipe, space = full_size(bench), "sdxl" if bench.sdxl else "sd15"
    pipe.set_progress_bar_config(disable=True)
    from corrector.preference.calibration import Calibration

    one = bench.preference()
    toned = Calibration(one.axis.groups[0], 7.0, 0.0, 1, 1.0, 1, tone=1.0)  # changes pictures whatever its gate says
    preference = replace(one, space=space, gate=None, calibrations=(toned,))  # costs what any other does
    for dtype in list(DTYPES)[: None if bench.cuda else 1]:
        pipe.to(DTYPES[dtype])
        for batch in (1, 4):
            with bench.trying(f"{dtype}, batch {batch}"):
                measure(bench, pipe, preference, dtype, batch, "eager")
    unet, one = pipe.unet, (bench, pipe, preference, dtype, 1)
    with bench.trying("channels_last"):
        unet.to(memory_format=torch.channels_last)
        measure(*one, "channels_last")
    unet.to(memory_format=torch.contiguous_format)
    if not bench.cuda:
        return bench.say("torch.compile and model CPU offload: not run without a GPU")
    try:
        pipe.unet = torch.compile(unet)
        measure(*one, "torch.compile")
    except Exception as error:
        bench.say(f"torch.compile: skipped, since it failed: {' '.join(str(error).split())[:300]}")
    pipe.unet = unet
    with bench.trying("model CPU offload"):
        pipe.enable_model_cpu_offload(device=bench.device)
        measure(*one, "model CPU offload")


def hosts(bench):
    folder = os.environ.get("COMFYUI_PATH")
    if not folder:
        return bench.say("not run, since COMFYUI_PATH is not set")
    own = [Path(folder, name) for name in (".venv/bin/python", "venv/bin/python", ".venv/Scripts/python.exe")]
    python = next((python for python in own if python.is_file()), sys.executable)
    for memory in ("normal", "novram"):
        with bench.trying(memory), tempfile.TemporaryDirectory() as out:
            command = [python, ROOT / "benchmarks" / "gpu_in_comfyui.py", out, memory]
            command = [str(word) for word in command] + ["--quick"] * bench.quick + ["--cpu"] * (not bench.cuda)
            done = subprocess.run(command, capture_output=True, text=True, timeout=240)
            rows = Path(out, "rows.json")
            for row in json.loads(rows.read_text()) if rows.is_file() else []:
                bench.say(f"ComfyUI, {memory} memory: {row[0]}", *row[1:])
            bench.check(done.returncode == 0, f"ComfyUI, {memory} memory: {done.stderr.strip()[-600:]}")


PARTS = {part.__name__: part for part in (demo, same, learn, calibrate, audit, step, hosts)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to this file")
    parser.add_argument("--device", default="cuda:0", help="torch device (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="few pictures and steps, and a small UNet")
    parser.add_argument("--sdxl", action="store_true", help="the UNet of `step` is SDXL's, at 1024 x 1024")
    args = parser.parse_args()
    if args.device != "cpu" and not torch.cuda.is_available():
        sys.exit("No CUDA device was found; run this on a machine with an NVIDIA GPU and a torch built for CUDA.")
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path.insert(0, str(ROOT))
    bench = Bench(args.device, args.quick, args.sdxl, args.json)
    if bench.cuda:
        torch.cuda.set_device(bench.device)
    print(f"{bench.name}\n{'part':10}{'figure':62}{'plain':>10}{'corrected':>11}")
    for bench.part in args.only:
        started = time.perf_counter()
        with bench.trying(bench.part):
            PARTS[bench.part](bench)
        print(f"{bench.part}: {time.perf_counter() - started:.0f} s in all", flush=True)
    sys.exit(bench.failed)


if __name__ == "__main__":
    main()
