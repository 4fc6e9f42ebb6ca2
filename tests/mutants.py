"""Are the method's own lines tested? Changes them one by one and runs the tests that should fail.

    python tests/mutants.py [text ...]     only mutants whose file or old text holds one of these texts

Exits with 1 if a mutant survives, or if its old text does not occur exactly once in its file. Nightly in CI.
"""

import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
import scipy.stats  # noqa: F401 - takes long, and tests import it
import torch

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("corrector", "axes", "weights", "tests", "pyproject.toml")
PINNED_WITH = {"hosts": "latents", "gate": "preference"}  # rooms whose pinned values are in another's file
RUN = "test_run.py"
THINNING = "test_thinning.py"
TONE = "test_tone.py"


class Mutant(NamedTuple):
    """A change of one line; without `tests`, those of the room's pinned values should fail."""

    file: str  # in corrector/
    old: str
    new: str
    tests: str = ""  # in tests/, separated by blanks; a word after :: selects as `-k` does


MUTANTS = [
    Mutant("correction/update.py", "MARGIN = 0.5", "MARGIN = 0.0"),
    Mutant("correction/update.py", "LEAST = 1.5", "LEAST = 1.0"),
    Mutant("correction/update.py", "LATE = 2.0", "LATE = 1.0"),
    Mutant("correction/update.py", "CLOSED = 0.5", "CLOSED = 0.4"),
    Mutant("correction/update.py", "return strength.expand(count)", "return strength.clamp(max=1).expand(count)"),
    Mutant("correction/update.py", "(sigma <= settings.window[0])", "(sigma < settings.window[0])"),
    Mutant("correction/update.py", "(sigma >= settings.window[1])", "(sigma > settings.window[1])"),
    Mutant("correction/update.py", "1 - closed**exponent", "1 - closed"),
    Mutant("correction/update.py", "min=CLOSED)).clamp(max=1)", "min=CLOSED))"),
    Mutant("correction/update.py", "(1 - decision.chance).square()", "(1 - decision.chance)"),
    Mutant("correction/update.py", "sigma[some].square())", "sigma[some])", "test_correction_maths.py"),
    Mutant("correction/update.py", "(settings.cap / size", "(0.5 * settings.cap / size"),
    Mutant("correction/update.py", "total * settings.mask", "settings.mask", "test_correction_properties.py"),
    Mutant("correction/update.py", "touched |= active", "touched = active"),
    Mutant("correction/decision.py", "STRONG = 0.75", "STRONG = 0.7"),
    Mutant("correction/decision.py", "self.strength >= STRONG", "self.strength > STRONG"),
    Mutant("correction/decision.py", "return self.active and", "return"),
    Mutant("correction/decision.py", "FAR = 2.0", "FAR = 1.9"),
    Mutant("correction/decision.py", "elif known and known.group", "elif False and known.group"),
    Mutant("correction/decision.py", "and known.target == target", ""),
    Mutant("correction/decision.py", "tone[members] = known.tone", "tone[members] = -known.tone", THINNING),
    Mutant("correction/decision.py", "members = members[~kept[members]]", "", RUN),
    Mutant("correction/decision.py", "if reading and not reading.open", "if False", THINNING),
    Mutant("correction/decision.py", "= known.chance(None", "= 1 - known.chance(None", THINNING),
    Mutant("correction/thinning.py", "SPARE = 0.005", "SPARE = 0.002"),
    Mutant("correction/thinning.py", "FIRST = (0.4, 1.1)", "FIRST = (0.35, 1.1)"),
    Mutant("correction/thinning.py", "FIRST = (0.4, 1.1)", "FIRST = (0.4, 1.2)"),
    Mutant("correction/thinning.py", "7919 + int(seed)", "7920 + int(seed)"),
    Mutant("correction/thinning.py", "+ 11) %", "+ 12) %"),
    Mutant("correction/thinning.py", "(-float(chances[index])", "(float(chances[index])", THINNING),
    Mutant("correction/thinning.py", "part > max(whole, 1e-6)", "part > 0.5", THINNING),
    Mutant("correction/thinning.py", "torch.where(shown, full_rate, chances)", "chances", RUN),
    Mutant("correction/thinning.py", "* guidance\n", "\n", "test_chances.py"),
    Mutant("correction/memory.py", "KEPT = 1024", "KEPT = 1025"),
    Mutant("correction/memory.py", "COMPARED = 128", "COMPARED = 129"),
    Mutant("correction/memory.py", "SIDE = 32", "SIDE = 48"),
    Mutant("correction/memory.py", "SMALLEST = 6", "SMALLEST = 5"),
    Mutant("correction/memory.py", "ALIKE = 0.75", "ALIKE = 0.7"),
    Mutant("correction/memory.py", "ALIKE_HERE = 0.0", "ALIKE_HERE = 0.05"),
    Mutant("correction/memory.py", "ALIKE_BATCH = 0.4", "ALIKE_BATCH = 0.45"),
    Mutant("correction/memory.py", "MARGIN = 0.05", "MARGIN = 0.0"),
    Mutant("correction/memory.py", "appendleft", "append", "test_memory.py"),
    Mutant("correction/run.py", "max(strength, earlier.strength", "min(strength, earlier.strength"),
    Mutant("correction/run.py", "> 0.1 * last", "> 0.01 * last"),
    Mutant("correction/run.py", "level >= first > 0", "level > 0", RUN),
    Mutant("correction/run.py", "if group >= 0 or earlier is None", "if True"),
    Mutant("correction/run.py", "unprompted + cfg * (", "unprompted + ("),
    Mutant("learning/tone.py", "CERTAIN = 4.0", "CERTAIN = 5.0"),
    Mutant("learning/tone.py", "FLAT = 0.1", "FLAT = 0.05"),
    Mutant("learning/tone.py", "RIDGE = 0.1", "RIDGE = 0.2"),
    Mutant("learning/tone.py", "RISE = 0.7", "RISE = 0.5"),
    Mutant("learning/tone.py", "MOST_TONE = 8.0", "MOST_TONE = 9.0"),
    Mutant("learning/tone.py", "POWERS = (0.5, 1.0)", "POWERS = (0.4, 1.0)"),
    Mutant("learning/tone.py", "POWERS = (0.5, 1.0)", "POWERS = (0.5, 1.2)"),
    Mutant("learning/tone.py", "TILT = 0.079", "TILT = 0.08"),
    Mutant("learning/tone.py", "1.0, -1.0)", "-1.0, 1.0)", TONE),
    Mutant("learning/points.py", "FROM_NOISE = 0.4", "FROM_NOISE = 0.5"),
    Mutant("learning/points.py", "UNGUIDED = 0.4", "UNGUIDED = 0.3"),
    Mutant("learning/points.py", "MOST_CFG = 9.0", "MOST_CFG = 8.0"),
    Mutant("learning/points.py", "ANCESTRAL = 0.8", "ANCESTRAL = 0.7"),
    Mutant("learning/points.py", "PICTURES_FROM = 2.0", "PICTURES_FROM = 3.0"),
    Mutant("learning/points.py", "min=0.05 *", "min=0.01 *"),
    Mutant("learning/points.py", "- counter) / s ", "- counter) "),
    Mutant("learning/points.py", "strength * belief)", "strength)"),
    Mutant("learning/pairs.py", "BROKEN = 0.05", "BROKEN = 0.06"),
    Mutant("learning/pairs.py", "broken > BROKEN", "broken >= BROKEN"),
    Mutant("learning/pairs.py", "WHOLE = 0.75", "WHOLE = 0.6"),
    Mutant("learning/pairs.py", '{seed} {group} {number}"', '{seed} {number}"'),
    Mutant("learning/training.py", "HELD = 0.06", "HELD = 0.1"),
    Mutant("learning/training.py", "< 3 * MOST_CELLS", "<= 3 * MOST_CELLS"),
    Mutant("learning/training.py", "max(8, batch", "max(4, batch"),
    Mutant("learning/training.py", "(fold != index)", "(fold >= 0)"),
    Mutant("learning/training.py", "push, closed - update", "push, closed", "test_learning.py::world"),
    Mutant("learning/calibrate.py", "FEWEST = 24", "FEWEST = 25"),
    Mutant("learning/calibrate.py", "COUNTER, TRIAL = 2, 3", "COUNTER, TRIAL = 3, 3"),
    Mutant("learning/calibrate.py", "TRIAL_TONE = 1.5", "TRIAL_TONE = 2.0", "test_learning.py::drift_of_skin"),
    Mutant("learning/calibrate.py", "OTHER_CFG = (2.0, 7.0)", "OTHER_CFG = (2.0, 5.0)", "test_learning.py::distant"),
    Mutant("preference/networks.py", "LOWEST_SIGMA = 0.15", "LOWEST_SIGMA = 0.2"),
    Mutant("preference/networks.py", "MOST_CELLS = 32", "MOST_CELLS = 33"),
    Mutant("preference/networks.py", ".clamp(max=1).square(), tone)", ".clamp(max=1), tone)"),
    Mutant("preference/networks.py", "** (self.rise / 2)", "** self.rise"),
    Mutant("preference/networks.py", "known == sigma", "known >= sigma"),
    Mutant("preference/calibration.py", "HARMED = 1.0", "HARMED = 1.1"),
    Mutant("preference/calibration.py", "and self.base_rate < 0.5", ""),
    Mutant("preference/calibration.py", "BEYOND = 0.6", "BEYOND = 0.5"),
    Mutant("preference/calibration.py", "SPREAD = 0.1", "SPREAD = 0.12"),
    Mutant("preference/calibration.py", "RUINED = 1.5", "RUINED = 1.6"),
    Mutant("preference/calibration.py", "TONE_DRIFT = 2.0", "TONE_DRIFT = 2.2"),
    Mutant("preference/calibration.py", "UNSURE = 0.1", "UNSURE = 0.2"),
    Mutant("preference/calibration.py", "self.lean_slope * lean)", "lean)"),
    Mutant("preference/networks.py", ".mean(dim=0)", ".sum(dim=0)"),
    Mutant("preference/networks.py", "(sides == sides[0])", "(sides == sides)"),
    Mutant("gate/prompt_gate.py", "ALMOST = 0.3", "ALMOST = 0.35"),
    Mutant("gate/prompt_gate.py", "in_scope=0.8", "in_scope=0.7"),
    Mutant("gate/prompt_gate.py", "asked=0.5", "asked=0.6"),
    Mutant("gate/prompt_gate.py", "self.group != OUT_OF_SCOPE and", ""),
    Mutant("latents/spaces.py", '"sd15", 4, 0.18215', '"sd15", 4, 0.18'),
    Mutant("latents/spaces.py", "1.5305, 0.0609", "1.5305, 0.0"),
    Mutant("latents/spaces.py", "return ratio.clamp(min=1e-4).log() / 4", "return ratio.clamp(min=1e-4).log()"),
    Mutant("latents/spaces.py", "% len(mask)].clamp(0, 1)", "% len(mask)]"),
    Mutant("latents/skin.py", "SKIN_MARGIN = 0.1", "SKIN_MARGIN = 0.2"),
    Mutant("latents/fingerprint.py", "ALIKE = 0.004", "ALIKE = 0.01"),
    Mutant("latents/statistics.py", "RENOISED = 0.5", "RENOISED = 0.6"),
    Mutant("latents/statistics.py", "level=0.95", "level=0.9"),
    Mutant("hosts/schedulers.py", "LEAST_ALPHA = 2**-24", "LEAST_ALPHA = 2**-20"),
    Mutant("hosts/schedulers.py", "1 / math.sqrt(sigma**2 + 1)", "1.0"),
    Mutant("hosts/schedulers.py", "(1 - squared) / squared", "1 / squared"),
]  # fmt: skip


