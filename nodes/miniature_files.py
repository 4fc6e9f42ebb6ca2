"""A miniature's folder in diffusers' format, read without diffusers, which ComfyUI does not require."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import comfy.clip_model
import comfy.sd
import comfy.sd1_clip
import comfy.taesd.taesd
import comfy.utils
import torch
from torch import Tensor

WARNED_LENGTH = 8192  # tokens, as ComfyUI's own: of a shorter limit transformers warns, though the host makes chunks
TAESD_BLOCKS = {"encoder": (1, 3, 3, 3), "decoder": (3, 3, 3, 1)}  # at each resolution


def read_config(path: Path) -> dict[str, Any]:
    """A JSON file. Raises FileNotFoundError if it is missing."""
    return json.loads(existing(path).read_text(encoding="utf-8"))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file, in float32. Raises FileNotFoundError if it is missing."""
    tensors = comfy.utils.load_torch_file(str(existing(path)), safe_load=True)
    return {name: tensor.float() for name, tensor in tensors.items()}


def existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"The miniature's file {path} is missing; restore it from the repository.")
    return path


class TextModel(comfy.clip_model.CLIPTextModel):
    """CLIP's text model with the vocabulary of its configuration; ComfyUI's always has 49,408 tokens."""

    def __init__(self, config_dict, dtype, device, operations):
        super().__init__(config_dict, dtype, device, operations)
        vocabulary, width = config_dict["vocab_size"], config_dict["hidden_size"]
        self.set_input_embeddings(operations.Embedding(vocabulary, width, dtype=dtype, device=device))


def text_encoder(config: dict[str, Any], **options: Any) -> partial:
    """The configuration of a CLIPTextModel -> what makes an SDClipModel; `options` are SDClipModel's."""
    special = {"start": config["bos_token_id"], "end": config["eos_token_id"], "pad": config["eos_token_id"]}
    return partial(
        comfy.sd1_clip.SDClipModel, textmodel_json_config=config, model_class=TextModel, special_tokens=special,
        **options,
    )  # fmt: skip


def tokenizer(folder: Path, config: dict[str, Any]) -> partial:
    """A folder with vocab.json and merges.txt, and its text encoder's configuration -> what makes an SD1Tokenizer."""
    one = partial(
        comfy.sd1_clip.SDTokenizer, tokenizer_path=str(folder), embedding_size=config["hidden_size"],
        max_length=config["max_position_embeddings"], tokenizer_args={"model_max_length": WARNED_LENGTH},
    )  # fmt: skip
    return partial(comfy.sd1_clip.SD1Tokenizer, tokenizer=one)


def load_vae(folder: Path) -> comfy.sd.VAE:
    """vae/ (AutoencoderTiny) -> VAE in TAESD's layout.

    TAESD's is 64 wide and has 3 blocks at most resolutions. What a smaller one lacks stays zero: such channels carry
    nothing, and such blocks return their input.
    """
    config = read_config(folder / "vae/config.json")
    state = comfy.taesd.taesd.TAESD(latent_channels=config["latent_channels"]).state_dict()
    state |= {name: torch.zeros(tensor.shape) for name, tensor in state.items() if not name.startswith("vae_")}
    for name, tensor in read_tensors(folder / "vae/diffusion_pytorch_model.safetensors").items():
        part, _, layer, weight = name.split(".", 3)  # encoder.layers.0.weight
        place = _place_in_taesd(part, int(layer), config[f"num_{part}_blocks"])
        state[f"taesd_{part}.{place}.{weight}"][tuple(map(slice, tensor.shape))] = tensor
    return comfy.sd.VAE(sd=state, dtype=torch.float32)


def _place_in_taesd(part, layer, blocks):
    """The index in TAESD's encoder or decoder of a layer of an AutoencoderTiny with some blocks at each resolution."""
    between = 1 if part == "encoder" else 2  # layers before the first blocks, and between those of two resolutions
    place = layer + (part == "decoder")  # whose first layer is a clamp
    for level, (own, full) in enumerate(zip(blocks, TAESD_BLOCKS[part], strict=True), start=1):
        end = level * between + sum(blocks[:level])
        place += (full - own) * (layer >= end)
    return place
