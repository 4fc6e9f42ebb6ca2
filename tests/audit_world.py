"""What the tests of the audit share: the miniature, short plans, and small correctors that fail on purpose."""

from dataclasses import replace
from pathlib import Path

import torch

from corrector.audit_judges import ReaderJudge, latent_judge
from corrector.audit_plan import Plan
from corrector.audit_run import Audit
from corrector.axis import load_axis
from corrector.files import load_preference
from corrector.preference import Reading

ROOT = Path(__file__).resolve().parents[1]
AXIS = load_axis(ROOT / "axes" / "miniature-backdrop.json")
SHIPPED = ROOT / "weights" / "miniature-backdrop.safetensors"


def plan(groups=("Orvane",), **settings):
    defaults = dict(images=20, explicit=20, seed=11, steps=8)
    return Plan(replace(AXIS, groups=groups), **{**defaults, **settings})


def audit_of(host, plan, preferences=(), reader=True):
    judges = [latent_judge(load_preference(SHIPPED))]
    if reader:
        judges.append(ReaderJudge(host.reader, plan.axis))
    return Audit(host, plan, judges, list(preferences))


class Push:
    """A corrector that fails on purpose: its gate is always open and its push is what `push(x, sigma)` says."""

    kind, includes_base_rate = "planted", True

    def __init__(self, push):
        self.push = push

    def __call__(self, x, sigma, group):
        return Reading(torch.full((len(x),), -20.0), self.push(x, sigma.view(-1, 1, 1, 1)))


def planted(push, axis, name):
    preference = load_preference(SHIPPED)
    return replace(preference, axis=axis, source=Push(push), gate=None, calibrations=(), name=name, hash=name)
