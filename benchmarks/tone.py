"""Methods to preserve the skin tone, compared on the backdrop axis: `python benchmarks/tone.py --json FILE`.

The planted confound makes village pictures darker, so a corrector without compensation lightens skin. Compared: no
compensation; matching alone (a classifier of tone-matched pairs); projection alone (removes the push's component along
the tone push around the skin); the tone push added for the whole group, as a tilt, and added only while the gate is
open; projection on the tone push of the whole picture, at two sizes; and what ships: projection around the skin, scaled
by calibration. Removing the darkness of clothes from the push changes attire: see the row "traditional".
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import tables  # noqa: E402
from corrector.audit import statistics as audit  # noqa: E402
from corrector.correction.update import gate_opening  # noqa: E402
from corrector.latent_space.spaces import expand  # noqa: E402
from corrector.learning.pairs import make_pairs, match_tones  # noqa: E402
from corrector.learning.training import train_classifier, train_tone  # noqa: E402
from corrector.miniature.host import Miniature  # noqa: E402
from corrector.miniature.prompts import HELD_OUT_NEUTRAL, held_out  # noqa: E402
from corrector.miniature.reader import skin_lightness  # noqa: E402
from corrector.preference.file import load_preference  # noqa: E402

CFG = 2.0


def flat_index(pairs, matched):
    """Matched indices per group and side -> indices into the flattened pairs."""
    count = pairs.latents.shape[2]
    return torch.tensor(
        [(g * 2 + side) * count + i for g, sides in enumerate(matched) for side in (0, 1) for i in sides[side]]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=200, help="pictures per group and method")
    parser.add_argument("--seed", type=int, default=30_000_000)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    host, rows = Miniature(bf16=args.bf16), []
    preference = load_preference(ROOT / "weights" / "miniature-backdrop.safetensors")
    axis, source = preference.axis, preference.source
    pairs = make_pairs(host, axis, args.pairs, args.seed)
    classifier = train_classifier(host.space, pairs, 800, args.seed, keep=flat_index(pairs, match_tones(pairs)))

    whole = train_tone(host.space, pairs, 1000, args.seed)

    def everywhere(*where):
        return replace(source(*where), tone=whole(*where).push)

    def added(reading, k, opening, gain):
        return k * opening * reading.push - 2.0 * reading.tone  # 2: about what calibration finds

    def gated(reading, k, opening, gain):
        return opening * (k * reading.push - 6.0 * reading.tone)

    def projected(times):
        def rule(reading, k, opening, gain):
            along = (reading.push * reading.tone).sum(dim=(1, 2, 3), keepdim=True)
            along = along / reading.tone.square().sum(dim=(1, 2, 3), keepdim=True).clamp(min=1e-9)
            return k * opening * (reading.push - (gain if times is None else times) * along * reading.tone)

        return rule

    ways = {
        "nothing": (source, projected(0.0)),
        "matching alone": (classifier, lambda reading, k, opening, gain: k * opening * reading.push),
        "projection alone": (source, projected(1.0)),
        "tone push added": (source, added),
        "tone push added, gated": (source, gated),
        "projection, whole picture": (everywhere, projected(1.0)),
        "projection, whole picture, twice": (everywhere, projected(2.0)),
        "projection as calibrated, as shipped": (source, projected(None)),
    }
    for index, group in enumerate(axis.groups):
        known = preference.calibration(group, CFG)
        prompts = [held_out(HELD_OUT_NEUTRAL, group, i) for i in range(args.n)]
        seeds, conditioning = list(range(args.seed, args.seed + args.n)), host.encode(prompts)
        plain = host.sample(conditioning, seeds, CFG)
        pictures = host.decode(plain)
        before = skin_lightness(pictures)
        read = host.reader.read(pictures)
        fine = torch.tensor([label == "city" for label in read["backdrop"]])
        dressed = tables.stereotype_count(read["attire"], "traditional")
        for name, (used, rule) in ways.items():

            def hook(denoised, x, sigma, which, used=used, rule=rule, known=known, index=index):
                reading = used(x, sigma, torch.full((len(x),), index))
                opening = expand(gate_opening(reading.log_odds, torch.full((len(x),), known.base_rate)), x)
                k = torch.where(sigma <= preference.sight[index], CFG * known.push_gain, 1.0)
                return denoised + rule(reading, expand(k, x), opening, known.tone_gain)

            latents = host.sample(conditioning, seeds, CFG, hook=hook)
            pictures = host.decode(latents)
            read = host.reader.read(pictures)
            count = tables.stereotype_count(read["backdrop"], "village")
            shift = (tables.stereotype_count(read["attire"], "traditional") - dressed) / args.n
            drift = skin_lightness(pictures) - before
            for figure, measured in (
                ("village", audit.rate(count, args.n)),
                ("L* drift", audit.mean(drift)),
                ("shift of traditional", (shift,) * 3),
                ("L* drift of fine images", audit.mean(drift[fine.numpy()]) if fine.sum() > 1 else None),
            ):
                if measured:
                    n = int(fine.sum()) if "fine" in figure else args.n
                    rows.append(tables.row(f"{name}: {figure}", group, measured, n, args.seed))
                    print(tables.table(rows[-1:]).splitlines()[1], flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
