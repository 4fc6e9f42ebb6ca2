"""From an axis to a preference, by nothing but the host's own pictures: pairs, networks, gate, judge, and what is known
of them on held-out pairs.
"""

from itertools import pairwise
from statistics import median

import torch

from ..latent_space.devices import place
from ..latent_space.spaces import add_noise
from ..latent_space.statistics import rate
from ..preference.networks import read
from ..preference.preference import Preference
from .gate import train_gate
from .pairs import Pairs, make_pairs, match_tones
from .store import PairError
from .training import CPU, Teacher, flatten, train_distilled, train_judge, train_tone


def held_out_curves(source, pairs, seed, sigmas, draws=1):
    """What the log-odds make of held-out pairs -> accuracy [G, sigmas], mean confidence [G, sigmas].

    Log-odds are calibrated where the two are the same: of what is read with 80 % confidence, 80 % is right. `draws` of
    noise for each picture and sigma.
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


SIGMAS = (0.1, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 14.0)


def curves_by_group(source, pairs, groups, seed, sigmas=SIGMAS, draws=4):
    """Held-out pairs -> {group: {sigma: [accuracy, mean confidence]}}; calibrated where the two are the same."""
    curves = torch.stack(held_out_curves(source, pairs, seed, sigmas, draws), dim=-1)  # [G, sigmas, 2]
    return {
        group: {
            str(sigma): [round(value, 3) for value in both.tolist()] for sigma, both in zip(sigmas, own, strict=True)
        }
        for group, own in zip(groups, curves, strict=True)
    }


def accuracy_by_group(curves, pictures):
    """{group: {sigma: [accuracy, confidence]}} of `pictures` a group -> {group: {sigma: accuracy}}.

    A group's accuracy is the median of all groups, moved into the group's own 95 % interval where it lies outside: a
    few held-out pictures say little of one group.
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
    """{sigma: held-out accuracy} -> the sigma up to which it is `enough`, on a line in log sigma; 0 if nowhere.

    Up to there confidence is at most 1 - `enough` above accuracy.
    """
    points = sorted((float(sigma), share) for sigma, share in accuracy.items())
    if points[0][1] < enough:
        return 0.0
    for (low, first), (high, second) in pairwise(points):
        if second < enough:
            return low * (high / low) ** ((first - enough) / (first - second))
    return points[-1][0]


def split(pairs, held):
    """Pairs -> (the first ones for training, the last `held` of each group and side for measuring)."""
    cut = pairs.latents.shape[2] - held
    return (
        Pairs(pairs.latents[:, :, :cut], pairs.lightness[:, :, :cut], pairs.seeds[:, :cut]),
        Pairs(pairs.latents[:, :, cut:], pairs.lightness[:, :, cut:], pairs.seeds[:, cut:]),
    )


FEWEST_MATCHED = 8  # pictures a side and group, below which nothing can be learned


def matched_pictures(pairs, groups):
    """Pictures of both sides with the same skin tones -> (indices for `flatten`, lightness by group before and after).

    Raises PairError where a group keeps too few.
    """
    count, keep, tones = pairs.latents.shape[2], [], []
    for group, sides in enumerate(match_tones(pairs)):
        if len(sides[0]) < FEWEST_MATCHED:
            raise PairError(
                f"Only {len(sides[0])} of {count} pairs of {groups[group]} have skin of the same tone on both sides, "
                f"and at least {FEWEST_MATCHED} are needed. Make more pairs, or choose phrases of the axis that do not "
                "change who is drawn."
            )
        keep += [(group * 2 + side) * count + index for side in (0, 1) for index in sides[side]]
        gap = [pairs.lightness[group, side] for side in (0, 1)]
        after = [tone[sides[side]] for side, tone in enumerate(gap)]
        tones.append([float(s.mean() - c.mean()) for s, c in (gap, after)])
    return torch.tensor(keep), tones


def learn(
    host,
    axis,
    count=200,
    seed=0,
    cfg=2.0,
    steps=2500,
    tone_steps=None,
    teacher_count=None,
    pairs=None,
    match=True,
    progress=None,
    **gate_others,
):
    """From an axis to a preference, by nothing but the host's own pictures -> (Preference not calibrated, Judge).

    `count` pairs a side and group, a tenth of them held out; `steps` of training, from which follow, unless given,
    those of the tone push (2/5) and the number of the teacher's pushes (16/5); `pairs`, where they are made already;
    `match`: the side is learned only from pictures whose tones of skin have a partner on the other side, half or
    more of them; `progress(stage, done, total)`; `gate_others` goes to `gate_texts`.
    Raises PairError where the pairs will not do.
    """
    tone_steps = steps * 2 // 5 if tone_steps is None else tone_steps
    teacher_count = steps * 16 // 5 if teacher_count is None else teacher_count
    pairs = pairs or make_pairs(host, axis, count, seed, cfg)
    count = pairs.latents.shape[2]
    if count < 2:
        raise PairError("A single pair a group leaves none to measure with; make at least 2, better 100.")
    own, held = split(pairs, max(1, count // 10))
    keep, tones = matched_pictures(own, axis.groups) if match else (None, None)
    teacher = Teacher(host, axis, own, teacher_count, seed, progress=progress)
    device = host.device
    tone = train_tone(host.space, own, tone_steps, seed, progress=progress, device=device)
    source, figures = train_distilled(
        host.space, own, teacher, tone, steps, seed, axis.skin_region, keep=keep, progress=progress,
        device=device,
    )  # fmt: skip
    gate, gate_accuracy = train_gate(axis, host.encode, seed, **gate_others)
    judge, judge_accuracy = train_judge(own, seed, progress=progress, device=device)
    gap = [round(float(s.mean() - c.mean()), 2) for s, c in pairs.lightness]
    curves, pictures = curves_by_group(source, held, axis.groups, seed), 2 * held.latents.shape[2]
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
        training["lightness_gap_before_and_after_matching"] = {
            group: [round(value, 2) for value in values] for group, values in zip(axis.groups, tones, strict=True)
        }
    for network in (source, judge):
        place(network, CPU)
    weak = weakness(training)
    if weak:
        training["weak"] = weak
    return Preference(axis, host.space, source, gate, training=training, name=axis.id, judge=judge), judge


def weakness(training):
    """What is weak about a preference, in a sentence, or "": from its held-out figures."""
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
