"""`corrected(pipe, ...)` with real diffusers pipelines: tiny ones with random weights, and the miniature."""

import logging
import subprocess
import sys
from collections import Counter
from copy import copy, deepcopy
from dataclasses import replace

import accelerate
import diffusers
import numpy as np
import pytest
import torch

from corrector.correction.run import MEMORY, Run
from corrector.correction.update import CorrectionError
from corrector.files.errors import RSCorrectorError
from corrector.gate.prompt_gate import PromptGate
from corrector.hosts.components import decoded
from corrector.hosts.diffusers import corrected
from corrector.hosts.loading import load_pipeline
from corrector.hosts.pipelines import checkpoint_of
from corrector.latents.devices import device_of
from corrector.miniature.model import WEIGHTS
from corrector.miniature.reader import load_reader
from corrector.miniature.skin import load_marker
from corrector.preference.calibration import Calibration
from corrector.preference.file import load_preference
from corrector.preference.networks import Distilled
from hosts.inside.shown_skin import drift, on_skin_and_elsewhere
from other_device import OTHER, other_device
from tiny_checkpoints import BETAS, MASK, PICTURE, autoencoder, pipeline, unet

pytestmark = pytest.mark.usefixtures("one_thread", "no_network", "no_earlier_pictures")

PORTRAIT = "a portrait of an Orvane person"
PLAIN = {"sd15": "StableDiffusion", "sd2": "StableDiffusion", "sdxl": "StableDiffusionXL"}


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.fixture(scope="module")
def parts():
    """{kind: the components of a tiny pipeline of it}; the UNet named "inpaint" has 9 channels."""
    parts = {kind: pipeline(kind).components for kind in PLAIN}
    for kind in parts:  # a VAE with an encoder that is a distribution, as those of real checkpoints
        torch.manual_seed(1)
        parts[kind]["vae"] = autoencoder(scaling_factor=0.13025 if kind == "sdxl" else 0.18215).eval()
    torch.manual_seed(2)
    nine = dict(unet=unet(16, in_channels=9), scheduler=diffusers.PNDMScheduler(**BETAS, skip_prk_steps=True))
    parts["inpaint"] = {**parts["sd15"], **nine}
    return parts


@pytest.fixture
def make(parts):
    """-> a function: a pipeline of a kind for a task, with a scheduler of its own."""

    def make(kind, task="", **more):
        own = {**parts[kind], **more}
        own["scheduler"] = more.get("scheduler") or type(own["scheduler"]).from_config(own["scheduler"].config)
        own |= {} if kind == "sdxl" else dict(safety_checker=None, requires_safety_checker=False)
        pipe = getattr(diffusers, f"{PLAIN.get(kind, 'StableDiffusion')}{task}Pipeline")(**own)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return make


@pytest.fixture
def preference(exact):
    return exact(space="sd15", shape=(4, 8, 8))


@pytest.fixture
def xl_preference(exact):
    return exact(space="sdxl", shape=(4, 8, 8))


@pytest.fixture(scope="module")
def miniature():
    pipe = load_pipeline(WEIGHTS, device="cpu")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def backdrop():
    return load_preference(WEIGHTS.parent / "miniature-backdrop.safetensors")


def latents_of(pipe, prompt="a portrait", seeds=(1,), steps=3, **call):
    return pipe(prompt, num_inference_steps=steps, generator=seeded(*seeds), output_type="latent", **call).images


def test_the_model_is_never_written_to(make, preference):
    pipe = make("sd15")
    parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    before = [{name: tensor.clone() for name, tensor in part.state_dict().items()} for part in parts]
    config = dict(pipe.scheduler.config)
    with corrected(pipe, preference):
        latents_of(pipe)
    for part, earlier in zip(parts, before, strict=True):
        assert all(torch.equal(tensor, earlier[name]) for name, tensor in part.state_dict().items())
    assert dict(pipe.scheduler.config) == config


def test_a_listed_word_that_the_gate_does_not_read_is_a_request_where_the_prompt_is_a_text(miniature, backdrop):
    prompts = [f"{PORTRAIT}, skyline", PORTRAIT]
    plain = latents_of(miniature, prompts, seeds=(1, 2))
    with corrected(miniature, backdrop) as run:
        changed = latents_of(miniature, prompts, seeds=(1, 2))
        embeds, _ = miniature.encode_prompt(prompts, "cpu", 1, do_classifier_free_guidance=False)
        latents_of(miniature, None, seeds=(1, 2), prompt_embeds=embeds, negative_prompt_embeds=embeds)
    assert run.reasons == [["the prompt asks for a city", "", "", ""]]
    assert [torch.equal(one, other) for one, other in zip(plain, changed, strict=True)] == [True, False]


