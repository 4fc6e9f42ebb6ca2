"""What a run of a flow model may meet: a replaced sampling object, its first and last sigma, windows and stages."""

from types import SimpleNamespace

import comfy.samplers
import pytest
import torch
from check_families import drawn
from comfy_extras import nodes_model_advanced
from families import FAMILIES, text_of
from host import correct, host_nodes, sample, small_sd15, untrained
from rs_pack.corrector.correction.run import MEMORY
from rs_pack.corrector.correction.update import CorrectionError, Settings
from rs_pack.nodes import correction
from rs_pack.nodes.host import encode_each
from rs_pack.nodes.identity import identity_of
from rs_pack.nodes.sampling import Sampling

SD3 = FAMILIES["SD3"]


@pytest.fixture(scope="module")
def flow():
    with torch.inference_mode():
        return SD3.model()


def shifted(model):
    return nodes_model_advanced.ModelSamplingSD3().patch(model, 7.0)[0]


def noisier(model):
    return nodes_model_advanced.ModelNoiseScale().patch(model, 8.0)[0]


def as_sd15(model):
    """Sampled as SD1.5 is, by a node."""
    return nodes_model_advanced.ModelSamplingDiscrete().patch(model, "eps", False)[0]


CHANGES = (shifted, noisier, lambda model: noisier(shifted(model)), lambda model: shifted(noisier(model)), as_sd15)


@pytest.mark.parametrize("change", CHANGES)
def test_how_a_model_is_sampled_is_read_from_the_object_that_a_node_replaced(flow, change):
    """Which turns noise of every level into the package's form exactly: x0 + s n."""
    model = change(flow)
    schedule, read = model.get_model_object("model_sampling"), Sampling(model)
    x0, noise = torch.randn(2, 1, 16, 4, 4, generator=torch.Generator().manual_seed(1))
    for sigma in schedule.sigmas[[0, 300, 900]].reshape(-1, 1):
        x = schedule.noise_scaling(sigma, noise.clone(), x0)
        exploding, level = read.exploding(x, sigma)
        torch.testing.assert_close(exploding, x0 + level * noise, rtol=1e-4, atol=1e-4)
        for before, after in zip((x, sigma), read.sampled(exploding, level), strict=True):
            torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sigma", (1.0, 0.0))
def test_the_first_and_the_last_sigma_have_finite_levels(flow, sigma):
    x = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(1))
    exploding, level = Sampling(flow).exploding(x, torch.tensor([sigma]))
    assert exploding.isfinite().all() and level.isfinite().all() and level.item() == (0 if sigma == 0 else 1e4)
    if sigma == 0:
        assert torch.equal(exploding, x)


@pytest.mark.parametrize("kind", ("learned", "text"))
@pytest.mark.parametrize("sigmas", ((1.0, 0.0), (1.0, 0.5, 0.0, 0.0), (1e-4, 0.5, 1.0), (0.2, 0.0), (0.0, 0.0)))
def test_a_custom_sampler_may_begin_and_end_at_any_sigma(flow, kind, sigmas):
    """Also upwards, as flipped ones."""
    model = correct(flow, untrained("sd3") if kind == "learned" else text_of(SD3))
    latent = torch.randn(1, *SD3.latents, generator=torch.Generator().manual_seed(1))
    for cfg in (1.0, 4.0):
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(SD3.encode("a person"), SD3.encode(""))
        guider.set_cfg(cfg)
        lcm = comfy.samplers.sampler_object("lcm")  # Euler's method divides by sigma
        kept = latent.clone() if sigmas[0] < 1 else torch.zeros_like(latent)
        made = guider.sample(latent.clone(), kept, lcm, torch.tensor(sigmas), disable_pbar=True, seed=1)
        assert made.isfinite().all() or sigmas[-1] == 1  # the host divides by 1 - sigma


