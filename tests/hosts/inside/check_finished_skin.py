"""A learned preference gives finished pictures the skin tone of plain ones, by the VAE or by approximate colours."""

import comfy.model_management
import comfy.sample
import pytest
import torch
from host import correct, encode, sample
from rs_pack.corrector.correction.run import MEMORY, Run
from rs_pack.corrector.miniature.model import WEIGHTS
from rs_pack.corrector.miniature.skin import load_marker
from shown_skin import drift, on_skin_and_elsewhere

OPTIONS = dict(batch=6, steps=12)


@pytest.fixture(scope="module")
def conditions(clip):
    with torch.inference_mode():
        return encode(clip, "a portrait of an Orvane person"), encode(clip, "")


@pytest.fixture(params=[1.0, 7.0])
def draw(request, conditions):
    """-> a function: the latents of a model, without what an earlier one remembers."""

    def draw(model, **options):
        MEMORY.pictures.clear()
        return sample(model, *conditions, cfg=request.param, **OPTIONS, **options)

    return draw


@pytest.fixture
def updated(draw, model, backdrop, monkeypatch):
    """Latents that the update alone gives."""
    with monkeypatch.context() as patch:
        patch.setattr(Run, "finished", lambda run, made: made)
        return draw(correct(model, backdrop))


@pytest.fixture
def drifted(vae, draw, model):
    """-> a function: how much lighter the skin of latents is than in plain ones, in points of L*."""
    plain = draw(model)
    return lambda latents: drift(load_marker(WEIGHTS), *(shown(vae, each) for each in (plain, latents)))


def shown(vae, latents):
    return vae.decode(latents).movedim(-1, 1) * 2 - 1


def test_skin_gets_its_tone_and_all_else_stays_as_the_update_has_it(model, backdrop, vae, draw, updated, drifted):
    made = draw(correct(model, backdrop, vae=vae))
    assert drifted(updated) > 4 and abs(drifted(made)) < 2.0
    on_skin, elsewhere = on_skin_and_elsewhere(load_marker(WEIGHTS), shown(vae, updated), made - updated)
    assert on_skin > 0.05 > 10 * elsewhere


def test_both_nodes_do_the_same(model, backdrop, vae, draw):
    simple, advanced = correct(model, backdrop, vae=vae), correct(model, backdrop, vae=vae, target=1.0)
    assert torch.equal(draw(simple), draw(advanced))


def test_without_a_vae_approximate_colours_serve(model, backdrop, vae, draw, updated, drifted):
    made = draw(correct(model, backdrop))
    assert not torch.equal(made, draw(correct(model, backdrop, vae=vae)))
    assert -1.5 < drifted(made) < drifted(updated) - 1.5, "less exact than by the VAE"


def test_half_the_strength_takes_back_half_of_the_tone(model, backdrop, vae, draw, updated, drifted, monkeypatch):
    half = correct(model, backdrop, 0.5, vae=vae)
    made = draw(half)
    monkeypatch.setattr(Run, "finished", lambda run, made: made)
    change = drifted(made) - drifted(draw(half))
    assert -0.7 * drifted(updated) < change < -0.3 * drifted(updated)


def test_the_last_of_two_stages_takes_back_what_both_changed(model, backdrop, vae, conditions, monkeypatch):
    finished, finish = [], Run.finished
    monkeypatch.setattr(Run, "finished", lambda run, made: finished.append(run) or finish(run, made))
    stages = [dict(last_step=4, force_full_denoise=False), dict(start_step=4, disable_noise=True)]

    def draw(model):
        MEMORY.pictures.clear()
        half = sample(model, *conditions, **OPTIONS, **stages[0])
        assert not finished
        return sample(model, *conditions, latent={"samples": half}, steps=12, **stages[1])

    plain, made = draw(model), draw(correct(model, backdrop, vae=vae))
    assert len(finished) == 1 and abs(drift(load_marker(WEIGHTS), shown(vae, plain), shown(vae, made))) < 2


def test_an_interrupted_run_is_not_finished(model, backdrop, vae, conditions, monkeypatch):
    def interrupt(step, *_):
        if step == 3:
            raise comfy.model_management.InterruptProcessingException()

    monkeypatch.setattr(Run, "finished", lambda *_: pytest.fail("it was finished"))
    latent = torch.zeros(2, 4, 16, 16)
    noise = comfy.sample.prepare_noise(latent, 1)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        comfy.sample.sample(
            correct(model, backdrop, vae=vae), noise, 6, 2.0, "euler", "karras", *conditions, latent, callback=interrupt
        )