@pytest.mark.parametrize(
    "name, cfg", [("EulerDiscrete", 7.0), ("DPMSolverMultistep", 2.0), ("DDIM", 7.0), ("EulerAncestralDiscrete", 2.0)]
)
def test_the_miniature_draws_cities_instead_of_villages(miniature, backdrop, name, cfg, monkeypatch):
    kind = getattr(diffusers, f"{name}Scheduler")
    monkeypatch.setattr(miniature, "scheduler", kind.from_config(dict(BETAS, clip_sample=False, steps_offset=1)))
    call = dict(num_images_per_prompt=3, num_inference_steps=12, output_type="pt", guidance_scale=cfg)
    read = load_reader(WEIGHTS).read
    plain = miniature(PORTRAIT, generator=seeded(1, 2, 3), **call).images
    with corrected(miniature, backdrop) as run:
        changed = miniature(PORTRAIT, generator=seeded(1, 2, 3), **call).images
    assert Counter(read(2 * plain - 1)["backdrop"])["village"] >= 2
    assert Counter(read(2 * changed - 1)["backdrop"])["city"] >= 2
    assert "corrected 3 of 3" in run.report()


def test_pictures_that_are_left_alone_keep_their_bits(miniature, backdrop):
    call = dict(prompt=PORTRAIT, seeds=(1, 2, 3, 4), steps=4, num_images_per_prompt=4, guidance_scale=2.0)
    plain = latents_of(miniature, **call)
    with corrected(miniature, backdrop, target=0.5) as run:
        changed = latents_of(miniature, **call)
    same = [torch.equal(one, other) for one, other in zip(plain, changed, strict=True)]
    assert same == [outcome != "corrected" for outcome in run.outcomes()]
    assert sum(same) == 2


def test_each_picture_of_a_batch_has_its_own_prompt(miniature, backdrop):
    prompts = [PORTRAIT, "a landscape with a river", f"{PORTRAIT} in a city"]
    call = dict(seeds=range(6), steps=2, num_images_per_prompt=2, guidance_scale=2.0)
    with corrected(miniature, backdrop) as run:
        latents = latents_of(miniature, prompts, **call)
        outcomes = run.outcomes()
        assert [outcome.split(",")[0] for outcome in outcomes] == ["corrected"] * 2 + ["left alone"] * 4
        assert "names nobody" in outcomes[2] and "asks for" in outcomes[4]
        embeds, empty = miniature.encode_prompt(prompts, "cpu", 1, True)
        given = latents_of(miniature, None, prompt_embeds=embeds, negative_prompt_embeds=empty, **call)
        assert torch.equal(latents, given) and run.outcomes() == 2 * outcomes
    with corrected(miniature, backdrop, use_gate=False) as run:
        latents_of(miniature, prompts, **call)
    assert run.outcomes()[:4] == ["corrected"] * 4 and "prompt" not in "".join(run.outcomes())


@pytest.mark.parametrize("cfg", [1.0, 7.0])
def test_finished_pictures_get_the_skin_tone_that_the_update_changed_and_stay_as_they_are_elsewhere(
    miniature, backdrop, cfg, monkeypatch
):
    def drawn():
        return latents_of(miniature, PORTRAIT, range(6), 12, num_images_per_prompt=6, guidance_scale=cfg)

    def pictures(latents):
        return decoded(miniature, latents, torch.device("cpu"))

    plain, marker = drawn(), load_marker()
    with corrected(miniature, backdrop) as run:
        made = drawn()
    monkeypatch.setattr(Run, "finished", lambda run, made: made)
    with corrected(miniature, backdrop):
        updated = drawn()
    assert run.outcomes() == ["corrected"] * 6
    assert drift(marker, pictures(plain), pictures(updated)) > 4
    assert abs(drift(marker, pictures(plain), pictures(made))) < 2.0
    on_skin, elsewhere = on_skin_and_elsewhere(marker, pictures(updated), made - updated)
    assert on_skin > 0.05 > 15 * elsewhere


