"""Two dependent axes: `python benchmarks/dependent_axes.py --json FILE`.

The miniature's axes are independent within a group. This is a mixture of four Gaussians, one per pair of sides, in
which both preferences are exact: stereotype shares 0.9 and 0.7, and a correlation phi between the axes. It measures how
correcting one axis affects the other, and the effect of adding both drifts.
"""

import argparse
import json
import math
import sys
from itertools import pairwise
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import tables  # noqa: E402
from corrector.auditing import statistics as audit  # noqa: E402
from corrector.correction.decision import Decision  # noqa: E402
from corrector.correction.update import drift  # noqa: E402
from corrector.preference.networks import Reading  # noqa: E402

WAYS = (("plain", ()), ("first corrected", (0,)), ("second corrected", (1,)), ("both corrected", (0, 1)))
SHARES, SPREAD = (0.9, 0.7), 0.5  # stereotype shares of the two axes; spread of each Gaussian around -1.5 and 1.5
COUNTER = torch.tensor([[1, 1], [1, 0], [0, 1], [0, 0]], dtype=torch.float64)  # the four Gaussians' sides, by axis
MEANS = 1.5 * (2 * COUNTER - 1)


class World:
    """Four Gaussians in the plane. `phi`: correlation between the sides of the two axes; 0 if independent."""

    def __init__(self, phi):
        first, second = SHARES
        both = first * second + phi * (first * (1 - first) * second * (1 - second)) ** 0.5
        self.weights = torch.tensor([1 - first - second + both, second - both, first - both, both], dtype=torch.float64)
        if self.weights.min() < 0:
            raise ValueError(f"Shares of {first} and {second} cannot have a correlation of {phi}.")

    def parts(self, x, sigma):
        """Log densities [B, 4] and denoised [B, 4, 2] of the four Gaussians at x [B, 2]."""
        variance = SPREAD**2 + sigma**2
        away = x[:, None] - MEANS
        return -away.square().sum(dim=2) / (2 * variance), MEANS + SPREAD**2 / variance * away

    def denoised(self, x, sigma, some=None):
        """E[x0 | x] of all four Gaussians, or of those in the mask `some` [4] -> (denoised [B, 2], log density [B])."""
        weights = self.weights if some is None else self.weights * some
        density, each = self.parts(x, sigma)
        density = density + (weights / weights.sum()).log()
        return (density.softmax(dim=1)[..., None] * each).sum(dim=1), density.logsumexp(dim=1)

    def preference(self, axis, x, sigma):
        """The exact Reading of one axis, which a network would learn from pairs of its two sides."""
        counter, stereotype = (self.denoised(x, sigma, COUNTER[:, axis] == side) for side in (1, 0))
        push = (counter[0] - stereotype[0])[:, :, None, None]
        odds = math.log((1 - SHARES[axis]) / SHARES[axis])  # of the counter side, of all pictures
        return Reading((counter[1] - stereotype[1] + odds).float(), push.float())

    def sample(self, noise, axes, steps=200):
        """Integrate the probability flow by Heun's method, with the drifts of `axes` added -> x0 [B, 2]."""
        levels = torch.logspace(1.9, -3, steps, dtype=torch.float64)
        count, x = len(noise), levels[0] * noise

        def slope(x, sigma):
            denoised = self.denoised(x, sigma)[0]
            for axis in axes:
                nothing = torch.zeros(count)
                decision = Decision(nothing == 0, torch.zeros(count, dtype=torch.long), nothing, nothing)
                added = drift(self.preference(axis, x, sigma), decision, 1.0)
                denoised = denoised + added[:, :, 0, 0]
            return (x - denoised) / sigma

        for sigma, following in pairwise(levels):
            first = slope(x, sigma)
            ahead = x + (following - sigma) * first
            x = x + (following - sigma) * (first + slope(ahead, following)) / 2
        return x


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=50_000_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    noise = torch.randn(args.n, 2, generator=torch.Generator().manual_seed(args.seed), dtype=torch.float64)
    rows = []
    for phi in (0.0, 0.25, 0.5):
        world = World(phi)
        for name, axes in WAYS:
            stereotype = (world.sample(noise, axes) < 0).sum(dim=0).tolist()
            for axis, count in zip(("first", "second"), stereotype, strict=True):
                title = f"phi {phi}, {name}: {axis} axis"
                rows.append(tables.row(title, "four Gaussians", audit.rate(count, args.n), args.n, args.seed))
    print(tables.table(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
