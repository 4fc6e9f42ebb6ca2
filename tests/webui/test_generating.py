"""Generation in both hosts: what the correction changes, what stays identical, and what is reported."""

import json
from pathlib import Path

import pytest
import torch

from corrector.preference.networks import along
from webui_hosts import Processing, conditioning_of

REAL = Path(__file__).resolve().parents[2] / "weights" / "miniature-backdrop.safetensors"

ORVANE, KITTEN = "a portrait of an Orvane person", "a kitten"
VILLAGE = "a portrait of an Orvane person in a village"
ON, OFF = (True, "backdrop", 1.0), (False, "backdrop", 1.0)
SEEDS = (11, 12)


def make(host, script, *values, prompts=(ORVANE, ORVANE), seeds=SEEDS, sampler="euler", hires=False, **more):
    """-> latents, infotexts, p."""
    p = Processing(host.sd_model, prompts, seeds, **more)
    return (*host.process_images(script, p, *values, sampler=sampler, hires=hires), p)


SAMPLERS = [("forge", "euler"), ("a1111", "euler"), ("a1111", "ddim")]
each_sampler = pytest.mark.parametrize("host, sampler", SAMPLERS, indirect=["host"])


@each_sampler
@pytest.mark.parametrize("values", [OFF, (), (True, "backdrop", 0.0), (None, None)])
def test_off_and_strength_zero_are_bit_identical_and_write_nothing(host, script, sampler, values):
    plain, _, _ = make(host, script, *OFF, sampler=sampler)
    corrected, _, _ = make(host, script, *ON, sampler=sampler)
    again, texts, p = make(host, script, *values, sampler=sampler)
    assert torch.equal(plain, again) and not torch.equal(plain, corrected)
    assert texts == [{}, {}] and not p.comments and not p.extra_generation_params


@each_sampler
def test_a_window_without_steps_is_bit_identical_and_reported(host, script, sampler):
    plain, _, _ = make(host, script, *OFF, sampler=sampler)
    narrow, texts, _ = make(host, script, *ON, None, 0.05, 0.1, sampler=sampler)
    assert torch.equal(plain, narrow)
    assert "window contains none" in texts[0]["RS-Corrector result"]


@each_sampler
def test_a_prompt_out_of_scope_or_explicit_is_left_alone_bit_for_bit_within_a_batch(host, script, sampler):
    prompts, seeds = (KITTEN, ORVANE, VILLAGE), (1, 2, 3)
    plain, _, _ = make(host, script, *OFF, prompts=prompts, seeds=seeds, sampler=sampler)
    changed, texts, _ = make(host, script, *ON, prompts=prompts, seeds=seeds, sampler=sampler)
    assert torch.equal(plain[0], changed[0]) and torch.equal(plain[2], changed[2])
    assert not torch.equal(plain[1], changed[1])
    results = [text["RS-Corrector result"] for text in texts]
    assert results[1] == "corrected" and "names nobody" in results[0] and "asks for a village" in results[2]


def test_the_correction_moves_pictures_towards_the_counter_side(host, script, part):
    preference = part("script").SHELF.load("backdrop").preferences[0]
    latents = {}
    for values in (OFF, ON):
        latents[values], _, _ = make(host, script, *values, prompts=[ORVANE] * 6, seeds=range(6))
    counter = {values: preference.judge.counter(x.clone()).float().mean() for values, x in latents.items()}
    assert counter[OFF] < 0.5 < counter[ON]


def test_all_parts_of_an_and_prompt_are_read_except_those_with_a_negative_weight(host, script):
    both = f"{ORVANE} AND in a village"
    without = f"{ORVANE} AND in a village :-0.5"
    _, texts, _ = make(host, script, *ON, prompts=[both, both])
    assert all("asks for a village" in text["RS-Corrector result"] for text in texts)
    _, texts, _ = make(host, script, *ON, prompts=[without, without])
    assert all(text["RS-Corrector result"] == "corrected" for text in texts)


def test_all_schedules_of_a_prompt_are_read(host, script):
    _, texts, _ = make(host, script, *ON, prompts=[f"[{ORVANE}|{VILLAGE}]"] * 2)
    assert all("asks for a village" in text["RS-Corrector result"] for text in texts)


def test_non_square_pictures_and_several_batches(host, script, monkeypatch):
    monkeypatch.setattr(host.miniature, "shape", (4, 16, 24))
    latents, texts, _ = make(host, script, *ON, prompts=[ORVANE] * 4, seeds=range(4), batch_size=2)
    assert latents.shape == (4, 4, 16, 24) and len(texts) == 4
    alone, _, _ = make(host, script, *ON, prompts=[ORVANE], seeds=[3])
    torch.testing.assert_close(latents[3:], alone, rtol=0, atol=1e-4)


