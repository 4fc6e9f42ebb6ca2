"""Learn a preference for an axis from the host's own pictures, and measure it on held-out pairs."""

from itertools import pairwise
from statistics import median

import torch

from ..latent_space.devices import place
from ..latent_space.spaces import add_noise
from ..latent_space.statistics import rate
from ..preference.networks import read
from ..preference.preference import Preference
from .gate import train_gate
from .pairs import make_pairs, match_tones
from .store import PairError
from .training import CPU, Teacher, flatten, train_distilled, train_judge, train_tone

SIGMAS = (0.1, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 14.0)
FEWEST_MATCHED = 8  # pictures per side and group


def held_out_curves(source, pairs, seed, sigmas, draws):
    """Held-out pairs -> accuracy [G, sigmas], mean confidence [G, sigmas] of the log-odds; equal if calibrated.

    Args:
        source: a trained network.
        pairs: the held-out Pairs.
        seed: of the noise.
        sigmas: noise levels.
        draws: noise samples per picture and sigma.
    """
    latents, side, group, _ = flatten(pairs)
    generator = torch.Generator().manual_seed(seed)
    right, sure = torch.zeros(2, len(pairs.latents), len(sigmas))
    for column, value in enumerate(sigmas):
        sigma = torch.full((len(latents),), value)
        for _ in range(draws):
            x = add_noise(latents, torch.randn(latents.shape, generator=generator), sigma)
            parts = zip(x.split(200), sigma.split(200), group.split(200), strict=True)
            log_odds = torch.cat([read(source, *part).log_odds.detach() for part in parts])
            right[:, column].index_add_(0, group, ((log_odds > 0) == side.bool()).float())
            sure[:, column].index_add_(0, group, log_odds.abs().sigmoid())
    each = draws * 2 * pairs.latents.shape[2]
    return right / each, sure / each


def accuracy_by_group(curves, pictures):
    """{group: {sigma: [accuracy, confidence]}} of `pictures` a group -> {group: {sigma: accuracy}}.

    It is the median of all groups, clamped to the group's own 95 % interval, since a few held-out pictures say little
    about one group.
    """
    settled = {group: {} for group in curves}
    for sigma in next(iter(curves.values())):
        own = {group: curve[sigma][0] for group, curve in curves.items()}
        middle = median(own.values())
        for group, accuracy in own.items():
            _, low, high = rate(round(accuracy * pictures), pictures)
            settled[group][sigma] = min(max(middle, low), high)
    return settled


def sight(accuracy, enough=0.95):
    """{sigma: held-out accuracy} -> the sigma up to which it is `enough`, interpolated in log sigma; 0 if nowhere."""
    points = sorted((float(sigma), share) for sigma, share in accuracy.items())
    if points[0][1] < enough:
        return 0.0
    for (low, first), (high, second) in pairwise(points):
        if second < enough:
            return low * (high / low) ** ((first - enough) / (first - second))
    return points[-1][0]


