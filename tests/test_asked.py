"""A preference that asks the host's model, in a world where everything it asks for has a closed form."""

from dataclasses import replace

import pytest
import torch

from asked_world import SHAPE, START, WORLD, WorldModel, counter_side, sampled
from corrector.axis.axis import load_axis
from corrector.correction.asked import CLOSED, PREVIEWS, AskedSides, Preview, previewed
from corrector.correction.decision import NO_PREDICTION
from corrector.correction.record import corrections_of
from corrector.correction.run import Run
from corrector.correction.update import LEAST_WEIGHT, Settings
from corrector.files.folders import AXES
from corrector.preference.networks import PreferenceError
from corrector.preference.preference import GATE_FIGURES, Preference
from corrector.preference.text import Text
from gaussian_world import GaussianWorld

AXIS = load_axis(AXES / "miniature-backdrop.json")


@pytest.fixture
def preference():
    return Preference(AXIS, "any", Text(), name="asked", hash=AXIS.hash)


def run_of(preference, count, model, settings=None, **options):
    coins = torch.linspace(0.05, 0.95, count)
    return Run([preference], settings or Settings(), coins, [[]] * count, asks=model, **options)


@pytest.mark.parametrize("cfg", (1.0, 2.0, 7.0))
def test_every_picture_comes_out_on_the_counter_side_and_those_that_would_anyway_keep_their_bits(preference, cfg):
    model = WorldModel(cfg=cfg)
    plain, run = sampled(60, model=model), run_of(preference, 60, model)
    made = sampled(60, run, model, replaces=True)
    fine = counter_side(plain)
    assert 5 < fine.sum() < 50
    assert counter_side(made).all()
    assert torch.equal(made[fine], plain[fine])
    assert {run.reasons[0][i] for i in fine.nonzero()[:, 0].tolist()} == {"it shows a city anyway"}


@pytest.mark.parametrize("replaces", (False, True))
def test_where_the_sampler_adds_noise_no_preview_is_trusted_for_leaving_a_picture_alone(preference, replaces):
    model = WorldModel()
    plain, run = sampled(60, steps=6, renoised=True), run_of(preference, 60, model)
    made = sampled(60, run, model, replaces, steps=6, renoised=True)
    assert 5 < counter_side(plain).sum() < 50
    assert counter_side(made).all()
    assert set(run.reasons[0]) == {""}


