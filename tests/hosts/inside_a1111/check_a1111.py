"""RS-Corrector on A1111's own callbacks, ScriptRunner, prompt parser, CFG denoiser and timestep samplers."""

import sys

import pytest
import torch

ORVANE, KITTEN = "a portrait of an Orvane person", "a kitten"
VILLAGE = "a portrait of an Orvane person in a village"
OFF, ON = (False, "backdrop"), (True, "backdrop")
SAMPLERS = ("Euler", "DDIM", "PLMS", "UniPC")


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("cfg_scale", [1.0, 7.0])
def test_off_on_off_is_identical_and_on_differs(host, sampler, cfg_scale):
    settings = dict(prompts=[ORVANE, ORVANE], sampler=sampler, cfg_scale=cfg_scale)
    plain, said, _ = host.generate(*OFF, **settings)
    corrected, told, p = host.generate(*ON, **settings)
    again, _, _ = host.generate(*OFF, **settings)
    assert torch.isfinite(plain).all() and torch.isfinite(corrected).all() and not p.comments
    assert torch.equal(plain, again) and not torch.equal(plain, corrected)
    assert not said and told["RS-Corrector result"] == "corrected"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_pictures_out_of_scope_are_bit_identical_within_a_batch(host, sampler):
    settings = dict(prompts=[KITTEN, ORVANE, VILLAGE], seeds=(1, 2, 3), sampler=sampler)
    plain, _, _ = host.generate(*OFF, **settings)
    changed, _, p = host.generate(*ON, **settings)
    assert [torch.equal(plain[i], changed[i]) for i in range(3)] == [True, False, True] and not p.comments


@pytest.mark.parametrize("timesteps", [False, True])
@pytest.mark.parametrize("step", [801, 601, 401])
def test_a_call_of_the_denoiser_is_corrected_as_by_the_pure_function(host, timesteps, step):
    """Compares x0 after CFG with the correction off and on, for denoisers that return x0 or eps."""
    from modules import prompt_parser, shared

    core = sys.modules["rs_corrector_extension.corrector.correction.update"]
    script = sys.modules["rs_corrector_extension.sd_webui.script"]
    a = shared.sd_model.alphas_cumprod[step]
    sigma = ((1 - a) / a).sqrt()
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 4, 16, 16, generator=generator) * (1 + sigma.square()).sqrt()
    outputs, between = {}, []
    host.callbacks.on_cfg_denoised(lambda params: between.append(params.x[:2].clone()))
    for values in (OFF, ON):
        from conftest import Processing

        p = Processing([ORVANE, ORVANE], (1, 2), 7.0)
        p.scripts, p.script_args = host.runner, (0, *values, *[None] * 7)
        p.c = prompt_parser.get_multicond_learned_conditioning(shared.sd_model, p.prompts, 4)
        p.uc = prompt_parser.get_learned_conditioning(shared.sd_model, ["", ""], 4)
        host.runner.process(p)
        host.runner.process_batch(p, batch_number=0)
        host.runner.process_before_every_sampling(p=p, c=p.c)
        denoiser = host.denoiser(p, timesteps)
        there, level = (x * a.sqrt(), torch.full((2,), float(step))) if timesteps else (x, sigma.expand(2))
        with torch.no_grad():
            output = denoiser(there, level, p.uc, p.c, 7.0, 0.0, torch.zeros(2, 5, 1, 1))
            conditional = denoiser.get_pred_x0(there, between[-1], level)
            outputs[values] = denoiser.get_pred_x0(there, output, level)
    preference = script.SHELF.load("backdrop").preferences[0]
    tokens = shared.sd_model.get_learned_conditioning([ORVANE])
    readings = [preference.gate.read([tokens])] * 2
    looks, decisions = (
        sys.modules[f"rs_corrector_extension.corrector.correction.{name}"] for name in ("first_look", "decision")
    )
    sigmas = sigma.expand(2)
    look = looks.first_look(preference, x, sigmas, decisions.groups_of(readings), conditional, outputs[OFF], 7.0)
    decision, _ = decisions.decide(preference, readings, torch.rand(2), 1.0, 7.0, look.lean)
    wanted = core.correct(outputs[OFF], x, sigmas, [preference], [decision], core.Settings(), 7.0, conditional)
    assert not torch.equal(wanted, outputs[OFF])
    torch.testing.assert_close(outputs[ON], wanted, rtol=0, atol=1e-5 * max(1.0, float(sigma)))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_inpainting_keeps_its_preserved_region(host, sampler):
    mask = torch.zeros(4, 16, 16)
    mask[..., :8] = 1
    init = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(9))
    settings = dict(prompts=[ORVANE, ORVANE], sampler=sampler, mask=mask, init_latent=init)
    plain, _, _ = host.generate(*OFF, **settings)
    changed, told, p = host.generate(*ON, **settings)
    assert told["RS-Corrector result"] == "corrected" and not p.comments
    assert not torch.equal(plain[..., 8:], changed[..., 8:])
    if sampler == "Euler":
        assert torch.equal(changed[..., :8], init[..., :8])


def test_the_chance_is_read_before_inpainting_puts_its_picture_in(host, monkeypatch):
    run, guided = sys.modules["rs_corrector_extension.corrector.correction.run"], []
    read = run.first_look
    monkeypatch.setattr(run, "first_look", lambda *args: guided.append(args[5]) or read(*args))
    for mask in (None, torch.ones(4, 16, 16)):
        host.generate(*ON, prompts=[ORVANE, ORVANE], mask=mask, init_latent=torch.zeros(2, 4, 16, 16))
    torch.testing.assert_close(guided[1], guided[0])


def test_all_parts_and_schedules_of_prompts_are_read(host):
    for prompt in (f"{ORVANE} AND {VILLAGE}", f"[{ORVANE}:{VILLAGE}:0.9]"):
        _, told, p = host.generate(*ON, prompts=[prompt, prompt])
        assert "asks for a village" in told["RS-Corrector result"] and not p.comments
    _, told, _ = host.generate(*ON, prompts=[f"{ORVANE} AND {VILLAGE} :-0.5"] * 2)
    assert told["RS-Corrector result"] == "corrected"


def test_an_error_is_reported(host, monkeypatch):
    run = sys.modules["rs_corrector_extension.corrector.correction.run"]
    plain, _, _ = host.generate(*OFF, prompts=[ORVANE, ORVANE])
    monkeypatch.setattr(run, "correct", lambda *args: 1 / 0)
    same, told, p = host.generate(*ON, prompts=[ORVANE, ORVANE])
    assert torch.equal(plain, same)
    assert "ZeroDivisionError" in told["RS-Corrector error"] and len(p.comments) == 1


def test_reloading_scripts_registers_each_callback_once(host):
    import modules.scripts as scripts

    scripts.load_scripts()
    counts = {
        name: len(host.callbacks.callback_map[f"callbacks_{name}"])
        for name in ("cfg_denoiser", "cfg_after_cfg", "before_ui")
    }
    assert set(counts.values()) == {1}