def split(pairs):
    """Pairs -> (those for training, the held-out ones: the last tenth of each group)."""
    cut = pairs.latents.shape[2] - max(1, pairs.latents.shape[2] // 10)
    return pairs.part(slice(cut)), pairs.part(slice(cut, None))


def matched_pictures(pairs, groups):
    """Pictures whose skin tones match -> (indices for `flatten`, by group the lightness gap before and after).

    Raises PairError if a group keeps too few.
    """
    count, keep, gaps = pairs.latents.shape[2], [], []
    for group, (sides, tones) in enumerate(zip(match_tones(pairs), pairs.lightness, strict=True)):
        if len(sides[0]) < FEWEST_MATCHED:
            raise PairError(
                f"Only {len(sides[0])} of {count} pairs of {groups[group]} have skin of the same tone on both sides, "
                f"and at least {FEWEST_MATCHED} are needed. Make more pairs, or choose phrases of the axis that do not "
                "change who is drawn."
            )
        keep += [(group * 2 + side) * count + index for side in (0, 1) for index in sides[side]]
        matched = [tone[own] for tone, own in zip(tones, sides, strict=True)]
        gaps.append([float(s.mean() - c.mean()) for s, c in (tones, matched)])
    return torch.tensor(keep), gaps


def learn(
    host, axis, count=200, seed=0, cfg=2.0, steps=2500, tone_steps=None, teacher_count=None, pairs=None, match=True,
    progress=None, **gate_others,
):  # fmt: skip
    """Learn a preference -> (Preference without calibration, Judge). Raises PairError if the pairs are not usable.

    Args:
        host: its functions encode, denoise, sample and decode.
        axis: Axis.
        count: pairs per group; a tenth is held out.
        seed, cfg: seed and CFG scale of the pairs.
        steps: of training the preference.
        tone_steps: of training the tone push, by default 2/5 of `steps`.
        teacher_count: number of the model's own pushes to learn from, by default 16/5 of `steps`.
        pairs: Pairs that are already sampled.
        match: learn the side only from pictures whose skin tones match.
        progress: `progress(stage, done, total)`, called after each step; may raise to stop.
        gate_others: for `gate_texts`.
    """
    tone_steps = steps * 2 // 5 if tone_steps is None else tone_steps
    teacher_count = steps * 16 // 5 if teacher_count is None else teacher_count
    pairs = pairs or make_pairs(host, axis, count, seed, cfg)
    count = pairs.latents.shape[2]
    if count < 2:
        raise PairError("A single pair a group leaves none to measure with; make at least 2, better 100.")
    own, held = split(pairs)
    keep, gaps = matched_pictures(own, axis.groups) if match else (None, None)
    teacher = Teacher(host, axis, own, teacher_count, seed, progress=progress)
    device = host.device
    tone = train_tone(host.space, own, tone_steps, seed, progress=progress, device=device)
    more = dict(keep=keep, progress=progress, device=device)
    source, figures = train_distilled(host.space, own, teacher, tone, steps, seed, axis.skin_region, **more)
    gate, gate_accuracy = train_gate(axis, host.encode, seed, **gate_others)
    judge, judge_accuracy = train_judge(own, seed, progress=progress, device=device)
    gap = [round(float(s.mean() - c.mean()), 2) for s, c in pairs.lightness]
    curves = torch.stack(held_out_curves(source, held, seed, SIGMAS, draws=4), dim=-1)  # [G, sigmas, 2]
    curves = {
        group: {str(sigma): [round(value, 3) for value in both] for sigma, both in zip(SIGMAS, own, strict=True)}
        for group, own in zip(axis.groups, curves.tolist(), strict=True)
    }
    pictures = 2 * held.latents.shape[2]
    training = {
        "pairs_a_side_and_group": count,
        "pictures_broken": pairs.broken,
        "cfg": cfg,
        "seed": seed,
        **{name: round(value, 4) for name, value in figures.items()},
        "held_out_pictures_a_group": pictures,
        "held_out_accuracy_and_confidence": curves,
        "sight": {group: round(sight(own), 3) for group, own in accuracy_by_group(curves, pictures).items()},
        "gate_held_out_accuracy": gate_accuracy,
        "judge_cross_fitted_accuracy": round(judge_accuracy, 4),
        "lightness_stereotype_minus_counter": dict(zip(axis.groups, gap, strict=True)),
        "validated_on": host.space,
    }
    if match:
        training["matched_pictures"] = len(keep)
        gaps = [[round(value, 2) for value in values] for values in gaps]
        training["lightness_gap_before_and_after_matching"] = dict(zip(axis.groups, gaps, strict=True))
    for network in (source, judge):
        place(network, CPU)
    if weak := weakness(training):
        training["weak"] = weak
    return Preference(axis, host.space, source, gate, training=training, name=axis.id, judge=judge), judge


def weakness(training):
    """What is weak about a preference according to its held-out figures, in a sentence, or ""."""
    curves, pictures = training["held_out_accuracy_and_confidence"], training["held_out_pictures_a_group"]
    weak = []
    for group, accuracy in accuracy_by_group(curves, pictures).items():
        settled = min(share for sigma, share in accuracy.items() if float(sigma) <= 1)
        own = min(share for sigma, (share, _) in curves[group].items() if float(sigma) <= 1)
        if max(settled, own) < 0.9:
            weak.append(f"{own:.0%} for {group}")
    if weak:
        found = f"of {pictures} nearly clean held-out pictures a group it tells the side only in {', '.join(weak)}"
        return f"{found} (0.90 is sound)"
    if not training["push_r2"] >= 0.5:
        return f"its push explains {training['push_r2']:.0%} of the model's own only (0.50 is sound); use more pairs"
    return ""