@pytest.mark.parametrize(
    "name", ("SD1.5", "SD3", "Flux.1 dev", "Stable Cascade C", "Playground 2.5", "Cosmos-Predict2")
)
def test_a_window_in_percent_has_the_steps_that_it_has_in_the_host(name):
    model = FAMILIES[name].model()
    for candidate in (model, *([shifted(model), noisier(shifted(model))] if FAMILIES[name].flow else [])):
        schedule, read = candidate.get_model_object("model_sampling"), Sampling(candidate)
        for scheduler in ("simple", "normal", "karras"):
            sigmas = comfy.samplers.calculate_sigmas(schedule, scheduler, 20)[:-1]
            levels = read.exploding(torch.zeros(len(sigmas), 1, 1, 1), sigmas)[1]
            for start, end in ((0.0, 1.0), (0.0, 0.5), (0.25, 0.75), (0.5, 1.0), (0.05, 0.1)):
                first, last = map(schedule.percent_to_sigma, (start, end))
                inside = Settings(window=read.window(start, end)).inside(levels)
                assert torch.equal(inside, ~(sigmas > first) & ~(sigmas < last)), (scheduler, start, end)


@pytest.mark.parametrize("kind", ("learned", "text"))
def test_two_stages_of_a_flow_model_keep_the_decision(flow, kind):
    """The latent between them is x / (1 - sigma)."""
    MEMORY.pictures.clear()
    runs, preference = [], untrained("sd3") if kind == "learned" else text_of(SD3)
    model = correction.corrected(flow, preference, Settings(target=0.5), told=runs.append)
    samplers = dict(steps=6, cfg=2.0, sampler_name="euler", scheduler="simple")
    samplers |= dict(positive=SD3.encode("a person"), negative=SD3.encode(""))
    advanced, empty = host_nodes.KSamplerAdvanced(), {"samples": torch.zeros(8, *SD3.latents)}
    (half,) = advanced.sample(
        model, "enable", 1, latent_image=empty, start_at_step=0, end_at_step=3, return_with_leftover_noise="enable",
        **samplers,
    )  # fmt: skip
    advanced.sample(
        model, "disable", 1, latent_image=half, start_at_step=3, end_at_step=6, return_with_leftover_noise="disable",
        **samplers,
    )  # fmt: skip
    first, second = ([why == "" for why in run.reasons[0]] for run in runs)
    assert first == second and 0 < sum(first) < 8


def test_texts_of_unequal_length_are_asked_for_each_picture_by_itself(flow):
    """The token vectors of language models have no padding, so one batch cannot hold both texts."""
    seen = []
    for counters in (("glass", "towers of steel", "a street with many cars"), ("glass", "steel", "cars")):
        for sides in (("huts", *counters), ("mud", *counters)):
            runs = []
            model = correction.corrected(flow, text_of(SD3, *sides), Settings(verdict=False), told=runs.append)
            latents, rows = drawn(model, SD3, 1.0, pictures=4)
            assert latents.isfinite().all()
            seen.append(len(rows))
    assert min(seen) >= 4 * (4 + 1 + 2)


def test_a_prompt_without_token_vectors_is_refused_where_the_model_is_asked_about_it(flow):
    textless = [[None, {"pooled_output": torch.zeros(1, 32)}]]
    with pytest.raises(CorrectionError, match=r"The prompt of this sampler has no text.* Connect a text prompt"):
        sample(correct(flow, text_of(SD3)), textless, SD3.encode(""), latent={"samples": torch.zeros(1, *SD3.latents)})


@pytest.mark.parametrize(
    "encoded", ([], [[None, {}]], [[torch.zeros(1, 0, 8), {}]], [[torch.zeros(1, 8), {}]]), ids=str
)
def test_a_clip_that_gives_no_token_vectors_is_refused_in_a_sentence(encoded):
    clip = SimpleNamespace(
        tokenize=lambda text: {"l": [[1]]}, encode_from_tokens_scheduled=lambda tokens: encoded,
        patcher=SimpleNamespace(load_device=torch.device("cpu")),
    )  # fmt: skip
    with pytest.raises(CorrectionError, match=r"gives no vectors for the words of a text.* Connect the CLIP"):
        list(encode_each(clip, ["a person"]))


@pytest.mark.parametrize("dtype", (torch.float8_e4m3fn, torch.float8_e5m2))
def test_a_model_of_8_bit_floats_is_identified(dtype):
    model = small_sd15(dtype, torch.float32)
    assert model.model.get_dtype() == dtype and identity_of(model) == identity_of(model.clone()) != ""