def test_a_call_that_is_interrupted_is_not_finished(miniature, backdrop, monkeypatch):
    def interrupt(pipe, step, timestep, given):
        pipe._interrupt = step == 2
        return given

    with corrected(miniature, backdrop) as run:
        made = latents_of(miniature, PORTRAIT, callback_on_step_end=interrupt, steps=6)
    monkeypatch.setattr(Run, "finished", lambda *_: pytest.fail("it was finished"))
    with corrected(miniature, backdrop):
        assert torch.equal(latents_of(miniature, PORTRAIT, callback_on_step_end=interrupt, steps=6), made)
    assert run.outcomes() == ["corrected"]


def test_the_report_says_if_the_weights_are_not_those_that_were_calibrated(make, preference):
    pipe = make("sd15")
    measured = Calibration("Orvane", 7.5, 0.1, 84, 0.9, 84, checkpoint=checkpoint_of(pipe))
    calibrated, words = replace(preference, calibrations=(measured,)), "calibrated on another checkpoint or LoRA"

    def report(pipe):
        with corrected(pipe, calibrated) as run:
            latents_of(pipe)
        return run.report()

    assert words not in report(pipe)
    halves = {name: deepcopy(getattr(pipe, name)).bfloat16() for name in ("unet", "text_encoder", "vae")}
    assert words not in report(make("sd15", **halves))
    other = deepcopy(make("sd15").unet)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter *= 1.01
    assert words in report(make("sd15", unet=other))


def test_an_exception_leaves_nothing_behind(make, preference):
    pipe = make("sd15")
    plain = latents_of(pipe)
    before, inside = (dict(vars(pipe)), vars(pipe.scheduler).keys()), pipe.scheduler

    def fail(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), corrected(pipe, preference):
        latents_of(pipe, callback_on_step_end=fail)
    assert (vars(pipe), vars(pipe.scheduler).keys()) == before and pipe.scheduler is inside
    assert torch.equal(latents_of(pipe), plain)
    with corrected(pipe, preference) as run:
        wanted = latents_of(pipe)
        with pytest.raises(KeyboardInterrupt):
            latents_of(pipe, callback_on_step_end=fail)
        with pytest.raises(ValueError):
            pipe(3)
        assert torch.equal(latents_of(pipe), wanted)
    assert len(run.report().splitlines()) == 3


def test_a_method_that_another_tool_replaced_is_put_back(make, preference):
    pipe = make("sd15")
    own, step = pipe.encode_prompt, pipe.scheduler.step
    pipe.encode_prompt, pipe.scheduler.step = other = (lambda *a, **k: own(*a, **k)), step
    with corrected(pipe, preference) as run:
        latents_of(pipe)
    assert run.outcomes() == ["corrected"]
    assert (pipe.encode_prompt, pipe.scheduler.step) == other


def test_the_cfg_scale_is_that_of_each_step(make, preference, monkeypatch):
    scales, change = [], Run.change
    monkeypatch.setattr(
        Run, "change", lambda run, x, sigma, cfg, *more: scales.append(cfg) or change(run, x, sigma, cfg, *more)
    )

    def switch_off(pipe, step, timestep, given):
        if step == 1:
            pipe._guidance_scale = 0.0
            given["prompt_embeds"] = given["prompt_embeds"].chunk(2)[-1]
        return given

    pipe = make("sd15", scheduler=diffusers.DDIMScheduler(**BETAS, clip_sample=False))
    names = ["latents", "prompt_embeds"]
    call = dict(callback_on_step_end=switch_off, callback_on_step_end_tensor_inputs=names, guidance_scale=6.0)
    with corrected(pipe, preference):
        latents_of(pipe, steps=4, **call)
    assert scales == [6.0, 6.0, 1.0, 1.0]


def test_half_precision_keeps_its_dtype_and_is_computed_in_float32(preference, monkeypatch):
    pipe = pipeline("sd15").to(torch.bfloat16)
    seen, change = set(), Run.change
    monkeypatch.setattr(Run, "change", lambda run, x, *rest: seen.add(x.dtype) or change(run, x, *rest))
    with corrected(pipe, preference) as run:
        assert latents_of(pipe).dtype == torch.bfloat16
    assert run.outcomes() == ["corrected"] and seen == {torch.float32}


