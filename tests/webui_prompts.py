"""A small fake of both hosts' prompt_parser: prompts of parts (AND) with weights, and schedules."""

import re
from types import SimpleNamespace

import torch

re_AND = re.compile(r"\bAND\b")
re_weight = re.compile(r"^((?:\s|.)*?)(?:\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+)))?\s*$")
SCHEDULES = re.compile(r"(.*)\[(.*)\|(.*)\](.*)")


class SdConditioning(list):
    def __init__(self, prompts, width=None, height=None):
        super().__init__(prompts)
        self.width, self.height = width, height


def conditioning_of(model, prompts, steps=99):
    """Texts -> a MulticondLearnedConditioning; "a AND b :0.5" is two parts, "[a|b]" two schedules, half the steps each.

    `model.encode(texts)` -> token vectors [N, T, W].
    """
    batch = []
    for text in prompts:
        parts = []
        for part in re_AND.split(text):
            part, weight = re_weight.search(part).groups()
            alternatives = SCHEDULES.fullmatch(part.strip())
            texts = [part.strip()]
            if alternatives:
                before, *either, after = alternatives.groups()
                texts = [before + one + after for one in either]
            ends = torch.linspace(0, steps, len(texts) + 1).int().tolist()[1:]
            schedules = [
                SimpleNamespace(end_at_step=end, cond=model.encode([one])[0])
                for end, one in zip(ends, texts, strict=True)
            ]
            parts.append(SimpleNamespace(weight=1.0 if weight is None else float(weight), schedules=schedules))
        batch.append(parts)
    return SimpleNamespace(batch=batch, shape=(len(batch),))


def get_multicond_learned_conditioning(sd_model, prompts, steps, hires_steps=None, use_old_scheduling=False):
    return conditioning_of(sd_model.miniature, prompts, hires_steps or steps)


def reconstruct_multicond_batch(conditioning, step):
    """-> (for each picture its rows with their weights, token vectors [R, T, W])."""
    composition, tokens = [], []
    for parts in conditioning.batch:
        composition.append([])
        for part in parts:
            composition[-1].append((len(tokens), part.weight))
            current = (each for each in part.schedules if step <= each.end_at_step)
            tokens.append(next(current, part.schedules[0]).cond)
    longest = max(map(len, tokens))
    return composition, torch.stack([torch.cat([each, each[-1:].expand(longest - len(each), -1)]) for each in tokens])
