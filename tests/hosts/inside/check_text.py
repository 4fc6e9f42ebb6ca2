"""The Text preference: two prompts, any checkpoint, without training on pictures."""

import pytest
import torch
from comfy_execution.graph import DynamicPrompt
from comfy_execution.progress import reset_progress_state
from host import correct, encode, node, sample
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
    """Another layer of the CLIP is another text encoder."""
    texts = []
    encoded = type(clip).encode_from_tokens_scheduled
    monkeypatch.setattr(clip, "encode_from_tokens_scheduled", lambda *a: texts.append(a) or encoded(clip, *a))
    again = node("RSCorrectorTextPreference", clip, GROUP, *SIDES)
    assert not texts
    first, second = (preference[0].gate.state_dict() for preference in (text, again))
    assert all(torch.equal(first[name], second[name]) for name in first)
    kept = list((user_folder / "__rs_corrector" / "gates").iterdir())
    node("RSCorrectorTextPreference", clip, GROUP, *SIDES, "Orvanese")
    assert len(texts) > 2 and len(list(kept[0].parent.iterdir())) == len(kept) + 1
    names = identity.identity_of_text_encoder(clip)
    other = clip.clone()
    other.clip_layer(-2)
    assert names == identity.identity_of_text_encoder(clip.clone()) != identity.identity_of_text_encoder(other)


def test_listed_words_that_the_text_encoder_does_not_know_are_heeded_if_the_graph_has_the_text(model, clip):
    with torch.inference_mode():
        text = node("RSCorrectorTextPreference", clip, GROUP, *SIDES, counter_paraphrases="zorbing")
    prompt, empty = "a portrait of an Orvane person, zorbing", encode(clip, "")
    conditioning = encode(clip, prompt)
    plain, kept = sample(model, conditioning, empty, steps=4), []
    for words in (prompt, "a portrait"):
        graph = {"1": {"class_type": "CLIPTextEncode", "inputs": {"text": words}}}
        reset_progress_state("prompt", DynamicPrompt(graph))
        kept.append(torch.equal(sample(correct(model, text), conditioning, empty, steps=4), plain))
    reset_progress_state("", DynamicPrompt({}))
    assert kept == [True, False]


@pytest.mark.parametrize("target", (1.0, 0.5))
def test_it_corrects_at_any_target(model, clip, text, target):
    positive, negative = encode(clip, "a portrait of an Orvane person"), encode(clip, "")
    plain = sample(model, positive, negative, batch=4)
    corrected = sample(correct(model, text, target=target), positive, negative, batch=4)
    changed = [not torch.equal(a, b) for a, b in zip(plain, corrected, strict=True)]
    assert sum(changed) == 4 * target


def test_it_can_be_combined_with_a_learned_preference(model, clip, text, backdrop):
    positive, negative = encode(clip, "a portrait of an Orvane person"), encode(clip, "")
    both = node("RSCorrectorCombinePreferences", preference_1=text, preference_2=backdrop)
    results = [sample(correct(model, p), positive, negative) for p in (text, backdrop, both)]
    assert all(not torch.equal(a, b) for i, a in enumerate(results) for b in results[:i])