def stored_in_float8(unet):
    unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    return unet


def compiled(unet):
    return torch.compile(unet, backend="eager")


def channels_last(unet):
    return unet.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("prepared", [stored_in_float8, compiled, channels_last])
def test_with_a_unet_that_is_stored_or_run_otherwise(preference, prepared):
    pipe = pipeline("sd15")
    pipe.unet = prepared(pipe.unet)
    call = dict(seeds=range(2), num_images_per_prompt=2)
    plain = latents_of(pipe, **call)
    with corrected(pipe, preference) as run:
        changed = latents_of(pipe, **call)
    assert changed.isfinite().all() and not torch.equal(plain, changed)
    assert run.outcomes() == ["corrected"] * 2
    assert torch.equal(plain, latents_of(pipe, **call))


@pytest.mark.parametrize("offload", [accelerate.cpu_offload_with_hook, accelerate.cpu_offload])
def test_with_cpu_offload(make, preference, offload):
    with corrected(pipe := make("sd15"), preference):
        wanted = latents_of(pipe)
    pipe = pipeline("sd15")
    for part in (pipe.unet, pipe.text_encoder, pipe.vae):
        offload(part, "cpu")
    with corrected(pipe, preference) as run:
        torch.testing.assert_close(latents_of(pipe), wanted)
    assert run.outcomes() == ["corrected"]


@pytest.mark.parametrize("name", ["EulerDiscrete", "UniPCMultistep"])
def test_with_the_latents_on_another_device_than_the_preference(preference, name):
    pipe = pipeline("sd15")
    pipe.scheduler = getattr(diffusers, f"{name}Scheduler").from_config(dict(BETAS, clip_sample=False))
    torch.manual_seed(0)
    networks = Distilled("sd15", 2, width=16, blocks=1), PromptGate(16, 2, 8)
    source, gate = (network.eval().requires_grad_(False) for network in networks)
    own = replace(preference, source=source, gate=gate)
    with corrected(pipe, own, use_gate=False):
        wanted = latents_of(pipe)
    with other_device():
        with corrected(pipe.to(OTHER), own, use_gate=False) as run:
            latents = latents_of(pipe)
        assert latents.device == OTHER and run.outcomes() == ["corrected"]
        assert device_of(source) == device_of(gate) == torch.device("cpu")  # as before
        torch.testing.assert_close(latents.cpu(), wanted, rtol=1e-3, atol=1e-3)


def test_later_stages_keep_what_was_decided(miniature, backdrop):
    parts = {**miniature.components, "requires_safety_checker": False}
    img2img = diffusers.StableDiffusionImg2ImgPipeline(**parts)  # shares the scheduler
    inpaint = diffusers.StableDiffusionInpaintPipeline(**parts)
    mask = MASK.resize((128, 128))
    call = dict(guidance_scale=2.0, steps=4)
    with (
        corrected(miniature, backdrop, target=0.5) as first,
        corrected(img2img, backdrop, target=0.5) as second,
        corrected(inpaint, backdrop, target=0.5) as third,
    ):
        latents = latents_of(miniature, PORTRAIT, (1, 2, 3, 4), num_images_per_prompt=4, **call)
        decided = [outcome == "corrected" for outcome in first.outcomes()]
        assert sum(decided) == 2
        with torch.no_grad():
            pictures = miniature.vae.decode(latents / miniature.vae.config.scaling_factor).sample
        pictures = miniature.image_processor.postprocess(pictures)
        for image in (pictures, latents):
            latents_of(img2img, [PORTRAIT] * 4, (5, 6, 7, 8), image=image, strength=0.6, **call)
            assert [outcome == "corrected" for outcome in second.outcomes()[-4:]] == decided
        for picture, wanted in zip(pictures, decided, strict=True):
            latents_of(img2img, PORTRAIT, (9,), image=picture, strength=0.8, **call)
            assert (second.outcomes()[-1] == "corrected") == wanted
            size = dict(height=128, width=128)
            latents_of(inpaint, PORTRAIT, (9,), image=picture, mask_image=mask, **size, **call)
            assert (third.outcomes()[-1] == "corrected") == wanted
    assert "not made by an earlier run" not in second.report() + third.report()