@pytest.mark.parametrize("cfg", (0.0, 1.0, 7.0))
def test_the_corrected_prediction_is_that_for_the_counter_side_at_the_same_scale(preference, cfg):
    """Without CFG, with a margin in the first step."""
    model, sigma = WorldModel(cfg=cfg), torch.full((8,), 5.0)
    x = -1.0 + 5 * torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(1))
    negative, conditional = model.negative(x, sigma), model.prompted(x, sigma)
    made = run_of(preference, 8, model).correct(
        negative + cfg * (conditional - negative), x, sigma, cfg, conditional, negative
    )
    counter = WORLD.denoised_of(x.double(), sigma.double(), 0).float()
    reference = negative + cfg * (counter - negative)
    reference += (LEAST_WEIGHT - 1) * (cfg == 1) * (counter - conditional)
    fine = counter_side(previewed(model, x, sigma, model.plain(x, sigma), PREVIEWS[cfg != 1, False]))
    assert not fine.all()
    torch.testing.assert_close(made[~fine], reference[~fine], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cfg", (1.0, 2.0))
def test_predicting_for_the_counter_side_in_place_of_asking_gives_the_same_pictures(preference, cfg):
    world = replace_beta(0.001)
    models = [WorldModel(world, cfg) for _ in range(2)]
    made = [
        sampled(6, run_of(preference, 6, model), model, replaces)
        for model, replaces in zip(models, (0, 1), strict=True)
    ]
    torch.testing.assert_close(*made, rtol=1e-3, atol=1e-3)
    assert models[1].asked["side"] < models[0].asked["side"]


def replace_beta(beta):
    return GaussianWorld(beta=beta, means=(1.0, -1.0), spreads=(0.3, 0.3), shape=SHAPE)


@pytest.mark.parametrize(
    ("cfg", "steps", "settings", "previews", "verdict"),
    [
        (2.0, 16, Settings(), 2 * 3 + 3, 4),
        (2.0, 4, Settings(), 2 * 3 + 3, 4),
        (2.0, 16, Settings(verdict=False), 2 * 3 + 3, 0),
        (2.0, 16, Settings(thrifty=True), 2 * 1 + 1, 0),
        (1.0, 16, Settings(), 3, 2),
        (1.0, 4, Settings(), 1, 2),
        (1.0, 16, Settings(thrifty=True), 2, 0),
    ],
)
def test_a_run_asks_for_a_preview_two_verdicts_and_the_counter_side_above_closed_only(
    preference, cfg, steps, settings, previews, verdict
):
    model = WorldModel(replace_beta(0.001), cfg)
    run, asked = run_of(preference, 1, model, settings, steps=steps), []
    for level in (START, 5.0, 1.1 * CLOSED, 0.9 * CLOSED, 0.1):
        before = model.asked["side"]
        sigma, x = torch.full((1,), level), torch.full((1, *SHAPE), -1.0)
        run.correct(x, x, sigma, cfg, x, x)
        asked.append(model.asked["side"] - before)
    assert asked == [2 + 1, 1, 1, 0, 0]
    assert 2 * model.asked["plain"] + model.asked["prompted"] == previews
    run.judge(x)
    assert model.asked["side"] == sum(asked) + verdict
    assert bool(run.results()) == bool(verdict)


def preview_of(model, start, how):
    """Previews of the pictures that `sampled(60)` gives; the first prediction is not counted."""
    x, sigma = start * torch.randn(60, *SHAPE, generator=torch.Generator().manual_seed(3)), torch.full((60,), start)
    return previewed(model, x, sigma, WorldModel(cfg=model.cfg).plain(x, sigma), how)


def test_a_preview_of_several_orders_comes_much_nearer_the_picture_than_eulers():
    made = sampled(60, steps=400)
    previews = [preview_of(WorldModel(), START, Preview(16, 0.03, multistep=multistep)) for multistep in (False, True)]
    euler, multistep = (float((each - made).std()) for each in previews)
    assert euler < 0.3 and multistep < euler / 10


@pytest.mark.parametrize("start", (START, 80.0, 1e4))
@pytest.mark.parametrize(("cfg", "evaluations"), ((1.0, 3), (2.0, 10)))
def test_a_preview_costs_about_as_little_and_is_as_right_from_pure_noise(cfg, evaluations, start):
    model = WorldModel(cfg=cfg)
    shown = counter_side(preview_of(model, start, PREVIEWS[cfg != 1, False]))
    assert 2 * model.asked["plain"] + model.asked["prompted"] <= 60 * evaluations
    assert (shown == counter_side(sampled(60, model=model, steps=400, start=start))).float().mean() >= 0.9


@pytest.mark.parametrize("how", PREVIEWS.values(), ids=str)
@pytest.mark.parametrize("start", (0.0, 1e-4, 0.2))
def test_a_run_that_starts_below_a_previews_last_sigma_needs_no_step_but_its_own(how, start):
    model, x = WorldModel(), torch.ones(1, *SHAPE)
    assert torch.equal(previewed(model, x, torch.full((1,), start), x / 2, how), x / 2)
    assert not any(model.asked.values())


@pytest.mark.parametrize("target", (0.4, 0.5, 0.8, 1.0))
def test_the_target_share_counts_the_pictures_that_are_fine_anyway(preference, target):
    model = WorldModel()
    plain = sampled(100, model=model)
    made = sampled(100, run_of(preference, 100, model, Settings(target=target)), model)
    reference = max(target, float(counter_side(plain).float().mean()))
    assert float(counter_side(made).float().mean()) == pytest.approx(reference, abs=0.02)
    corrected = (made != plain).flatten(1).any(dim=1)
    assert not (corrected & counter_side(plain)).any()


def test_results_say_how_many_pictures_showed_the_stereotype_and_do(preference):
    model = WorldModel()
    run = run_of(preference, 20, model)
    made = sampled(20, run, model)
    run.judge(made)
    before = int((~counter_side(sampled(20, model=model))).sum())
    assert run.results() == [(f"a village: {before} -> 0 of 20", True)]
    assert run.report()[-1] == run.results()[0][0]
    first = next(i for i, why in enumerate(run.reasons[0]) if not why)
    entry = corrections_of(run)[first]["preferences"][0]
    assert (entry["would_show"], entry["shows"]) == ("stereotype", "counter")
    run.judge(sampled(20, model=model))  # as if the correction had not taken
    ((line, well),) = run.results()
    assert line.startswith(f"a village: {before} -> {before} of 20; ") and not well


def test_a_weak_gate_is_said_in_the_notes_and_the_log_of_a_run(preference):
    weak = "its gate on the prompt sees nobody in 60% of held-out prompts that name a group (at most 10% is sound)"
    for training, notes in (({GATE_FIGURES: {"weak": weak}}, [weak]), ({}, [])):
        model = WorldModel()
        run = run_of(replace(preference, training=training), 4, model)
        run.judge(sampled(4, run, model))
        assert run.notes() == notes and (weak in run.report()[0]) == bool(notes)


def test_a_prompt_out_of_scope_asks_nothing(preference):
    from corrector.gate.prompt_gate import OUT_OF_SCOPE, PromptReading

    class Closed:
        def read(self, regions):
            return PromptReading(OUT_OF_SCOPE, "neither")

    model = WorldModel()
    run = run_of(replace(preference, gate=Closed()), 4, model)
    made = sampled(4, run, model)
    assert torch.equal(made, sampled(4, model=model))
    run.judge(made)
    assert not any(model.asked.values()) and run.results() == []


def test_sides_that_mean_the_same_change_nothing_and_say_so(preference):
    world = GaussianWorld(beta=0.3, means=(-1.0, -1.0), spreads=(0.3, 0.3), shape=SHAPE)
    model = WorldModel(world)
    run = run_of(preference, 3, model)
    x, sigma = torch.randn(3, *SHAPE), torch.full((3,), START)
    assert run.correct(x, x, sigma, 1.0, x) is x
    assert set(run.reasons[0]) == {NO_PREDICTION}


def test_a_side_that_is_not_finite_later_leaves_the_prediction_as_it_is(preference):
    model = WorldModel(replace_beta(0.001))
    run, sigma = run_of(preference, 2, model), torch.full((2,), START)
    x = torch.full((2, *SHAPE), -1.0)
    run.correct(x, x, sigma, 1.0, x)
    model.side = lambda conditioning, x, *_: torch.full_like(x, torch.nan)
    assert torch.equal(run.correct(x, x, sigma / 2, 1.0, x), x)


def test_a_host_that_cannot_ask_is_refused(preference):
    with pytest.raises(PreferenceError, match="asks the model, which cannot be done here; use a learned preference"):
        Run([preference], Settings(), torch.zeros(1), [[]])


@pytest.mark.parametrize("settings", (Settings(strength=0.5), Settings(mask=torch.ones(4, 4)), Settings(cap=1.0)))
def test_other_settings_than_the_plain_ones_are_never_left_to_the_host(preference, settings):
    model = WorldModel(replace_beta(0.001))
    run, x = run_of(preference, 1, model, settings), torch.full((1, *SHAPE), -1.0)
    run.correct(x, x, torch.full((1,), START), 1.0, x)
    assert run.replacement(x, torch.full((1,), START)) is None


def test_strength_scales_the_update(preference):
    model, x, sigma = WorldModel(replace_beta(0.001)), torch.full((1, *SHAPE), -1.0), torch.full((1,), START)
    changes = [
        run_of(preference, 1, model, Settings(strength=strength)).correct(x, x, sigma, 1.0, x) - x
        for strength in (0.5, 1.0)
    ]
    torch.testing.assert_close(2 * changes[0], changes[1])
    assert changes[1].abs().min() > 0.1


def test_each_picture_has_two_phrases_of_its_axis(preference):
    encoded = []

    class Model(WorldModel):
        def encode(self, preference, phrases):
            encoded.append(phrases)
            return super().encode(preference, phrases)

    AskedSides(preference, Model(), torch.linspace(0, 0.999, 50))
    for texts, side in zip(encoded, (AXIS.counter, AXIS.stereotype), strict=True):
        following = [*side.phrases[1:], side.phrases[0]]
        assert set(texts) == {f"{one}, {other}" for one, other in zip(side.phrases, following, strict=True)}
