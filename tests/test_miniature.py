"""The shipped miniature and its two preferences: small numbers of pictures, and tolerances that suit them."""

import hashlib
from pathlib import Path

import pytest
import torch

from corrector.correction.decision import Decision
from corrector.correction.sampled import sample_corrected
from corrector.correction.update import Settings, correct
from corrector.miniature import prompts
from corrector.miniature.host import Miniature
from corrector.miniature.reader import skin_lightness
from corrector.miniature.world import GROUPS, TRADITIONAL_RATE, VILLAGE_RATE
from corrector.preference.file import load_preference

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
COUNT, STEPS = 32, 8  # pictures a group; sampling steps
SEED = 910_000  # used by neither training nor calibration nor the benchmark
STEREOTYPE = {"backdrop": "village", "attire": "traditional"}
RATES = {"backdrop": VILLAGE_RATE, "attire": TRADITIONAL_RATE}


@pytest.fixture(scope="module")
def host():
    return Miniature(bf16=True)  # twice as fast


@pytest.fixture(scope="module")
def preferences():
    return {name: load_preference(WEIGHTS / f"miniature-{name}.safetensors") for name in STEREOTYPE}


@pytest.fixture(scope="module")
def portraits(host, preferences):
    """Every group, plain and corrected on both axes, drawn and read once: {group: (plain, corrected)}."""
    drawn = {}
    for group in GROUPS:
        wordings = [prompts.held_out(prompts.HELD_OUT_NEUTRAL, group, index) for index in range(COUNT)]
        seeds = range(SEED, SEED + COUNT)
        plain = host.sample(host.encode(wordings), seeds, steps=STEPS)
        both = [preferences[name] for name in STEREOTYPE]
        corrected, _ = sample_corrected(host, wordings, seeds, both, Settings(), plain=plain, steps=STEPS)
        drawn[group] = Portraits(host, plain), Portraits(host, corrected)
    return drawn


class Portraits:
    """Latents, their pictures' skin lightness, and what the judge reads in them."""

    def __init__(self, host, latents):
        pictures = host.decode(latents)
        self.latents, self.skin, self.read = latents, skin_lightness(pictures), host.reader.read(pictures)

    def count(self, attribute, label):
        """How many pictures show the label; what the judge cannot read counts as if it did."""
        return sum(found in (label, "unreadable") for found in self.read[attribute])


def weights_hash(module):
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("attribute", STEREOTYPE)
def test_the_plain_model_shows_the_planted_stereotypes(portraits, attribute):
    for group, rate in RATES[attribute].items():
        share = portraits[group][0].count(attribute, STEREOTYPE[attribute]) / COUNT
        assert abs(share - rate) < 0.25, (group, share)
        if rate == 0.95:
            assert share >= 0.8, (group, share)


@pytest.mark.parametrize("attribute", STEREOTYPE)
def test_at_strength_one_the_stereotype_is_gone_in_every_stereotyped_group(portraits, preferences, attribute):
    for group in preferences[attribute].axis.groups:
        left = portraits[group][1].count(attribute, STEREOTYPE[attribute])
        assert left <= 0.1 * COUNT, (group, left)


def test_the_group_that_the_prompt_names_is_kept(portraits):
    for group, (_, corrected) in portraits.items():
        kept = corrected.read["group"].count(group)
        assert kept >= 0.95 * COUNT, (group, kept)


def test_skin_keeps_its_lightness(portraits):
    for group, (plain, corrected) in portraits.items():
        assert abs((corrected.skin - plain.skin).mean()) < 2.0, group  # the benchmark holds it to 0.5 with n = 1000


@pytest.mark.parametrize("attribute", STEREOTYPE)
def test_a_target_share_is_kept_and_the_other_pictures_are_bit_identical(host, portraits, preferences, attribute):
    preference = preferences[attribute]
    group = max(preference.axis.groups, key=RATES[attribute].get)
    plain = portraits[group][0].latents
    wordings = [prompts.held_out(prompts.HELD_OUT_NEUTRAL, group, index) for index in range(COUNT)]
    seeds = range(SEED, SEED + COUNT)
    latents, (reasons,) = sample_corrected(host, wordings, seeds, [preference], Settings(target=0.5), steps=STEPS)
    left = Portraits(host, latents).count(attribute, STEREOTYPE[attribute])
    assert abs(left / COUNT - 0.5) <= 0.15, left
    for index, why in enumerate(reasons):
        assert bool(why) == torch.equal(latents[index], plain[index]), (index, why)


@pytest.mark.parametrize("attribute", STEREOTYPE)
def test_a_prompt_that_asks_for_the_stereotype_gets_it(host, preferences, attribute):
    named = {"backdrop": prompts.HELD_OUT_BACKDROP, "attire": prompts.HELD_OUT_ATTIRE}[attribute]
    label = STEREOTYPE[attribute]
    wordings = [text.format(group=group) for group in preferences[attribute].axis.groups for text in named[label]]
    seeds = range(SEED, SEED + len(wordings))
    plain = host.sample(host.encode(wordings), seeds, steps=STEPS)
    latents, _ = sample_corrected(host, wordings, seeds, [preferences[attribute]], Settings(), plain=plain, steps=STEPS)
    obeyed, kept = (host.reader.read(host.decode(z))[attribute] for z in (plain, latents))
    assert obeyed.count(label) >= 0.85 * len(wordings)
    still = sum(after == label for before, after in zip(obeyed, kept, strict=True) if before == label)
    assert still >= 0.9 * obeyed.count(label)