def main(texts):
    chosen = [mutant for mutant in MUTANTS if not texts or any(text in mutant.file + mutant.old for text in texts)]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, copy / name)
        for tests in sorted({tests_of(mutant) for mutant in chosen}):
            if not passes(copy, tests):
                raise RuntimeError(f"{tests} fails without a mutant; mend it first.")
        outcomes = [outcome(copy, mutant) for mutant in chosen]
    print(f"{outcomes.count('killed')} of {len(outcomes)} mutants are killed.")
    return int(set(outcomes) != {"killed"})


def outcome(copy: Path, mutant: Mutant) -> str:
    """Change the copy, run the tests, and change it back -> "killed", "SURVIVED" or how often the old text occurs."""
    path = copy / "corrector" / mutant.file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if (times := text.count(mutant.old)) != 1:
        result = f"OLD TEXT OCCURS {times} TIMES"
    else:
        path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        result = "SURVIVED" if passes(copy, tests_of(mutant)) else "killed"
        path.write_text(text, encoding="utf-8")
    print(f"{result}: {mutant.file}: {mutant.old.strip()!r} -> {mutant.new.strip()!r}", flush=True)
    return result


def tests_of(mutant: Mutant) -> str:
    room = mutant.file.split("/")[0]
    return mutant.tests or f"test_pinned_{PINNED_WITH.get(room, room)}.py"


def passes(copy: Path, tests: str) -> bool:
    """Whether tests pass in the copy, in a fork of this process, which has imported what takes long."""
    process = multiprocessing.get_context("fork").Process(target=run, args=(copy, tests))
    process.start()
    process.join()
    if process.exitcode not in (0, 1):
        raise RuntimeError(f"The tests {tests} could not be run; run them in the repository.")
    return process.exitcode == 0


def run(copy: Path, tests: str) -> None:
    os.chdir(copy)
    sys.dont_write_bytecode = True
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    files, _, selected = tests.partition("::")
    names = [f"tests/{name}" for name in files.split()]
    sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *(["-k", selected] if selected else []), *names]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1:]))
