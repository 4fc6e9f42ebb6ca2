"""The parts of a checkpoint folder in diffusers' format: which they are, what is refused and why, loading them."""

import json

from safetensors import SafetensorError

from ..miniature import model as miniature

PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
NETWORKS = {
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL", "AutoencoderTiny"),
    "text_encoder": ("CLIPTextModel",),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
}
READS = "RS-Corrector reads SD1.5, SD2 and SDXL checkpoints and the miniature"
LOADING_ERRORS = (OSError, RuntimeError, ValueError, TypeError, KeyError, SafetensorError)
PIXELS = 8  # a side of the picture for one of the latent


class CheckpointError(ValueError):
    """A folder that cannot be used; the message says what was found, what was expected and what to do."""


def kind_of(folder):
    """-> (latent space, names of the parts), after all that can be refused without reading weights."""
    if folder.is_file() or (folder.is_dir() and not (folder / "unet").exists() and any(folder.glob("*.safetensors"))):
        raise CheckpointError(
            f"{folder}: a checkpoint in one file, and a folder in diffusers' format is needed. Convert it once: "
            'diffusers.StableDiffusionPipeline.from_single_file("the file").save_pretrained("a new folder"), with '
            "StableDiffusionXLPipeline for SDXL."
        )
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: there is no such folder, and nothing is downloaded; give one on this disk.")
    index = read_json(folder / "model_index.json") if (folder / "model_index.json").exists() else {}
    pipeline = index.get("_class_name", "StableDiffusionPipeline")
    if pipeline not in PIPELINES or (folder / "transformer").exists():
        inside = ", with a transformer/ as SD3 and Flux have" if (folder / "transformer").exists() else ""
        raise CheckpointError(f"{folder}: it is a {pipeline}{inside}; {READS}. Use another checkpoint.")
    if not (folder / "unet" / "config.json").exists():
        raise CheckpointError(_missing(folder, "unet"))
    unet = read_json(folder / "unet" / "config.json")
    odd = [key for key in ("class_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim") if unet.get(key)]
    odd += ["addition_embed_type"] if unet.get("addition_embed_type") not in (None, "text_time") else []
    odd += [f"{key} {unet.get(key, 4)}" for key in ("in_channels", "out_channels") if unet.get(key, 4) != 4]
    if unet.get("_class_name") != "UNet2DConditionModel" or odd:
        found = f'a "{unet.get("_class_name")}"' + (f" with {', '.join(odd)}" if odd else "")
        raise CheckpointError(
            f"{folder}: its unet is {found}, and a plain UNet2DConditionModel of 4 channels is needed (no inpainting, "
            "editing, upscaling or LCM model); use the checkpoint that it was made from."
        )
    names = ["unet", "vae", "text_encoder", "tokenizer"]
    if unet.get("addition_embed_type") == "text_time":
        names, space = [*names, "text_encoder_2", "tokenizer_2"], "sdxl"
    else:
        same = all(unet.get(key) == (list(v) if type(v) is tuple else v) for key, v in miniature.UNET.items())
        space = "miniature" if same else "sd15"
    for name in [*names, "scheduler"] if "scheduler" in index else names:
        if not (folder / name).is_dir():
            raise CheckpointError(_missing(folder, name))
    return space, names


def latent_size(folder, size):
    """(width, height) in pixels, or None -> (height, width) of the latent."""
    if size is None:
        side = read_json(folder / "unet" / "config.json").get("sample_size") or 64
        return (side, side) if isinstance(side, int) else tuple(side)
    width, height = size
    if min(width, height) < 64 or width % 64 or height % 64:
        raise CheckpointError(f"The size {width} x {height} will not do; width and height must be multiples of 64.")
    return height // PIXELS, width // PIXELS


def _missing(folder, name):
    return f"{folder}: the part {name}/ is missing or has no config.json; copy the whole checkpoint folder again."


def read_json(path):
    """The object in a JSON file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        _refuse_pointers(path.parent)
        raise CheckpointError(f"{path}: cut off or not a JSON object; copy the checkpoint folder again.")
    return found


def _refuse_pointers(folder):
    """git without git-lfs leaves small text files where the weights should be."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.stat().st_size < 1024 and path.read_bytes().startswith(b"version https://git-lfs"):
            raise CheckpointError(
                f"{path}: only a git-lfs pointer, not the file itself. Run `git lfs install` and `git lfs pull` in the "
                "checkpoint folder."
            )


def load_part(folder, dtype):
    """One of NETWORKS -> (the network, the files of its weights). Only safetensors: a pickle can run code."""
    import diffusers
    import transformers

    if not (folder / "config.json").exists():
        raise CheckpointError(_missing(folder.parent, folder.name))
    config, classes = read_json(folder / "config.json"), NETWORKS[folder.name]
    name = config.get("_class_name") or (config.get("architectures") or ["nothing"])[0]
    if name not in classes:
        raise CheckpointError(f'{folder}: a "{name}", and {" or ".join(classes)} is needed. {READS}.')
    _refuse_pointers(folder)
    text = folder.name.startswith("text_encoder")
    files, variant = _weight_files(folder, "model" if text else "diffusion_pytorch_model")
    options = dict(torch_dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True)
    try:
        network = getattr(transformers if text else diffusers, name)
        part, info = network.from_pretrained(folder, variant=variant, **options)
    except LOADING_ERRORS as error:
        raise _unloadable(folder, error) from None
    absent = sorted(info["missing_keys"])
    if absent:
        raise CheckpointError(
            f'{folder}: its weights lack {len(absent)} tensors, "{absent[0]}" first, so they are not those of its '
            "config.json; copy the checkpoint folder again."
        )
    return part.eval().requires_grad_(False), files


def _weight_files(folder, stem):
    """-> (the files that `from_pretrained` will read, their variant)."""
    for variant, infix in ((None, ""), ("fp16", ".fp16")):
        if (folder / f"{stem}{infix}.safetensors").exists():
            return [folder / f"{stem}{infix}.safetensors"], variant
        index = folder / f"{stem}.safetensors.index{infix}.json"
        if index.exists():
            files = [folder / name for name in sorted(set(read_json(index).get("weight_map", {}).values()))]
            absent = [path.name for path in files if not path.exists()]
            if absent or not files:
                raise CheckpointError(f"{folder}: {', '.join(absent) or 'its weights'} missing; copy the folder again.")
            return files, variant
    pickles = " (only pickles, which can run code: save it again with safe_serialization=True)"
    found = pickles if any(folder.glob("*.bin")) else "; copy the checkpoint folder again"
    raise CheckpointError(f"{folder}: there is no {stem}.safetensors in it{found}.")


def load_tokenizer(folder):
    """A CLIP tokenizer, also where there are only its vocabulary and merges, as in the miniature."""
    _refuse_pointers(folder)
    if not (folder / "tokenizer_config.json").exists() and (folder / "vocab.json").exists():
        return miniature.load_tokenizer(folder)
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except LOADING_ERRORS as error:
        raise _unloadable(folder, error) from None


def _unloadable(folder, error):
    reason = " ".join(str(error).split())[:200]
    return CheckpointError(f"{folder}: it cannot be loaded ({reason}); copy the checkpoint folder again.")
