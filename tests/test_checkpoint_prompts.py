"""Prompts as a checkpoint's text encoders encode them: one, several and many, short and long."""

import logging
from contextlib import ExitStack

import pytest
import torch
from transformers import CLIPTextModel

from corrector.gate.prompt_gate import token_vectors
from corrector.hosts.checkpoint import Checkpoint
from corrector.hosts.prompts import Prompts, chunks_of, joined
from corrector.miniature.model import WEIGHTS, load_tokenizer
from tiny_checkpoints import pipeline

TAGS = "village," * 90  # 180 tokens
PROMPTS = ["a portrait of a Orvane person", "a photo of a Tavelu man in a village"]

pytestmark = pytest.mark.usefixtures("one_thread", "no_network")


@pytest.fixture(scope="module")
def hosts(checkpoints):
    return {kind: Checkpoint.load(folder, device="cpu") for kind, folder in checkpoints.items()}


def test_conditionings_are_those_of_diffusers_pipelines(checkpoints, hosts):
    tokenizer = load_tokenizer(WEIGHTS / "tokenizer")
    ids = tokenizer(PROMPTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    for kind, width in (("sd15", 16), ("sd2", 24)):
        own = CLIPTextModel.from_pretrained(checkpoints[kind] / "text_encoder")
        conditioning = hosts[kind].encode(PROMPTS)
        assert conditioning.shape == (2, 77, width)
        with torch.no_grad():
            assert torch.equal(conditioning, own(ids)[0])
    with torch.no_grad():
        both = hosts["sdxl"].pipe.encode_prompt(PROMPTS, device="cpu", do_classifier_free_guidance=False)
    tokens, _, pooled, _ = both
    conditioning = hosts["sdxl"].encode(PROMPTS)
    assert torch.equal(conditioning.tokens, tokens) and tokens.shape == (2, 77, 40)
    assert torch.equal(conditioning.pooled, pooled) and pooled.shape == (2, 20)


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_a_long_prompt_is_encoded_in_chunks_between_words_and_a_short_one_beside_it_is_repeated(checkpoints, kind):
    host = Checkpoint.load(checkpoints[kind])
    long, short = " ".join(["a person in a village"] * 40), PROMPTS[0]
    parts = chunks_of(host.pipe.tokenizer, long)
    assert len(parts) > 1 and " ".join(parts) == long
    alone = [token_vectors(host.encode([text])) for text in (*parts, short)]
    both = token_vectors(host.encode([long, short]))
    assert torch.equal(both[:1], torch.cat(alone[:-1], dim=1))
    assert torch.equal(both[1:], alone[-1].repeat(1, both.shape[1] // 77, 1))
    # Repeated token vectors change nothing in cross-attention, nor does the negative prompt's length.
    latents = host.sample(host.encode([long, short]), [1, 2], cfg=2.0, steps=2)
    torch.testing.assert_close(
        latents[1:], host.sample(host.encode([short]), [2], cfg=2.0, steps=2), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_many_texts_are_encoded_together_and_each_is_as_long_as_alone(checkpoints, kind):
    host = Checkpoint.load(checkpoints[kind])
    texts = ["", " ".join(["a person in a village"] * 40), *PROMPTS] * 6
    found = list(host.encode_each(texts))
    alone = [token_vectors(host.encode([text]))[0] for text in texts[:4]]
    assert len(found) == len(texts) and len(alone[1]) > len(alone[0]) == 77
    for vectors, wanted in zip(found, alone * 6, strict=True):  # in bfloat16, if this machine's CPU computes in it
        assert vectors.dtype == torch.float32 and (vectors - wanted).std() < 0.02 * wanted.std()


def test_many_texts_are_searched_for_embeddings_of_several_vectors_only_where_one_is_loaded(monkeypatch):
    searched, pipe = [], pipeline("sd15")
    search = type(pipe).maybe_convert_prompt

    def recorded(self, prompts, tokenizer):
        searched.extend(prompts)
        return search(self, prompts, tokenizer)

    monkeypatch.setattr(type(pipe), "maybe_convert_prompt", recorded)
    host, text = Checkpoint(pipe), "a <style> person"
    before = next(host.encode_each([text]))
    assert not searched and "maybe_convert_prompt" not in vars(pipe)
    width = pipe.text_encoder.config.hidden_size
    pipe.load_textual_inversion({"<style>": torch.randn(2, width)}, token="<style>")
    after = next(host.encode_each([text]))
    assert searched == [text] and (after - before).abs().max() > 0.1
    expected = token_vectors(host.encode([text]))[0]
    assert (after - expected).std() < 0.02 * expected.std()


@pytest.mark.parametrize("limit", [8192, int(1e30)])
@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_prompts_have_as_many_tokens_as_the_text_encoder_has_positions_whatever_the_tokenizer_says(kind, limit):
    """Tokenizers saved by other programs state other lengths, or with 1e30 none; diffusers pads to what they state."""
    pipe = pipeline(kind)
    for tokenizer in (pipe.tokenizer, getattr(pipe, "tokenizer_2", pipe.tokenizer)):
        tokenizer.model_max_length = limit
    encoded = [token_vectors(host.encode([*PROMPTS, TAGS])) for host in (Checkpoint(pipe), Checkpoint(pipeline(kind)))]
    assert torch.equal(*encoded) and encoded[0].shape[1] == 3 * 77


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_long_prompts_without_spaces_are_read_to_their_end_and_nothing_is_logged(kind, caplog):
    """Neither transformers, that there are too many tokens, nor diffusers, that the rest was cut off."""
    host = Checkpoint(pipeline(kind))
    loggers = [logging.getLogger(name) for name in ("transformers", "diffusers")]
    with ExitStack() as stack:
        for logger in loggers:
            logger.addHandler(caplog.handler)
            stack.callback(logger.removeHandler, caplog.handler)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.WARNING)
        for text in (TAGS, "x" * 400, "🎨" * 100, "a " * 74 + "Orvane" * 60, " ".join([PROMPTS[0]] * 40)):
            parts = chunks_of(host.pipe.tokenizer, text)
            assert "".join(parts).replace(" ", "") == text.replace(" ", "")
            assert all(len(host.pipe.tokenizer(part).input_ids) <= 77 for part in parts)
            (vectors,) = host.encode_each([text])
            assert len(vectors) == 77 * len(parts) > 77
    assert caplog.text == ""


def test_tags_without_spaces_are_cut_between_tags(hosts):
    parts = chunks_of(hosts["sd15"].pipe.tokenizer, TAGS)
    assert len(parts) == 3 and " ".join(parts).split() == ["village,"] * 90


def test_prompts_are_indexed_and_joined_like_a_tensor(hosts):
    prompts = hosts["sdxl"].encode([*PROMPTS, ""])
    for index in (slice(1, 2), torch.tensor([2, 0]), torch.tensor([True, False, True])):
        assert torch.equal(prompts[index].tokens, prompts.tokens[index])
        assert torch.equal(prompts[index].pooled, prompts.pooled[index])
    assert len(prompts[1]) == 1 and len(prompts[:1].expand(5, -1, -1)) == 5
    both = joined(prompts[:1], prompts[1:])
    assert isinstance(both, Prompts) and torch.equal(both.pooled, prompts.pooled)
