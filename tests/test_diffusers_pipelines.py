"""Every pipeline class of diffusers is either corrected or refused with a sentence that names it."""

import functools
import importlib
import inspect
import pkgutil
from contextlib import suppress

import diffusers
import pytest
import torch
from diffusers import DiffusionPipeline, ModularPipeline, UNet2DConditionModel

from corrector.correction.run import Run
from corrector.correction.update import CorrectionError
from corrector.hosts.diffusers import corrected
from corrector.latents.spaces import denoised_from_output
from tiny_checkpoints import BETAS, MASK, PICTURE, autoencoder, pipeline, unet

pytestmark = pytest.mark.usefixtures("one_thread", "no_network")

SIZE = dict(height=64, width=64)
START = dict(image=PICTURE, strength=0.7)
REPAINTED = dict(image=PICTURE, mask_image=MASK, **SIZE)
POOLED = dict(pooled_prompt_embeds=torch.ones(1, 20), negative_pooled_prompt_embeds=torch.zeros(1, 20))
TOKENS = dict(prompt=None, prompt_embeds=torch.ones(1, 7, 12), negative_prompt_embeds=torch.zeros(1, 7, 12), **POOLED)
CALLS = {  # a call for each supported class, beside prompt, steps and CFG scale
    "StableDiffusionPipeline": {},
    "StableDiffusionImg2ImgPipeline": START,
    "StableDiffusionInpaintPipeline": REPAINTED,
    "StableDiffusionControlNetPipeline": dict(image=PICTURE),
    "StableDiffusionControlNetImg2ImgPipeline": dict(image=PICTURE, control_image=PICTURE),
    "StableDiffusionControlNetInpaintPipeline": dict(image=PICTURE, mask_image=MASK, control_image=PICTURE),
    "StableDiffusionAdapterPipeline": dict(image=PICTURE, **SIZE),
    "StableDiffusionPAGPipeline": {},
    "StableDiffusionPAGImg2ImgPipeline": START,
    "StableDiffusionPAGInpaintPipeline": REPAINTED,
    "StableDiffusionControlNetPAGPipeline": dict(image=PICTURE),
    "StableDiffusionControlNetPAGInpaintPipeline": dict(image=PICTURE, mask_image=MASK, control_image=PICTURE),
    "StableDiffusionXLPipeline": {},
    "StableDiffusionXLImg2ImgPipeline": START,
    "StableDiffusionXLInpaintPipeline": REPAINTED,
    "StableDiffusionXLControlNetPipeline": dict(image=PICTURE),
    "StableDiffusionXLControlNetImg2ImgPipeline": dict(image=PICTURE, control_image=PICTURE),
    "StableDiffusionXLControlNetInpaintPipeline": dict(control_image=PICTURE, **REPAINTED),
    "StableDiffusionXLControlNetUnionPipeline": dict(control_image=[PICTURE], control_mode=[0]),
    "StableDiffusionXLControlNetUnionImg2ImgPipeline": dict(image=PICTURE, control_image=[PICTURE], control_mode=[0]),
    "StableDiffusionXLControlNetUnionInpaintPipeline": dict(control_image=[PICTURE], control_mode=[0], **REPAINTED),
    "StableDiffusionXLAdapterPipeline": dict(image=PICTURE, **SIZE),
    "StableDiffusionXLPAGPipeline": {},
    "StableDiffusionXLPAGImg2ImgPipeline": START,
    "StableDiffusionXLPAGInpaintPipeline": REPAINTED,
    "StableDiffusionXLControlNetPAGPipeline": dict(image=PICTURE),
    "StableDiffusionXLControlNetPAGImg2ImgPipeline": dict(image=PICTURE, control_image=PICTURE),
    "KolorsPipeline": dict(TOKENS, **SIZE),
    "KolorsImg2ImgPipeline": dict(TOKENS, **START),
    "KolorsPAGPipeline": dict(TOKENS, **SIZE),
    "LatentConsistencyModelPipeline": {},
    "LatentConsistencyModelImg2ImgPipeline": dict(START, strength=1.0),
    "AltDiffusionPipeline": {},
    "AltDiffusionImg2ImgPipeline": START,
    "StableDiffusionLDM3DPipeline": dict(output_type="np"),
    "StableDiffusionPanoramaPipeline": dict(height=64, width=640),
}

CHANNELS = {"StableDiffusionDepth2ImgPipeline": 5}  # of the UNet's input, for classes that are told by nothing else


def subclasses(kind):
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


@pytest.fixture(scope="module")
def classes():
    """{name: class} of all pipelines of diffusers, also of those whose optional packages are missing."""
    for package in (diffusers.pipelines, diffusers.modular_pipelines):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            with suppress(ImportError):
                importlib.import_module(module.name)
    kinds = [*subclasses(DiffusionPipeline), *subclasses(ModularPipeline)]
    return {kind.__name__: kind for kind in kinds if kind.__module__.startswith("diffusers.")}


@pytest.fixture(scope="module")
def parts():
    """{latent space: the components of a tiny pipeline}, with a VAE whose encoder gives a distribution."""
    parts = {kind: pipeline(kind).components for kind in ("sd15", "sdxl")}
    for kind in parts:
        torch.manual_seed(1)
        parts[kind]["vae"] = autoencoder(scaling_factor=0.13025 if kind == "sdxl" else 0.18215).eval()
    return parts


def space_of(name):
    return "sdxl" if "XL" in name or "Kolors" in name else "sd15"


@torch.no_grad()
def with_weights(net):
    """A ControlNet or adapter whose outputs are not zero."""
    for name, weight in net.named_parameters():
        if "controlnet" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return net.eval()


