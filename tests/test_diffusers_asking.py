"""`corrected(pipe, axis)`: the pipe's own model is asked what it would draw for the other side, without learning."""

from collections import Counter

import diffusers
import pytest
import torch

from corrector.axis.axis import load_axis
from corrector.correction.asked import AskedSides
from corrector.files.errors import RSCorrectorError
from corrector.files.folders import AXES
from corrector.hosts.components import PipelineTexts
from corrector.hosts.diffusers import corrected
from corrector.hosts.given import preferences_of
from corrector.hosts.loading import load_pipeline
from corrector.miniature.model import WEIGHTS
from corrector.miniature.reader import load_reader
from corrector.miniature.skin import load_marker
from hosts.inside.shown_skin import drift
from test_diffusers_pipelines import CALLS, build, classes, latents_of, parts  # noqa: F401
from tiny_checkpoints import BETAS

pytestmark = pytest.mark.usefixtures("one_thread", "no_network", "gates_in_a_folder", "no_earlier_pictures")

PORTRAIT = "a portrait of an Orvane person"
AXIS = "miniature-backdrop"
LONG = ", ".join(["a quiet portrait in soft light"] * 13)
SEEDS = range(6)


@pytest.fixture(scope="module")
def miniature():
    pipe = load_pipeline(WEIGHTS, device="cpu")
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = diffusers.EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    return pipe


@pytest.fixture
def rows(miniature):
    """A list of how many latents each evaluation of the miniature's UNet was for."""
    counts = []
    hook = miniature.unet.register_forward_pre_hook(
        lambda unet, args, given: counts.append(len(args[0] if args else given["sample"])), with_kwargs=True
    )
    yield counts
    hook.remove()


def drawn(pipe, prompt=PORTRAIT, seeds=SEEDS, **call):
    """Pictures [N, 3, height, width] in -1..1."""
    settings = dict(num_inference_steps=16, guidance_scale=2.0, output_type="pt", num_images_per_prompt=len(seeds))
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return pipe(**({"prompt": prompt} | settings | call), generator=generators).images.float() * 2 - 1


def backdrops(pictures):
    return Counter(load_reader(WEIGHTS).read(pictures)["backdrop"])


@pytest.mark.parametrize(
    "name", ["EulerDiscrete", "DPMSolverMultistep", "DDIM", "HeunDiscrete", "EulerAncestralDiscrete"]
)
def test_villages_become_cities_and_the_model_says_so(miniature, rows, name, monkeypatch):
    kind = getattr(diffusers, f"{name}Scheduler")
    monkeypatch.setattr(miniature, "scheduler", kind.from_config(dict(BETAS, clip_sample=False, steps_offset=1)))
    plain = drawn(miniature)
    cost, villages = sum(rows), backdrops(plain)["village"]
    rows.clear()
    with corrected(miniature, AXIS) as run:
        changed = drawn(miniature)
    assert villages >= 4 and backdrops(changed)["city"] == len(SEEDS)
    assert run.results() == [f"a village: {villages} -> 0 of {len(SEEDS)}"]
    assert run.results()[0] in run.report() and f"corrected {villages} of {len(SEEDS)}" in run.report()
    assert cost < sum(rows) <= 1.6 * cost


def test_skin_stays_as_light_as_in_the_plain_pictures(miniature):
    plain = drawn(miniature)
    with corrected(miniature, AXIS):
        changed = drawn(miniature)
    village = torch.tensor([side == "village" for side in load_reader(WEIGHTS).read(plain)["backdrop"]])
    assert abs(drift(load_marker(), plain[village], changed[village])) < 1.5


@pytest.mark.parametrize(
    "prompt, settings", [("a cat", {}), (f"{PORTRAIT} in a village", {}), (PORTRAIT, {"strength": 0})]
)
def test_out_of_scope_or_off_nothing_is_asked_and_pictures_keep_their_bits(miniature, rows, prompt, settings):
    plain = drawn(miniature, prompt)
    before = list(rows)
    with corrected(miniature, AXIS, **settings) as run:
        assert torch.equal(drawn(miniature, prompt), plain)
    assert rows == 2 * before and "" not in {why for row in run.reasons for why in row} and run.results() == []


def test_each_picture_of_a_batch_has_its_own_prompt_and_those_left_alone_keep_their_bits(miniature):
    prompts = [PORTRAIT, "a cat", "a photo of a Tavelu man"]
    call = dict(seeds=range(6), num_images_per_prompt=2)
    plain = drawn(miniature, prompts, **call)
    with corrected(miniature, AXIS) as run:
        changed = drawn(miniature, prompts, **call)
    alone = [outcome != "corrected" for outcome in run.outcomes()]
    same = [torch.equal(one, other) for one, other in zip(plain, changed, strict=True)]
    assert same == alone and alone[2:4] == [True, True] and sum(alone) < 6
    assert not backdrops(changed[[0, 1, 4, 5]])["village"]


def test_a_lower_strength_asks_beside_and_stays_nearer_to_the_plain_pictures(miniature):
    plain = drawn(miniature)
    distances = []
    for strength in (0.3, 0.99, 1.0):
        with corrected(miniature, AXIS, strength=strength):
            distances.append(float((drawn(miniature) - plain).abs().mean()))
    assert distances[0] < 0.8 * distances[1]
    assert distances[2] == pytest.approx(distances[1], rel=0.1), "replaced prompts say what asking says"