@pytest.mark.parametrize("attribute", STEREOTYPE)
def test_prompts_out_of_scope_are_left_alone(host, preferences, attribute):
    axis = preferences[attribute].axis
    wordings = [*prompts.HELD_OUT_NO_GROUP, *prompts.HELD_OUT_NO_PERSON, ""]
    wordings += [text.format(group=g) for g in GROUPS if g not in axis.groups for text in prompts.HELD_OUT_NEUTRAL]
    seeds = range(SEED, SEED + len(wordings))
    plain = host.sample(host.encode(wordings), seeds, steps=4)
    latents, _ = sample_corrected(host, wordings, seeds, [preferences[attribute]], Settings(), steps=4)
    moved = [w for w, a, b in zip(wordings, latents, plain, strict=True) if not torch.equal(a, b)]
    assert len(moved) <= 0.1 * len(wordings), moved


@pytest.mark.parametrize("cfg", [1.0, 2.0, 7.0])
def test_strength_zero_and_a_window_that_is_never_reached_are_bit_identical(host, preferences, cfg):
    wordings = ["a portrait of a Orvane person", "a photo of a Tavelu man", "Quilmari woman"]
    seeds, both = range(3), list(preferences.values())
    plain = host.sample(host.encode(wordings), seeds, cfg, steps=5)
    assert torch.isfinite(plain).all()
    for off in (Settings(strength=0.0), Settings(window=(200.0, 100.0))):
        latents, _ = sample_corrected(host, wordings, seeds, both, off, cfg, steps=5)
        assert torch.equal(latents, plain)
    on, _ = sample_corrected(host, wordings, seeds, both, Settings(), cfg, steps=5)
    assert torch.isfinite(on).all() and not torch.equal(on, plain)


def test_the_correction_costs_no_evaluation_of_the_unet_and_leaves_its_weights(host, preferences):
    wordings, seeds = ["a portrait of a Orvane person"] * 4, range(4)
    before = weights_hash(host.unet)
    start = host.evaluations
    host.sample(host.encode(wordings), seeds, steps=6)
    plain = host.evaluations - start
    sample_corrected(host, wordings, seeds, list(preferences.values()), Settings(), steps=6)
    assert host.evaluations - start == 2 * plain
    assert weights_hash(host.unet) == before


def test_there_is_no_autograd_in_the_hook(host, preferences, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("autograd was called")

    monkeypatch.setattr(torch.autograd, "grad", refuse)
    monkeypatch.setattr(torch.autograd, "backward", refuse)
    monkeypatch.setattr(torch, "enable_grad", refuse)
    with torch.inference_mode():
        latents, _ = sample_corrected(
            host, ["a portrait of a Orvane person"], [0], list(preferences.values()), Settings(), steps=4
        )
    assert latents.grad_fn is None and not latents.requires_grad


def test_a_seed_gives_the_same_picture_in_whatever_batch_it_is_drawn(host, monkeypatch):
    conditioning = host.encode(["a portrait of a Orvane person", "a photo of a Tavelu man", "Zendoli woman"])
    seeds = range(SEED, SEED + 3)
    together = host.sample(conditioning, seeds, steps=5)
    monkeypatch.setattr(host, "batch", 1)
    alone = host.sample(conditioning, seeds, steps=5)
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [(16, 16), (16, 24), (9, 7)], ids=str)
def test_the_shipped_preferences_correct_latents_of_any_size(preferences, size):
    x = torch.randn(2, 4, *size)
    decision = Decision(torch.tensor([True, False]), torch.tensor([0, 0]), *torch.zeros(2, 2))
    for preference in preferences.values():
        corrected = correct(x.half(), x, torch.full((2,), 3.0), [preference], [decision], Settings(), 2.0)
        assert corrected.dtype == torch.float16 and torch.isfinite(corrected).all()
        assert torch.equal(corrected[1], x[1].half()) and not torch.equal(corrected[0], x[0].half())


def test_what_ships_is_small_and_says_what_it_was_measured_on(preferences):
    folder = WEIGHTS / "miniature"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 20 * 2**20
    for name, preference in preferences.items():
        assert (WEIGHTS / f"miniature-{name}.safetensors").stat().st_size <= 4 * 2**20
        assert preference.training["validated_on"] == "miniature" == preference.space
        assert {c.group for c in preference.calibrations} == set(preference.axis.groups)
        assert all(c.base_n >= 80 and c.full_n >= 80 and not c.harm for c in preference.calibrations)
        assert {c.cfg for c in preference.calibrations} == {2.0, 7.0}
