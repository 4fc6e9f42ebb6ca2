"""Prints the README's tables: `python benchmarks/readme_table.py FILE`, with FILE from `benchmarks/miniature.py`."""

import argparse
import json
from pathlib import Path

AXES = {"backdrop": ("village", "city"), "attire": ("traditional", "modern")}
TARGETS = (0.25, 0.5, 0.75)


def interval(row, sign=""):
    return "{:{s}.3f} [{:{s}.3f}, {:{s}.3f}]".format(*(row[name] for name in ("value", "low", "high")), s=sign)


def line(*cells):
    return "| " + " | ".join(cells) + " |"


def header(*names):
    return [line(*names), "|" + "---|" * len(names)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    rows = json.loads(parser.parse_args().file.read_text())
    first = header(
        "axis, group", "plain stereotype rate", "corrected, strength 1", "group kept", "skin L* drift",
        "change of fine pictures", "Frechet distance over plain's",
    )  # fmt: skip
    second = header("axis, group", "plain share", *(f"target {target}" for target in TARGETS))
    third = header("axis", "figure", "group", "value", "n")
    for axis, (side, counter) in AXES.items():
        every = [row for row in rows if row.get("axis") == axis]
        for group in [row["group"] for row in every if row["figure"] == f"{axis}: skin L* drift, points"]:
            own = {row["figure"].removeprefix(f"{axis}: "): row for row in every if row["group"] == group}
            plain = {row["figure"]: row for row in rows if row["group"] == group and "axis" not in row}
            fine = own["change of fine images, RMS"]
            first.append(
                line(
                    f"{axis}, {group}",
                    f"{plain[f'plain: {side}']['value']:.3f}",
                    interval(own[f"strength 1: {side}"]),
                    f"{own['strength 1: group kept']['value']:.3f}",
                    interval(own["skin L* drift, points"], "+"),
                    f"{fine['value']:.3f} (n = {fine['n']})",
                    f"{own['Frechet distance, over plain' + chr(39) + 's']['value']:.2f}",
                )
            )
            shares = [own.get(f"target {target}: {counter}") for target in TARGETS]
            cells = [interval(share) if share else "left alone" for share in shares]
            second.append(line(f"{axis}, {group}", f"{1 - plain[f'plain: {side}']['value']:.3f}", *cells))
        for row in every:
            name = row["figure"].removeprefix(f"{axis}: ")
            if any(part in name for part in ("out of scope", "sd of", "asked for")):
                third.append(line(axis, name, row["group"], interval(row), str(row["n"])))
    print("\n".join([*first, "", *second, "", *third]))


if __name__ == "__main__":
    main()