def test_a_picture_to_start_from(miniature):
    plain = drawn(miniature)
    img2img = diffusers.StableDiffusionImg2ImgPipeline(**miniature.components, requires_safety_checker=False)
    img2img.set_progress_bar_config(disable=True)
    call = dict(image=(plain + 1) / 2, strength=0.9)
    again = drawn(img2img, **call)
    with corrected(img2img, AXIS) as run:
        changed = drawn(img2img, **call)
    assert backdrops(again)["village"] >= 4 and not backdrops(changed)["village"]
    assert run.results()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    pipe = load_pipeline(WEIGHTS, device="cpu").to(dtype)
    pipe.set_progress_bar_config(disable=True)
    pipe.vae.register_to_config(force_upcast=True)
    with corrected(pipe, AXIS):
        changed = drawn(pipe, seeds=range(3))
    assert backdrops(changed)["city"] == 3
    assert pipe.unet.dtype == pipe.vae.dtype == dtype


def test_an_evaluation_of_the_unet_for_other_prompts_is_left_as_it_is(miniature):
    def draw(pipe, step, timestep, given):
        if step == 2:
            outputs.append(pipe.unet(torch.ones(4, *given["latents"].shape[1:]), timestep, tokens)[0])
        return {}

    tokens, outputs = miniature.encode_prompt("a cat", "cpu", 1, False)[0].repeat(4, 1, 1), []
    call = dict(seeds=(0, 1), callback_on_step_end=draw, num_inference_steps=6)
    drawn(miniature, **call)
    with corrected(miniature, AXIS) as run:
        drawn(miniature, **call)
    assert run.outcomes() == ["corrected"] * 2 and torch.equal(*outputs)


@pytest.mark.parametrize("embedded", [True, False])
def test_prompts_whose_text_is_not_known_or_too_long_get_the_phrase_behind_them(miniature, embedded):
    prompt = PORTRAIT if embedded else f"{PORTRAIT}, {LONG}"
    tokens = miniature.encode_prompt(prompt, "cpu", 1, False)[0]
    call = dict(prompt=None, prompt_embeds=tokens) if embedded else dict(prompt=prompt)
    call |= dict(negative_prompt_embeds=miniature.encode_prompt("", "cpu", 1, False)[0]) if embedded else {}
    plain, lengths = drawn(miniature, **call), set()
    hook = miniature.unet.register_forward_pre_hook(
        lambda unet, args, given: lengths.add(given["encoder_hidden_states"].shape[1]), with_kwargs=True
    )
    with corrected(miniature, AXIS) as run:
        changed = drawn(miniature, **call)
    hook.remove()
    assert lengths == {tokens.shape[1], 2 * tokens.shape[1]}
    assert backdrops(plain)["village"] >= 4 and backdrops(changed)["village"] <= 1
    assert "corrected" in run.outcomes()


def test_an_exception_while_asking_leaves_the_pipeline_as_it_was(miniature, monkeypatch):
    plain = drawn(miniature)
    before = dict(vars(miniature)), vars(miniature.scheduler).keys()
    hooks = [dict(getattr(miniature.unet, name)) for name in ("_forward_hooks", "_forward_pre_hooks")]
    for broken in ("update", "verdict"):
        with monkeypatch.context() as patch:
            patch.setattr(AskedSides, broken, lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError), corrected(miniature, AXIS):
                drawn(miniature)
    assert (dict(vars(miniature)), vars(miniature.scheduler).keys()) == before
    assert hooks == [dict(getattr(miniature.unet, name)) for name in ("_forward_hooks", "_forward_pre_hooks")]
    assert torch.equal(drawn(miniature), plain)


def test_an_axis_is_given_by_name_by_path_or_as_an_object_beside_preferences(miniature):
    path = AXES / f"{AXIS}.json"
    for given in (AXIS, path, str(path), load_axis(path)):
        with corrected(miniature, [given, WEIGHTS.parent / "miniature-attire.safetensors"]) as run:
            drawn(miniature, seeds=(0,), num_inference_steps=2)
        assert [line.split(":")[0] for line in run.report().splitlines()[:2]] == [
            load_axis(path).title,
            "miniature-attire",
        ]
    for given, told in (("miniature-backdro", "no such file"), ("none.json", "no such axis file")):
        with pytest.raises(RSCorrectorError, match=told), corrected(miniature, given):
            raise AssertionError("the block was entered")


def test_the_gate_is_kept_for_the_text_encoder(miniature, monkeypatch):
    axis, texts = load_axis(AXES / f"{AXIS}.json"), PipelineTexts(miniature)
    (first,) = preferences_of(axis, lambda: texts)
    monkeypatch.setattr("corrector.gate.kept.train_gate", lambda *_, **__: pytest.fail("it was trained again"))
    (again,) = preferences_of(axis, lambda: texts)
    for name, tensor in first.gate.state_dict().items():
        assert torch.equal(again.gate.state_dict()[name], tensor)


def test_the_gate_is_trained_inside_autocast_too(miniature, tmp_path, monkeypatch):
    monkeypatch.setattr("corrector.hosts.given.cache_folder", lambda name: tmp_path)
    with torch.autocast("cpu", torch.bfloat16), corrected(miniature, AXIS) as run:
        drawn(miniature, seeds=(0,), num_inference_steps=2)
    assert run.outcomes() == ["corrected"]
