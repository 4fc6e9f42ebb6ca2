"""Rows and tables of the benchmarks' figures, and what several of them count."""

import numpy as np
import torch


def row(figure, group, measured, n, seed, **more):
    """One row of a benchmark's table; `measured` is (value, low, high)."""
    value, low, high = measured
    numbers = {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4)}
    return {"figure": figure, "group": group, **numbers, "n": int(n), "seed": seed, **more}


def table(rows):
    """Rows of `row` -> a text table."""
    lines = [f"{'figure':<44}{'group':<10}{'value':>9}  {'95 % interval':<20}{'n':>6}"]
    for r in rows:
        interval = f"[{r['low']:.3f}, {r['high']:.3f}]"
        lines.append(f"{r['figure']:<44}{r['group']:<10}{r['value']:>9.3f}  {interval:<20}{r['n']:>6}")
    return "\n".join(lines)


def stereotype_count(labels, stereotype):
    """Number of pictures that show the stereotype; unreadable pictures count as failures, i.e. as the stereotype."""
    return sum(label in (stereotype, "unreadable") for label in labels)


def draw_wanted(host, draw, scenes):
    """Draw and encode scenes of the miniature's world -> latents [N, C, H, W], the reference of quality figures."""
    pictures = np.stack([draw(scene) for scene in scenes])
    tensor = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    return host.encode_pictures(tensor)
