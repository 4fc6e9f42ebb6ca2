"""An axis in the list of preferences: the loaded model is asked what it would draw for the other side."""

import gc
import logging
import sys

import pytest
import torch

from corrector.miniature.skin import load_marker
from hosts.inside.shown_skin import drift
from webui_hosts import KITTEN, NO_SCRIPT, ORVANE, VILLAGE, SdModel

AXIS = "miniature-backdrop (any checkpoint)"
ON = (True, AXIS)
TAVELU = "a portrait of a Tavelu person"
OUTCOME = "RS-Corrector outcome"
each_sampler = pytest.mark.parametrize("host", ["forge", "flow", "a1111", "a1111 ddim"], indirect=True)


def backdrops(host, latents):
    return host.miniature.reader.read(host.miniature.decode(latents))["backdrop"]


def plain_of(host, **options):
    return host.generate(script=NO_SCRIPT, **options).latents


@each_sampler
def test_villages_become_cities_with_their_skin_at_a_moderate_cost(host):
    host.steps, options = 16, dict(prompts=[ORVANE] * 2, cfg_scale=7.0)
    plain = plain_of(host, **options)
    cost, host.evaluations = host.evaluations, 0
    made = host.generate(*ON, **options)
    villages = backdrops(host, plain).count("village")
    assert villages == 2 and backdrops(host, made.latents) == ["city"] * 2
    assert host.evaluations <= 1.6 * cost
    assert abs(drift(load_marker(), *(host.miniature.decode(latents) for latents in (plain, made.latents)))) < 2
    assert {text[OUTCOME] for text in made.texts} == {f"a village: {villages} -> 0 of 2"}
    assert f"RS-Corrector: a village: {villages} -> 0 of 2." in made.comments


@each_sampler
def test_pictures_that_are_fine_or_out_of_scope_keep_their_bits_beside_corrected_ones(host):
    host.steps = 8
    options = dict(prompts=[TAVELU] * 5 + [KITTEN, VILLAGE], seeds=range(7), cfg_scale=2.0)
    plain, made = plain_of(host, **options), host.generate(*ON, **options)
    sides, kept = backdrops(host, plain), list(map(torch.equal, plain, made.latents))
    assert 0 < sides[:5].count("city") < 5
    assert kept == [side == "city" for side in sides[:5]] + [True, True]
    assert [result == "corrected" for result in made.results] == [not same for same in kept]
    assert backdrops(host, made.latents)[:5] == ["city"] * 5
    assert made.comments[1] == f"RS-Corrector: a village: {sides[:5].count('village')} -> 0 of 5."


@pytest.mark.parametrize("values, prompt", [((*ON, 0.0), ORVANE), (ON, KITTEN), (ON, VILLAGE)])
def test_off_or_out_of_scope_nothing_is_asked_and_pictures_keep_their_bits(host, values, prompt):
    plain = plain_of(host, prompts=[prompt])
    cost, host.evaluations = host.evaluations, 0
    made = host.generate(*values, prompts=[prompt])
    assert torch.equal(plain, made.latents) and host.evaluations == cost
    assert OUTCOME not in made.texts[0]


def test_without_a_verdict_the_same_picture_costs_less_and_a_thrifty_one_less_still(host):
    host.steps, made, cost = 8, [], []
    for switches in ((True, False), (False, False), (True, True)):
        host.evaluations = 0
        made.append(host.generate(*ON, *[None] * 7, *switches, prompts=[ORVANE], cfg_scale=3.0))
        cost.append(host.evaluations)
        assert made[-1].results == ["corrected"] and backdrops(host, made[-1].latents) == ["city"]
    assert [OUTCOME in each.texts[0] for each in made] == [True, False, False]
    assert [each.comments[1:] for each in made] == [["RS-Corrector: a village: 1 -> 0 of 1."], [], []]
    assert cost[0] > cost[1] > cost[2] and torch.equal(made[0].latents, made[1].latents)


def test_a_long_prompt_is_asked_about_too_and_others_in_the_batch_keep_their_bits(host):
    """Its phrase needs another chunk of tokens, which the others do not have."""
    long = f"{ORVANE}, {', '.join(['in soft light'] * 18)}"
    options = dict(prompts=[long, KITTEN, long], cfg_scale=2.0)
    made, plain = host.generate(*ON, **options), plain_of(host, **options)
    assert torch.equal(plain[1], made.latents[1]) and not made.p.comments
    assert not torch.equal(plain[0], made.latents[0]) and not torch.equal(plain[2], made.latents[2])


@pytest.mark.parametrize(
    "prompt, asked",
    [
        ("a cat", "a cat, in a city"),
        ("a cat AND a dog :0.5", "a cat, in a city AND a dog, in a city :0.5"),
        ("a cat AND rain :-0.5", "a cat, in a city AND rain :-0.5"),
        ("a [red:blue:0.5] cat", "a [red:blue:0.5] cat, in a city"),
    ],
)
def test_the_phrase_stands_after_each_part_that_counts(part, prompt, asked):
    assert part("asking").with_phrase(prompt, "in a city") == asked


@pytest.mark.parametrize("prompt", [f"{ORVANE} AND {ORVANE} :0.5", f"[{ORVANE}|{ORVANE}, smiling]"])
def test_prompts_of_parts_and_schedules_are_corrected(host, prompt):
    host.steps = 8
    made = host.generate(*ON, prompts=[prompt], cfg_scale=3.0)
    assert not made.p.comments and backdrops(host, made.latents) == ["city"]


