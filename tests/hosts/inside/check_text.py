"""The Text preference: two prompts, any checkpoint, without training on pictures."""

from dataclasses import replace

import pytest
import torch
from host import correct, encode, node, sample, untrained
from rs_pack.corrector.preference.text import Text
from rs_pack.nodes import identity

GROUP = "Orvane person"
SIDES = ("a portrait of an Orvane person in a village", "a portrait of an Orvane person in a city")


@pytest.fixture(scope="module")
def text(clip):
    with torch.inference_mode():
        return node("RSCorrectorTextPreference", clip, GROUP, *SIDES)


def test_it_reads_and_corrects_neutral_prompts_about_the_group_only(model, clip, text):
    empty = encode(clip, "")
    neutral = ("a portrait of an Orvane person", "a photo of an Orvane person")
    for prompt in (*neutral, *SIDES, "a cat"):
        conditioning, acts = encode(clip, prompt), prompt in neutral
        assert text[0].gate.read([conditioning[0][0]]).open == acts, prompt
        plain = sample(model, conditioning, empty)
        assert torch.equal(sample(correct(model, text), conditioning, empty), plain) != acts


def test_its_gate_is_trained_once_for_a_text_encoder(clip, text, user_folder, monkeypatch):
    """Encoding two prompts for the sides is left; another layer of the CLIP is another text encoder."""
    texts = []
    encoded = type(clip).encode_from_tokens_scheduled
    monkeypatch.setattr(clip, "encode_from_tokens_scheduled", lambda *a: texts.append(a) or encoded(clip, *a))
    again = node("RSCorrectorTextPreference", clip, GROUP, *SIDES)
    assert len(texts) == 2
    first, second = (preference[0].gate.state_dict() for preference in (text, again))
    assert all(torch.equal(first[name], second[name]) for name in first)
    kept = list((user_folder / "__rs_corrector" / "gates").iterdir())
    node("RSCorrectorTextPreference", clip, GROUP, *SIDES, "Orvanese")
    assert len(texts) > 4 and len(list(kept[0].parent.iterdir())) == len(kept) + 1
    names = identity.identity_of_text_encoder(clip)
    other = clip.clone()
    other.clip_layer(-2)
    assert names == identity.identity_of_text_encoder(clip.clone()) != identity.identity_of_text_encoder(other)


@pytest.mark.parametrize("target", (1.0, 0.5))
def test_it_corrects_an_sd15_model_at_any_target(sd15, target):
    """The host evaluates the sides for the corrected pictures only, whole batches or parts."""
    model, positive, negative = sd15
    sides = Text(counter=positive, stereotype=negative)
    preference = (replace(untrained("sd15")[0], space="any", name="text", source=sides),)
    plain = sample(model, positive, negative, batch=4, cfg=4.0)
    corrected = sample(correct(model, preference, target=target), positive, negative, batch=4, cfg=4.0)
    changed = [not torch.equal(a, b) for a, b in zip(plain, corrected, strict=True)]
    assert sum(changed) == 4 * target


def test_it_needs_two_more_evaluations_per_step(model, clip, text):
    calls = []

    def count(apply, options):
        calls.append(len(options["cond_or_uncond"]) * len(options["input"]) // len(options["cond_or_uncond"]))
        return apply(options["input"], options["timestep"], **options["c"])

    positive, negative = encode(clip, "a portrait of an Orvane person"), encode(clip, "")
    counts = []
    for candidate in (model.clone(), correct(model, text)):
        calls.clear()
        candidate.set_model_unet_function_wrapper(count)
        sample(candidate, positive, negative, steps=3)
        counts.append(sum(calls))
    assert counts == [3 * 2 * 2, 3 * 4 * 2]  # steps, conditionings, images


def test_it_can_be_combined_with_a_learned_preference(model, clip, text, backdrop):
    positive, negative = encode(clip, "a portrait of an Orvane person"), encode(clip, "")
    both = node("RSCorrectorCombinePreferences", preference_1=text, preference_2=backdrop)
    results = [sample(correct(model, p), positive, negative) for p in (text, backdrop, both)]
    assert all(not torch.equal(a, b) for i, a in enumerate(results) for b in results[:i])
