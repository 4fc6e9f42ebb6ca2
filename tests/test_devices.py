"""Latents and conditioning on another device than the networks: every path works there, with the CPU's values."""

import random
from dataclasses import replace
from functools import partial

import pytest
import torch

from corrector.axis.axis import load_axis
from corrector.correction.memory import Memory
from corrector.correction.run import Run
from corrector.correction.sampled import sample_corrected
from corrector.correction.thinning import coins_from_noise
from corrector.correction.update import Settings
from corrector.files.folders import WEIGHTS
from corrector.latents.devices import device_of, place, placed
from corrector.latents.skin import LinearColours, Pictures
from corrector.learning import learn as learn_module
from corrector.learning.calibrate import calibrate
from corrector.preference.file import load_preference
from corrector.preference.preference import Preference
from corrector.preference.text import Text
from gaussian_host import GaussianHost
from other_device import OTHER, other_device

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def a_second_device():
    with other_device():
        yield


@pytest.fixture(scope="module")
def backdrop():
    return load_preference(WEIGHTS / "miniature-backdrop.safetensors")


def call(count, dtype=torch.float32, memory_format=torch.contiguous_format):
    """-> denoised, x, sigma of one call, on the CPU."""
    generator = torch.Generator().manual_seed(count)
    x = 3 * torch.randn(count, 4, 16, 16, generator=generator)
    denoised = torch.randn(x.shape, generator=generator).to(dtype).to(memory_format=memory_format)
    return denoised, x.to(memory_format=memory_format), torch.full((count,), 3.0)


def same(result, expected):
    """Equal but for the order of sums: layouts of memory choose other kernels."""
    tolerance = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[expected.dtype]
    torch.testing.assert_close(result.cpu(), expected, rtol=0, atol=tolerance)


@pytest.fixture(autouse=True)
def networks_start_on_the_cpu(backdrop):
    yield
    place(backdrop.source, CPU)


def run_of(preference, count, where, **settings):
    prompts = [[torch.zeros(1, 77, 128, device=where)] for _ in range(count)]
    coins = coins_from_noise(call(count)[1].to(where))
    return Run([preference], Settings(**settings), coins, prompts, use_gate=False, memory=Memory())


def test_the_other_device_refuses_tensors_of_the_cpu_as_cuda_does():
    here, there = torch.ones(2, 3), torch.ones(2, 3).to(OTHER)
    assert there.device == (there * 2).device == OTHER and torch.equal((there * 2).cpu(), here * 2)
    for mixed in (lambda: here + there, lambda: torch.cat([there, here]), lambda: here[torch.tensor([0]).to(OTHER)]):
        with pytest.raises(RuntimeError, match=r"two devices|either on cpu"):
            mixed()


@pytest.mark.parametrize(
    "count, dtype, memory_format",
    [
        (1, torch.float32, torch.contiguous_format),
        (2, torch.float16, torch.contiguous_format),
        (5, torch.bfloat16, torch.contiguous_format),
        (2, torch.float32, torch.channels_last),
    ],
    ids=str,
)
def test_a_run_corrects_where_the_latents_are_as_on_the_cpu(backdrop, count, dtype, memory_format):
    home, parts = device_of(backdrop.source), call(count, dtype, memory_format)
    on_cpu = run_of(backdrop, count, CPU)
    expected = on_cpu.correct(*parts, 2.0)
    on_cpu.finish(expected)
    with torch.inference_mode():
        there = run_of(backdrop, count, OTHER)
        result = there.correct(*(part.to(OTHER) for part in parts), 2.0)
        assert device_of(backdrop.source) == result.device != home, "networks move to the latents"
        there.finish(result)
    assert device_of(backdrop.source) == home, "and back"
    assert result.dtype == dtype and not torch.equal(expected, parts[0])
    same(result, expected)
    known = there.memory.find(result)
    assert known == there.decided()
    for (one,), (other,) in zip(*([past.values() for past in each] for each in (known, on_cpu.decided())), strict=True):
        assert replace(one, tone=other.tone) == other and one.tone == pytest.approx(other.tone, rel=1e-5)
    assert on_cpu.memory.find(expected) == on_cpu.decided()


def test_a_target_a_mask_and_a_share_of_strength_work_there(backdrop):
    mask = torch.zeros(1, 32, 32)
    mask[..., 16:] = 1
    settings = dict(target=0.5, mask=mask, cap=0.2, strength=torch.tensor([1.0, 0.5, 1.0, 2.0]))
    denoised, x, sigma = call(4)
    expected = run_of(backdrop, 4, CPU, **settings).correct(denoised, x, sigma, 7.0)
    result = run_of(backdrop, 4, OTHER, **settings).correct(*(part.to(OTHER) for part in (denoised, x, sigma)), 7.0)
    same(result, expected)


