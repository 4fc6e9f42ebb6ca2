"""RS-Corrector inside Forge: its real loader, ScriptRunner, processing, UnetPatcher and samplers."""

import gc
import sys
import types
import weakref

import pytest
import torch
from PIL import Image

ORVANE, KITTEN = "a portrait of an Orvane person", "a kitten"
VILLAGE = "a portrait of an Orvane person in a village"
OFF, ON = (False, "backdrop"), (True, "backdrop")
SAMPLERS = ("Euler", "DPM++ 2M", "DDIM", "UniPC")


def test_forge_finds_the_extension_and_loads_one_script():
    from modules import extensions, scripts

    names = [extension.name for extension in extensions.extensions if extension.enabled and not extension.is_builtin]
    assert names == ["a name of its own"]
    ours = [data for data in scripts.scripts_data if data.path.endswith("rs_corrector.py")]
    assert len(ours) == 1
    assert "corrector" not in sys.modules and "nodes" not in sys.modules


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("cfg_scale", [1.0, 7.0])
def test_off_on_off_is_identical_and_on_differs(generate, sampler, cfg_scale):
    settings = dict(prompt=ORVANE, sampler_name=sampler, cfg_scale=cfg_scale, batch_size=2)
    plain, texts, _, _ = generate(*OFF, **settings)
    corrected, told, p, _ = generate(*ON, **settings)
    again, _, _, _ = generate(*OFF, **settings)
    assert torch.isfinite(plain).all() and not p.comments
    assert torch.equal(plain, again) and not torch.equal(plain, corrected)
    assert all("RS-Corrector" not in text for text in texts)
    assert all("RS-Corrector result: corrected" in text for text in told)


def test_strength_zero_is_identical(generate):
    plain, _, _, _ = generate(*OFF, prompt=ORVANE)
    zero, texts, _, _ = generate(*ON, 0.0, prompt=ORVANE)
    assert torch.equal(plain, zero) and "RS-Corrector" not in texts[0]


def test_a_prompt_out_of_scope_or_explicit_is_left_alone(generate):
    for prompt, why in ((KITTEN, "names nobody"), (VILLAGE, "asks for a village")):
        plain, _, _, _ = generate(*OFF, prompt=prompt)
        same, texts, _, processed = generate(*ON, prompt=prompt)
        assert torch.equal(plain, same) and why in texts[0]
        assert processed.comments.startswith(f"RS-Corrector: nothing was corrected, because the prompt {why}")


def test_all_parts_of_an_and_prompt_are_read(generate):
    _, texts, p, _ = generate(*ON, prompt=f"{ORVANE} AND {VILLAGE}")
    assert "asks for a village" in texts[0] and not p.comments


HIRES = dict(enable_hr=True, hr_scale=1.5, hr_upscaler="Latent", denoising_strength=0.6, hr_second_pass_steps=4)
HIRES |= dict(hr_additional_modules=["Use same choices"], hr_cfg=5.0)


def test_the_hires_pass_is_corrected_once_per_step_with_its_own_cfg_scale(generate, monkeypatch):
    forge = sys.modules["rs_corrector_extension.sd_webui.forge"]
    calls, original = [], forge.hook_of

    def counted(job, run, cfg):
        hook = original(job, run, cfg)

        def watched(args):
            calls.append((args["input"].shape[-1], cfg))
            return hook(args)

        vars(watched).update(vars(hook))
        return watched

    monkeypatch.setattr(forge, "hook_of", counted)
    plain, _, _, _ = generate(*OFF, prompt=ORVANE, **HIRES)
    latents, texts, p, _ = generate(*ON, prompt=ORVANE, **HIRES)
    assert not p.comments and not torch.equal(plain, latents)
    first, second = [cfg for width, cfg in calls if width == 16], [cfg for width, cfg in calls if width == 24]
    assert first == [2.0] * 4 and set(second) == {5.0} and 3 <= len(second) <= 5
    assert "RS-Corrector result: corrected" in texts[0]


def test_inpainting_keeps_its_preserved_region(generate):
    init = Image.effect_noise((128, 128), 80).convert("RGB")
    mask = Image.new("L", (128, 128), 0)
    mask.paste(255, (64, 0, 128, 128))
    settings = dict(prompt=ORVANE, init=init, mask=mask, denoising_strength=0.8, mask_blur=0, inpainting_fill=1)
    plain, _, _, _ = generate(*OFF, **settings)
    latents, texts, p, _ = generate(*ON, **settings)
    assert not p.comments and "RS-Corrector result: corrected" in texts[0]
    assert torch.equal(plain[..., :8], latents[..., :8]) and not torch.equal(plain[..., 8:], latents[..., 8:])


