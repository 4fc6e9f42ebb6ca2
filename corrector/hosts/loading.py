"""Checkpoint files -> a diffusers pipeline, without any download. What cannot be used is refused in a sentence."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..files.errors import RSCorrectorError
from ..files.json_files import UnreadableError, read_json
from ..files.tensor_files import FLOATS, map_tensors, not_finite

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
PIPELINE_NETWORKS = {
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL", "AutoencoderTiny"),
    "text_encoder": ("CLIPTextModel",),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
}
SINGLE_FILES = {"v1": PIPELINES[0], "v2": PIPELINES[0], "xl_base": PIPELINES[1]}  # diffusers' names of model types
HIGHEST_WEIGHT = 1e4  # absolute value of a weight that no sound checkpoint or LoRA has
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
READS = "RS-Corrector reads SD1.5, SD2.x and SDXL checkpoints and the miniature; use one of these"


class CheckpointError(RSCorrectorError):
    """A checkpoint or LoRA that cannot be used; the message says what was found, what was expected and what to do."""


def load_pipeline(
    path: str | Path, bf16: bool | None = None, device: str | None = None, lora: str | Path | None = None,
    config: str | Path | None = None, offload: bool = False,
) -> DiffusionPipeline:  # fmt: skip
    """Load a checkpoint and optionally merge a LoRA into it.

    Args:
        path: folder in diffusers' format, or one .safetensors file as for a WebUI.
        bf16: all in bfloat16, which takes half the memory; by default on GPUs that compute in it.
        device: by default a CUDA GPU if there is one.
        lora: .safetensors file in kohya's or diffusers' naming, merged at strength 1.
        config: for a single file, a folder with the model family's configuration and tokenizer in diffusers' format; by
            default the one in the local cache of huggingface_hub.
        offload: each network is on the device only while it computes.

    Raises CheckpointError.
    """
    silence_libraries()
    device = str(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if bf16 is None:
        bf16 = device != "cpu" and torch.cuda.is_bf16_supported(including_emulation=False)
    path, precision = Path(path), torch.bfloat16 if bf16 else torch.float32
    if not os.path.exists(path):  # of names that no file can have, Path.exists raises errors
        raise CheckpointError(f"{path}: there is no such file or folder, and nothing is downloaded; give a local one.")
    pipe = _load_file(path, config, precision) if path.is_file() else _load_folder(path, precision)
    if lora:
        merge_lora(pipe, lora)
    for network in _networks(pipe):
        network.to(precision).eval().requires_grad_(False)
    pipe.vae.to(memory_format=torch.channels_last)  # decodes a third faster on a CPU; the UNet would not gain
    if not offload or device == "cpu":
        return pipe.to(device)
    pipe.enable_model_cpu_offload(device=device)
    return pipe


def silence_libraries() -> None:
    """Turn off the warnings and progress bars of diffusers and transformers."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()


def _load_folder(folder, precision):
    import diffusers
    import transformers

    index = _read_json(folder / "model_index.json")
    name = index.get("_class_name")
    if name not in PIPELINES:
        raise CheckpointError(f"{folder}: it is a {name}. {READS}.")
    parts = {unused: None for unused in UNUSED if unused in index}
    for part, allowed in PIPELINE_NETWORKS.items():
        if part not in index and part == "text_encoder_2":
            continue
        config, text = _read_json(folder / part / "config.json"), part.startswith("text")
        kind = config.get("_class_name") or (config.get("architectures") or ["nothing"])[0]
        if kind not in allowed:
            raise CheckpointError(f'{folder / part}: it is a "{kind}", and {" or ".join(allowed)} is needed. {READS}.')
        files = [file.name for file in (folder / part).glob("*.safetensors")]
        if not files and any((folder / part).glob("*.bin")):
            raise CheckpointError(
                f"{folder / part}: it has only pickles, which can run code; save it with safe_serialization=True."
            )
        parts[part], info = _try(
            folder / part, getattr(transformers if text else diffusers, kind).from_pretrained, folder / part,
            local_files_only=True, use_safetensors=True, output_loading_info=True,
            variant="fp16" if files and all(".fp16" in file for file in files) else None,
            dtype=precision,
        )  # fmt: skip
        if info["missing_keys"]:
            raise _incomplete(folder / part, info["missing_keys"])
    return _try(folder, getattr(diffusers, name).from_pretrained, folder, local_files_only=True, **parts)