@pytest.mark.parametrize("mask", (None, torch.ones(16, 16)))
def test_a_preference_that_asks_the_model_gives_the_same_there(mask):
    """Decisions, update, verdict and kept skin; the model computes on the CPU and answers where it is asked."""
    noise, axis = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(1)), load_axis("miniature-backdrop")
    factors = torch.tensor([[0.2, 0.1, 0.1], [0.1, 0.2, 0.1], [0.1, 0.1, 0.3], [0.0, 0.1, 0.0]])
    colours = LinearColours(factors, torch.tensor([0.3, 0.1, 0.0]))

    pictures = Pictures(lambda x: colours.rgb(x.cpu()), lambda shown: colours.latents(shown.cpu()), invertible=False)

    class Model:
        def encode(self, preference, phrases):
            return 1.0 if phrases[0].startswith(preference.axis.counter.phrases) else -1.0

        def plain(self, x, sigma):
            return -0.8 * torch.ones_like(x) + 0.1 * x

        prompted = plain

        def side(self, conditioning, x, sigma, index):
            return conditioning * torch.ones_like(x) + 0.1 * x

    def made_on(device):
        preference = Preference(axis, "any", Text(), name="asked", hash=axis.hash)
        coins, settings = torch.tensor([0.1, 0.5, 0.9]), Settings(mask=mask)
        run = Run([preference], settings, coins, [[]] * 3, asks=Model(), pictures=lambda: pictures)
        x, sigma = (14 * noise).to(device), torch.full((3,), 14.0).to(device)
        denoised = run.correct(Model().plain(x, sigma), x, sigma, 2.0)
        run.judge(denoised)
        return denoised.cpu(), run.finished(denoised).cpu(), run.results()

    expected, made = made_on(CPU), made_on(OTHER)
    assert torch.allclose(made[0], expected[0], atol=1e-5) and torch.allclose(made[1], expected[1], atol=1e-4)
    assert made[2] == expected[2] == [("a village: 3 -> 0 of 3", True)]


def test_networks_are_back_after_an_exception(backdrop):
    with pytest.raises(KeyError), placed([backdrop.source], OTHER):
        assert device_of(backdrop.source) != CPU
        raise KeyError
    assert device_of(backdrop.source) == CPU


def test_the_gate_reads_what_lies_elsewhere(backdrop):
    tokens = torch.randn(1, 77, 128)
    assert backdrop.gate.read([tokens.to(OTHER)]) == backdrop.gate.read([tokens])


class Elsewhere(GaussianHost):
    """A host whose model and latents are on the other device."""

    @property
    def device(self):
        return torch.empty(0, device=OTHER).device

    def denoise(self, x, sigma, conditioning):
        return super().denoise(x.cpu(), sigma.cpu(), conditioning).to(OTHER)

    def sample(self, conditioning, seeds, *args, hook=None, **more):
        def moved(denoised, x, sigma, which, conditional):
            return hook(denoised.to(OTHER), x.to(OTHER), sigma.to(OTHER), which, conditional.to(OTHER)).cpu()

        # the CPU's own, whose hook sees the other device
        return GaussianHost().sample(conditioning, seeds, *args, hook=hook and moved, **more).to(OTHER)

    def decode(self, latents):
        return super().decode(latents.cpu())


def learned(host, axis):
    options = dict(count=16, seed=0, steps=6, points=40)
    return calibrate(host, learn_module.learn(host, axis, **options), 8)


def test_learning_calibrating_and_sampling_give_the_same_there(axis, monkeypatch):
    monkeypatch.setattr(learn_module, "train_gate", partial(learn_module.train_gate, count=60))
    here, there = GaussianHost(), Elsewhere()
    expected, found = learned(here, axis), learned(there, axis)
    assert device_of(found.source) == CPU, "what is saved is on the CPU"
    for name, tensor in expected.source.state_dict().items():
        torch.testing.assert_close(found.source.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)
    assert [c.base_rate for c in found.calibrations] == [c.base_rate for c in expected.calibrations]
    prompts, seeds = axis.prompts(axis.groups[0])[:1] * 4, random.Random(1).sample(range(1000), 4)
    settings = Settings(target=0.5)
    latents = [sample_corrected(host, prompts, seeds, [found], settings)[0] for host in (here, there)]
    assert torch.equal(*latents)
