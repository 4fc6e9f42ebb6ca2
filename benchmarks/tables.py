"""Rows and tables of the benchmarks' figures, and what several of them count."""


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
