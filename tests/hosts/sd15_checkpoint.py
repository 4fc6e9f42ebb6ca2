"""Writes a full-size SD1.5 checkpoint with random weights for WebUIs. Arguments: Forge's folder, the file.

Runs in Forge's Python, with the shapes of its configurations and the names of its converter. The weights are scaled to
preserve variance, so that pictures are finite and depend on the prompt.
"""

import sys
from pathlib import Path


def main(forge, file):
    sys.path.insert(0, str(Path(forge) / "repositories" / "huggingface_guess"))
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from huggingface_guess.diffusers_convert import convert_unet_state_dict, convert_vae_state_dict
    from safetensors.torch import save_file
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = Path(forge) / "backend" / "huggingface" / "runwayml" / "stable-diffusion-v1-5"
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder / "unet"))
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(folder / "vae"))
        text = CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder"))
    parts = {
        "model.diffusion_model.": convert_unet_state_dict(unet.state_dict()),
        "first_stage_model.": convert_vae_state_dict(vae.state_dict()),
        "cond_stage_model.transformer.": text.state_dict(),
    }
    # Drawn once, because 10**9 normal numbers take a minute; each tensor is a different section of it.
    noise = torch.randn(2**24, generator=torch.Generator().manual_seed(0)).repeat(4)
    tensors, at = {}, 0
    for prefix, state in parts.items():
        for name, like in state.items():
            if like.ndim < 2:
                value = torch.full(like.shape, float(name.endswith("weight")))  # norms: 1; biases: 0
            else:
                wide = 1 if "embedding" in name else like[0].numel()
                value = noise[at : at + like.numel()].reshape(like.shape) / wide**0.5
                at = (at + 7919) % 2**24
            tensors[prefix + name] = value.half().contiguous()
    save_file(tensors, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
