"""The figures in the README's table, measured on the miniature: `python benchmarks/miniature.py --json FILE`.

Prompts are held out from training and seeds are used nowhere else. Pictures that are not corrected are not sampled
twice because they are bit-identical, which tests/ and the rows "out of scope" check.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import tables  # noqa: E402
from corrector.audit import statistics as audit  # noqa: E402
from corrector.correction.sampled import decide_all, first_leans, sample_corrected  # noqa: E402
from corrector.correction.thinning import coins_from_seeds  # noqa: E402
from corrector.correction.update import Settings  # noqa: E402
from corrector.latent_space.statistics import features, frechet  # noqa: E402
from corrector.miniature import prompts as wordings  # noqa: E402
from corrector.miniature.host import Miniature  # noqa: E402
from corrector.miniature.reader import skin_lightness  # noqa: E402
from corrector.miniature.world import GROUPS, draw, sample_scene, wanted_scene  # noqa: E402
from corrector.preference.file import load_preference  # noqa: E402

CFG = 2.0
EXPLICIT_N = 300  # pictures per group with explicit prompts, where the decision does not depend on the seed
SIDES = {"backdrop": ("village", "city"), "attire": ("traditional", "modern")}
HELD_OUT = {"backdrop": wordings.HELD_OUT_BACKDROP, "attire": wordings.HELD_OUT_ATTIRE}


class Bench:
    def __init__(self, n, seed, bf16, path=None, folder=ROOT / "weights"):
        self.host, self.n, self.seed, self.rows, self.path = Miniature(bf16=bf16), n, seed, [], path
        self.folder = folder  # with the preferences
        self.about = {}  # the current axis
        self.plain, self.read, self.skin = {}, {}, {}
        self.started = time.time()

    def say(self, *row, **more):
        self.rows.append(tables.row(*row, self.seed, **self.about, **more))
        if self.path:
            self.path.write_text(json.dumps(self.rows, indent=1) + "\n")  # after each row, in case of interruption
        print(f"[{time.time() - self.started:5.0f} s] " + tables.table(self.rows[-1:]).splitlines()[1], flush=True)

    def seeds(self, group, n=None, start=0):
        base = self.seed + 100_000 * GROUPS.index(group) + start
        return list(range(base, base + (n or self.n)))

    def prompts(self, group, templates=wordings.HELD_OUT_NEUTRAL, n=None):
        return [wordings.held_out(templates, group, index) for index in range(n or self.n)]

    def judge(self, latents):
        pictures = self.host.decode(latents)
        return self.host.reader.read(pictures), skin_lightness(pictures)

    def sample_plain(self):
        for group in GROUPS:
            self.plain[group] = self.host.sample(self.host.encode(self.prompts(group)), self.seeds(group), CFG)
            self.read[group], self.skin[group] = self.judge(self.plain[group])
            kept = sum(label == group for label in self.read[group]["group"])
            self.say("plain: group kept", group, audit.rate(kept, self.n), self.n)
            for attribute, (side, _) in SIDES.items():
                count = tables.stereotype_count(self.read[group][attribute], side)
                self.say(f"plain: {side}", group, audit.rate(count, self.n), self.n)
        self.scale = torch.cat(list(self.plain.values())).std()

    def axis(self, attribute):
        self.about = {"axis": attribute}
        preference = load_preference(self.folder / f"miniature-{attribute}.safetensors")
        for group in preference.axis.groups:
            self.full_strength(attribute, preference, group)
            self.explicit(attribute, preference, group)
        self.out_of_scope(attribute, preference)
        self.share_in_batches(attribute, preference)

    def full_strength(self, attribute, preference, group):
        side, counter = SIDES[attribute]
        plain = self.plain[group]
        before = self.host.evaluations
        latents, _ = sample_corrected(self.host, self.prompts(group), self.seeds(group), [preference], Settings(), CFG)
        used = (self.host.evaluations - before) / (self.n * 2 * 16)
        self.say("UNet evaluations, over the plain run's", group, (used, used, used), self.n)
        read, skin = self.judge(latents)
        self.say(
            f"strength 1: {side}", group, audit.rate(tables.stereotype_count(read[attribute], side), self.n), self.n
        )
        kept = sum(label == group for label in read["group"])
        self.say("strength 1: group kept", group, audit.rate(kept, self.n), self.n)
        self.say(f"{attribute}: skin L* drift, points", group, audit.mean(skin - self.skin[group]), self.n)
        fine = torch.tensor([label == counter for label in self.read[group][attribute]])
        change = audit.latent_change(plain[fine], latents[fine], self.scale)
        if fine.sum() < 50:
            change = torch.cat([change, self.more_fine(attribute, preference, group, 50 - int(fine.sum()))])
        self.say(f"{attribute}: change of fine images, RMS", group, audit.mean(change), len(change))
        self.targets(attribute, preference, group, latents, read[attribute])
        for other, (other_side, _) in SIDES.items():
            if other != attribute:
                shift = [tables.stereotype_count(r[other], other_side) / self.n for r in (self.read[group], read)]
                self.say(f"{attribute}: shift of {other_side}", group, (shift[1] - shift[0],) * 3, self.n)
        self.quality(attribute, group, latents)

    def quality(self, attribute, group, latents, resamples=100):
        """Frechet distance to true pictures of the wanted mix with the group's skin tones, relative to the plain model.

        The true pictures of both mixes have the same scenes except for the side, and plain and corrected pictures have
        the same seeds, so that sampling noise cancels in the ratio; its interval is a bootstrap of both.
        """
        rng, counter = np.random.default_rng(self.seed + GROUPS.index(group)), SIDES[attribute][1]
        scenes = [sample_scene(rng, group) for _ in range(self.n)]
        again = [wanted_scene(rng, group, **{attribute: counter}) for _ in range(self.n)]
        truth = {"plain": scenes, "wanted": [replace(s, **{attribute: counter}) for s in scenes], "again": again}
        drawn = {k: features(tables.draw_wanted(self.host, draw, scenes)) for k, scenes in truth.items()}
        made = features(self.plain[group]), features(latents)

        def distances(pictures, truths):
            pairs = zip(made, (drawn["plain"], drawn["wanted"]), strict=True)
            return [frechet(ours[pictures], true[truths]) for ours, true in pairs]

        every = np.arange(self.n)
        own, ours = distances(every, every)
        floor = frechet(drawn["again"], drawn["wanted"])
        draws = [distances(*rng.integers(self.n, size=(2, self.n))) for _ in range(resamples)]
        low, high = np.quantile([after / before for before, after in draws], (0.025, 0.975))
        for name, value in (("plain", own), ("corrected", ours), ("floor", floor)):
            self.say(f"{attribute}: Frechet distance, {name}", group, (value,) * 3, self.n)
        self.say(f"{attribute}: Frechet distance, over plain's", group, (ours / own, low, high), self.n)

    def part(self, attribute, name):
        """Only "quality", "targets" or "batches", on the corrected pictures of the full benchmark."""
        self.about = {"axis": attribute}
        preference = load_preference(self.folder / f"miniature-{attribute}.safetensors")
        if name == "batches":
            self.share_in_batches(attribute, preference)
        for group in preference.axis.groups if name != "batches" else ():
            some = self.prompts(group), self.seeds(group)
            latents, _ = sample_corrected(self.host, *some, [preference], Settings(), CFG)
            if name == "quality":
                self.quality(attribute, group, latents)
            else:
                self.targets(attribute, preference, group, latents, self.judge(latents)[0][attribute])

    def more_fine(self, attribute, preference, group, missing, chunk=500, most=8000):
        """Sample more plain pictures on the counter side, which are rare in groups with a high stereotype rate."""
        changes, start = [], self.n
        while missing > 0 and start < most:
            seeds, prompts = self.seeds(group, chunk, start), self.prompts(group, n=chunk)
            plain = self.host.sample(self.host.encode(prompts), seeds, CFG)
            read, _ = self.judge(plain)
            fine = [i for i, label in enumerate(read[attribute]) if label == SIDES[attribute][1]]
            if fine:
                some = [prompts[i] for i in fine], [seeds[i] for i in fine]
                latents, _ = sample_corrected(self.host, *some, [preference], Settings(), CFG)
                changes.append(audit.latent_change(plain[fine], latents, self.scale))
            missing, start = missing - len(fine), start + chunk
        return torch.cat(changes) if changes else torch.zeros(0)

    def targets(self, attribute, preference, group, latents, labels):
        """Counter shares at target shares, from the plain and the fully corrected picture of each seed.

        `latents` and `labels` are of the fully corrected run. On 48 pictures, a run with a target share is compared.
        """
        counter, seeds, prompts = SIDES[attribute][1], self.seeds(group), self.prompts(group)
        order = sorted(range(self.n), key=lambda index: prompts[index])  # batches of one prompt, as in UIs
        prompts, seeds = ([values[i] for i in order] for values in (prompts, seeds))
        before, after = ([found[i] for i in order] for found in (self.read[group][attribute], labels))
        conditioning, coins = self.host.encode(prompts), coins_from_seeds(seeds)
        lean = first_leans(self.host, preference, conditioning, seeds)
        for target in (0.25, 0.5, 0.75):
            decision, _ = decide_all(preference, conditioning, coins, target, CFG, 8, lean)
            chosen = decision.active.numpy()
            mixed = np.where(chosen, after, before)
            share = audit.rate(int((mixed == counter).sum()), self.n)
            reach = "" if chosen.any() else " (nothing acts)"
            self.say(f"target {target}: {counter}{reach}", group, share, self.n, target=target)
            if target == 0.5 and chosen.any():
                few = order[: min(48, self.n)]
                some = prompts[: len(few)], seeds[: len(few)]
                drawn, _ = sample_corrected(self.host, *some, [preference], Settings(target=target), CFG, batch=8)
                which = decision.active[: len(few), None, None, None]
                gap = audit.latent_change(drawn, torch.where(which, latents[few], self.plain[group][few]), self.scale)
                self.say("target 0.5: largest difference from the mix, RMS", group, (float(gap.max()),) * 3, len(few))

    def explicit(self, attribute, preference, group):
        side, n = SIDES[attribute][0], min(self.n, EXPLICIT_N)
        prompts = self.prompts(group, HELD_OUT[attribute][side], n)
        seeds = self.seeds(group, n, 50_000)
        plain = self.host.sample(self.host.encode(prompts), seeds, CFG)
        read, _ = self.judge(plain)
        obeyed = [i for i, label in enumerate(read[attribute]) if label == side]
        self.say(f"plain: {side} where asked for", group, audit.rate(len(obeyed), n), n)
        latents, _ = sample_corrected(self.host, prompts, seeds, [preference], Settings(), CFG, plain=plain)
        read, _ = self.judge(latents[obeyed])
        kept = audit.rate(sum(label == side for label in read[attribute]), len(obeyed))
        self.say(f"strength 1: {side} kept where asked for", group, kept, len(obeyed))

    def out_of_scope(self, attribute, preference):
        """Prompts with another group, with no group, without people, and with an attribute of the other axis."""
        other = next(group for group in GROUPS if group not in preference.axis.groups)
        prompts = [text.format(group=other) for text in wordings.HELD_OUT_NEUTRAL]
        prompts += [*wordings.HELD_OUT_NO_GROUP, *wordings.HELD_OUT_NO_PERSON]
        for name, sides in HELD_OUT.items():
            if name != attribute:
                for side in sides.values():
                    prompts += [text.format(group="quiet") for text in side]
        worst, identical = 0.0, 0
        for index, prompt in enumerate(prompts):
            seeds = list(range(self.seed + 900_000 + 4 * index, self.seed + 900_004 + 4 * index))
            plain = self.host.sample(self.host.encode([prompt]), seeds, CFG)
            latents, _ = sample_corrected(self.host, [prompt] * 4, seeds, [preference], Settings(), CFG)
            change = float(audit.latent_change(plain, latents, self.scale).max())
            identical, worst = identical + bool(torch.equal(plain, latents)), max(worst, change)
            if change:
                print("  acted out of scope on:", prompt, round(change, 4))
        self.say(f"{attribute}: out of scope, bit-identical", other, audit.rate(identical, len(prompts)), len(prompts))
        self.say(f"{attribute}: out of scope, largest RMS", other, (worst,) * 3, len(prompts))

    def share_in_batches(self, attribute, preference, batches=200, size=8):
        """Counter share at target 0.5 in batches of 8 pictures of one prompt, as in UIs."""
        counter, n = SIDES[attribute][1], batches * size
        for group in preference.axis.groups:
            if preference.calibration(group, CFG).base_rate >= 0.5:
                continue
            prompts = [wordings.held_out(wordings.HELD_OUT_NEUTRAL, group, index // size) for index in range(n)]
            seeds, shares = self.seeds(group, n, start=50_000), []
            plain = self.host.sample(self.host.encode(prompts), seeds, CFG)
            mixed, _ = sample_corrected(
                self.host, prompts, seeds, [preference], Settings(target=0.5), CFG, batch=size, plain=plain
            )
            for latents in (plain, mixed):
                read = self.host.reader.read(self.host.decode(latents))[attribute]
                shares.append(np.array([label == counter for label in read]).reshape(batches, size).mean(axis=1))
            plain, found = shares
            first, wording = prompts[::size], {}
            for name in dict.fromkeys(first):
                own = [index for index, prompt in enumerate(first) if prompt == name]
                wording[name] = {
                    "plain": round(float(plain[own].mean()), 3),
                    "share": round(float(found[own].mean()), 3),
                    "sd": round(float(found[own].std()), 3),
                }
            self.say(f"target 0.5: {counter} in batches of 8", group, audit.rate(round(found.mean() * n), n), n)
            title = f"target 0.5: sd of {counter} in batches of 8"
            self.say(title, group, (float(found.std()),) * 3, batches, wordings=wording)
            thinned = [value for value in wording.values() if value["plain"] < 0.5]
            within = float(np.sqrt(np.mean([value["sd"] ** 2 for value in thinned])))
            title += ", within a wording whose plain share is below"
            self.say(title, group, (within,) * 3, batches * len(thinned) // len(wording))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000, help="pictures per group")
    parser.add_argument("--seed", type=int, default=20_000_000)
    parser.add_argument("--axis", choices=(*SIDES, "both"), default="both")
    parser.add_argument("--only", choices=("quality", "targets", "batches"), help="only these figures")
    parser.add_argument("--preferences", type=Path, default=ROOT / "weights", help="folder with the two preferences")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16, faster on CPUs that support it")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    bench = Bench(args.n, args.seed, args.bf16, args.json, args.preferences)
    if args.only != "batches":
        bench.sample_plain()
    for attribute in SIDES if args.axis == "both" else (args.axis,):
        if args.only:
            bench.part(attribute, args.only)
        else:
            bench.axis(attribute)
    print(f"\nMeasured on the miniature in {time.time() - bench.started:.0f} s.\n" + tables.table(bench.rows))


if __name__ == "__main__":
    main()
