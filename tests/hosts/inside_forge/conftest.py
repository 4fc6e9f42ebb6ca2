"""Forge's modules on the CPU, started as by its launcher, with this repository as an extension.

Only the model is replaced: by a small UNet of Forge's class with random weights, and by a "text encoder" that looks up
the prompts in RS_REFERENCE, which are encoded by the miniature.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

REPOSITORY = Path(__file__).resolve().parents[3]
FORGE = Path(os.environ["FORGE_PATH"])
DATA = Path(os.environ["RS_FORGE_DATA"])
CONDITIONINGS = load_file(os.environ["RS_REFERENCE"])  # prompt -> [77, 128]


def start():
    """Import Forge with an empty data folder and without its own extensions."""
    (DATA / "extensions").mkdir(parents=True, exist_ok=True)
    (DATA / "extensions" / "a name of its own").symlink_to(REPOSITORY)
    (DATA / "models" / "rs_corrector").mkdir(parents=True, exist_ok=True)
    shutil.copy(os.environ["RS_PREFERENCE"], DATA / "models" / "rs_corrector" / "backdrop.safetensors")
    builtin = [path.name for path in (FORGE / "extensions-builtin").iterdir() if path.is_dir()]
    quiet = {"disabled_extensions": builtin, "samples_save": False, "grid_save": False, "live_previews_enable": False}
    (DATA / "config.json").write_text(json.dumps(quiet))
    sys.argv = ["launch.py", "--always-cpu", "--skip-version-check", "--no-prompt-history", "--data-dir", str(DATA)]
    sys.path.insert(0, str(FORGE))
    os.chdir(FORGE)
    from modules_forge.initialization import initialize_forge

    initialize_forge()
    from modules import initialize

    initialize.imports()
    from modules import extensions, scripts, sd_samplers, shared

    sd_samplers.set_samplers()
    extensions.list_extensions()
    scripts.load_scripts()
    shared.opts.data |= {"outdir_samples": str(DATA / "out"), "sd_model_checkpoint": "small"}
    torch.set_num_threads(1)


start()


def small_unet():
    from backend.nn.unet import IntegratedUNet2DConditionModel

    torch.manual_seed(0)
    unet = IntegratedUNet2DConditionModel(
        in_channels=4, out_channels=4, model_channels=32, num_res_blocks=[1, 1], channel_mult=(1, 2), num_heads=4,
        use_spatial_transformer=True, transformer_depth=[1, 1], transformer_depth_output=[1, 1, 1, 1],
        transformer_depth_middle=1, context_dim=128,
    )  # fmt: skip
    for parameter in unet.parameters():
        parameter.data.normal_(std=0.5 / max(1, parameter[0].numel()) ** 0.5).add_(parameter.ndim == 1)
    unet.eval().requires_grad_(False)
    unet.storage_dtype = unet.computation_dtype = torch.float32
    unet.load_device = unet.offload_device = unet.initial_device = torch.device("cpu")
    return unet


def small_model(unet=None):
    """A ForgeDiffusionEngine for SD1.5, with a small UNet of random weights or another one."""
    from backend.diffusion_engine.base import ForgeDiffusionEngine, ForgeObjects
    from backend.modules.k_prediction import Prediction
    from backend.patcher.unet import UnetPatcher

    class Small(ForgeDiffusionEngine):
        def get_learned_conditioning(self, prompts):
            return torch.stack([CONDITIONINGS[prompt.strip()] for prompt in prompts])

        def get_first_stage_encoding(self, x):
            return x

        def encode_first_stage(self, pictures):
            small = torch.nn.functional.avg_pool2d(pictures, 8)
            return torch.cat([small, small.mean(dim=1, keepdim=True)], dim=1)

        def decode_first_stage(self, latents):
            return torch.nn.functional.interpolate(latents[:, :3], scale_factor=8.0).clamp(-1, 1)

    config = SimpleNamespace(inpaint_model=lambda: False, ztsnr=False)
    model = Small(config, {})
    predictor = Prediction(prediction_type="epsilon")
    unet = UnetPatcher.from_model(unet or small_unet(), None, config, k_predictor=predictor)
    vae = SimpleNamespace(latent_channels=4)
    model.forge_objects = ForgeObjects(unet=unet, clip=None, vae=vae, clipvision=None)
    model.forge_objects_original = model.forge_objects.shallow_copy()
    model.forge_objects_after_applying_lora = model.forge_objects.shallow_copy()
    model.is_sd1 = True
    model.sd_checkpoint_info = SimpleNamespace(
        name_for_extra="small", title="small", short_title="small", filename="small", model_name="small"
    )
    model.sd_model_hash, model.filename = "0123456789", "small"
    model.extra_generation_params, model.comments = {}, []
    return model


class MiniatureUnet(torch.nn.Module):
    """The miniature's UNet, as Forge's KModel calls it."""

    storage_dtype = computation_dtype = torch.float32
    load_device = offload_device = initial_device = torch.device("cpu")

    def __init__(self, miniature):
        super().__init__()
        self.networks = miniature

    def forward(self, x, timestep, context, **_):
        return self.networks.eps(x, timestep.round(), context)


def miniature_model():
    """The miniature as a ForgeDiffusionEngine, in `miniature` as TracedMiniature."""
    sys.path.append(str(REPOSITORY / "tests"))
    from webui_miniature import TracedMiniature

    miniature = TracedMiniature(Path(os.environ["RS_MINIATURE"]))
    model = small_model(MiniatureUnet(miniature))
    model.miniature, model.get_learned_conditioning = miniature, miniature.encode
    model.decode_first_stage, model.encode_first_stage = miniature.decode, miniature.encode_pictures
    patcher = SimpleNamespace(lora_patches={}, lora_loader=SimpleNamespace(backup={}))
    model.forge_objects.clip = SimpleNamespace(
        cond_stage_model=miniature.text_encoder, patcher=patcher, tokenizer=SimpleNamespace(clip_l=miniature.tokenizer)
    )
    for objects in (model.forge_objects_original, model.forge_objects_after_applying_lora):
        objects.clip = model.forge_objects.clip
    return model


def switch_to(model):
    """Replace the model as Forge's `forge_model_reload` does."""
    from backend import memory_management
    from modules import sd_models

    sd_models.model_data.set_sd_model(None)
    memory_management.unload_all_models()
    sd_models.model_data.set_sd_model(model)
    sd_models.model_data.forge_hash = str(sd_models.model_data.forge_loading_parameters)  # so that Forge loads nothing
    return model


