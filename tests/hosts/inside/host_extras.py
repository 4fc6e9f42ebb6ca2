"""A LoRA, a ControlNet, guiders and an SDXL model of the host's classes with seeded weights; a counter of batches."""

import comfy.cldm.cldm
import comfy.controlnet
import comfy.lora
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.supported_models
import torch
from comfy_extras import nodes_custom_sampler, nodes_model_advanced, nodes_perpneg
from host import seeded, small_model


def with_lora(model, clip, strength_model, strength_clip):
    """MODEL and CLIP with a rank-2 LoRA on one attention layer of each."""
    generator = torch.Generator().manual_seed(0)
    lora = {}
    unet_keys = comfy.lora.model_lora_keys_unet(model.model, {})
    clip_keys = comfy.lora.model_lora_keys_clip(clip.cond_stage_model, {})
    names = [next(k for k in unet_keys if k.startswith("lora_unet") and k.endswith("attn2_to_q"))]
    names += [next(k for k in clip_keys if k.startswith("lora_te") and k.endswith("layers_1_mlp_fc1"))]
    states = {**model.model.state_dict(), **clip.cond_stage_model.state_dict()}
    for name in names:
        out_width, in_width = states[{**unet_keys, **clip_keys}[name]].shape
        lora[f"{name}.lora_up.weight"] = torch.randn(out_width, 2, generator=generator)
        lora[f"{name}.lora_down.weight"] = torch.randn(2, in_width, generator=generator) * 0.3
    return comfy.sd.load_lora_for_models(model, clip, lora, strength_model, strength_clip)


def control_net(model):
    """A ControlNet for the model's UNet."""
    config = {**model.model.model_config.unet_config, "hint_channels": 3}
    for name in ("out_channels", "transformer_depth_output"):
        config.pop(name)
    network = comfy.cldm.cldm.ControlNet(**config, operations=comfy.ops.manual_cast, device="cpu")
    return comfy.controlnet.ControlNet(seeded(network), load_device=torch.device("cpu"))


def guided(kind, model, prompts, second, steps=3):
    """Sample with another guider; `second` is the second prompt of DualCFG, or the negative one of PerpNeg and CFG."""
    person, empty = prompts["person"], prompts["empty"]
    if kind.startswith("dual"):
        guider = nodes_custom_sampler.Guider_DualCFG(model)
        guider.set_conds(person, second, empty)
        guider.set_cfg(2.0, 1.5, nested="nested" in kind)
    elif kind == "perp-neg":
        guider = nodes_perpneg.Guider_PerpNeg(model)
        guider.set_conds(person, second, empty)
        guider.set_cfg(2.0, 1.0)
    elif kind == "cfg":
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(person, second)
        guider.set_cfg(3.0)
    else:
        guider = nodes_custom_sampler.Guider_Basic(model)
        guider.set_conds(person)
    latent = torch.zeros(2, 4, 16, 16)
    sigmas = torch.tensor([*[14.6, 5.0, 1.0][:steps], 0.0])
    return guider.sample(
        comfy.sample.prepare_noise(latent, 3), latent, comfy.samplers.sampler_object("euler"), sigmas, seed=3
    )


def rescale_cfg(model):
    return nodes_model_advanced.RescaleCFG().patch(model, 0.7)[0]


def small_sdxl():
    """A small SDXL model, which also has pooled outputs."""
    depths = dict(transformer_depth=[0, 1], transformer_depth_output=[0, 0, 1, 1])
    pooled = dict(num_classes="sequential", adm_in_channels=2816)
    return small_model(comfy.supported_models.SDXL, comfy.model_base.SDXL, **depths, **pooled)


def small_flux():
    """A small Flux.1 dev: its guidance is an input of the model."""
    config = comfy.supported_models.Flux(
        dict(
            image_model="flux", in_channels=16, out_channels=16, patch_size=2, vec_in_dim=16, context_in_dim=16,
            hidden_size=128, mlp_ratio=2.0, num_heads=1, depth=1, depth_single_blocks=1, axes_dim=[16, 56, 56],
            theta=10000, qkv_bias=True, guidance_embed=True, txt_ids_dims=[], dtype=torch.float32,
        )
    )  # fmt: skip
    config.set_inference_dtype(torch.float32, None)
    model = seeded(comfy.model_base.Flux(config)).eval()
    return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def small_inpainting():
    """A small SD1.5 inpainting model: it sees the mask and the masked picture beside the latents."""
    depths = dict(transformer_depth=[1, 1], transformer_depth_output=[1, 1, 1, 1], adm_in_channels=None)
    model = small_model(comfy.supported_models.SD15, comfy.model_base.BaseModel, in_channels=9, **depths)
    model.model.set_inpaint()
    return model


class SeededCLIP:
    """Replaces SDXL's text encoders, which are too large for a test, by random vectors for each text."""

    def tokenize(self, text):
        return text

    def encode_from_tokens_scheduled(self, tokens):
        generator = torch.Generator().manual_seed(sum(map(ord, tokens)))
        pooled = torch.randn(1, 1280, generator=generator)
        return [[torch.randn(1, 77, 16, generator=generator), {"pooled_output": pooled}]]


class Counted:
    """Counts the batches that the host samples; interrupts the run in batch `stop_at`."""

    def __init__(self, patch, stop_at=None):
        self.batches, self.stop_at, self.sample = 0, stop_at, comfy.sample.sample
        patch.setattr(comfy.sample, "sample", self)

    def __call__(self, *args, **kwargs):
        self.batches += 1
        if self.batches == self.stop_at:
            comfy.model_management.interrupt_current_processing()
        return self.sample(*args, **kwargs)
