"""Samples corrected pictures with a standalone host, for calibration and audits."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..gate.prompt_gate import PromptReading
from ..latents.devices import placed
from ..latents.host import Conditioning, Host, default_cfg, pictures_of
from ..preference.preference import Preference
from .run import Run
from .thinning import coins_from_seeds
from .update import Settings


def readings_of(
    preference: Preference, conditioning: Conditioning, prompts: Sequence[str]
) -> Sequence[PromptReading | None]:
    """What is read in each prompt, given as text and encoded; None for each if there is no gate."""
    return preference.readings([[conditioning[i : i + 1]] for i in range(len(conditioning))], prompts)


class HostModel:
    """A Host as the RunModel of one batch.

    Args:
        host: Host.
        conditioning: of the batch's B prompts.
        prompts: the same as texts.
        cfg: the CFG scale of the run.
    """

    def __init__(self, host: Host, conditioning: Conditioning, prompts: Sequence[str], cfg: float):
        self.host = host
        self.conditioning = conditioning
        self.prompts = prompts
        self.cfg = cfg

    def encode(self, preference: Preference, phrases: Sequence[str]) -> Conditioning:
        return self.host.encode([f"{prompt}, {phrase}" for prompt, phrase in zip(self.prompts, phrases, strict=True)])

    def prompted(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.host.denoise(x, sigma, self.conditioning)

    def plain(self, x: Tensor, sigma: Tensor) -> Tensor:
        conditional = self.prompted(x, sigma)
        if self.cfg == 1:
            return conditional
        negative = self.host.denoise(x, sigma, self.host.encode([""]))
        return negative + self.cfg * (conditional - negative)

    def side(self, conditioning: Conditioning, x: Tensor, sigma: Tensor, index: Tensor) -> Tensor:
        return self.host.denoise(x, sigma, conditioning[index.cpu()])


def first_predictions(
    host: Host, conditioning: Conditioning, seeds: Sequence[int], cfg: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Noisy latents [N, C, H, W], sigma [N] and predictions without and with CFG at the first step of a run."""
    first = {}  # {index of a picture: its parts}

    def look(denoised, x, sigma, index, conditional):
        batch = [part.detach().float().cpu().clone() for part in (x, sigma.expand(len(x)), conditional, denoised)]
        for i, *parts in zip(torch.as_tensor(index).tolist(), *batch, strict=True):
            first.setdefault(i, parts)
        return denoised

    host.sample(conditioning, seeds, cfg, steps=2, hook=look)  # schedules of one step may start at any sigma
    x, sigma, conditional, denoised = zip(*(first[i] for i in range(len(seeds))), strict=True)
    return torch.stack(x), torch.stack(sigma), torch.stack(conditional), torch.stack(denoised)


def sample_corrected(
    host: Host, prompts: Sequence[str], seeds: Sequence[int], preferences: Sequence[Preference],
    settings: Settings, cfg: float | None = None, plain: Tensor | None = None, **options,
) -> tuple[Tensor, list[list[str]]]:  # fmt: skip
    """Sample with the correction; each batch of the host is a Run -> (latents [N, C, H, W] on the CPU, reasons).

    The reasons are those of `Run.reasons`: a list per preference.

    Args:
        prompts, seeds: one per picture.
        preferences: applied together.
        cfg: the CFG scale, by default `default_cfg`.
        plain: latents of the same prompts and seeds without correction, if known. Pictures that are left alone are
            copied from them; those whose prompts leave them alone are not sampled.
        options: further arguments of `host.sample`.
    """
    cfg = default_cfg(host.space) if cfg is None else cfg
    conditioning = host.encode(prompts)
    coins = coins_from_seeds(seeds)
    reasons = [
        [
            reading.reason(preference.axis) if reading else ""
            for reading in readings_of(preference, conditioning, prompts)
        ]
        for preference in preferences
    ]
    sampled = torch.arange(len(seeds))
    if plain is not None:
        sampled = torch.tensor([i for i, why in enumerate(zip(*reasons, strict=True)) if not all(why)])
        if not len(sampled):
            return plain, reasons
    runs = {}  # {index of a batch's first picture: (its pictures, its Run)}

    def hook(denoised, x, sigma, index, conditional):
        first = int(index[0])
        if first not in runs:
            pictures: list[int] = sampled[index].tolist()
            tokens = [[conditioning[i : i + 1]] for i in pictures]
            texts = [prompts[i] for i in pictures]
            model = HostModel(host, conditioning[sampled[index]], texts, cfg)
            steps = options.get("steps") or host.steps
            run = Run(
                preferences, settings, coins[pictures], tokens, asks=model, steps=steps, texts=texts,
                pictures=lambda: pictures_of(host),
            )  # fmt: skip
            runs[first] = pictures, run
        return runs[first][1].correct(denoised, x, sigma, cfg, conditional)

    networks = [preference.source for preference in preferences if isinstance(preference.source, nn.Module)]
    with placed(networks, host.device):
        latents = host.sample(conditioning[sampled], [seeds[i] for i in sampled.tolist()], cfg, hook=hook, **options)
    for first, (pictures, run) in runs.items():
        batch = slice(first, first + len(pictures))
        latents[batch] = run.finished(latents[batch])
        for row, run_reasons in zip(reasons, run.reasons, strict=True):
            for i, why in zip(pictures, run_reasons, strict=True):
                row[i] = why
    if plain is None:
        return latents.cpu(), reasons
    changed = torch.tensor([not all(why) for why in zip(*reasons, strict=True)])
    return torch.where(changed.view(-1, 1, 1, 1), plain.index_copy(0, sampled, latents.cpu()), plain), reasons
