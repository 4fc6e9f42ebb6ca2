"""LoRA files on hosts without a program around them: a derivative of a checkpoint as a change of its weights."""

import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

RESNET = {
    "in_layers_2": "conv1",
    "out_layers_3": "conv2",
    "emb_layers_1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}


class LoraError(ValueError):
    """A LoRA file that cannot be used; the message says what was found, what was expected and what to do."""


@torch.no_grad()
def apply_lora(unet, text_encoders, path, strength=1.0):
    """Add a LoRA file's change, `strength` times, to the weights of a UNet and text encoders, in place.

    W + alpha / rank * up @ down (Hu et al. 2021). The widespread naming: lora_unet_<layer>.lora_up.weight,
    .lora_down.weight and .alpha with diffusers' names of layers, or with SDXL's original ones; lora_te_ (lora_te1_,
    lora_te2_) for text encoders. Raises LoraError, before any weight is changed, where the file is another model's.
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
    changes, depth = {}, getattr(getattr(unet, "config", None), "layers_per_block", 2)
    for named in {tensor.rsplit(".lora_", 1)[0] for tensor in tensors if ".lora_" in tensor}:
        wanted, key = [f"{named}.lora_{part}.weight" for part in ("up", "down")], diffusers_name(named, depth)
        if key not in layers:
            raise LoraError(f"{name}: its layer {key} is not in this model; the LoRA was made for another model.")
        if not all(tensor in tensors for tensor in wanted):
            raise LoraError(f"{name}: its layer {key} lacks one of its two halves; the file is of another kind.")
        up, down = (tensors[tensor].float() for tensor in wanted)
        alpha = float(tensors.get(f"{named}.alpha", down.shape[0]))
        weight = layers[key].weight
        if up.shape[0] != weight.shape[0] or down[0].numel() != weight[0].numel():
            raise LoraError(f"{name}: its layer {key} has another size here; the LoRA was made for another model.")
        changes[key] = strength * alpha / down.shape[0] * (up.flatten(1) @ down.flatten(1)).view_as(weight)
    if not changes:
        raise LoraError(f"{name}: it holds no LoRA layers named lora_up and lora_down; convert it, or use another.")
    for key, change in changes.items():
        layers[key].weight += change.to(layers[key].weight)


def diffusers_name(key, depth):
    """A UNet layer's name in SDXL's original code, as trainers write it, -> its name in diffusers; others stay.

    `depth`: layers_per_block of the UNet's config. There a block is one list, of which each part is a resnet, an
    attention or a change of size; diffusers counts these by block.
    """
    found = re.fullmatch(r"lora_unet_(input|middle|output)_blocks?_(\d+)_(?:(\d+)_)?(.+)", key)
    if not found:
        return key
    where, first, second, rest = found[1], int(found[2]), int(found[3] or 0), found[4]
    if where == "middle":  # no number of a block: the first is the part
        rest = f"{found[3]}_{rest}" if found[3] else rest
        kind = "attentions_0" if first == 1 else f"resnets_{first // 2}"
        return f"lora_unet_mid_block_{kind}_{RESNET.get(rest, rest)}"
    if where == "input" and first == 0:
        return "lora_unet_conv_in"
    index = first - (where == "input")
    block, layer = divmod(index, depth + 1)
    block = f"lora_unet_{'down' if where == 'input' else 'up'}_blocks_{block}"
    if rest in ("op", "conv"):
        return f"{block}_{'down' if rest == 'op' else 'up'}samplers_0_conv"
    if second:
        return f"{block}_attentions_{layer}_{rest}"
    return f"{block}_resnets_{layer}_{RESNET.get(rest, rest)}"
