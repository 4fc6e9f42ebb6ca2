"""Shared by the tests of audits: a fast host that draws its pictures, short plans, and artificial correctors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.planted import Push
from corrector.auditing.judges import ModelJudge, ReaderJudge
from corrector.auditing.plan import Plan
from corrector.auditing.report import build
from corrector.auditing.run import Audit
from corrector.axis.axis import load_axis
from corrector.gate.prompt_gate import PromptReading
from corrector.miniature.reader import load_reader
from corrector.miniature.world import draw, wanted_scene
from corrector.preference.preference import Preference

ROOT = Path(__file__).resolve().parents[1]
AXIS = load_axis(ROOT / "axes" / "miniature-backdrop.json")
SHIPPED = ROOT / "weights" / "miniature-backdrop.safetensors"
EXPLICIT = ("neither", "stereotype", "counter")
DRAWN_PICTURES = {}  # cache by group, seed, side and skin tone
RATES = {"Orvane": 0.9, "Tavelu": 0.7, "Quilmari": 0.4}


class DrawnHost:
    """A host that draws each picture from its seed, without a model.

    Channels of a latent: group, texture, seed, side (1 is counter, -1 stereotype). The lower half of the seed's channel
    is the change of skin lightness in points of L*.

    Args:
        rates: {group: stereotype rate}, in addition to RATES.
        name: its identity as a checkpoint.
    """

    space, batch, steps, cfg, shape, device = "miniature", 50, 16, 2.0, (4, 16, 16), torch.device("cpu")

    def __init__(self, rates=None, name="drawn"):
        self.rates, self.identity = {**RATES, **(rates or {})}, {"checkpoint": name, "space": "drawn"}
        self.evaluations = 0

    def encode(self, prompts):
        rows = []
        for prompt in prompts:
            asked = [n for n in (1, 2) if any(p in prompt for p in getattr(AXIS, EXPLICIT[n]).phrases)]
            rows.append([[next(i for i, g in enumerate(AXIS.groups) if g in prompt), asked[0] if asked else 0]])
        return torch.tensor(rows, dtype=torch.float32)  # [N, 1, 2]

    def sample(self, conditioning, seeds, cfg=2.0, steps=None, hook=None):
        self.evaluations += len(seeds)
        latents = torch.zeros(len(seeds), *self.shape)
        for latent, (group, asked), seed in zip(latents, conditioning[:, 0].long().tolist(), seeds, strict=True):
            rng = np.random.default_rng(seed)
            counter = rng.random() >= self.rates[AXIS.groups[group]] if not asked else asked == 2
            latent[0], latent[3] = group, 1.0 if counter else -1.0
            latent[1] = torch.from_numpy(rng.normal(size=self.shape[1:]))
            latent[2, 0, :2] = torch.tensor([seed // 65536, seed % 65536]) / 65536
        latents = latents.to(self.device)
        sigma = torch.ones(len(seeds), device=self.device)
        return hook(latents, latents, sigma, torch.arange(len(seeds)), latents) if hook else latents

    def denoise(self, x, sigma, conditioning):
        """Its error is about the same for pictures with a side of -5 to 5, and larger for others."""
        return x + sigma.view(-1, 1, 1, 1) * x[:, 3:].abs().clamp(min=5) * (1 + 0.1 * x[:, 1:2])

    def encode_pictures(self, pictures):
        raise AssertionError("no skin changes by any points that are known")

    def decode(self, latents):
        pictures = []
        for latent in latents:
            high, low = (latent[2, 0, :2] * 65536).round().long().tolist()
            key = round(float(latent[0, 0, 0])), high * 65536 + low, bool(latent[3].mean() > 0)
            key = *key, round(float(latent[2, 8:].mean()))
            if key not in DRAWN_PICTURES:
                group, seed, counter, lighter = key
                rng, backdrop = np.random.default_rng(seed), "city" if counter else "village"
                scene = wanted_scene(rng, AXIS.groups[group], backdrop=backdrop)
                DRAWN_PICTURES[key] = draw(replace(scene, skin=scene.skin + lighter))
            pictures.append(torch.from_numpy(DRAWN_PICTURES[key].copy()).permute(2, 0, 1).float() / 127.5 - 1)
        return torch.stack(pictures)


class DrawnJudge:
    """A judge of drawn latents that is wrong on 1 in 40."""

    name = "model"
    about = {"name": "model", "what": "a stand-in for the model", "source": "drawn", "caveat": ""}

    def look(self, latents, pictures, group):
        counter = (latents[:, 3].mean(dim=(1, 2)) > 0) ^ (latents[:, 1, 0, 0] > 1.96)
        return ["counter" if shown else "stereotype" for shown in counter.tolist()], None


class SideGate:
    """A gate that reads a DrawnHost's conditioning."""

    def read(self, conditionings):
        group, asked = conditionings[0][0, 0].long().tolist()
        return PromptReading(group, EXPLICIT[asked])


def to_the_counter_side(x, sigma):
    push = torch.zeros_like(x)
    push[:, 3] = 2.0
    return push


DRAWN = Preference(AXIS, "miniature", Push(to_the_counter_side), SideGate(), name="drawn", hash="drawn")


def plan(groups=("Orvane",), **settings):
    defaults = dict(images=40, explicit=10, seed=11, steps=8)
    return Plan(replace(AXIS, groups=groups), **{**defaults, **settings})


def drawn_audit(plan, preferences=(), host=None):
    """An Audit of drawn pictures by a judge with a few errors, and by the miniature's reader."""
    reader = load_reader(ROOT / "weights" / "miniature")
    judges = [DrawnJudge(), ReaderJudge(reader, plan.axis)]
    return Audit(host or DrawnHost(), plan, judges, list(preferences))


def audit_of(host, plan, preferences=()):
    """An Audit by the miniature itself and its reader."""
    judges = [ModelJudge(host, plan.axis), ReaderJudge(host.reader, plan.axis)]
    return Audit(host, plan, judges, list(preferences))


def report_of(run, folder, **options):
    """Run an Audit in `folder` -> its report."""
    records, features, _ = run.run(folder, **options).collect(run.plan, run.judges[0].name)
    return build(run, records, features)


def failures(report):
    return {finding["name"] for finding in report["findings"] if finding["level"] == "failure"}