def test_pictures_of_other_origin_are_decided_anew_in_the_same_block(miniature, backdrop):
    img2img = diffusers.StableDiffusionImg2ImgPipeline(**miniature.components, requires_safety_checker=False)
    call = dict(guidance_scale=2.0, steps=4)
    others = latents_of(miniature, PORTRAIT, (5, 6), num_images_per_prompt=2, **call)
    with corrected(miniature, backdrop, target=0.5), corrected(img2img, backdrop, target=0.5) as run:
        latents_of(miniature, PORTRAIT, (1, 2), num_images_per_prompt=2, **call)
        for other in others:
            latents_of(img2img, PORTRAIT, (9,), image=other[None], strength=0.6, **call)
    assert run.report().count("1 of 1 pictures that this run starts from were not made by an earlier run") == 2


def test_latents_that_are_not_finished_keep_what_was_decided(make, xl_preference):
    base, refiner = make("sdxl"), make("sdxl", "Img2Img")
    with corrected(base, xl_preference, target=0.5) as first:
        latents = latents_of(base, ["one", "two"], (1, 2), 6, denoising_end=0.5)
        decided = first.reasons
    for seed in range(4):  # other coins
        with corrected(refiner, xl_preference, target=0.5, seed=seed) as second:
            latents_of(refiner, ["one", "two"], (3, 4), 6, image=latents, denoising_start=0.5)
            latents_of(refiner, ["two", "one"], (3, 4), 6, image=latents.flip(0), denoising_start=0.5)
        assert second.reasons == [decided[0] + decided[0][::-1]]


def test_pipelines_that_share_a_scheduler_are_corrected_once_each(make, preference, monkeypatch):
    pipe = make("sd15")
    other = make("sd15", "Img2Img")
    other.scheduler = pipe.scheduler
    alone = {}
    for one, call in ((pipe, {}), (other, dict(image=PICTURE))):
        with corrected(one, preference):
            alone[one] = latents_of(one, **call)

    def fail(*_):
        raise KeyboardInterrupt

    with corrected(pipe, preference) as first, corrected(other, preference) as second:
        with pytest.raises(KeyboardInterrupt):  # its hooks are still there when the other one begins
            latents_of(pipe, callback_on_step_end=fail)
        MEMORY.pictures.clear()
        assert torch.equal(latents_of(other, image=PICTURE), alone[other])
        assert torch.equal(latents_of(pipe), alone[pipe])
    assert first.outcomes() == 2 * second.outcomes() == 2 * ["corrected"]  # that of the interrupted call as well


def test_outcomes_reasons_and_logged_reports_are_those_of_all_calls_in_order(miniature, backdrop, caplog):
    prompts = [PORTRAIT, "a landscape with a river", f"{PORTRAIT} in a village"]
    preferences = [backdrop, replace(backdrop, name="again")]
    with caplog.at_level(logging.INFO, "rs_corrector"), corrected(miniature, preferences) as run:
        assert (run.reasons, run.outcomes()) == ([], [])
        for prompt, seeds in zip(prompts, [(1,), (2, 3), (4,)], strict=True):
            latents_of(miniature, prompt, seeds, 1, num_images_per_prompt=len(seeds))
    alone, nobody, _, asked = run.outcomes()
    assert alone.count("corrected") == 2 and "names nobody" in nobody and "asks for" in asked
    assert [[reason != "" for reason in row] for row in run.reasons] == 2 * [[False, True, True, True]]
    assert run.report().splitlines() == [record.message for record in caplog.records if record.name == "rs_corrector"]
    assert len(run.report().splitlines()) == 6 and "corrected 1 of 1" in run.report()


def test_the_report_says_that_and_why_nothing_was_corrected(make, preference):
    pipe = make("sd15")
    with corrected(pipe, preference) as run:
        other = diffusers.StableDiffusionImg2ImgPipeline.from_pipe(pipe)
        latents_of(other, image=PICTURE)
    assert "the StableDiffusionPipeline that was given to corrected(...) made no picture" in run.report()
    assert "give that one to corrected(...)" in run.report() and run.outcomes() == []
    with corrected(other, preference) as run:
        latents_of(other, image=PICTURE)
    assert run.outcomes() == ["corrected"]
    with corrected(pipe, preference, strength=0) as run:
        latents_of(pipe)
    assert run.report() == "Nothing was corrected: the strength is 0."