def _load_file(path, config, precision):
    import diffusers
    from diffusers.loaders.single_file_utils import fetch_diffusers_config, infer_diffusers_model_type
    from huggingface_hub import snapshot_download

    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: only .safetensors files are read, since others can run code; convert it.")
    _refuse_pointer(path)
    tensors = _try(path, map_tensors, path, None)  # nothing is read yet
    kind = infer_diffusers_model_type(tensors)
    if kind not in SINGLE_FILES:
        raise CheckpointError(f'{path}: its model type is "{kind}". {READS}.')
    if config is None:
        try:
            model = fetch_diffusers_config(tensors)["pretrained_model_name_or_path"]
            config = snapshot_download(model, local_files_only=True)
        except OSError:
            raise CheckpointError(
                f"{path}: a single file has no configuration and tokenizer. Give a folder with those of its model "
                "family as --config FOLDER: one in backend/huggingface/ of a Forge installation, or the folder of any "
                "checkpoint of that family in diffusers' format."
            ) from None
    index = _read_json(Path(config) / "model_index.json")
    if index.get("_class_name") != SINGLE_FILES[kind]:
        raise CheckpointError(
            f"{path}: it needs the configuration of a {SINGLE_FILES[kind]}, and {config} is of a "
            f"{index.get('_class_name')}; give another --config."
        )
    load = getattr(diffusers, SINGLE_FILES[kind]).from_single_file
    options = dict(config=str(config), local_files_only=True, dtype=precision, **dict.fromkeys(UNUSED))
    pipe = _try(path, load, str(path), **options)
    for part in _networks(pipe):
        missing = [name for name, tensor in part.state_dict().items() if tensor.is_meta]
        if missing:
            raise _incomplete(path, missing)
    return pipe


def merge_lora(pipe: DiffusionPipeline, path: str | Path) -> None:
    """Add a LoRA file to the weights of a pipeline. Raises CheckpointError if it is for another model."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    path = Path(path)
    _refuse_pointer(path)
    tensors = _try(path, map_tensors, path, (*FLOATS, "I64", "I32"))  # some write alpha as an integer
    layers = sum(re.search(r"lora(_|\.|_linear_layer\.)(down|A)\.", name) is not None for name in tensors)
    if not layers:
        raise CheckpointError(f"{path}: it holds no LoRA layers (lora_down or lora_A); use another file.")
    if broken := not_finite(tensors, HIGHEST_WEIGHT):
        raise CheckpointError(f"{path}: {broken}, which would break the checkpoint; use another file.")
    try:
        pipe.load_lora_weights(tensors)
        modules = (module for network in _networks(pipe) for module in network.modules())
        fits = layers == sum(isinstance(module, BaseTunerLayer) for module in modules)
    except Exception:
        fits = False
    if not fits:
        raise CheckpointError(f"{path}: its layers do not fit this checkpoint; use a LoRA made for this model.")
    pipe.fuse_lora()
    pipe.unload_lora_weights()
    for network in _networks(pipe):
        if broken := not_finite(network.state_dict(), HIGHEST_WEIGHT):
            raise CheckpointError(f"{path}: merged into the checkpoint, {broken}; use another file.")


def _networks(pipe) -> list[nn.Module]:
    return [network for name in PIPELINE_NETWORKS if (network := getattr(pipe, name, None)) is not None]


def _try(path, load, *args, **options):
    """`load(*args, **options)`, with the errors of libraries as a sentence about `path`."""
    try:
        return load(*args, **options)
    except Exception as error:
        for file in path.glob("**/*") if path.is_dir() else ():
            _refuse_pointer(file)
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: it cannot be loaded ({reason}); copy or download it again.") from error


def _incomplete(path, missing):
    return CheckpointError(
        f'{path}: {len(missing)} tensors are missing, "{min(missing)}" first, so its weights do not belong to its '
        "configuration; copy or download it again."
    )


def _read_json(path):
    _refuse_pointer(path)
    try:
        return read_json(path, {"type": "object"})
    except (OSError, UnreadableError):
        raise CheckpointError(
            f"{path}: it is missing or damaged; copy the whole folder again, or give a .safetensors file instead."
        ) from None


def _refuse_pointer(path):
    """git without git-lfs leaves small text files in place of weights."""
    if path.is_file() and path.stat().st_size < 1024 and path.read_bytes().startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: it is only a git-lfs pointer; run `git lfs install` and `git lfs pull` there.")
