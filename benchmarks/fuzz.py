"""Fuzzing: damaged files and strange arguments, seeded, and the use of whatever loads.

    python -m benchmarks.fuzz --kinds preference axis --count 10000 --seed 1

Only RSCorrectorError may come out, within a second and 64 MB, and no NaN. Prints a table and every other exception with
its seed; `--only N` repeats one case with its traceback.
"""

import argparse
import logging
import random
import resource
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.fuzz_arguments import Arguments
from benchmarks.fuzz_files import FILES
from corrector.files.errors import LONGEST, RSCorrectorError

KINDS = {**FILES, "arguments": Arguments}
SLOW = 1.0  # CPU seconds, which do not depend on what else runs
MUCH = 64  # MB
ADDRESSES = 8 * 2**30  # bytes


@dataclass
class Result:
    """What came out of the cases of one kind."""

    tried: int = 0
    refused: int = 0
    found: list = field(default_factory=list)  # (what, number of the case, where or how much)

    def count(self, what):
        return sum(kind == what for kind, *_ in self.found)


def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fuzz(kind, count, seed=0, first=0, said=None):
    """Try `count` cases of a kind -> Result. `said(case, exception)` is called for each exception that is foreign."""
    result = Result()
    with tempfile.TemporaryDirectory() as folder:
        one = KINDS[kind](Path(folder))
        for number in range(-5, 0):  # imports take their time and memory
            rng = random.Random(number)
            _try(one, rng, one.damaged(rng), number, Result(), None)
        for number in range(first, first + count):
            rng = random.Random(f"{kind} {seed} {number}")
            case = one.damaged(rng)
            _try(one, rng, case, number, result, said)
    return result


def _try(one, rng, case, number, result, said):
    result.tried += 1
    before, start = megabytes(), time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not one.use(rng, case):
                result.found.append(("NaN", number, ""))
    except RSCorrectorError as refusal:
        result.refused += 1
        if not str(refusal) or len(str(refusal)) > LONGEST:
            result.found.append(("message", number, str(refusal)[:100]))
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "site-packages" not in frame.filename][-1]
        result.found.append(("foreign", number, f"{type(error).__name__} {Path(own.filename).name}:{own.lineno}"))
        if said:
            said(number, error)
    if (took := time.process_time() - start) > SLOW:
        result.found.append(("slow", number, f"{took:.1f} s"))
    if (more := megabytes() - before) > MUCH:
        result.found.append(("memory", number, f"{more:.0f} MB"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one case")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)  # of diffusers and peft, about each LoRA
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))  # a hungry case must not end the machine
    print(f"{'kind':<12}{'tried':>8}{'refused':>9}{'foreign':>9}{'slow':>6}{'memory':>8}{'NaN':>5}{'seconds':>9}")
    for kind in args.kinds:
        start = time.time()
        if args.only is not None:
            fuzz(kind, 1, args.seed, args.only, lambda number, error: traceback.print_exception(error))
            continue
        found = fuzz(kind, args.count, args.seed)
        counts = [found.count(what) for what in ("foreign", "slow", "memory", "NaN")]
        print(f"{kind:<12}{found.tried:>8}{found.refused:>9}{counts[0]:>9}{counts[1]:>6}{counts[2]:>8}{counts[3]:>5}"
              f"{time.time() - start:>9.0f}", flush=True)  # fmt: skip
        for (what, where), times in Counter((w, p) for w, _, p in found.found).most_common(30):
            number = next(n for w, n, p in found.found if (w, p) == (what, where))
            print(f"    {times} x {what}: {where} (first in case {number})", flush=True)


if __name__ == "__main__":
    main()
