"""The shipped miniature and its two preferences: small numbers of pictures, and tolerances that suit them."""

import hashlib

import pytest
import torch

from corrector.correction.decision import Decision
from corrector.correction.sampled import sample_corrected
from corrector.correction.update import Settings, correct
from corrector.files.folders import WEIGHTS
from corrector.miniature import prompts
from corrector.miniature.host import Miniature
from corrector.miniature.skin import load_marker
from corrector.miniature.world import GROUPS, TRADITIONAL_RATE, VILLAGE_RATE
from corrector.preference.file import load_preference

COUNT, STEPS = 20, 6  # pictures a group; sampling steps
SEED = 910_000  # used by neither training nor calibration nor the benchmark
SEEDS = range(SEED, SEED + COUNT)
STEREOTYPE = {"backdrop": "village", "attire": "traditional"}
RATES = {"backdrop": VILLAGE_RATE, "attire": TRADITIONAL_RATE}


@pytest.fixture(scope="module")
def host():
    return Miniature(bf16=True)  # twice as fast


@pytest.fixture(scope="module")
def preferences():
    return {name: load_preference(WEIGHTS / f"miniature-{name}.safetensors") for name in STEREOTYPE}


def wordings_of(group):
    return [prompts.held_out(prompts.HELD_OUT_NEUTRAL, group, index) for index in range(COUNT)]


@pytest.fixture(scope="module")
def portraits(host, preferences):
    """Every group, plain and corrected on both axes, drawn and read once: {group: (plain, corrected)}."""
    drawn = {}
    for group in GROUPS:
        wordings, both = wordings_of(group), list(preferences.values())
        plain = host.sample(host.encode(wordings), SEEDS, steps=STEPS)
        corrected, _ = sample_corrected(host, wordings, SEEDS, both, Settings(), plain=plain, steps=STEPS)
        drawn[group] = Portraits(host, plain), Portraits(host, corrected)
    return drawn


class Portraits:
    """Latents, their pictures' skin lightness, and what the reader reads in them."""

    def __init__(self, host, latents):
        pictures = host.decode(latents)
        self.latents, self.read = latents, host.reader.read(pictures)
        self.skin = load_marker().lightness(pictures)

    def share(self, attribute, label):
        """The share of pictures that show the label; those that the reader cannot read count as if they did."""
        return sum(reading in (label, "unreadable") for reading in self.read[attribute]) / COUNT


@pytest.mark.parametrize("attribute", STEREOTYPE)
def test_the_plain_model_shows_the_planted_stereotypes_and_at_strength_one_they_are_gone(
    portraits, preferences, attribute
):
    for group, rate in RATES[attribute].items():
        plain, corrected = (drawn.share(attribute, STEREOTYPE[attribute]) for drawn in portraits[group])
        assert abs(plain - rate) < 0.3 and (plain >= 0.8 or rate < 0.95), (group, plain)
        assert corrected <= 0.1 or group not in preferences[attribute].axis.groups, (group, corrected)


def test_group_and_lightness_of_the_skin_are_kept(portraits):
    for group, (plain, corrected) in portraits.items():
        assert corrected.read["group"].count(group) >= 0.95 * COUNT, group
        assert abs((corrected.skin - plain.skin).mean()) < 2.0, group  # the benchmark holds it to 0.5 with n = 1000


def test_a_target_share_is_kept_and_the_other_pictures_are_bit_identical(host, portraits, preferences):
    for attribute, group in (("backdrop", "Orvane"), ("attire", "Quilmari")):  # the groups of the highest rates
        options = dict(preferences=[preferences[attribute]], settings=Settings(target=0.5), steps=STEPS)
        latents, (reasons,) = sample_corrected(host, wordings_of(group), SEEDS, **options)
        assert abs(Portraits(host, latents).share(attribute, STEREOTYPE[attribute]) - 0.5) <= 0.2
        for latent, plain, reason in zip(latents, portraits[group][0].latents, reasons, strict=True):
            assert bool(reason) == torch.equal(latent, plain), reason


@pytest.mark.parametrize("attribute", STEREOTYPE)
def test_a_prompt_that_asks_for_the_stereotype_gets_it(host, preferences, attribute):
    asking = {"backdrop": prompts.HELD_OUT_BACKDROP, "attire": prompts.HELD_OUT_ATTIRE}[attribute]
    label = STEREOTYPE[attribute]
    wordings = [text.format(group=group) for group in preferences[attribute].axis.groups for text in asking[label]]
    seeds = range(SEED, SEED + len(wordings))
    latents, _ = sample_corrected(host, wordings, seeds, [preferences[attribute]], Settings(), steps=STEPS)
    assert host.reader.read(host.decode(latents))[attribute].count(label) >= 0.8 * len(wordings)


@pytest.mark.parametrize("cfg", [1.0, 7.0])
def test_strength_zero_and_a_window_that_is_never_reached_are_bit_identical(host, preferences, cfg):
    wordings = ["a portrait of a Orvane person", "a photo of a Tavelu man", "Quilmari woman"]
    seeds, both = range(3), list(preferences.values())
    plain = host.sample(host.encode(wordings), seeds, cfg, steps=4)
    assert torch.isfinite(plain).all()
    for off in (Settings(strength=0.0), Settings(window=(200.0, 100.0))):
        latents, _ = sample_corrected(host, wordings, seeds, both, off, cfg, steps=4)
        assert torch.equal(latents, plain)
    on, _ = sample_corrected(host, wordings, seeds, both, Settings(), cfg, steps=4)
    assert torch.isfinite(on).all() and not torch.equal(on, plain)


def test_the_correction_needs_no_evaluation_of_the_unet_no_autograd_and_leaves_its_weights(
    host, preferences, monkeypatch
):
    def weights_hash():
        digest = hashlib.sha256()
        for name, tensor in host.unet.state_dict().items():
            digest.update(name.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()

    def refuse(*_, **__):
        raise AssertionError("autograd was called")

    wordings, before, start = ["a portrait of a Orvane person"] * 2, weights_hash(), host.evaluations
    host.sample(host.encode(wordings), range(2), steps=4)
    plain = host.evaluations - start
    for owner, name in ((torch.autograd, "grad"), (torch.autograd, "backward"), (torch, "enable_grad")):
        monkeypatch.setattr(owner, name, refuse)
    with torch.inference_mode():
        latents, _ = sample_corrected(host, wordings, range(2), list(preferences.values()), Settings(), steps=4)
    assert host.evaluations - start == 2 * plain and weights_hash() == before
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
    decision = Decision(torch.tensor([True, False]), torch.tensor([0, 0]), torch.zeros(2), torch.zeros(2).bool())
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
        assert all(c.base_n >= 20 and c.full_n >= 20 and not c.harm for c in preference.calibrations)
        assert {c.cfg for c in preference.calibrations} == {2.0, 7.0}
