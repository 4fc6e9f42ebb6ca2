"""LoRA files on hosts without a program around them: a derivative of a checkpoint as a change of its weights."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn


class LoraError(ValueError):
    """A LoRA file that cannot be used; the message says what was found, what was expected and what to do."""


@torch.no_grad()
def apply_lora(unet, text_encoders, path, strength=1.0):
    """Add a LoRA file's change, `strength` times, to the weights of a UNet and text encoders, in place.

    W + alpha / rank * up @ down (Hu et al. 2021). The widespread naming: lora_unet_<layer>.lora_up.weight,
    .lora_down.weight and .alpha with diffusers' names of layers; lora_te_ (lora_te1_, lora_te2_) for text encoders.
    Raises LoraError, before any weight is changed, where the file is another model's.
    """
    name = Path(path).name
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise LoraError(f"{name}: it cannot be read as a safetensors file ({error}); give a LoRA file.") from error
    prefixes = {"lora_unet_": unet} | {f"lora_te{i + 1}_": encoder for i, encoder in enumerate(text_encoders)}
    if len(text_encoders) == 1:
        prefixes["lora_te_"] = text_encoders[0]
    layers = {
        prefix + layer.replace(".", "_"): module
        for prefix, part in prefixes.items()
        for layer, module in part.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    changes = {}
    for key in {tensor.rsplit(".lora_", 1)[0] for tensor in tensors if ".lora_" in tensor}:
        wanted = [f"{key}.lora_{part}.weight" for part in ("up", "down")]
        if key not in layers:
            raise LoraError(f"{name}: its layer {key} is not in this model; the LoRA was made for another model.")
        if not all(tensor in tensors for tensor in wanted):
            raise LoraError(f"{name}: its layer {key} lacks one of its two halves; the file is of another kind.")
        up, down = (tensors[tensor].float() for tensor in wanted)
        alpha = float(tensors.get(f"{key}.alpha", down.shape[0]))
        weight = layers[key].weight
        if up.shape[0] != weight.shape[0] or down[0].numel() != weight[0].numel():
            raise LoraError(f"{name}: its layer {key} has another size here; the LoRA was made for another model.")
        changes[key] = strength * alpha / down.shape[0] * (up.flatten(1) @ down.flatten(1)).view_as(weight)
    if not changes:
        raise LoraError(f"{name}: it holds no LoRA layers named lora_up and lora_down; convert it, or use another.")
    for key, change in changes.items():
        layers[key].weight += change.to(layers[key].weight)