@pytest.mark.parametrize("when", ["between calls", "in a call"])
def test_a_copy_made_inside_the_block_is_a_plain_pipeline_and_the_original_stays_corrected(make, preference, when):
    pipe = make("sd15")
    plain, copies = latents_of(pipe), []

    def fail(*_):
        raise KeyboardInterrupt

    def copied(pipe, step, timestep, given):
        copies.append(deepcopy(pipe))
        return given

    with corrected(pipe, preference) as run:
        wanted = latents_of(pipe, **({} if when == "between calls" else dict(callback_on_step_end=copied)))
        copy = copies[0] if copies else deepcopy(pipe)
        assert torch.equal(latents_of(copy), plain)
        with pytest.raises(KeyboardInterrupt):
            latents_of(copy, callback_on_step_end=fail)
        assert torch.equal(latents_of(pipe), wanted)
    assert run.outcomes() == ["corrected"] * 2
    assert torch.equal(latents_of(pipe), plain) and torch.equal(latents_of(copy), plain)
    with corrected(copy, preference) as run:
        assert torch.equal(latents_of(copy), wanted)
    assert run.outcomes() == ["corrected"]


def test_a_shallow_copy_made_inside_the_block_can_be_used_and_corrected_after_it(make, preference):
    pipe = make("sd15")
    plain = latents_of(pipe)
    with corrected(pipe, preference):
        shallow = copy(pipe)
    assert torch.equal(latents_of(shallow), plain)
    with corrected(shallow, preference) as run:
        assert not torch.equal(latents_of(shallow), plain)
    assert run.outcomes() == ["corrected"] and torch.equal(latents_of(pipe), plain)


def test_window_mask_and_cap(make, preference):
    pipe = make("sd15", scheduler=diffusers.DDIMScheduler(**BETAS, clip_sample=False))
    plain = latents_of(pipe, steps=1)
    with corrected(pipe, preference, start=0.5, end=0.6) as run:
        assert torch.equal(latents_of(pipe, steps=1), plain)
    assert "window" in run.report()
    for mask in (MASK, torch.from_numpy(np.asarray(MASK) / 255)):
        with corrected(pipe, preference, mask=mask):
            changed = latents_of(pipe, steps=1) != plain
        assert changed[:, :, :3].any() and not changed[:, :, 5:].any()
    with corrected(pipe, preference, cap=0.01):
        rms = (latents_of(pipe, steps=1) - plain).square().mean().sqrt()
    torch.testing.assert_close(rms, torch.tensor(0.01), rtol=0.05, atol=0)


@pytest.mark.parametrize(
    "words, settings",
    [
        ("strength", dict(strength=-1.0)),
        ("starts at 0.5 and ends at 0.5", dict(start=0.5, end=0.5)),
        ("mask is of the type ndarray", dict(mask=np.ones((8, 8)))),
        (r"mask has the shape \[1, 3, 8, 8\]", dict(mask=torch.ones(1, 3, 8, 8))),
    ],
)
def test_bad_settings_are_refused(make, preference, words, settings):
    pipe = make("sd15")
    before = dict(vars(pipe))
    with pytest.raises(CorrectionError, match=words), corrected(pipe, preference, **settings):
        raise AssertionError("the block was entered")
    assert vars(pipe) == before


def test_strengths_and_masks_are_one_for_each_picture(make, preference):
    pipe = make("sd15", scheduler=diffusers.DDIMScheduler(**BETAS, clip_sample=False))
    call = dict(seeds=(1, 2), num_images_per_prompt=2, steps=1)
    plain = latents_of(pipe, **call)
    with corrected(pipe, preference) as run:
        whole = latents_of(pipe, **call)
    for strength in (torch.tensor([0.0, 1.0]), torch.tensor([1.0])):
        with corrected(pipe, preference, strength=strength) as run:
            changed = latents_of(pipe, **call)
        wanted = [whole if on else plain for on in strength.expand(2)]
        assert torch.equal(changed, torch.stack([latents[i] for i, latents in enumerate(wanted)]))
        assert [outcome == "corrected" for outcome in run.outcomes()] == strength.expand(2).bool().tolist()
    with corrected(pipe, preference, mask=torch.stack([torch.zeros(8, 8), torch.ones(8, 8)])):
        changed = latents_of(pipe, **call)
    assert torch.equal(changed[0], plain[0]) and torch.equal(changed[1], whole[1])
    with corrected(pipe, preference, strength=torch.zeros(2)) as run:
        assert torch.equal(latents_of(pipe, **call), plain)
    assert "the strength is 0" in run.report()
    for told, settings in (
        ("3 strengths for 2 pictures", dict(strength=torch.ones(3))),
        ("3 masks for 2 pictures", dict(mask=torch.ones(3, 8, 8))),
    ):
        with pytest.raises(CorrectionError, match=told), corrected(pipe, preference, **settings):
            latents_of(pipe, **call)
        assert torch.equal(latents_of(pipe, **call), plain)


