"""The host's conditioning of a batch -> the token vectors that the gate on the prompt reads, for each picture.

Both hosts keep prompts as `MulticondLearnedConditioning`: a picture has parts (AND), a part has schedules ([a:b:0.5]).
"""

import torch


def regions_of(conditioning, count):
    """-> for each of `count` pictures its regions, each [1, T, width], float32 on the CPU.

    Every schedule of a part counts, also those that the run has not come to; a part with a weight of 0 or less is not
    asked for.
    """
    batch = conditioning.batch
    rows = [
        [_tokens(schedule.cond) for part in parts if part.weight > 0 for schedule in part.schedules] for parts in batch
    ]
    return [rows[index % len(rows)] for index in range(count)]


def _tokens(cond):
    tokens = cond["crossattn"] if isinstance(cond, dict) else cond  # SDXL has a pooled vector beside it
    with torch.no_grad():
        return tokens.detach().float().cpu()[None]
