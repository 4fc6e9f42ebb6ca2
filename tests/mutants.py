"""Are the method's own lines tested? Changes them one by one and runs the tests that should fail.

    python tests/mutants.py [text ...]     only mutants whose file or old text holds one of these texts
    python tests/mutants.py --check        whether each old text occurs exactly once in its file, without any tests

Exits with 1 if a mutant survives, or if its old text does not occur exactly once in its file. Nightly in CI.
"""

import contextlib
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("corrector", "axes", "weights", "tests", "pyproject.toml")
SLOW_IMPORTS = ("scipy.stats", "skimage.color", "diffusers.schedulers.scheduling_dpmsolver_multistep")
QUICK = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:unraisableexception", "--assert=plain")
TESTS = {
    "axis/axis.py": "asked", "correction/asked.py": "asked", "correction/kept_skin.py": "pinned_finish kept_skin",
    "correction/decision.py": "pinned_correction pinned_finish run", "correction/run_skin.py": "pinned_finish run",
    "correction/first_look.py": "pinned_correction chances",
    "correction/run.py": "pinned_correction pinned_finish run", "correction/update.py": "pinned_correction asked",
    "correction/verdict.py": "verdict", "preference/calibration.py": "pinned_preference pinned_finish",
    "preference/preference.py": "pinned_preference pinned_correction",
    "gate/listed.py": "listed", "gate/plain_words.py": "listed",
}  # fmt: skip
PINNED_WITH = {"hosts": "latents", "gate": "preference"}  # rooms whose pinned values are in another's file


class Mutant(NamedTuple):
    """A change of one line; the tests of its room's pinned values should fail."""

    file: str  # in corrector/
    old: str
    new: str