def build(kind, parts, **more):
    """A tiny pipeline of a class."""
    name = kind.__name__
    torch.manual_seed(2)
    parts = dict(parts[space_of(name)], requires_safety_checker=False, add_watermarker=False, **more)
    parts["scheduler"] = type(parts["scheduler"]).from_config(parts["scheduler"].config)
    if name.startswith("LatentConsistency"):
        parts["unet"] = unet(16, time_cond_proj_dim=4)
        parts["scheduler"] = diffusers.LCMScheduler(**BETAS)
    if name.startswith("Kolors"):
        added = dict(addition_embed_type="text_time", addition_time_embed_dim=4)
        added |= dict(projection_class_embeddings_input_dim=6 * 4 + 20, encoder_hid_dim=12)
        parts["unet"] = unet(40, encoder_hid_dim_type="text_proj", **added)
    if "Union" in name:
        parts["controlnet"] = with_weights(
            diffusers.ControlNetUnionModel(
                block_out_channels=(8, 16),
                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                layers_per_block=1,
                norm_num_groups=4,
                attention_head_dim=2,
                cross_attention_dim=40,
                transformer_layers_per_block=1,
                addition_embed_type="text_time",
                addition_time_embed_dim=4,
                projection_class_embeddings_input_dim=6 * 4 + 20,
                num_trans_channel=8,
                num_trans_head=2,
                num_proj_channel=8,
            )
        )
    elif "ControlNet" in name:
        parts["controlnet"] = with_weights(diffusers.ControlNetModel.from_unet(parts["unet"]))
    if "LDM3D" in name:  # RGB and depth
        parts["vae"] = autoencoder(in_channels=6, out_channels=6)
    parts["adapter"] = diffusers.T2IAdapter(3, [8, 16], 1, 8)
    wanted = inspect.signature(kind.__init__).parameters
    pipe = kind(**{name: part for name, part in parts.items() if name in wanted})
    pipe.set_progress_bar_config(disable=True)
    if name == "KolorsImg2ImgPipeline":  # does not pass them on
        pipe.encode_prompt = functools.partial(pipe.encode_prompt, **POOLED)
    return pipe


def latents_of(pipe, prompt="a portrait", **call):
    call = dict(dict(prompt=prompt, num_inference_steps=3, output_type="latent"), **call)
    made = pipe(**call, generator=torch.Generator().manual_seed(1), return_dict=False)[0]
    return torch.as_tensor(made[0] if isinstance(made, tuple) else made)  # of LDM3D without the depth


@pytest.mark.parametrize("cfg", [1.0, 5.0])
@pytest.mark.parametrize("name", CALLS)
def test_every_task_is_corrected_and_strength_zero_is_bit_identical(classes, parts, exact, name, cfg):
    if name not in classes:
        pytest.skip(f"this diffusers has no {name}")
    shape = (4, 8, 64 if "Panorama" in name else 8)
    pipe, preference = build(classes[name], parts), exact(space=space_of(name), shape=shape)
    call = dict(CALLS[name], guidance_scale=cfg)
    plain = latents_of(pipe, **call)
    before = dict(vars(pipe)), vars(pipe.scheduler).keys()
    with corrected(pipe, preference) as run:
        changed = latents_of(pipe, **call)
    assert run.outcomes() == ["corrected"]
    assert changed.isfinite().all() and (changed - plain).abs().max() > 0.01
    assert vars(pipe) == before[0] and vars(pipe.scheduler).keys() == before[1]
    with corrected(pipe, preference, strength=0):
        assert torch.equal(latents_of(pipe, **call), plain)
    assert torch.equal(latents_of(pipe, **call), plain)


def test_every_other_class_is_refused_by_name(classes, parts, exact):
    for name, kind in classes.items():
        if name in CALLS:
            continue
        pipe, wanted = object.__new__(kind), inspect.signature(kind.__init__).parameters
        for part in ("unet", "vae", "scheduler"):
            if part in wanted:
                vars(pipe)[part] = parts[space_of(name)][part]
        if "unet" in wanted and wanted["unet"].annotation is not UNet2DConditionModel:
            vars(pipe)["unet"] = torch.nn.Identity()
        if name in CHANNELS:
            vars(pipe)["unet"] = unet(16, in_channels=CHANNELS[name])
        with (
            pytest.raises(CorrectionError, match=f"does not support the {name}, wh.*; use a pipeline for"),
            corrected(pipe, exact(space=space_of(name))),
        ):
            raise AssertionError(f"{name} was not refused")
    assert len(classes) > 300


@pytest.mark.parametrize("cfg, row", [(1.0, 0), (5.0, 1)])  # prompt, perturbed; negative prompt, prompt, perturbed
def test_with_perturbed_attention_the_prediction_for_the_prompt_is_read(classes, parts, exact, monkeypatch, cfg, row):
    pipe, outputs, read, change = build(classes["StableDiffusionPAGPipeline"], parts), [], [], Run.change

    def spy(run, x, sigma, cfg, conditional, *more):
        read.append(conditional)
        wanted = denoised_from_output(outputs[-1][row : row + 1], x, sigma, "eps")
        torch.testing.assert_close(conditional, wanted)
        return change(run, x, sigma, cfg, conditional, *more)

    monkeypatch.setattr(Run, "change", spy)
    pipe.unet.register_forward_hook(lambda unet, given, output: outputs.append(output[0]))
    with corrected(pipe, exact(space="sd15", shape=(4, 8, 8))):
        latents_of(pipe, guidance_scale=cfg)
    assert read and {len(output) for output in outputs} == {row + 2}
