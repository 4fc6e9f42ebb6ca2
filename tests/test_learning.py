"""Learning and calibration with a host that is exact: a world of two Gaussians that answers to prompts."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from corrector.axis.axis import Side
from corrector.correction.first_look import first_look
from corrector.correction.sampled import first_predictions, sample_corrected
from corrector.correction.update import Settings
from corrector.latents import optimise
from corrector.learning import learn as learn_module
from corrector.learning.calibrate import calibrate, pictures_needed, scales
from corrector.learning.learn import learn, verdict_agreement
from corrector.learning.pairs import make_pairs
from corrector.learning.store import PairError
from corrector.preference.file import load_preference, save_preference
from corrector.preference.networks import _silu
from gaussian_host import PATTERN, SHAPE, GaussianHost


@pytest.fixture(scope="module", autouse=True)
def exact_weight():
    """The update of a world whose sides are exact needs no more than its CFG scale."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("corrector.correction.update.LEAST_WEIGHT", 1.0)
        yield


@pytest.fixture(scope="module")
def host():
    return GaussianHost()


@pytest.fixture(scope="module")
def learned(host, axis, one_thread):
    preference = learn(host, axis, count=80, seed=0, cfg=1.0, points=1200, steps=180)
    return calibrate(host, preference, count=60, cfgs=(1.0,))


@pytest.fixture
def quick(monkeypatch):
    """Without a gate."""
    monkeypatch.setattr(learn_module, "train_gate", lambda *_, **__: (None, {}))


def noisy(host, count=200):
    """x, sigma, group and the host's own prediction for a neutral prompt."""
    generator = torch.Generator().manual_seed(9)
    sigma = torch.logspace(0, 1, count)
    x0 = host.world.draw(count, seed=9, beta=0.5).float()
    x = x0 + sigma.view(-1, 1, 1, 1) * torch.randn(count, *SHAPE, generator=generator)
    conditional = host.denoise(x, sigma, host.encode(["a portrait of a Orvane person"]))
    return x, sigma, torch.zeros(count, dtype=torch.long), conditional


def test_the_learned_update_is_the_worlds_own_and_closes_on_the_counter_side(host, learned):
    x, sigma, group, conditional = noisy(host)
    update, exact = learned.source.update(x, sigma, group, conditional), host.world.update(x, sigma)
    assert (update - exact).square().mean() / exact.square().mean() < 0.15
    counter = host.world.counter_share(x.double(), sigma.double()) > 0.95
    assert counter.sum() > 5 and update[counter].square().mean() < 0.05 * update[~counter].square().mean()
    assert learned.training["update_r2"] > 0.85
    by_sigma = learned.training["update_r2_by_sigma"]
    assert list(by_sigma) == ["1 to 2", "2 to 4", "4 to 8", "8 to 15"] and min(by_sigma.values()) > 0.7
    apart = learned.training["sides_apart"]
    assert apart == pytest.approx(dict.fromkeys(learned.axis.groups, 0.7), abs=0.05), "the sides' difference"


def test_features_far_below_zero_bring_no_denormal_numbers_into_training():
    features = torch.linspace(-200, 20, 2201, requires_grad=True)
    activations = _silu(features)
    activations.sum().backward()
    assert features.grad[features.grad != 0].abs().min() > 1e-13
    assert (activations - F.silu(features)).abs().max() < 3e-12


def test_networks_are_trained_in_bfloat16_where_the_host_computes_in_it_and_are_as_good(axis, one_thread, quick):
    half = GaussianHost()
    half.identity = {**half.identity, "dtype": "bfloat16"}
    options = dict(count=20, cfg=1.0, points=120)
    first, second = (learn(host, axis, **options) for host in (GaussianHost(), half))
    weights = second.source.last.weight
    assert weights.dtype == torch.float32 and not torch.equal(weights, first.source.last.weight)
    assert second.training["update_r2"] == pytest.approx(first.training["update_r2"], abs=0.1)


@pytest.fixture(scope="module")
def pairs(host, axis):
    return make_pairs(host, axis, 4, seed=4, cfg=1.0, steps=6)


@pytest.fixture
def small_host(monkeypatch, quick, one_thread):
    """A host whose first state is learned from a single batch of four runs."""
    monkeypatch.setattr(learn_module, "FIRST_POINTS", 24)
    host = GaussianHost()
    host.batch = 4
    return host