MUTANTS = [
    Mutant("correction/update.py", "return strength.expand(count)", "return strength.clamp(max=1).expand(count)"),
    Mutant("correction/update.py", "(sigma <= self.window[0])", "(sigma < self.window[0])"),
    Mutant("correction/asked.py", "asked = sigma >= CLOSED", "asked = sigma < CLOSED"),
    Mutant("correction/asked.py", "x = aim + following / level", "x = aim + 0.5 * following / level"),
    Mutant("correction/asked.py", ".nan_to_num(0, 0, 0)", ""),
    Mutant("correction/verdict.py", "for sign in (1, -1)[:noises]:", "for sign in (1, 1)[:noises]:"),
    Mutant("correction/kept_skin.py", "near[0] / near[1]", "near[1] / near[0]"),
    Mutant("correction/kept_skin.py", "there * _grown(elsewhere, reach)", "there"),
    Mutant("correction/update.py", "(sigma >= self.window[1])", "(sigma > self.window[1])"),
    Mutant("correction/update.py", "total = total * expand(strength, total)", "pass"),
    Mutant("correction/update.py", " & (strength > 0)", ""),
    Mutant("correction/update.py", "(settings.cap / size", "(0.5 * settings.cap / size"),
    Mutant("correction/update.py", "total * settings.mask", "settings.mask"),
    Mutant("correction/update.py", "touched |= active", "touched = active"),
    Mutant("correction/update.py", "decision.active & inside", "inside"),
    Mutant("correction/decision.py", "STRONG = 0.75", "STRONG = 0.7"),
    Mutant("correction/decision.py", "self.strength >= STRONG", "self.strength > STRONG"),
    Mutant("correction/decision.py", "return self.active and", "return"),
    Mutant("correction/decision.py", "if past and past.group != groups[index]", "if False"),
    Mutant("correction/decision.py", "elif past and past.target == target", "elif False"),
    Mutant("correction/decision.py", "past and past.target == target", "past"),
    Mutant("correction/decision.py", "past is not None and past.shows_counter_side", "False"),
    Mutant("correction/decision.py", "= past.active, past.reason", "= True, past.reason"),
    Mutant("correction/decision.py", "members = members[~decided[members]]", ""),
    Mutant("correction/decision.py", "if reading and not reading.open", "if False"),
    Mutant("correction/thinning.py", "SPARE_SHARE = 0.005", "SPARE_SHARE = 0.002"),
    Mutant("correction/first_look.py", "FIRST_SIGMAS = (0.4, 1.1)", "FIRST_SIGMAS = (0.35, 1.1)"),
    Mutant("correction/first_look.py", "FIRST_SIGMAS = (0.4, 1.1)", "FIRST_SIGMAS = (0.4, 1.2)"),
    Mutant("correction/thinning.py", "7919 + int(seed)", "7920 + int(seed)"),
    Mutant("correction/thinning.py", "+ 11) %", "+ 12) %"),
    Mutant("correction/thinning.py", "(-float(chances[index])", "(float(chances[index])"),
    Mutant("correction/thinning.py", "part > max(batch_coin, 1e-6)", "part > 0.5"),
    Mutant("correction/thinning.py", "clamp(min=level)", "clamp(min=target_count)"),
    Mutant("correction/thinning.py", ".sum() * 997.0", ".sum() * 99.0"),
    Mutant("correction/thinning.py", "calibration.lean_spread * noise", "noise"),
    Mutant("correction/thinning.py", "torch.where(shown, full_rate, chances)", "chances"),
    Mutant("correction/memory.py", "REMEMBERED_PICTURES = 1024", "REMEMBERED_PICTURES = 1025"),
    Mutant("correction/memory.py", "GRID = 8", "GRID = 9"),
    Mutant("correction/memory.py", "PICTURES_ALIKE = 0.85", "PICTURES_ALIKE = 0.83"),
    Mutant("correction/memory.py", "PICTURES_ALIKE = 0.85", "PICTURES_ALIKE = 0.87"),
    Mutant("correction/memory.py", "JOB_ALIKE = 0.2", "JOB_ALIKE = 0.18"),
    Mutant("correction/memory.py", "JOB_ALIKE = 0.2", "JOB_ALIKE = 0.22"),
    Mutant("correction/memory.py", "picture.context == context", "picture.context != context"),
    Mutant("correction/memory.py", ".round(decimals=2)", ""),
    Mutant("correction/memory.py", "extendleft", "extend"),
    Mutant("correction/memory.py", "(latents * shown, GRID)", "(latents, GRID)"),
    Mutant("correction/run.py", "max(strength, earlier.strength", "min(strength, earlier.strength"),
    Mutant("correction/run.py", "> 0.1 * last", "> 0.01 * last"),
    Mutant("correction/run.py", "bool((start - start[:, :, :1, :1]).any())", "True"),
    Mutant("correction/run.py", "self._earlier = before.decided()", "pass"),
    Mutant("correction/run.py", "if group >= 0 or earlier is None", "if True"),
    Mutant("correction/run.py", "unprompted + cfg * (", "unprompted + ("),
    Mutant("learning/points.py", "FROM_NOISE = 0.4", "FROM_NOISE = 0.5"),
    Mutant("learning/points.py", "RUN_POINTS = 6", "RUN_POINTS = 5"),
    Mutant("learning/points.py", "NOISE_SIGMA = 14.6", "NOISE_SIGMA = 14.0"),
    Mutant("learning/points.py", "((0.3, torch", "((0.4, torch"),
    Mutant("learning/points.py", "(0.8, part)", "(0.7, part)"),
    Mutant("learning/points.py", "UNGUIDED = 0.4", "UNGUIDED = 0.3"),
    Mutant("learning/points.py", "RUN_CFG = 9.0", "RUN_CFG = 8.0"),
    Mutant("learning/points.py", "RENEWED_NOISE = 0.8", "RENEWED_NOISE = 0.7"),
    Mutant("learning/points.py", "PICTURE_SIGMA = 2.0", "PICTURE_SIGMA = 3.0"),
    Mutant("learning/points.py", "min=0.05 *", "min=0.01 *"),
    Mutant("learning/store.py", "BROKEN_SHARE = 0.05", "BROKEN_SHARE = 0.06"),
    Mutant("learning/store.py", "broken > BROKEN_SHARE", "broken >= BROKEN_SHARE"),
    Mutant("learning/pairs.py", "WHOLE_PAIRS = 0.75", "WHOLE_PAIRS = 0.6"),
    Mutant("learning/pairs.py", '{seed} {group} {number}"', '{seed} {number}"'),
    Mutant("learning/training.py", "HELD_OUT_RUNS = 0.06", "HELD_OUT_RUNS = 0.1"),
    Mutant("learning/training.py", "MOST_CELLS = 32", "MOST_CELLS = 33"),
    Mutant("learning/training.py", "< 3 * MOST_CELLS", "<= 3 * MOST_CELLS"),
    Mutant("learning/training.py", "max(8, batch", "max(4, batch"),
    Mutant("learning/calibrate.py", '"unsure": 0.5', '"unsure": 1.0'),
    Mutant("preference/preference.py", "FAR_CFG = 2.0", "FAR_CFG = 1.9"),
    Mutant("preference/preference.py", "scales = calibrated or", "scales ="),
    Mutant("learning/calibrate.py", "FAR_CFGS = (2.0, 7.0)", "FAR_CFGS = (2.0, 5.0)"),
    Mutant("learning/calibrate.py", "ends[0] / ends[1]", "ends[1] / ends[0]"),
    Mutant("learning/calibrate.py", "(errors[0] - errors[1])", "(errors[1] - errors[0])"),
    Mutant("learning/chances.py", "PRIOR_SLOPE = 4.0", "PRIOR_SLOPE = 2.0"),
    Mutant("learning/chances.py", "guided / slope", "slope / guided"),
    Mutant("learning/chances.py", "np.square(common - usual)", "0"),
    Mutant("learning/chances.py", "lean.std(ddof=1)", "lean.std(ddof=0)"),
    Mutant("preference/calibration.py", "EXTRAPOLATED = 0.6", "EXTRAPOLATED = 0.5"),
    Mutant("preference/calibration.py", "SPREAD_DEVIATES = 0.1", "SPREAD_DEVIATES = 0.12"),
    Mutant("preference/calibration.py", "RUINED = 1.5", "RUINED = 1.6"),
    Mutant("preference/calibration.py", "TONE_DRIFT = 2.0", "TONE_DRIFT = 2.2"),
    Mutant("preference/calibration.py", "UNSURE = 0.1", "UNSURE = 0.2"),
    Mutant("preference/calibration.py", "self.full_interval[0] if", "self.full_interval[1] if"),
    Mutant("preference/calibration.py", "self.base_rate >= target", "self.base_rate > target"),
    Mutant("preference/calibration.py", "self.lean_slope * lean)", "lean)"),
    Mutant("gate/prompt_gate.py", "NEARLY_IN_SCOPE = 0.3", "NEARLY_IN_SCOPE = 0.35"),
    Mutant("gate/prompt_gate.py", "in_scope: float = 0.8", "in_scope: float = 0.7"),
    Mutant("gate/prompt_gate.py", "asked: float = 0.5", "asked: float = 0.6"),
    Mutant("gate/prompt_gate.py", "self.group != OUT_OF_SCOPE and", ""),
    Mutant("gate/listed.py", "if self.groups and group not in self.groups:", "if self.groups:"),
    Mutant("gate/listed.py", "explicit if explicit in self.asked else self.asked[0]", "self.asked[0]"),
    Mutant("gate/listed.py", "elif COUNTER in self.denied:", "elif explicit == COUNTER:"),
    Mutant("gate/listed.py", "elif explicit in self.denied:", "elif self.denied:"),
    Mutant("gate/listed.py", "self.requests.pop(words[start:end], None)", "pass"),
    Mutant("gate/listed.py", "denied_ends.add(end)", "pass"),
    Mutant("gate/listed.py", "in_names.issuperset(range(start, end))", "False"),
    Mutant("gate/listed.py", "(start, end) not in names and", ""),
    Mutant("gate/listed.py", "elif is_denied is False and (", "elif ("),
    Mutant("gate/listed.py", "or _stands_alone(words, start, end)", "or True"),
    Mutant("gate/listed.py", "last in _parts_of_names() or", ""),
    Mutant("gate/listed.py", "or _is_denied(words, start) is not False", ""),
    Mutant("gate/listed.py", "(before in self.nouns and last in self.from_names)", "False"),
    Mutant("gate/listed.py", "or word not in plain_words_in(\"look\")", ""),
    Mutant("gate/listed.py", "_spaced(noun) not in others and", ""),
    Mutant("gate/plain_words.py", "range(min(at + longest, len(text)), at, -1)", "range(at + 1, len(text) + 1)"),
    Mutant("gate/listed.py", "words[before - 1] not in NEGATIONS", "True"),
    Mutant("gate/listed.py", "return None if between and is_denied else is_denied", "return is_denied"),
    Mutant("gate/listed.py", "last in STARTS or between > MOST_BETWEEN", "last in STARTS"),
    Mutant("gate/listed.py", "if last == END or last in STARTS", "if last == END"),
    Mutant("gate/plain_words.py", "if not unicodedata.combining(letter)", ""),
    Mutant("gate/plain_words.py", "if word not in ARTICLES", ""),
    Mutant("gate/plain_words.py", "if word in PLURALS:", "if not word:"),
    Mutant("gate/plain_words.py", "(r\":\\s*[-+]?\\d[\\d.]*\", \" \"),", ""),
    Mutant("latents/spaces.py", '"sd15", "SD1.5 and SD2.x", 4, 0.18215', '"sd15", "SD1.5 and SD2.x", 4, 0.18'),
    Mutant("latents/spaces.py", "1.5305, 0.0609", "1.5305, 0.0"),
    Mutant("latents/spaces.py", "return sigma.clamp(min=1e-4).log() / 4", "return sigma.clamp(min=1e-4).log()"),
    Mutant("latents/spaces.py", "% len(mask)].clamp(0, 1)", "% len(mask)]"),
    Mutant("latents/fingerprint.py", "SAME_WEIGHTS = 0.004", "SAME_WEIGHTS = 0.01"),
    Mutant("latents/statistics.py", "RENOISING_SIGMA = 0.5", "RENOISING_SIGMA = 0.6"),
    Mutant("latents/statistics.py", "RENOISING_SIGMA**2", "RENOISING_SIGMA"),
    Mutant("latents/statistics.py", "seed + 1 for", "seed for"),
    Mutant("latents/statistics.py", "equal_var=False", "equal_var=True"),
    Mutant("latents/statistics.py", "level: float = 0.95", "level: float = 0.9"),
    Mutant("latents/statistics.py", "1 - 0.05 / pairs", "1 - 0.05"),
    Mutant("latents/statistics.py", "hypot(p1 - l1, u2 - p2)", "hypot(p1 - l1, p2 - l2)"),
    Mutant("latents/statistics.py", "sum(new and not old", "sum(new"),
    Mutant("latents/statistics.py", "1.96 *", "1.64 *"),
    Mutant("latents/statistics.py", "a + b - 2 *", "a + b - 1 *"),
    Mutant("hosts/schedulers.py", "LEAST_ALPHA = 2**-24", "LEAST_ALPHA = 2**-20"),
    Mutant("hosts/schedulers.py", "1 / math.sqrt(sigma**2 + 1)", "1.0"),
    Mutant("hosts/schedulers.py", "(1 - squared) / squared", "1 / squared"),
    Mutant("hosts/schedulers.py", "not scheduler.state_in_first_order", "False"),
    Mutant("hosts/schedulers.py", "scheduler.step_index - 1]", "scheduler.step_index]"),
    Mutant("axis/axis.py", "first = int(coin * len(self.phrases))", "first = 0"),
    Mutant("preference/networks.py", "CLOSED = 1.0", "CLOSED = 0.9"),
    Mutant("preference/networks.py", "asked := sigma >= CLOSED", "asked := sigma > CLOSED"),
    Mutant("preference/preference.py", "calibration.tone if calibration else self", "self"),
    Mutant("preference/calibration.py", 'names = ["tone", *(', "names = [*("),
    Mutant("preference/calibration.py", "(abs(self.tone_drift)", "(self.tone_drift"),
    Mutant("correction/update.py", "LEAST_WEIGHT = 1.75", "LEAST_WEIGHT = 1.7"),
    Mutant("correction/update.py", "min(cfg, 1.0) * LEAST_WEIGHT", "LEAST_WEIGHT"),
    Mutant("correction/update.py", "LEAST_WEIGHT) if least else cfg", "LEAST_WEIGHT)"),
    Mutant("correction/update.py", "update_scale(cfg, least=True) * update", "update"),
    Mutant("correction/update.py", "denoised if conditional is None else conditional", "denoised"),
    Mutant("correction/decision.py", "CERTAIN_CHANCE = 0.97", "CERTAIN_CHANCE = 0.96"),
    Mutant("correction/decision.py", "CERTAIN_CHANCE = 0.97", "CERTAIN_CHANCE = 0.98"),
    Mutant("correction/decision.py", "~decided[members] & (by_itself", "(by_itself"),
    Mutant("correction/decision.py", "fine[sure] = shown[sure] = True", "shown[sure] = True"),
    Mutant("correction/decision.py", "by_itself = 1 - opening[members]", "by_itself = opening[members]"),
    Mutant("correction/decision.py", "tone[members] += preference", "tone[members] = preference"),
    Mutant("correction/decision.py", "0 if by_itself is None else by_itself", "0"),
    Mutant("correction/decision.py", "(which & decision.fine)", "which"),
    Mutant("correction/first_look.py", "(size - guidance) /", "(size + guidance) /"),
    Mutant("learning/pairs.py", "- change.var(dim=1) / change.shape[1]", "- change.var(dim=1)"),
    Mutant("correction/first_look.py", "apart[of_group]).clamp(0, 1)", "apart[of_group])"),
    Mutant("correction/first_look.py", ".nan_to_num(1.0) if apart", ".nan_to_num(0.0) if apart"),
    Mutant("correction/first_look.py", "size + weights[of_group] * guidance", "size"),
    Mutant("correction/first_look.py", "update.square().mean(dim=1).sqrt()", "update.square().mean(dim=1)"),
    Mutant("correction/first_look.py", ".mean(dim=1) / size).cpu()", ".mean(dim=1)).cpu()"),
    Mutant("correction/kept_skin.py", "(1 + brightening) * shown", "(1 - brightening) * shown"),
    Mutant("correction/kept_skin.py", "(points / usual)", "(points / 50)"),
    Mutant("correction/kept_skin.py", "gained = now[..., 0] / shown", "gained = shown[..., 0] / shown"),
    Mutant("correction/run.py", "SAME_NOISE = 0.95", "SAME_NOISE = 0.5"),
    Mutant("correction/run.py", "OTHER_NOISE = 0.3", "OTHER_NOISE = 0.9"),
    Mutant("correction/run.py", "OTHER_NOISE if asks else SAME_NOISE", "OTHER_NOISE"),
    Mutant("correction/run_skin.py", "SEEN = 4.0", "SEEN = 400.0"),
    Mutant("correction/run_skin.py", "sigma.max() >= SEEN", "True"),
    Mutant("correction/run.py", "see(denoised if conditional is None else conditional,", "see(denoised,"),
    Mutant("correction/run_skin.py", "self.done = True", "pass"),
    Mutant("correction/run_skin.py", "strengths(len(decision.tone)).clamp(max=1)", "strengths(len(decision.tone))"),
    Mutant("correction/run_skin.py", ".cpu() * strengths", ".cpu()"),
    Mutant("correction/run_skin.py", "decision.active.cpu() & (strengths > 0)", "decision.active.cpu()"),
    Mutant("correction/run_skin.py", "changed = changed * fit_mask(mask, made)[there]", "pass"),
    Mutant("learning/points.py", "update = counter - conditional", "update = counter"),
    Mutant("learning/points.py", "change = self.cfg * self", "change = self"),
    Mutant("learning/points.py", "(CLOSED / first[:, None])", "(0.5 / first[:, None])"),
    Mutant("learning/training.py", "network(*inputs) - update", "network(*inputs)"),
    Mutant("learning/learn.py", "SOUND_UPDATE = 0.25", "SOUND_UPDATE = 0.23"),
    Mutant("learning/learn.py", "SOUND_PAIRS = 0.9", "SOUND_PAIRS = 0.88"),
    Mutant("learning/learn.py", "FIRST_POINTS = 384", "FIRST_POINTS = 256"),
    Mutant("learning/learn.py", "points *= 2", "points *= 3"),
    Mutant("learning/calibrate.py", "COUNTER_EVERY = 3", "COUNTER_EVERY = 2"),
    Mutant("learning/calibrate.py", "(of_pairs + (share", "((share"),
    Mutant("learning/calibrate.py", "(1 + share.square().sum())", "(1 + share.sum())"),
    Mutant("learning/calibrate.py", "-tone * open_share[whole]", "-tone * share[whole]"),
]  # fmt: skip


