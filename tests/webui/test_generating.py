"""Generation in both hosts: what the correction changes, what stays identical, and what is reported."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from corrector.correction.verdict import verdict_of_host
from corrector.miniature.skin import load_marker
from corrector.preference.file import file_hash, load_preferences, save_preferences
from hosts.inside.shown_skin import drift, on_skin_and_elsewhere
from webui_hosts import KITTEN, NO_SCRIPT, OFF, ON, ORVANE, VILLAGE
from webui_modules import relabelled

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
TAVELU = "a portrait of a Tavelu person"
each_sampler = pytest.mark.parametrize("host", ["forge", "a1111", "a1111 ddim"], indirect=True)


def differ(first, second):
    """For each picture whether it differs."""
    return [not torch.equal(a, b) for a, b in zip(first, second, strict=True)]


@each_sampler
def test_off_and_strength_zero_are_bit_identical_and_write_nothing(host):
    for values in (OFF, (), (True, "backdrop", 0.0), (None, None)):
        made = host.generate(*values)
        assert torch.equal(host.plain(), made.latents)
        assert made.texts == [{}, {}] and not made.p.comments and not made.p.extra_generation_params


@each_sampler
def test_a_window_without_steps_is_bit_identical_and_reported(host):
    narrow = host.generate(*ON, None, 0.05, 0.1)
    assert torch.equal(host.plain(), narrow.latents)
    assert "window contains none" in narrow.results[0]


@each_sampler
def test_a_prompt_out_of_scope_or_explicit_is_left_alone_bit_for_bit_within_a_batch(host):
    prompts = KITTEN, ORVANE, VILLAGE
    made = host.generate(*ON, prompts=prompts)
    assert differ(host.plain(prompts=prompts), made.latents) == [False, True, False]
    nobody, corrected, asked = made.results
    assert corrected == "corrected" and "names nobody" in nobody and "asks for a village" in asked


def test_the_correction_moves_pictures_towards_the_counter_side(host, part):
    axis = part("script").SHELF.load("backdrop").preferences[0].axis
    prompts = (ORVANE,) * 6
    plain, corrected = host.plain(prompts=prompts), host.generate(*ON, prompts=prompts).latents
    sides = [verdict_of_host(host.miniature, latents, axis, "Orvane").sides for latents in (plain, corrected)]
    assert sides[0].count("counter") < 3 < sides[1].count("counter")


def test_all_parts_and_schedules_of_a_prompt_are_read_except_parts_with_a_negative_weight(host):
    for prompt in (f"{ORVANE} AND in a village", f"[{ORVANE}|{VILLAGE}]"):
        assert all("asks for a village" in result for result in host.generate(*ON, prompts=[prompt] * 2).results)
    without = f"{ORVANE} AND in a village :-0.5"
    assert host.generate(*ON, prompts=[without] * 2).results == ["corrected"] * 2


def test_non_square_pictures_and_several_batches(host, monkeypatch):
    monkeypatch.setattr(host.miniature, "shape", (4, 16, 24))
    made = host.generate(*ON, prompts=[ORVANE] * 4, seeds=range(4), batch_size=2)
    assert made.latents.shape == (4, 4, 16, 24) and len(made.texts) == 4
    alone = host.generate(*ON, prompts=[ORVANE], seeds=[3])
    torch.testing.assert_close(made.latents[3:], alone.latents, rtol=0, atol=1e-4)


def test_a_target_share_depends_on_the_seed_of_each_picture(host):
    host.steps = 2
    options = [dict(prompts=(ORVANE,) * 8, seeds=range(first, first + 8)) for first in (0, 0, 8, 16)]
    made = [host.generate(*ON, 0.5, **option) for option in options]
    chosen = [[result == "corrected" for result in one.results] for one in made]
    assert 2 <= sum(chosen[0]) <= 6 and chosen[1] == chosen[0] and chosen[2:] != chosen[:2]
    assert differ(host.plain(**options[0]), made[0].latents) == chosen[0]


def test_variations_of_one_seed_have_different_coins(part):
    p = SimpleNamespace(seeds=[5, 5], subseeds=[1, 2], subseed_strength=0.3)
    assert len(set(part("host").coin_seeds(p))) == 2
    p.subseed_strength = 0
    assert part("host").coin_seeds(p) == [5, 5]


@pytest.mark.parametrize("target", [1.0, 0.5])
def test_the_hires_pass_keeps_the_decision_of_the_first(host, target):
    options = dict(prompts=(ORVANE,) * 4, hires=True)
    made = host.generate(*ON, target, **options)
    assert differ(host.plain(**options), made.latents) == [result == "corrected" for result in made.results]


def test_hires_strength_zero_does_not_correct_the_hires_pass(host):
    first, hires = host.generate(*ON).latents, host.generate(*ON, 1.0, 0.0, 1.0, 0.0, 0.0, hires=True).latents
    assert not torch.equal(hires, host.generate(*ON, hires=True).latents)
    sample = host.sample_pass  # the same hires pass without our script
    host.sample_pass = lambda *run: first.clone() if run[5] is None else sample(*run)
    assert torch.equal(host.generate(script=NO_SCRIPT, hires=True).latents, hires)


def test_a_hires_prompt_that_asks_for_the_stereotype_is_left_alone_in_that_pass(host):
    made = host.generate(*ON, hires=True, hr_prompts=[VILLAGE, VILLAGE])
    assert made.results == ["corrected; hires pass: left alone, the prompt asks for a village"] * 2


@pytest.mark.parametrize(
    "prompt, result",
    [
        (f"{ORVANE}, (skyline:1.2)", "left alone, the prompt asks for a city"),
        (f"{ORVANE} AND skyline", "left alone, the prompt asks for a city"),
        (f"{ORVANE} AND skyline :-0.5", "corrected"),
    ],
)
def test_a_listed_word_that_the_gate_does_not_read_is_a_request_in_the_text(host, prompt, result):
    assert host.generate(*ON, prompts=[prompt]).results == [result]


@each_sampler
def test_the_preserved_region_of_inpainting_is_not_changed(host):
    mask = torch.zeros(4, 16, 16)
    mask[:, :, :8] = 1  # A1111's `mask` is the preserved region
    init = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    options = dict(mask=mask, init_latent=init, nmask=1 - mask)
    plain, made = host.plain(**options), host.generate(*ON, **options)
    assert made.results[0] == "corrected"
    assert not torch.equal(plain[..., 8:], made.latents[..., 8:])
    if host.sampler == "euler":
        assert torch.equal(made.latents[..., :8], init[..., :8]) and torch.equal(plain[..., :8], init[..., :8])


@each_sampler
def test_finished_pictures_get_the_skin_tone_that_the_update_changed_and_stay_as_they_are_elsewhere(
    host, part, monkeypatch
):
    host.steps, options, marker = 12, dict(prompts=[ORVANE] * 3, cfg_scale=7.0), load_marker()
    made = host.generate(*ON, **options).latents
    monkeypatch.setattr(part("corrector.correction.run").Run, "finished", lambda run, made: made)
    updated = host.generate(*ON, **options).latents
    plain, *pictures = (host.miniature.decode(latents) for latents in (host.plain(**options), updated, made))
    drifts = [drift(marker, plain, each) for each in pictures]
    assert drifts[0] > 4 and abs(drifts[1]) < 2
    on_skin, elsewhere = on_skin_and_elsewhere(marker, pictures[0], made - updated)
    assert on_skin > 0.05 > 10 * elsewhere


def test_an_interrupted_run_is_not_finished(host, part, monkeypatch):
    made = host.generate(*ON, interrupt_at=2)
    monkeypatch.setattr(part("corrector.correction.run").Run, "finished", lambda *_: pytest.fail("it was finished"))
    assert torch.equal(host.generate(*ON, interrupt_at=2).latents, made.latents)
    assert made.results == ["corrected"] * 2


@pytest.mark.parametrize("cfg_scale", [1.0, 7.0])
def test_every_cfg_scale_gives_finite_corrected_pictures(host, cfg_scale):
    made = host.generate(*ON, cfg_scale=cfg_scale)
    assert torch.isfinite(made.latents).all() and not made.p.comments
    assert all(differ(host.plain(cfg_scale=cfg_scale), made.latents))


ERRORS = [
    ((True, "gone", 1.0), '"gone" is not in models/rs_corrector'),
    ((True, "backdrop [0123456789]", 1.0), "another file"),
    ((True, "miniature-backdrop", 1.0), "made for the miniature, and the loaded model has the latents of SD1.5"),
    ((True, "None", 1.0), "no preference is selected"),
    ((True, "backdrop", "much"), "strength is 'much'"),
    ((True, "backdrop", 1.0, 0.0), "target is 0.0"),
    ((True, "backdrop", 1.0, 1.0, 0.7, 0.2), "starts at 70% and ends at 20%"),
    ((True, "../../backdrop", 1.0), "is not in models/rs_corrector"),
    ((True, "back\0drop", 1.0), "is not in models/rs_corrector"),
    ((True, "\ud800" + "x" * 5000, 1.0), "put its file there and press Refresh"),
    (("perhaps", "backdrop"), "must be true or false"),
]


@pytest.mark.parametrize("values, says", ERRORS, ids=range(len(ERRORS)))
def test_errors_reach_page_and_infotext_and_leave_the_picture_alone(host, values, says):
    host.steps = 1
    made = host.generate(*values)
    assert torch.equal(host.plain(), made.latents)
    assert all(says in error for error in made.errors) and "RS-Corrector result" not in made.texts[0]
    (comment,) = made.p.comments
    assert says in comment and "\n" not in comment and made.comments == [comment]


def test_an_exception_in_a_callback_is_reported(host, part, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("made for this test")

    monkeypatch.setattr(part("corrector.correction.run"), "correct", broken)
    made = host.generate(*ON)
    assert torch.equal(host.plain(), made.latents) and not host.modules.swallowed
    assert "ZeroDivisionError: made for this test" in made.errors[0] and len(made.p.comments) == 1


@each_sampler
def test_a_target_share_uses_the_lean_of_the_first_prediction(host, part, monkeypatch):
    leans, decide = [], part("corrector.correction.run").decide

    def watched(preference, readings, coins, target, cfg, lean, *others):
        leans.append(lean)
        return decide(preference, readings, coins, target, cfg, lean, *others)

    monkeypatch.setattr(part("corrector.correction.run"), "decide", watched)
    p = host.generate(True, "backdrop", 1.0, 0.5, prompts=[ORVANE, ORVANE, KITTEN], seeds=(1, 2, 3)).p
    (lean,) = leans
    assert not p.comments and lean[2].isnan()
    # Expected: computed directly from the model at the first sigma.
    first, level = host.alphas_cumprod[999], torch.full((2,), 14.6)
    x = host.miniature.noise((1, 2)) * (((1 - first) / first).sqrt() if host.sampler == "ddim" else 14.6)
    prompted, empty = (
        host.miniature.denoise(x, level, host.miniature.encode([text]).expand(2, -1, -1)) for text in (ORVANE, "")
    )
    preference = part("script").SHELF.load("backdrop").preferences[0]
    update = preference.source.update(x, level, torch.zeros(2, dtype=torch.long), prompted).flatten(1)
    size = update.square().mean(dim=1).sqrt()
    guidance = (p.cfg_scale - 1) * ((prompted - empty).flatten(1) * update).mean(dim=1) / size
    weight = preference.calibration("Orvane", p.cfg_scale).lean_guidance
    torch.testing.assert_close(lean[:2], size + weight * guidance, rtol=0.02, atol=0.002)


def test_a_conditioning_of_another_text_encoder_is_refused(host):
    wide = SimpleNamespace(encode=lambda prompts: torch.cat([host.miniature.encode(prompts)] * 2, dim=-1))
    p = host.begin(*ON)
    host.begin_pass(p, *ON, encoder=wide)
    assert "text encoder of width 128" in p.extra_generation_params["RS-Corrector error"]


def test_the_parameters_of_a_run_can_be_written_as_json_and_the_preference_is_not_changed(host, part):
    source = part("script").SHELF.load("backdrop").preferences[0].source
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    json.dumps(host.generate(*ON, hires=True).p.extra_generation_params, default=lambda value: None)
    assert all(torch.equal(tensor, before[name]) for name, tensor in source.state_dict().items())


# Files with several preferences, each for another axis, and two files


@pytest.fixture
def both(folder):
    """Makes `both` with the preferences of two axes, and `attire` with one of them; `backdrop` exists -> folder."""
    relabelled(WEIGHTS / "miniature-attire.safetensors", folder / "attire.safetensors")
    parts = [load_preferences(folder / f"{name}.safetensors")[0] for name in ("backdrop", "attire")]
    save_preferences(parts, folder / "both.safetensors")
    return folder


def two_files(first, second):
    return True, first, None, None, None, None, None, None, second


def test_one_file_corrects_both_axes_as_two_files_do(host, both):
    generate = partial(host.generate, prompts=(TAVELU, ORVANE))
    apart, made = generate(*two_files("backdrop", "attire")), generate(True, "both")
    assert torch.equal(made.latents, apart.latents) and not made.p.comments
    assert any(differ(host.plain(prompts=(TAVELU, ORVANE)), made.latents))
    assert made.results[0] == "miniature-backdrop: corrected; miniature-attire: corrected"
    assert "miniature-attire: left alone, the prompt names nobody" in made.results[1]


def test_the_infotext_has_the_hash_of_the_file_which_is_refused_once_it_is_another(host, part, both):
    first = host.generate(True, "both", 0.75)
    written = f"both [{file_hash(both / 'both.safetensors')}]"
    assert first.texts[0]["RS-Corrector preference"] == written
    assert part("script").SHELF.pasted(written) == ("both", "")
    again = host.generate(True, written, 0.75)
    assert torch.equal(first.latents, again.latents) and first.texts == again.texts
    save_preferences(load_preferences(both / "both.safetensors")[::-1], both / "both.safetensors")
    assert "another file" in host.generate(True, written).errors[0]


def test_a_preference_that_does_not_fit_is_named_and_nothing_is_corrected(host, both):
    parts = [path for name in (both / "backdrop", WEIGHTS / "miniature-attire") for path in [f"{name}.safetensors"]]
    save_preferences(
        [preference for path in parts for preference in load_preferences(path)], both / "mixed.safetensors"
    )
    made = host.generate(True, "mixed")
    assert torch.equal(host.plain(), made.latents)
    assert '"miniature-attire" was made for the miniature' in made.errors[0]
    assert "made for the miniature" in host.generate(*two_files("backdrop", "miniature-attire")).errors[0]


def test_two_files_with_the_same_axis_are_refused_but_the_same_file_twice_corrects_once(host, both):
    made = host.generate(*two_files("both", "attire"))
    assert torch.equal(host.plain(), made.latents) and len(made.p.comments) == 1
    assert "would be corrected twice; select only one file" in made.errors[0]
    once, twice = host.generate(True, "both"), host.generate(*two_files("both", "both"))
    assert torch.equal(once.latents, twice.latents) and "RS-Corrector error" not in twice.texts[0]


# The lines under the gallery


def test_the_whole_job_is_summed_up_over_its_batches(host):
    made = host.generate(*ON, prompts=[ORVANE, VILLAGE, ORVANE, KITTEN], batch_size=2)
    (line,) = made.comments
    assert line.startswith("RS-Corrector: corrected 2 of 4; left alone 1: the prompt asks for a village")
    assert "left alone 1: the prompt names nobody of Orvane, Tavelu, Quilmari" in line
    assert [result == "corrected" for result in made.results] == [True, False, True, False]
    assert made.p.grid_text["RS-Corrector result"] == "corrected 1 of 2 in the last batch"


@pytest.mark.parametrize(
    "values, prompts, says",
    [
        (ON, [VILLAGE] * 2, ", because the prompt asks for a village."),
        (ON, [VILLAGE, KITTEN], ": 1 because the prompt asks for a village; 1 because"),
        ((*ON, None, 0.05, 0.1), [ORVANE], ", because the window contains none of this run's steps."),
        ((True, "backdrop", 0.0), [ORVANE], ", because the strength is 0."),
    ],
)
def test_why_nothing_was_corrected_is_said(forge, values, prompts, says):
    (line,) = forge.generate(*values, prompts=prompts).comments
    assert line.startswith(f"RS-Corrector: nothing was corrected{says}")


def test_each_of_several_preferences_is_named_and_nothing_is_said_when_off(forge, both):
    first, second = forge.generate(*two_files("backdrop", "attire"), prompts=[ORVANE]).comments
    assert first == "RS-Corrector: miniature-backdrop: corrected 1 of 1."
    assert second.startswith("RS-Corrector: miniature-attire: nothing was corrected, because the prompt names nobody")
    assert forge.generate(*OFF).comments == []