def test_each_state_of_learning_is_saved_and_has_more_points_than_the_one_before(axis, pairs, tmp_path, small_host):
    states = []
    options = dict(cfg=1.0, pairs=pairs, points=48, saved=states.append)
    last = learn(small_host, axis, **options)
    assert [state.training["points"] for state in states] == [24, 48] and states[-1].source is last.source
    assert not torch.equal(states[0].source.last.weight, last.source.last.weight), "a state stays as it was saved"
    for number, state in enumerate(states):
        save_preference(state, tmp_path / f"{number}.safetensors")
    states.clear()
    learn(small_host, axis, **options, until=lambda state: len(states) == 3)
    assert [state.training["points"] for state in states] == [24, 48, 96], "as long as none is good enough"


def test_learning_that_was_interrupted_goes_on_to_the_same_preference(axis, tmp_path, small_host):
    def learned_in(folder, progress=None):
        return learn(small_host, axis, 4, cfg=1.0, points=48, folder=tmp_path / folder, progress=progress)

    def stop(stage, done, total):
        if (stage, done) == ("points", 48):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learned_in("stopped", stop)
    whole, resumed = learned_in("whole"), learned_in("stopped")
    assert str(whole.training) == str(resumed.training)  # with NaN, as it is from few points
    for name, weights in whole.source.state_dict().items():
        assert torch.equal(weights, resumed.source.state_dict()[name])
    with pytest.raises(PairError, match='these pairs have another "seed"'):
        learn(small_host, axis, 4, seed=1, cfg=1.0, folder=tmp_path / "whole")


def test_sides_that_look_alike_to_the_model_are_refused(host, axis, pairs):
    lake, wood = Side("a lake", ("at a lake", "near water")), Side("a wood", ("in a wood", "among trees"))
    with pytest.raises(PairError, match=r"look alike to this model: only 0% of the pairs.*Write phrases that it draws"):
        learn(host, replace(axis, stereotype=wood, counter=lake), 2, cfg=1.0)
    with pytest.raises(PairError, match="look alike to this model: only 50%"):
        learn(host, axis, cfg=1.0, pairs=half_wrong(pairs))


def half_wrong(pairs):
    """Pairs both of whose pictures show the counter side."""
    return replace(pairs, latents=torch.cat([pairs.latents[:, 1:], pairs.latents[:, 1:]], dim=1))


def test_calibration_finds_the_base_rate_and_the_rate_at_full_strength(learned, axis):
    preference = learned
    assert [c.group for c in preference.calibrations] == list(axis.groups)
    for calibration in preference.calibrations:
        assert calibration.base_rate == pytest.approx(0.1, abs=0.12) and calibration.base_n == 60
        assert calibration.full_rate >= 0.95
        assert calibration.spread == pytest.approx(1.0, abs=0.1)
        assert calibration.sure > 0.9 and calibration.harm == ""


@pytest.mark.parametrize("target", [0.5, 1.0])
def test_a_learned_preference_gives_the_target_share(host, learned, target):
    preference = learned
    prompts, seeds = ["a portrait of a Tavelu person"] * 80, range(5000, 5080)
    latents, (reasons,) = sample_corrected(host, prompts, seeds, [preference], Settings(target=target), cfg=1.0)
    share = float(host.world.is_counter(latents.double()).double().mean())
    assert share == pytest.approx(target, abs=0.12)
    assert reasons.count("") == pytest.approx(80 * (target - 0.1) / 0.9, abs=12)


def test_the_learned_gate_shuts_for_a_prompt_that_asks(host, learned):
    prompts, seeds = ["a portrait of a Tavelu person in a village", "a tree"], range(2)
    latents, (reasons,) = sample_corrected(host, prompts, seeds, [learned], Settings(), cfg=1.0)
    assert torch.equal(latents, host.sample(host.encode(prompts), seeds))
    assert reasons == ["the prompt asks for a village", "the prompt names nobody of Orvane, Tavelu"]


def test_the_pairs_show_what_was_asked_for_by_the_models_verdict(host, learned, axis, pairs):
    assert learned.training["verdict_agreement"] > 0.97
    assert verdict_agreement(host, axis, half_wrong(pairs)) == 0.5


def test_pictures_already_fine_are_taken_from_the_plain_ones_bit_for_bit(host, learned):
    prompts, seeds = ["a portrait of a Orvane person"] * 20, range(20)
    plain = host.sample(host.encode(prompts), seeds)
    fresh, reasons = sample_corrected(host, prompts, seeds, [learned], Settings(target=0.5), cfg=1.0)
    reused, again = sample_corrected(host, prompts, seeds, [learned], Settings(target=0.5), cfg=1.0, plain=plain)
    assert reasons == again
    torch.testing.assert_close(fresh, reused, rtol=1e-4, atol=1e-4)
    for index, why in enumerate(reasons[0]):
        if why:
            assert torch.equal(reused[index], plain[index])


