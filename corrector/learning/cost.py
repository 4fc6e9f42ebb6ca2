"""What learning costs on a model and a machine, told before it starts: evaluations of the model, and time.

Evaluations are counted in pictures. Their time is that of one timed step, and so is that of the VAE, of the text
encoder and of a step of training.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..axis.axis import Axis
from ..gate.prompt_gate import PromptGate
from ..gate.train import DIRECTIONS, GATE_BATCH, GATE_STEPS, HIDDEN, MEMBERS, REACH, texts_of_gate
from ..latents.host import LearningHost, starting_noise
from ..preference.networks import Distilled
from .calibrate import pictures_needed
from .learn import STEPS_A_POINT
from .pairs import steps_of
from .points import RUN_POINTS, UNGUIDED, runs_of
from .thumbnail import PICTURES
from .training import BATCH, batch_of, patch_of

VERDICT = 4  # evaluations of a verdict on a picture
FIRST_LOOK = 4  # those of the first two steps of a run with CFG
TONED = 8  # decodings of a picture whose skin is measured and set, and encodings, which take about as long
TEXT_TOKENS = 40  # of the longer texts from which a gate learns
TIMED = 8  # pictures and texts in a timed step


@dataclass(frozen=True)
class Cost:
    """Evaluations of the model, and seconds."""

    evaluations: int
    seconds: float

    def __str__(self) -> str:
        """Both in words."""
        duration = f"{self.seconds:.0f} seconds" if self.seconds < 120 else f"{self.seconds / 60:.0f} minutes"
        return f"{self.evaluations:,} evaluations of the model, about {duration} on this machine"


def cost_of(
    host: LearningHost, axis: Axis, shape: Sequence[int], count: int, points: int, cfg: float, images: int = 0,
    cfgs: Sequence[float] = (),
) -> Cost:  # fmt: skip
    """The Cost of `learn`, and of `calibrate` with some images at some CFG scales; takes some steps to time them.

    Args:
        host, axis, count, points, cfg, images, cfgs: theirs.
        shape: (C, H, W) of the latents.
    """
    groups, steps = len(axis.groups), steps_of(host)
    size = shape[0] * shape[1] * shape[2]
    pairs, shown = 2 * count * groups, 2 * PICTURES
    pictures = pairs + shown
    evaluations = pairs * (steps * _calls(cfg) + VERDICT) + shown * steps * _calls(cfg)
    evaluations += runs_of(host, points, size) * round(2 * RUN_POINTS + (1 - UNGUIDED) * (RUN_POINTS - 1))
    if images:
        evaluations += groups * images * FIRST_LOOK + shown * steps * _calls(cfg)
        pictures += len(cfgs) * TONED * groups * images
        for scale in cfgs:
            drawn = pictures_needed(groups, images, [scale])
            evaluations += drawn * steps * _calls(scale) + 2 * groups * images * VERDICT
            pictures += drawn
    prompts = axis.prompts(axis.groups[0])[:1] * min(TIMED, host.batch)
    x, prompted = starting_noise(range(len(prompts)), shape), host.encode(prompts)
    sigma = torch.full((len(prompts),), 5.0)
    seconds = evaluations * _timed(lambda: host.denoise(x, sigma, prompted)) / len(prompts)
    seconds += pictures * _timed(lambda: host.decode(x)) / len(prompts)
    seconds += texts_of_gate(axis) * _timed(lambda: list(host.encode_each(prompts))) / len(prompts)
    seconds += STEPS_A_POINT * points * _timed(_step_of_network(host, groups, shape))
    seconds += GATE_STEPS * _timed(_step_of_gate(groups))
    return Cost(evaluations, seconds)


def _calls(cfg):
    return 1 if cfg == 1 else 2


def _timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes once it is warm."""
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _step_of_network(host, groups, shape):
    network = Distilled(host.space, groups, patch=patch_of(torch.Size(shape))).to(host.device)
    batch = batch_of(BATCH, torch.Size(shape))
    x, sigma, group = torch.randn(batch, *shape), torch.ones(batch), torch.zeros(batch, dtype=torch.long)
    inputs = [part.to(host.device) for part in (x, sigma, group, x)]
    return lambda: network(*inputs).square().mean().backward()


def _step_of_gate(groups):
    gate = PromptGate(DIRECTIONS, groups, HIDDEN, reach=REACH, members=MEMBERS)
    tokens = torch.randn(GATE_BATCH, TEXT_TOKENS, DIRECTIONS)
    return lambda: torch.cat(gate(tokens), dim=2).square().mean().backward()