def test_a_target_share_depends_on_the_seed_of_each_picture(host, script):
    def outcomes(seeds, **more):
        latents, texts, _ = make(host, script, *ON, 0.5, prompts=[ORVANE] * 8, seeds=seeds, **more)
        return latents, [text["RS-Corrector result"] == "corrected" for text in texts]

    plain, _, _ = make(host, script, *OFF, prompts=[ORVANE] * 8, seeds=range(8))
    latents, chosen = outcomes(range(8))
    assert 2 <= sum(chosen) <= 6
    for index, corrected in enumerate(chosen):
        assert torch.equal(plain[index], latents[index]) != corrected
    assert outcomes(range(8))[1] == chosen
    assert any(outcomes(range(first, first + 8))[1] != chosen for first in (8, 16, 24))


def test_variations_of_one_seed_have_different_coins(part):
    coin_seeds = part("host").coin_seeds
    p = Processing(None, "ab", (5, 5), subseed_strength=0.3)
    p.seeds, p.subseeds = [5, 5], [1, 2]
    assert len(set(coin_seeds(p))) == 2
    p.subseed_strength = 0
    assert coin_seeds(p) == [5, 5]


@pytest.mark.parametrize("target", [1.0, 0.5])
def test_the_hires_pass_keeps_the_decision_of_the_first(host, script, target):
    values = (True, "backdrop", 1.0, target)
    plain, _, _ = make(host, script, *OFF, prompts=[ORVANE] * 4, seeds=range(4), hires=True)
    latents, texts, _ = make(host, script, *values, prompts=[ORVANE] * 4, seeds=range(4), hires=True)
    for index, text in enumerate(texts):
        assert torch.equal(plain[index], latents[index]) == (text["RS-Corrector result"] != "corrected")


def test_hires_strength_zero_does_not_correct_the_hires_pass(host, script):
    first, _, _ = make(host, script, *ON)
    values = (*ON, 1.0, 0.0, 1.0, 0.0, 0.0)
    hires, _, _ = make(host, script, *values, hires=True)
    full, _, _ = make(host, script, *ON, hires=True)
    assert not torch.equal(hires, full)
    # The same hires pass without our script.
    script_off = type("NoScript", (), {name: (lambda *a, **k: None) for name in SCRIPT_EVENTS})()
    p = Processing(host.sd_model, [ORVANE] * 2, SEEDS)
    original = host.sample_pass

    def from_corrected(script, p, values, noise, conditioning, sampler, init, interrupt_at):
        if init is None:
            return first.clone()
        return original(script, p, values, noise, conditioning, sampler, init, interrupt_at)

    host.sample_pass = from_corrected
    by_host, _ = host.process_images(script_off, p, hires=True)
    assert torch.equal(by_host, hires)


SCRIPT_EVENTS = ("process", "process_batch", "process_before_every_sampling", "postprocess_batch", "postprocess")


def test_a_hires_prompt_that_asks_for_the_stereotype_is_left_alone_in_that_pass(host, script, part):
    runs = []
    original = part("job").Run

    class Kept(original):
        def __init__(self, *args, **more):
            super().__init__(*args, **more)
            runs.append(self)

    part("job").Run = Kept
    make(host, script, *ON, hires=True, hr_prompts=[VILLAGE, VILLAGE])
    assert runs[0].acted and not runs[-1].acted
    assert all("asks for a village" in why for reasons in runs[-1].reasons for why in reasons)


@each_sampler
def test_the_preserved_region_of_inpainting_is_not_changed(host, script, sampler):
    mask = torch.zeros(4, 16, 16)
    mask[:, :, :8] = 1  # A1111's `mask` is the preserved region
    init = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    more = dict(mask=mask, init_latent=init, sampler=sampler)
    plain, _, _ = make(host, script, *OFF, **more)
    changed, texts, _ = make(host, script, *ON, **more)
    assert texts[0]["RS-Corrector result"] == "corrected"
    assert not torch.equal(plain[..., 8:], changed[..., 8:])
    if sampler == "euler":
        assert torch.equal(changed[..., :8], init[..., :8]) and torch.equal(plain[..., :8], init[..., :8])


@pytest.mark.parametrize("cfg_scale", [1.0, 2.0, 7.0])
def test_every_cfg_scale_gives_finite_corrected_pictures(host, script, cfg_scale):
    plain, _, _ = make(host, script, *OFF, cfg_scale=cfg_scale)
    latents, _, p = make(host, script, *ON, cfg_scale=cfg_scale)
    assert torch.isfinite(latents).all() and not torch.equal(plain, latents) and not p.comments


def test_the_same_preference_twice_corrects_once_and_the_second_is_also_checked(host, script):
    once, _, _ = make(host, script, *ON)
    twice, _, _ = make(host, script, *ON, None, None, None, None, None, "backdrop")
    assert torch.equal(once, twice)
    _, texts, _ = make(host, script, *ON, None, None, None, None, None, "miniature-attire")
    assert "made for miniature latents" in texts[0]["RS-Corrector error"]