def test_each_schedule_of_a_prompt_has_its_phrase(host, part, monkeypatch):
    texts, rows = [], part("asking").AskedModel._text
    host.steps = 8

    def watched(asked, phrased):
        step, text = asked.call.denoiser.step, rows(asked, phrased)
        texts.append((step, text[0]))
        return text

    monkeypatch.setattr(part("asking").AskedModel, "_text", watched)
    p = host.processing([f"[{ORVANE}|{ORVANE}, smiling]"])
    p.firstpass_steps = 4
    host.generate(*ON, p=p)
    early, late = ([text for step, text in texts if step in steps] for steps in ((1, 2), (3,)))
    assert early and late and torch.equal(early[0], early[-1]) and not torch.equal(early[0], late[0])


@pytest.mark.parametrize("strength", [0.75, 1.0])
def test_a_batch_count_is_summed_up_in_one_line(host, strength):
    """At a strength other than 1 the model is asked beside the host's own evaluation."""
    host.steps = 8
    made = host.generate(True, AXIS, strength, prompts=[ORVANE] * 3, batch_size=2, cfg_scale=3.0)
    assert made.comments == ["RS-Corrector: corrected 3 of 3.", "RS-Corrector: a village: 3 -> 0 of 3."]
    assert [text[OUTCOME][-4:] for text in made.texts] == ["of 2", "of 2", "of 1"]


def test_the_outcome_of_a_hires_pass_is_from_before_the_first_pass_to_after_the_last(host):
    host.steps = 8
    made = host.generate(*ON, prompts=[ORVANE] * 2, cfg_scale=3.0, hires=True)
    assert made.texts[0][OUTCOME] == "a village: 2 -> 0 of 2" and made.results == ["corrected"] * 2
    assert made.latents.shape[-1] == 24 and not made.p.comments


@each_sampler
def test_what_inpainting_preserves_is_not_changed(host):
    mask = torch.zeros(4, 16, 16)
    mask[:, :, :8] = 1
    init = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    options = dict(mask=mask, init_latent=init, nmask=1 - mask)
    plain, made = plain_of(host, **options), host.generate(*ON, **options)
    assert not torch.equal(plain[..., 8:], made.latents[..., 8:]) and not made.p.comments
    if host.sampler == "euler":
        assert torch.equal(made.latents[..., :8], init[..., :8])


def test_an_interrupted_run_is_not_judged_and_leaves_the_sampler_as_it_was(host, part):
    host.steps = 8
    p = host.processing([ORVANE])
    made = host.generate(*ON, p=p, interrupt_at=2)
    assert made.results == ["corrected"] and OUTCOME not in made.texts[0]
    assert "launch_sampling" not in vars(p.sampler) and not part("script").JOBS.running


def test_nothing_of_a_job_is_kept(host, part):
    host.generate(*ON)
    gc.collect()
    kinds = part("job").Job, part("job").Run, part("asking").AskedModel
    assert not [thing for thing in gc.get_objects() if type(thing) in kinds or isinstance(thing, kinds[2])]


def test_the_gate_is_trained_once_for_a_text_encoder_and_the_page_says_so(host, part, caplog, monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["modules.paths"], "data_path", str(tmp_path))
    for name, least in {"count": 16, "steps": 1}.items():
        monkeypatch.setitem(part("corrector.preference.asking").QUICK, name, least)
    kept, told = tmp_path / "cache" / "rs_corrector", []

    class State:
        def __setattr__(self, name, value):
            told.append(value)

    monkeypatch.setattr(sys.modules["modules.shared"], "state", State())
    host.steps = 1
    with caplog.at_level(logging.WARNING, "rs_corrector"):
        host.generate(*ON)
    assert [record.message for record in caplog.records] == [
        "RS-Corrector: Village backdrop (miniature): learning to read prompts, once for this text encoder"
    ]
    assert told[0].startswith("RS-Corrector learns to read prompts: 1 of ") and told[-1] is None
    (file,) = kept.glob("gate-*.safetensors")
    caplog.clear()
    host.generate(*ON)
    assert not caplog.records and list(kept.glob("*.safetensors")) == [file]
    monkeypatch.setattr(host.modules.opts, "CLIP_stop_at_last_layers", 2)  # another layer has other vectors
    host.generate(*ON)
    assert len(list(kept.glob("*.safetensors"))) == 2


def test_a_refiner_reads_the_phrases_with_its_own_text_encoder(a1111):
    a1111.steps, call, encoded = 4, a1111.predict, []

    class Refiner(SdModel):
        pass

    def switched(x, sigma, tokens):
        if a1111.p.sd_model is first and float(sigma.min()) < 8:
            a1111.p.sd_model = Refiner(a1111.miniature, is_sd1=True, alphas_cumprod=a1111.alphas_cumprod)
        return call(x, sigma, tokens)

    a1111.predict = switched
    p = a1111.p = a1111.processing([ORVANE])
    first, encode = p.sd_model, p.get_conds_with_caching
    p.get_conds_with_caching = lambda *arguments: encoded.append(p.sd_model) or encode(*arguments)
    made = a1111.generate(*ON, p=p)
    assert {type(model) for model in encoded} == {SdModel, Refiner} and not made.p.comments