def test_pairs_are_drawn_from_the_same_seeds(host, axis):
    pairs = make_pairs(host, axis, 3, seed=4, cfg=1.0, steps=6)
    assert pairs.latents.shape == (2, 2, 3, *SHAPE) and pairs.lightness.shape == (2, 2, 3)
    gap = (pairs.latents[:, 1] - pairs.latents[:, 0]).mean(dim=(0, 1))
    assert torch.corrcoef(torch.stack([gap.flatten(), PATTERN.flatten()]))[0, 1] > 0.95


def test_the_tone_of_pairs_is_by_how_much_lighter_the_counter_side_is_where_both_show_skin(
    host, axis, pairs, one_thread, quick
):
    lightness = torch.tensor([[50.0, 60.0], [50.0, 60.0]])[..., None].repeat(1, 1, 4)
    lightness[0, 1, :2], lightness[0, :, 3], lightness[1] = 56.0, math.nan, math.nan
    preference = learn(host, axis, cfg=1.0, points=12, pairs=replace(pairs, lightness=lightness))
    assert preference.training["tones"] == pytest.approx({"Orvane": (6 + 6 + 10) / 3, "Tavelu": 0.0}, abs=1e-3)
    assert preference.tone("Orvane", 7.0) == pytest.approx(22 / 3, abs=1e-3) and preference.tone("Tavelu", 1.0) == 0


def test_the_file_brings_the_calibrations(learned, tmp_path):
    save_preference(learned, tmp_path / "p.safetensors")
    assert load_preference(tmp_path / "p.safetensors").calibrations == learned.calibrations


def test_a_calibration_measures_at_the_users_cfg_scale_and_at_a_distant_one():
    assert scales(7.0) == (2.0, 7.0) and scales(2.0) == (2.0, 7.0)
    assert scales(1.0) == (1.0, 7.0) and scales(9.0) == (2.0, 9.0)


def test_calibration_draws_as_many_pictures_as_it_says_and_resumes_from_those_it_kept(host, learned, tmp_path):
    drawn = []
    whole = calibrate(host, learned, 8, (1.0, 3.0), progress=drawn.append, folder=tmp_path / "kept")
    assert sum(drawn) <= pictures_needed(2, 8, (1.0, 3.0)) == 2 * 2 * (2 * 8 + 3)

    def stop(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(host, learned, 8, (1.0, 3.0), progress=stop, folder=tmp_path / "stopped")
    again = calibrate(host, learned, 8, (1.0, 3.0), folder=tmp_path / "stopped")
    assert again.calibrations == whole.calibrations
    for calibration in whole.calibrations:
        low, high = calibration.base_interval
        assert low <= calibration.base_rate < high


def test_calibration_learns_what_the_first_prediction_tells_of_how_a_picture_comes_out(host, learned, axis):
    preference = learned
    for known in preference.calibrations:
        assert known.lean_sigma == pytest.approx(14.6) and known.lean_spread > 0
        assert known.lean_slope < 0, "a picture with a small update shows the counter side anyway"
    prompts, seeds = ["a portrait of a Tavelu person"] * 60, range(900, 960)
    conditioning = host.encode(prompts)
    predictions = first_predictions(host, conditioning, seeds, cfg=1.0)
    x = torch.stack([torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) for seed in seeds]) * 14.6
    sigma, group = torch.full((60,), 14.6), torch.full((60,), axis.groups.index("Tavelu"))
    update = preference.source.update(x, sigma, group, host.denoise(x, sigma, conditioning))
    by_hand = update.square().mean(dim=(1, 2, 3)).sqrt()
    x, sigma, conditional, denoised = predictions
    look = first_look(preference, x, sigma, group, conditional, denoised, 1.0)
    torch.testing.assert_close(look.lean, by_hand, rtol=0.01, atol=0.01)
    apart = preference.training["sides_apart"]["Tavelu"]
    torch.testing.assert_close(look.opening, (by_hand / apart).clamp(max=1), rtol=0.01, atol=0.01)
    assert all(known.lean_guidance == 0 for known in preference.calibrations)  # there is none at CFG 1
    never = first_look(replace(preference, calibrations=()), x, sigma, group, conditional, denoised, 2.0)
    assert never.lean is None and torch.equal(never.opening, look.opening)


def test_training_resumes_from_its_checkpoint_with_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(optimise, "CHECKPOINT_EVERY", 2)

    def trained(path, stop=None):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1))

        def loss_of_step(step):
            if step == stop:
                raise KeyboardInterrupt
            x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
            return (network(x) - x.sum(dim=1, keepdim=True)).square().mean()

        optimise.optimise(network, 7, loss_of_step, "", 1e-2, lambda step: 1 - step / 7, average=0.9, path=path)
        return network.state_dict()

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped.pt", stop=5)
    whole, resumed = trained(tmp_path / "whole.pt"), trained(tmp_path / "stopped.pt")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
