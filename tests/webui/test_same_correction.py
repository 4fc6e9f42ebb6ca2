"""The pure function, Forge's hook and A1111's callbacks correct the same latent, sigma and CFG in the same way."""

from types import SimpleNamespace

import pytest
import torch

from corrector.preference.networks import CLOSED
from webui_a1111 import Denoiser, TimestepsDenoiser
from webui_hosts import ON, conditioning_of

PROMPTS = ("a portrait of an Orvane person", "a photo of a Tavelu man", "a kitten")


def inputs(miniature, sigma):
    generator = torch.Generator().manual_seed(5)
    x0 = torch.randn(3, 4, 16, 16, generator=generator)
    x = x0 + sigma * torch.randn(3, 4, 16, 16, generator=generator)
    level = torch.full((3,), float(sigma))
    conditioning = miniature.encode(list(PROMPTS))
    cond = miniature.denoise(x, level, conditioning)
    uncond = miniature.denoise(x, level, miniature.encode([""]).expand(3, -1, -1))
    return x, level, cond, uncond


def pure(part, miniature, x, sigma, denoised, conditional, cfg):
    """The expected result: `correct` with the gate's reading."""
    core, looks, decision = (part(f"corrector.correction.{name}") for name in ("update", "first_look", "decision"))
    preference = part("script").SHELF.load("backdrop").preferences[0]
    readings = [preference.gate.read([tokens[None]]) for tokens in miniature.encode(list(PROMPTS))]
    look = looks.first_look(preference, x, sigma, decision.groups_of(readings), conditional, denoised, cfg)
    decision, _ = decision.decide(preference, readings, torch.rand(3), 1.0, cfg, look.lean)
    return core.correct(denoised, x, sigma, [preference], [decision], core.Settings(), cfg, conditional)


@pytest.mark.parametrize("cfg", [1.0, 2.0, 7.0])
@pytest.mark.parametrize("timestep", [999, 300, 10])
def test_the_hosts_and_the_pure_function_agree_to_1e_5(part, miniature, forge, a1111, timestep, cfg):
    sigma = miniature.sigmas[timestep]
    x, level, cond, uncond = inputs(miniature, sigma)
    denoised = cond if cfg == 1 else uncond + cfg * (cond - uncond)
    wanted = pure(part, miniature, x, level, denoised, cond, cfg)
    assert (wanted - denoised).abs().max() > 0.01 or sigma < CLOSED, "below, all is decided"

    p = forge_model(forge).begin(*ON, prompts=PROMPTS, cfg_scale=cfg)
    (hook,) = p.sd_model.forge_objects.unet.model_options["sampler_post_cfg_function"]
    arguments = dict(denoised=denoised, input=x, sigma=level, cond=[], cond_denoised=cond, model=None, model_options={})
    arguments |= dict(uncond=None if cfg == 1 else [], uncond_denoised=torch.zeros_like(x) if cfg == 1 else uncond)
    with torch.inference_mode():
        by_forge = hook(arguments)
    assert not p.comments
    torch.testing.assert_close(by_forge, wanted, rtol=0, atol=1e-5)

    for kind in (Denoiser, TimestepsDenoiser):
        p = a1111_model(a1111).begin(*ON, prompts=PROMPTS, cfg_scale=cfg)
        denoiser = kind(a1111, p, conditioning_of(miniature, PROMPTS))
        a = a1111.alphas_cumprod[timestep]
        timesteps = kind is TimestepsDenoiser
        there, now = (x * a.sqrt(), torch.full((3,), float(timestep))) if timesteps else (x, level)
        out, *before = ((x - one) / sigma if timesteps else one for one in (denoised, cond, uncond))
        with torch.no_grad():
            a1111.modules.call(
                "cfg_denoiser", SimpleNamespace(x=there.repeat(2, 1, 1, 1), sigma=now.repeat(2), denoiser=denoiser)
            )
            a1111.modules.call("cfg_denoised", SimpleNamespace(x=torch.cat(before)))
            after = SimpleNamespace(x=out)
            a1111.modules.call("cfg_after_cfg", after)
        assert not p.comments and not a1111.modules.swallowed
        # The rounding error of eps is multiplied by sigma.
        by_a1111 = x - sigma * after.x if timesteps else after.x
        torch.testing.assert_close(by_a1111, wanted, rtol=0, atol=1e-5 * max(1.0, float(sigma) / 2))


def forge_model(host):
    host.sd_model = host.modules.model_data.sd_model = SimpleNamespace(is_sd1=True)
    host.reset()
    return host


def a1111_model(host):
    host.sd_model = SimpleNamespace(is_sd1=True, alphas_cumprod=host.alphas_cumprod)
    return host


def test_a_window_has_the_same_sigmas_in_both_hosts(part, miniature, forge, a1111):
    window_of = part("host").window_of
    for start, end in ((0.0, 1.0), (0.25, 0.6), (0.013, 0.987)):
        by_forge, by_a1111 = (window_of(host.sd_model, start, end) for host in (forge_model(forge), a1111_model(a1111)))
        assert by_a1111 == pytest.approx(by_forge, rel=5e-3), "the fake of Forge rounds to the nearest timestep"