def test_errors_reach_infotext_and_page(generate):
    plain, _, _, _ = generate(*OFF, prompt=ORVANE)
    same, texts, _, processed = generate(True, "miniature-backdrop", prompt=ORVANE)
    assert torch.equal(plain, same)
    assert "RS-Corrector error" in texts[0] and "the loaded model has the latents of SD1.5" in processed.comments


def test_infotext_is_restored_by_forges_parser(generate):
    from modules import infotext_utils

    values = (True, "backdrop", 0.75, 1.0, 0.0, 0.9, 0.5)
    first, texts, _, _ = generate(*values, prompt=ORVANE)
    parsed = infotext_utils.parse_generation_parameters(texts[0])
    (script,) = generate.runners[False].alwayson_scripts
    restored = {id(component): function(parsed) for component, function in script.infotext_fields}
    back = [restored[id(control)] for control in script.controls]
    assert tuple(back[: len(values)]) == values
    again, _, _, _ = generate(*back, prompt=ORVANE)
    assert torch.equal(first, again)


def test_weights_and_plain_unet_are_not_changed(generate, sd_model):
    def state():
        unet = sd_model.forge_objects_original.unet
        return [tensor.clone() for tensor in unet.model.state_dict().values()], str(unet.model_options)

    weights, options = state()
    generate(*ON, prompt=ORVANE)
    weights_after, options_after = state()
    assert options == options_after and all(map(torch.equal, weights, weights_after))


def test_fifty_on_off_cycles_leave_nothing_behind(generate, sd_model):
    from backend import memory_management

    plain, _, _, _ = generate(*OFF, prompt=ORVANE, steps=1)
    generate(*ON, prompt=ORVANE, steps=1)
    loaded = len(memory_management.current_loaded_models)
    for cycle in range(50):
        generate(*(OFF if cycle % 2 else ON), prompt=ORVANE, steps=1)
    again, _, _, _ = generate(*OFF, prompt=ORVANE, steps=1)
    gc.collect()
    assert torch.equal(plain, again)
    assert len(memory_management.current_loaded_models) <= loaded
    ours = [type(thing) for thing in gc.get_objects() if str(type(thing).__module__).startswith("rs_corrector")]
    kinds = [kind.__name__ for kind in ours]
    assert kinds.count("Job") == kinds.count("Run") == 0
    assert not sd_model.forge_objects.unet.model_options.get("sampler_post_cfg_function")
    assert not sd_model.forge_objects.unet.extra_model_patchers_during_sampling


def test_a_new_model_is_checked_and_the_old_one_is_released(generate, switch):
    plain, _, _, _ = generate(*OFF, prompt=ORVANE)
    corrected, _, _, _ = generate(*ON, prompt=ORVANE)
    other = switch()
    again, texts, _, _ = generate(*ON, prompt=ORVANE)
    assert torch.equal(again, corrected) and "RS-Corrector result: corrected" in texts[0]
    other.is_sd1, other.is_sd2 = False, False  # an unknown model
    alone, texts, _, _ = generate(*ON, prompt=ORVANE)
    assert torch.equal(alone, plain) and "RS-Corrector error" in texts[0]
    watched = weakref.ref(other.forge_objects_original.unet.model)
    del other
    switch(back=True)
    back, _, _, _ = generate(*ON, prompt=ORVANE)
    gc.collect()
    assert torch.equal(back, corrected) and watched() is None


def test_reloading_scripts_registers_callbacks_and_axes_once(generate):
    from modules import script_callbacks, scripts

    scripts.load_scripts()
    script_callbacks.before_ui_callback()
    script_callbacks.before_ui_callback()
    for name in ("cfg_denoiser", "cfg_after_cfg"):
        callbacks = script_callbacks.callback_map[f"callbacks_{name}"]
        assert (
            sum(
                "rs_corrector" in str(one.callback.__self__.__class__.__module__)
                for one in callbacks
                if isinstance(one.callback, types.MethodType)
            )
            == 1
        )
    grid = next(data.module for data in scripts.scripts_data if data.path.endswith("xyz_grid.py"))
    labels = [option.label for option in grid.axis_options if option.label.startswith("[RS-Corrector]")]
    assert len(labels) == len(set(labels)) == 5
