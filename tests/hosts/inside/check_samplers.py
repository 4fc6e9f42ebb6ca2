"""The correction works with all samplers, sizes, batches and precisions."""

import comfy.sample
import comfy.samplers
import pytest
import torch
from host import correct, sample, small_sd15, untrained


@pytest.mark.parametrize("sampler", ("euler", "heun", "dpmpp_2m", "dpmpp_2m_sde", "uni_pc", "ddim", "lcm"))
def test_it_works_with_the_sampler(model, backdrop, prompts, sampler):
    plain = sample(model, prompts["person"], prompts["empty"], sampler=sampler)
    corrected = sample(correct(model, backdrop), prompts["person"], prompts["empty"], sampler=sampler)
    assert (corrected - plain).abs().mean() > 1e-3


@pytest.mark.parametrize("size, batch", (((16, 24), 1), ((12, 20), 5)))
def test_every_picture_of_a_batch_of_any_size_is_corrected(model, prompts, size, batch):
    plain = sample(model, prompts["person"], prompts["empty"], size=size, batch=batch)
    every = correct(model, untrained("miniature"))
    corrected = sample(every, prompts["person"], prompts["empty"], size=size, batch=batch)
    assert corrected.shape == (batch, 4, *size)
    assert (corrected != plain).flatten(1).any(dim=1).all()


@pytest.mark.parametrize(
    "stored, computed",
    ((torch.float16, None), (torch.bfloat16, None), (torch.float32, None), (torch.float8_e4m3fn, torch.float32)),
)
def test_a_unet_of_any_precision_is_corrected(sd15, stored, computed):
    _, positive, negative = sd15
    model = small_sd15(stored, computed)
    assert model.model.get_dtype() == stored
    plain = sample(model, positive, negative)
    assert not torch.equal(sample(correct(model, untrained("sd15")), positive, negative), plain)


def test_both_stages_of_ksampler_advanced_are_corrected(model, backdrop, prompts):
    positive, negative, corrected = prompts["person"], prompts["empty"], correct(model, backdrop)

    def stages(first, second):
        half = sample(first, positive, negative, last_step=1, force_full_denoise=False)
        return sample(second, positive, negative, latent={"samples": half}, start_step=1, disable_noise=True)

    plain = stages(model, model)
    # After a corrected first stage the gate may be closed in the second.
    first, second, both = stages(corrected, model), stages(model, corrected), stages(corrected, corrected)
    assert not torch.equal(first, plain) and not torch.equal(second, plain) and not torch.equal(first, second)
    assert not torch.equal(both, plain)


def test_a_custom_sampler_with_its_own_sigmas_is_corrected(model, backdrop, prompts):
    sampler, sigmas = comfy.samplers.sampler_object("euler"), torch.tensor([14.6, 5.0, 1.0, 0.0])
    latent = torch.zeros(2, 4, 16, 16)
    noise = comfy.sample.prepare_noise(latent, 3)

    def run(model):
        return comfy.sample.sample_custom(
            model, noise, 2.0, sampler, sigmas, prompts["person"], prompts["empty"], latent, seed=3
        )

    assert not torch.equal(run(correct(model, backdrop)), run(model))


def test_an_interrupted_run_does_not_change_the_next(model, backdrop, prompts):
    corrected = correct(model, backdrop)
    positive, negative = prompts["person"], prompts["empty"]
    expected = sample(corrected, positive, negative)
    latent = torch.zeros(5, 4, 16, 16)

    def interrupt(step, *_):
        if step == 1:
            raise comfy.model_management.InterruptProcessingException()

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        comfy.sample.sample(
            corrected, comfy.sample.prepare_noise(latent, 9), 4, 2.0, "euler", "karras", prompts["cat"], negative,
            latent, callback=interrupt,
        )  # fmt: skip
    assert torch.equal(sample(corrected, positive, negative), expected)