def test_preferences_may_be_given_as_files(miniature, backdrop):
    attire = WEIGHTS.parent / "miniature-attire.safetensors"
    with corrected(miniature, [backdrop, attire]) as run:
        wanted = latents_of(miniature, PORTRAIT)
    assert len(run.report().splitlines()) == 2
    for file in (attire, str(attire)):
        with corrected(miniature, (backdrop, file)):
            assert torch.equal(latents_of(miniature, PORTRAIT), wanted)
        with corrected(miniature, file) as run:
            latents_of(miniature, PORTRAIT)
        assert run.report().startswith("miniature-attire")
    for given, told in (
        (attire.with_name("none.safetensors"), "no such file"),
        (3, "A preference is of the type int"),
        ([None], "A preference is of the type NoneType; give Preferences, axes, or paths of their files"),
    ):
        with pytest.raises(RSCorrectorError, match=told), corrected(miniature, given):
            raise AssertionError("the block was entered")


def test_preferences_that_do_not_fit_are_refused(make, preference, xl_preference):
    sd15, sd2, sdxl = (make(kind) for kind in PLAIN)
    gate = PromptGate(width=16, groups=2, hidden=8)
    refused = [
        (sd15, [], "no preferences"),
        (sd15, xl_preference, "made for SDXL, and the StableDiffusionPipeline has the latents of SD1.5"),
        (sdxl, [preference], "made for SD1.5 and SD2.x, and the StableDiffusionXLPipeline has the latents of SDXL"),
        (sd2, replace(preference, gate=gate), "text encoder of width 16 and the StableDiffusionPipeline has .* 24"),
        (sdxl, replace(xl_preference, gate=gate), "width 16 and .* width 40"),
    ]
    for pipe, preferences, told in refused:
        with pytest.raises(RSCorrectorError, match=told), corrected(pipe, preferences):
            raise AssertionError("the block was entered")
    with corrected(sd15, replace(preference, gate=gate)):
        pass


@pytest.mark.parametrize("name", ["FluxPipeline", "StableDiffusion3Pipeline", "StableVideoDiffusionPipeline"])
def test_other_pipelines_are_refused_by_name(preference, name):
    pipe = object.__new__(getattr(diffusers, name))
    with pytest.raises(CorrectionError, match=f"does not support the {name}"), corrected(pipe, preference):
        raise AssertionError("the block was entered")


def test_a_pipeline_is_corrected_by_one_block(make, preference):
    pipe = make("sd15")
    with corrected(pipe, preference) as run:
        with pytest.raises(CorrectionError, match="corrected already"), corrected(pipe, preference):
            raise AssertionError("the block was entered")
        latents_of(pipe)
    assert run.outcomes() == ["corrected"]


def test_latents_that_change_their_number_or_shape_are_refused(make, preference):
    pipe = make("sd15")

    def enlarge(pipe, step, timestep, given):
        return {"latents": given["latents"].repeat(1, 1, 2, 1)}

    with corrected(pipe, preference):
        with pytest.raises(CorrectionError, match=r"from \[1, 4, 8, 8\] to \[1, 4, 16, 8\]"):
            latents_of(pipe, callback_on_step_end=enlarge)
        pipe.scheduler.set_timesteps(2)
        pipe.encode_prompt("a portrait", "cpu", 3, False)
        with pytest.raises(CorrectionError, match="2 pictures from 3 prompts"):
            pipe.scheduler.step(torch.zeros(2, 4, 8, 8), pipe.scheduler.timesteps[0], torch.randn(2, 4, 8, 8))


def test_diffusers_is_not_imported_before_it_is_used():
    code = "import sys, corrector.hosts.diffusers; assert not {'diffusers', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
