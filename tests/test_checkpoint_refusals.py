"""Checkpoints that cannot be used: each is refused in a sentence that names it and says what is wrong."""

import json
import shutil

import diffusers
import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from corrector.cli import commands as cli
from corrector.hosts.checkpoint import Checkpoint
from corrector.hosts.loading import CheckpointError
from corrector.miniature.model import WEIGHTS
from tiny_checkpoints import pipeline, text_encoder, to_original_layout, unet

pytestmark = pytest.mark.usefixtures("one_thread", "no_network")


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def pointer(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")


def pickled(folder):
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-999])


def without_a_tensor(path):
    tensors = load_file(path)
    tensors.pop(min(tensors))
    save_file(tensors, path, metadata={"format": "pt"})


UNET = "unet/diffusion_pytorch_model.safetensors"
DAMAGES = {
    "folder missing": (shutil.rmtree, "no such file or folder, and nothing is downloaded"),
    "no index": (lambda f: (f / "model_index.json").unlink(), r"index.json: it is missing.*give a \.safetensors file"),
    "no unet": (lambda f: shutil.rmtree(f / "unet"), r"unet/config.json: it is missing or damaged"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), r"tokenizer has \d+ tokens and its text encoder \d+"),
    "no scheduler": (lambda f: shutil.rmtree(f / "scheduler"), "cannot be loaded"),
    "Flux": (lambda f: edit(f / "model_index.json", _class_name="FluxPipeline"), "it is a FluxPipeline.*use one of"),
    "video": (lambda f: edit(f / "unet/config.json", _class_name="UNetSpatioTemporal"), 'is a "UNetSpatioTemporal"'),
    "other text": (lambda f: edit(f / "text_encoder/config.json", architectures=["T5Model"]), '"T5Model".*is needed'),
    "other vae": (lambda f: edit(f / "vae/config.json", _class_name="AutoencoderDC"), '"AutoencoderDC".*is needed'),
    "git-lfs": (pointer, "git-lfs pointer.*git lfs pull"),
    "pickles": (pickled, "only pickles, which can run code"),
    "cut off": (lambda f: cut_off(f / UNET), "cannot be loaded.*copy or download it again"),
    "not JSON": (lambda f: (f / "unet" / "config.json").write_text("{"), "it is missing or damaged"),
    "mixed": (
        lambda f: text_encoder(24).save_pretrained(f / "text_encoder"),
        "24 wide and its UNet takes 16",
    ),
    "unet lacks": (lambda f: without_a_tensor(f / UNET), "unet: 1 tensors are missing"),
    "text lacks": (
        lambda f: without_a_tensor(f / "text_encoder/model.safetensors"),
        "encoder: 1 tensors are missing",
    ),
    "other layers": (lambda f: edit(f / "unet/config.json", layers_per_block=2), "be loaded|tensors are missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_folder_that_cannot_be_used_is_refused_in_a_sentence_that_names_it(checkpoint_copy, damage):
    folder, (harm, sentence) = checkpoint_copy(), DAMAGES[damage]
    harm(folder)
    with pytest.raises(CheckpointError, match=sentence) as refusal:
        Checkpoint.load(folder, device="cpu")
    assert str(folder) in str(refusal.value)


PIPELINES = {
    "inpainting": (dict(in_channels=9), "in_channels 9.*no inpainting"),
    "distilled for LCM": (dict(time_cond_proj_dim=8), "time_cond_proj_dim.*LCM"),
    "with classes": (dict(class_embed_type="timestep"), "class_embed_type"),
}


@pytest.mark.parametrize("kind", PIPELINES)
def test_a_unet_of_another_kind_is_refused(kind):
    changes, sentence = PIPELINES[kind]
    pipe = pipeline("sd15")
    pipe.unet = unet(16, **changes)
    with pytest.raises(CheckpointError, match=sentence):
        Checkpoint(pipe)


@pytest.mark.parametrize(
    "scheduler, sentence",
    [
        (diffusers.EDMEulerScheduler(), '"EDMEulerScheduler"'),
        (diffusers.FlowMatchEulerDiscreteScheduler(), '"FlowMatchEulerDiscreteScheduler"'),
        (diffusers.DDPMScheduler(prediction_type="sample"), 'prediction "sample"'),
        (diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction"), "flow_prediction"),
    ],
)
def test_an_edm_or_flow_scheduler_is_refused(scheduler, sentence):
    pipe = pipeline("sd15")
    pipe.scheduler = scheduler
    with pytest.raises(CheckpointError, match=f"{sentence}.*use another checkpoint"):
        Checkpoint(pipe)


def test_a_pipeline_without_text_encoder_and_one_of_another_model_are_refused():
    for pipe in (pipeline("sdxl"), diffusers.DDPMPipeline(unet=diffusers.UNet2DModel(8), scheduler=None)):
        pipe.text_encoder = None
        with pytest.raises(CheckpointError, match=f"it is a {type(pipe).__name__}.*RS-Corrector reads"):
            Checkpoint(pipe)


def without_a_tensor_of(part):
    def harm(path):
        tensors = load_file(path)
        del tensors[next(name for name in tensors if name.startswith(part) and "norm" in name)]
        save_file(tensors, path)

    return harm, "tensors are missing|cannot be loaded"


LORA = WEIGHTS.parent / "miniature-derivatives" / "miniature-print.safetensors"
FILES = {
    "no tensors": (lambda path: path.write_bytes(b""), "cannot be loaded"),
    "cut off": (cut_off, "cannot be loaded"),
    "git-lfs": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "git-lfs pointer"),
    "a LoRA": (lambda path: shutil.copy(LORA, path), "cannot be loaded"),
    "lacks a tensor of the UNet": without_a_tensor_of("model.diffusion_model."),
    "lacks a tensor of the VAE": without_a_tensor_of("first_stage_model."),
    "lacks a tensor of the text encoder": without_a_tensor_of("cond_stage_model."),
}


@pytest.mark.parametrize("damage", FILES)
def test_a_single_file_that_cannot_be_used_is_refused_in_a_sentence_that_names_it(checkpoints, tmp_path, damage):
    path, (harm, sentence) = tmp_path / "model.safetensors", FILES[damage]
    harm(to_original_layout(checkpoints["sd15"], path))
    with pytest.raises(CheckpointError, match=sentence) as refusal:
        Checkpoint.load(path, config=checkpoints["sd15"])
    assert str(path) in str(refusal.value)


def test_a_single_file_of_another_model_or_with_a_config_of_another_is_refused(checkpoints, tmp_path):
    path = to_original_layout(checkpoints["sd15"], tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"the configuration of a StableDiffusionPipeline.*another --config"):
        Checkpoint.load(path, config=checkpoints["sdxl"])
    with pytest.raises(CheckpointError, match=r"model_index.json: it is missing"):
        Checkpoint.load(path, config=tmp_path)
    tensors = load_file(path)
    tensors["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(8, 9, 3, 3)
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match='its model type is "inpainting"'):
        Checkpoint.load(path, config=checkpoints["sd15"])
    with pytest.raises(CheckpointError, match=r"only \.safetensors files are read"):
        Checkpoint.load(path.rename(tmp_path / "model.ckpt"))


def test_a_single_file_without_config_says_where_to_find_one_and_downloads_nothing(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    path = to_original_layout(checkpoints["sd15"], tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"--config FOLDER: one in backend/huggingface/ of a Forge"):
        Checkpoint.load(path)


def test_sizes_that_are_no_multiples_of_64_are_refused():
    for size in ((100, 64), (64, 0), (-64, 64)):
        with pytest.raises(CheckpointError, match="give multiples of 64"):
            Checkpoint(pipeline("sd15"), size=size)


def test_the_shell_refuses_in_one_sentence(checkpoints, tmp_path):
    shipped = WEIGHTS.parent / "miniature-attire.safetensors"
    with pytest.raises(SystemExit, match="there is no such file or folder"):
        cli.main(["calibrate", str(shipped), "--checkpoint", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match=r"for the miniature, and this checkpoint has the latents of SD1\.5"):
        cli.main(["calibrate", str(shipped), "--checkpoint", str(checkpoints["sd15"])])