def main(texts: list[str]) -> int:
    """The exit code."""
    if lost := lost_mutants():
        print("Anchor these again, or drop them:", *lost, sep="\n")
    if lost or texts == ["--check"]:
        return int(bool(lost))
    for name in SLOW_IMPORTS:  # once, here: the tests run in forks
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
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


def lost_mutants() -> list[str]:
    """The mutants whose old text does not occur exactly once in its file, in words."""
    lost = []
    for mutant in MUTANTS:
        path = ROOT / "corrector" / mutant.file
        times = path.read_text(encoding="utf-8").count(mutant.old) if path.is_file() else 0
        if times != 1:
            lost.append(f"{mutant.file}: {mutant.old!r} occurs {times} times")
    return lost


def outcome(copy: Path, mutant: Mutant) -> str:
    """Change the copy, run the tests, and change it back -> "killed" or "SURVIVED"."""
    path = copy / "corrector" / mutant.file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    result = "SURVIVED" if passes(copy, tests_of(mutant)) else "killed"
    path.write_text(text, encoding="utf-8")
    print(f"{result}: {mutant.file}: {mutant.old.strip()!r} -> {mutant.new.strip()!r}", flush=True)
    return result


def tests_of(mutant: Mutant) -> str:
    room = mutant.file.split("/")[0]
    names = TESTS.get(mutant.file, f"pinned_{PINNED_WITH.get(room, room)}")
    return " ".join(f"tests/test_{name}.py" for name in names.split())


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
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(pytest.main([*QUICK, *tests.split()]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1:]))
