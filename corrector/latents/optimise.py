"""The training loop that all networks share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from tqdm import trange

CHECKPOINT_EVERY = 250  # steps
Tensors = tuple[Tensor, ...] | list[Tensor]
Network = TypeVar("Network", bound=nn.Module)


def optimise(
    network: Network, steps: int, loss_of_step: Callable[[int], Tensor], label: str, rate: float,
    schedule: Callable[[int], float], average: float = 0.0, clip: float = 1.0,
    progress: Callable[[str, int, int], object] | None = None, path: Path | None = None, **options: Any,
) -> Network:  # fmt: skip
    """Train a network in place with AdamW -> the network with averaged weights, for inference.

    Args:
        loss_of_step: `loss_of_step(step)` -> the loss.
        label: what the progress bar and `progress` call this training.
        rate, schedule: the learning rate at a step is `rate * schedule(step)`.
        average: decay of an exponential moving average of the weights, less in the first steps; 0 for none.
        clip: largest norm of the gradient.
        progress: `progress(label, done, total)`, called after each step instead of the bar; may raise to stop.
        path: a checkpoint, written every CHECKPOINT_EVERY steps and at the end; training resumes from it.
        options: of torch.optim.AdamW.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, **options)
    decay = LambdaLR(optimizer, schedule)

    @torch.no_grad()
    def running_average(averaged: Tensors, current: Tensors, count: Tensor | int):
        weight = 1 - min(average, (float(count) + 1) / (float(count) + 10))
        torch._foreach_lerp_(averaged, current, weight)  # pyright: ignore[reportPrivateImportUsage]  # has no other name

    averaged = AveragedModel(network, multi_avg_fn=running_average)
    parts = {"network": network, "averaged": averaged, "optimizer": optimizer, "decay": decay}
    if path and path.exists():
        # safetensors cannot hold the state of an optimizer; with weights_only nothing in the file is executed.
        for name, state in torch.load(path, weights_only=True).items():
            parts[name].load_state_dict(state)
    start = decay.last_epoch
    bar = trange(
        start, steps, initial=start, total=steps, desc=label, mininterval=10, leave=False, disable=bool(progress)
    )
    for step in bar:
        loss = loss_of_step(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        decay.step()
        averaged.update_parameters(network)
        if progress:
            progress(label, step + 1, steps)
        if path and ((step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps):
            torch.save({name: part.state_dict() for name, part in parts.items()}, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
    network.load_state_dict(averaged.module.state_dict())
    return network.eval().requires_grad_(False)