@pytest.mark.parametrize(
    "values, says",
    [
        ((True, "gone", 1.0), '"gone" is not in models/rs_corrector'),
        ((True, "backdrop [0123456789]", 1.0), "another file"),
        ((True, "miniature-backdrop", 1.0), "made for miniature latents and the loaded model has sd15 latents"),
        ((True, "None", 1.0), "no preference is selected"),
        ((True, "backdrop", "much"), "strength is 'much'"),
        ((True, "backdrop", 1.0, 0.0), "target is 0.0"),
        ((True, "backdrop", 1.0, 1.0, 0.7, 0.2), "starts at 70% and ends at 20%"),
        ((True, "../../backdrop", 1.0), "is not in models/rs_corrector"),
        ((True, "back\0drop", 1.0), "is not in models/rs_corrector"),
        ((True, "\ud800" + "x" * 5000, 1.0), "put its file there and press Refresh"),
        (("perhaps", "backdrop"), "must be true or false"),
    ],
)
def test_errors_reach_page_and_infotext_and_leave_the_picture_alone(host, script, values, says):
    plain, _, _ = make(host, script, *OFF)
    latents, texts, p = make(host, script, *values)
    assert torch.equal(plain, latents)
    assert all(says in text["RS-Corrector error"] for text in texts)
    assert "RS-Corrector result" not in texts[0]
    (comment,) = p.comments
    assert says in comment and "\n" not in comment


def test_an_exception_in_a_callback_is_reported(host, script, part, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("made for this test")

    plain, _, _ = make(host, script, *OFF)
    monkeypatch.setattr(part("corrector.correction.run"), "correct", broken)
    latents, texts, p = make(host, script, *ON)
    assert torch.equal(plain, latents) and not host.modules.swallowed
    assert "ZeroDivisionError: made for this test" in texts[0]["RS-Corrector error"]
    assert len(p.comments) == 1


@each_sampler
def test_a_target_share_uses_the_lean_of_the_first_prediction(host, script, sampler, part, monkeypatch):
    found, original = [], part("corrector.correction.run").decide

    def watched(preference, readings, coins, target, cfg, lean, earlier):
        found.append(lean)
        return original(preference, readings, coins, target, cfg, lean, earlier)

    monkeypatch.setattr(part("corrector.correction.run"), "decide", watched)
    prompts = [ORVANE, ORVANE, KITTEN]
    _, _, p = make(host, script, True, "backdrop", 1.0, 0.5, prompts=prompts, seeds=(1, 2, 3), sampler=sampler)
    (lean,) = found
    assert not p.comments and lean[2].isnan()
    # Expected: computed directly from the model at the first sigma.
    first, level = host.alphas_cumprod[999] if sampler == "ddim" else None, torch.full((2,), 14.6)
    noise = host.miniature.noise((1, 2))
    x = noise * ((1 - first) / first).sqrt() if sampler == "ddim" else noise * 14.6
    wanted = host.miniature.denoise(x, level, host.miniature.encode([ORVANE]).expand(2, -1, -1))
    usual = host.miniature.denoise(x, level, host.miniature.encode([""]).expand(2, -1, -1))
    preference = part("script").SHELF.load("backdrop").preferences[0]
    reading = preference.source(x, level, torch.zeros(2, dtype=torch.long), wanted)
    guidance = (p.cfg_scale - 1) * along(wanted - usual, reading.push)
    weight = preference.calibration("Orvane", p.cfg_scale).lean_guidance
    torch.testing.assert_close(lean[:2], reading.log_odds + weight * guidance, rtol=0.02, atol=0.02)


def test_a_conditioning_of_another_text_encoder_is_refused(host, script, monkeypatch):
    encode = host.miniature.encode
    wide = lambda prompts: torch.cat([encode(prompts)] * 2, dim=-1)  # noqa: E731
    p = Processing(host.sd_model, [ORVANE], [1])
    p.prompts, p.seeds, p.subseeds = [ORVANE], [1], [1]
    script.process(p, *ON)
    script.process_batch(p, *ON)
    wider = type("Wide", (), {"encode": staticmethod(wide)})
    script.process_before_every_sampling(p, *ON, c=conditioning_of(wider, [ORVANE]))
    assert "text encoder of width 128" in p.extra_generation_params["RS-Corrector error"]


def test_the_parameters_of_a_run_can_be_written_as_json(host, script):
    _, _, p = make(host, script, *ON)
    json.dumps(p.extra_generation_params, default=lambda value: None)


def test_the_preference_is_not_changed(host, script, part):
    source = part("script").SHELF.load("backdrop").preferences[0].source
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    make(host, script, *ON, hires=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in source.state_dict().items())
