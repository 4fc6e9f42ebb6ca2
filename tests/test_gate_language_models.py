"""The gate on text encoders that are language models, as flow models have them."""

import re
import weakref
import zlib
from typing import Any

import pytest
import torch

from corrector.axis.axis import load_axis
from corrector.files.folders import AXES
from corrector.gate import train
from corrector.gate.kept import LARGEST_FOLDER, kept_gate
from corrector.gate.prompt_gate import GateError, PromptGate, without_extremes
from corrector.gate.train import train_gate
from corrector.gate.wordings import whole_words

WIDTH = 2560
BEFORE, AFTER = ("start", "user", "line"), ("end", "line", "start", "assistant", "line")  # a chat template
SINK = 1000  # times the length of the other tokens' vectors

pytestmark = pytest.mark.usefixtures("one_thread")


def vector(word, width=WIDTH):
    return torch.randn(width, generator=torch.Generator().manual_seed(zlib.crc32(word.encode())))


def encode(text, width=WIDTH):
    """A text -> token vectors [T, width] of a causal encoder: each word adds to what was read before it.

    There is a chat template around the text. The first token's vector is huge, and so are some channels of all.
    """
    words = [*BEFORE, *re.findall(r"\w+", text.lower()), *AFTER]
    own = torch.stack([vector(word, width) for word in words])
    read = own.cumsum(dim=0) / torch.arange(1, len(words) + 1)[:, None]
    tokens = own + read
    tokens[0] *= SINK
    tokens[:, :3] = 100 * tokens[:, :3] + 500
    return tokens


def encode_each(texts):
    return (encode(text) for text in texts)


@pytest.fixture(scope="module")
def backdrop():
    return load_axis(AXES / "miniature-backdrop.json")


@pytest.fixture(scope="module")
def trained(backdrop):
    torch.set_num_threads(1)
    return train_gate(backdrop, encode_each, count=900, longest=12, steps=150, check=False, other_groups=("Zendoli",))


def test_it_reads_a_causal_language_model_with_a_huge_first_token_and_a_chat_template(trained):
    gate, figures = trained
    # From 900 texts: in doubt it leaves somebody out rather than act on nobody of the groups.
    assert figures["group"] > 0.65 and figures["wrong group"] < 0.1
    assert figures["overridden"] < 0.35 and figures["false activation"] < 0.15

    def read(text):
        return gate.read([encode(text)[None]])

    assert read("a portrait of a Tavelu person").group == 1
    assert read("a portrait of a Tavelu person").open and read("a photo of a Quilmari man").open
    assert read("a Tavelu person in a village").explicit == "stereotype"
    for nobody in ("a wooden chair", "a bowl of fruit", ""):
        assert not read(nobody).open


def test_the_first_token_of_another_precision_changes_nothing(trained):
    tokens = encode("a portrait of a Tavelu person")
    rounded = tokens.clone()
    rounded[0] *= 1.5
    assert vars(trained[0].read([tokens[None]])) == pytest.approx(vars(trained[0].read([rounded[None]])), abs=1e-3)


def test_a_token_is_taken_to_be_no_farther_than_ten_spreads_and_others_keep_their_bits():
    centre, spread = torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1.0])
    tokens = torch.tensor([[41.0, -20.0], [20.5, 9.5], [-19.0, 0.0]])
    expected = torch.tensor([[21.0, -10.0], [20.5, 9.5], [-19.0, 0.0]])
    assert torch.equal(without_extremes(tokens, centre, spread), expected)


def test_few_texts_are_held_at_full_width_if_their_vectors_are_wide_or_many(backdrop, monkeypatch):
    monkeypatch.setattr(train, "NUMBERS_HELD", 20 * 512 * 6)
    held, most = weakref.WeakSet(), 0

    def padded(texts):
        nonlocal most
        for text in texts:
            tokens = torch.zeros(512, 6)
            words = encode(text, 6)
            tokens[: len(words)] = words
            held.add(tokens)
            most = max(most, len(held))
            yield tokens

    train_gate(backdrop, padded, count=80, longest=12, steps=1, check=False)
    assert 20 <= most < 25


def test_the_gate_of_a_wide_text_encoder_is_kept_and_the_folder_has_room_for_many(backdrop, tmp_path):
    encoded = []

    def wide(texts):
        for text in texts:
            encoded.append(text)
            yield encode(text, 5120)

    settings: dict[str, Any] = dict(count=40, longest=8, steps=1, check=False)
    gates = [kept_gate(backdrop, wide, "Mistral", tmp_path, **settings)[0] for _ in range(2)]
    assert len(encoded) == 40 and all(
        torch.equal(a, b) for a, b in zip(*(gate.parameters() for gate in gates), strict=True)
    )
    (file,) = tmp_path.glob("gate-*.safetensors")
    assert 20 * file.stat().st_size < LARGEST_FOLDER


def test_prompts_of_unequal_length_and_of_512_tokens_are_read_and_another_width_is_refused(trained):
    long = encode(" ".join(["a portrait of a Tavelu person", *["soft light, oil on canvas"] * 100]))
    assert len(long) > 500 and trained[0].read([long[None]]).group in (-1, 1)
    with pytest.raises(GateError, match="4096 wide"):
        trained[0].read([torch.zeros(1, 512, 4096)])


def test_words_are_read_from_the_vocabularies_of_language_models():
    """A piece that goes on is no word, and a name in capital letters is one."""
    for mark in ("\u0120", "\u2581"):
        tokens = [f"{mark}lamp", f"{mark}Without", "istant", "ass", mark, f"{mark}of", "<|im_start|>", f"{mark}été"]
        assert whole_words(tokens) == ["lamp", "without"]


def test_a_gate_reads_what_its_networks_say_together_if_nothing_is_extreme():
    gate = PromptGate(8, 2, 3, reach=5).eval()
    tokens = torch.randn(1, 7, 8)
    groups, _ = gate.probabilities(tokens)
    assert gate.read([tokens]).named == 1 - groups[0].tolist()[-1]