@pytest.fixture(scope="session")
def sd_model():
    return switch_to(small_model())


@pytest.fixture
def switch(sd_model):
    """-> a function that switches to a new model, or back to `sd_model`."""
    yield lambda back=False: switch_to(sd_model if back else small_model())
    switch_to(sd_model)


def runner_of(is_img2img):
    """Forge's ScriptRunner with our script and its page in Gradio."""
    import gradio as gr
    from modules import scripts

    runner = scripts.ScriptRunner()
    runner.initialize_scripts(is_img2img)
    ours = [script for script in runner.alwayson_scripts if script.title() == "RS-Corrector"]
    assert len(ours) == 1, "Forge did not load the script from the extension folder exactly once"
    runner.scripts = runner.alwayson_scripts = ours
    runner.selectable_scripts = []
    runner.callback_map.clear()
    with gr.Blocks():
        runner.prepare_ui()
        runner.setup_ui()
    return runner


class Generate:
    """Call with our values and Forge's settings -> (latents, infotexts, p, Processed)."""

    def __init__(self, sd_model):
        self.sd_model, self.runners = sd_model, {is_img2img: runner_of(is_img2img) for is_img2img in (False, True)}

    def __call__(self, *values, prompt, init=None, mask=None, **settings):
        from modules import processing

        settings = dict(
            prompt=prompt, seed=5, steps=4, width=128, height=128, cfg_scale=2.0, sampler_name="Euler",
            scheduler="Automatic", do_not_save_samples=True, do_not_save_grid=True, batch_size=1,
        ) | settings  # fmt: skip
        runner = self.runners[init is not None]
        (script,) = runner.alwayson_scripts
        arguments = [0] * script.args_to
        arguments[script.args_from : script.args_to] = [control.value for control in script.controls]
        arguments[script.args_from : script.args_from + len(values)] = values
        if init is None:
            p = processing.StableDiffusionProcessingTxt2Img(**settings)
        else:
            p = processing.StableDiffusionProcessingImg2Img(init_images=[init], mask=mask, **settings)
        p.scripts, p.script_args = runner, tuple(arguments)
        processed = processing.process_images(p)
        return torch.stack(list(p.latents_after_sampling)), processed.infotexts, p, processed


@pytest.fixture(scope="session")
def generate(sd_model):
    return Generate(sd_model)
