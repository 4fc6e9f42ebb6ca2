"""Designs of the gate, compared on the miniature's text encoder and on held-out wordings.

`python benchmarks/gate.py`: features averaged with weights of their own and their largest values, of each token beside
its neighbours (as trained), of each token alone, and only the largest values. `benchmarks/gate_english.py` compares
them on a trained text encoder.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import tables  # noqa: E402
from corrector.auditing import statistics as audit  # noqa: E402
from corrector.axis.axis import load_axis  # noqa: E402
from corrector.learning.gate import train_gate  # noqa: E402
from corrector.learning.gate_texts import gate_others  # noqa: E402
from corrector.learning.wordings import whole_words  # noqa: E402
from corrector.miniature import prompts as wordings  # noqa: E402
from corrector.miniature.host import Miniature  # noqa: E402
from corrector.miniature.world import GROUPS  # noqa: E402
from corrector.preference.prompt_gate import DROPPED, PromptGate  # noqa: E402


class Largest(PromptGate):
    """Only the largest value of each feature over the prompt."""

    def forward(self, conditioning, padding=None):
        features = self.features((conditioning.float() - self.centre) / self.spread)
        if padding is not None:
            features = features.masked_fill(padding[..., None], -torch.inf)
        found = F.dropout(F.gelu(features.amax(dim=1)).repeat(1, 2), DROPPED, self.training)
        return self.group_probe(found), self.explicit_probe(found)


def alone(width, groups, hidden, reach):
    """Features of each token alone."""
    return PromptGate(width, groups, hidden)


DESIGNS = {"features": PromptGate, "alone": alone, "largest": Largest}
HELD_OUT = {"backdrop": wordings.HELD_OUT_BACKDROP, "attire": wordings.HELD_OUT_ATTIRE}


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    host, rows = Miniature(), []
    for attribute in HELD_OUT:
        axis = load_axis(ROOT / "axes" / f"miniature-{attribute}.json")
        for design, network in DESIGNS.items():
            others = gate_others(axis, ROOT / "axes", host.space) | {"words": whole_words(host.vocabulary)}
            gate, _ = train_gate(axis, host.encode_each, args.seed, network=network, **others)
            for name, prompts in cases(axis, attribute).items():
                right = 0
                for prompt, answer in prompts:
                    reading = gate.read([host.encode([prompt])])
                    said = reading.group if reading.open else None
                    right += said == answer
                    if said != answer and network is PromptGate:
                        print(f"  wrong ({name}): {prompt!r} -> {reading}")
                measured = audit.rate(right, len(prompts))
                rows.append(tables.row(f"{attribute}, {design}: {name}", "all", measured, len(prompts), args.seed))
    print(tables.table(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
