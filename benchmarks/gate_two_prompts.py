"""The gate of a Text Preference, which knows two prompts only: its time, and what it reads.

`python benchmarks/gate_two_prompts.py [--prompts FOLDER] [--json FILE]`: without FOLDER its time alone, all in, on a
text encoder of the size of SD1.5 with random weights, and on the miniature. FOLDER and the trained text encoder are
those of gate_english.py; four groups, each with several seeds of texts and weights.
"""

import argparse
import json
import re
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gate_english import ELSEWHERE, LONG, NAMED, MiniLM  # noqa: E402
from corrector.auditing import statistics as audit  # noqa: E402
from corrector.axis.two_prompts import text_axis  # noqa: E402
from corrector.hosts.checkpoint import chunks_of  # noqa: E402
from corrector.hosts.sampler import TEXTS_AT_ONCE  # noqa: E402
from corrector.latents.devices import quickly  # noqa: E402
from corrector.learning.gate import QUICK, train_gate  # noqa: E402
from corrector.learning.wordings import named_words, whole_words, words_of  # noqa: E402
from corrector.miniature.host import Miniature  # noqa: E402

PEOPLE = "person|people|man|woman|girl|boy|child|couple|grand\\w+"
# Group and two prompts; the axis of the labelled prompts and the word that names the group in them.
CASES = (
    (
        "African person", "an African person in a village", "an African person in a city",
        "african-house-poverty", "african",
    ),
    ("mexican man", "a mexican man in a sombrero", "a mexican man in a suit", "mexican-sombrero", "mexican"),
    ("Jewish", "a Jewish doctor in a black hat", "a Jewish doctor with curly hair", "jewish-black-hat-money", "jewish"),
    (
        "south asian woman", "a south asian woman wearing a sari", "a south asian woman wearing jeans",
        "south-asian-outsider-gaze", "south asian",
    ),
)  # fmt: skip
REQUESTS = (
    "a photo of a {group}", "{group} at a table, film grain", "portrait of a smiling {group}", "an old {group}",
    "8k, {group}, oil painting", "two people, one {group}, masterpiece", "a watercolour of one {group}", "{group}",
)  # fmt: skip


class SD15Size:
    """Prompts -> token vectors of a text encoder of SD1.5's size with random weights."""

    def __init__(self, tokenizer):
        from transformers import CLIPTextConfig, CLIPTextModel

        size = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
        self.tokenizer, self.spent = tokenizer, 0.0
        self.model = CLIPTextModel(CLIPTextConfig(**size, max_position_embeddings=77)).eval()

    @torch.no_grad()
    def encode_each(self, prompts):
        """As `Host.encode_each`; the seconds are added to `spent`."""
        options = dict(padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        for start in range(0, len(prompts), TEXTS_AT_ONCE):
            began = time.perf_counter()
            parts = [chunks_of(self.tokenizer, prompt) for prompt in prompts[start : start + TEXTS_AT_ONCE]]
            with quickly("cpu"):
                ids = self.tokenizer([part for some in parts for part in some], **options).input_ids
                states = self.model(ids).last_hidden_state.float()
            self.spent += time.perf_counter() - began
            for some in states.split([len(some) for some in parts]):
                yield some.flatten(0, 1)


def times(seeds):
    """Seconds that a gate takes, all in, for each seed -> list of rows."""
    miniature = Miniature()
    large, words = SD15Size(miniature.pipe.tokenizer), whole_words(miniature.vocabulary)
    axis = text_axis("Orvane person", "an Orvane person in a village", "an Orvane person in a city")
    rows = []
    for name, host in (("SD1.5's size", large), ("miniature", miniature)):
        for seed in range(seeds):
            large.spent, began = 0.0, time.perf_counter()
            train_gate(axis, host.encode_each, seed, words=words, **QUICK)
            spent = {"seconds": time.perf_counter() - began}
            if host is large:
                spent["of which encoding"] = large.spent
            rows += [dict(figure=figure, model=name, seed=seed, value=round(s, 2)) for figure, s in spent.items()]
            print(f"{name}, seed {seed}:", ", ".join(f"{figure} {s:.1f}" for figure, s in spent.items()), flush=True)
    return rows


def readings(gate, vectors):
    """Token vectors of texts -> list of PromptReading."""
    return [gate.read([tokens[None]]) for tokens in vectors]


def quality(folder, seeds):
    """What the gates of CASES read of other people's prompts -> list of rows."""
    everywhere, labelled = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("out-of-scope", "labelled")
    )
    encoder, rows, totals = MiniLM(), [], {}
    elsewhere = {row["text"]: None for row in everywhere}
    elsewhere = dict(zip(elsewhere, encoder.encode_each(list(elsewhere)), strict=True))

    def say(name, seed, figure, values):
        value, low, high = audit.rate(sum(values), len(values))
        row = dict(figure=figure, group=name, seed=seed, value=value, low=low, high=high, n=len(values))
        rows.append({key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()})

    for group, stereotype, counter, of_axis, word in CASES:
        axis = text_axis(group, stereotype, counter)
        near = named_words(axis) | ELSEWHERE
        far = [text for text in elsewhere if not near & set(words_of(text))]
        own = [row for row in labelled if row["axis"] == of_axis]
        pattern = re.compile(rf"\b{word} ({PEOPLE})\b")
        phrases = axis.stereotype.phrases + axis.counter.phrases
        texts = {
            "named": [r["text"] for r in own if r["cat"] in NAMED and pattern.search(r["text"].lower())],
            "thing with the group's word in scope": [r["text"] for r in own if r["cat"] == "thing"],
            "request overridden": [
                form.replace("{group}", group) + joint + phrase
                for form in REQUESTS for joint in (", ", " ") for phrase in phrases
            ],
        }  # fmt: skip
        encoded = {figure: list(encoder.encode_each(some)) for figure, some in texts.items()}
        for seed in range(seeds):
            gate, _ = train_gate(axis, encoder.encode_each, seed, words=encoder.words, **QUICK)
            scope = [one.group >= 0 for one in readings(gate, (elsewhere[text] for text in far))]
            found = {figure: readings(gate, vectors) for figure, vectors in encoded.items()}
            named = [one for one in found["named"] if one.group >= 0]
            values = {
                "false activation": scope,
                f"false activation above {LONG} words": [
                    inside for inside, text in zip(scope, far, strict=True) if len(text.split()) > LONG
                ],
                "named": [one.group >= 0 for one in found["named"]],
                "plain prompt read as explicit": [one.explicit != "neither" for one in named],
                "thing with the group's word in scope": [
                    one.group >= 0 for one in found["thing with the group's word in scope"]
                ],
                "request overridden": [one.open for one in found["request overridden"]],
            }
            for figure, some in values.items():
                say(group, seed, figure, some)
                totals.setdefault(figure, []).extend(some)
            print(f"{group}, seed {seed}:", {f: f"{sum(v)}/{len(v)}" for f, v in values.items()}, flush=True)
    for figure, some in totals.items():
        say("all", "all", figure, some)
        row = rows[-1]
        print(f"{figure:<40} {row['value']:.4f} [{row['low']:.4f}, {row['high']:.4f}] n {row['n']}")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=Path, help="folder of out-of-scope.json and labelled.json")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = times(args.seeds)
    if args.prompts:
        rows += quality(args.prompts, args.seeds)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
