"""One press of Generate: its settings, its sampling passes, its outcome, and whatever went wrong.

There is at most one at a time. Nothing of it outlives the host's job but the files' cache.
"""

import logging
import weakref

import torch

from ..corrector.axis.axis import AxisError
from ..corrector.correction.thinning import coins_from_seeds
from ..corrector.correction.update import CorrectionError, Settings
from ..corrector.preference.file import PreferenceFileError
from ..corrector.preference.networks import PreferenceError
from ..corrector.preference.prompt_gate import GateError
from . import infotext
from .choice import choose
from .host import cfg_of, check_model, coin_seeds, window_of
from .preferences import together
from .prompts import regions_of
from .run import Run, place

OVERRIDES = "rs_corrector_overrides"  # a grid's settings, on the host's `p`
SENTENCES = (CorrectionError, PreferenceError, PreferenceFileError, GateError, AxisError)


class Job:
    def __init__(self, p, values, shelf):
        self._p, self.shelf = weakref.ref(p), shelf
        self.error, self.choice, self.preferences = "", None, []
        self.run = self.first = None  # the pass at work; the first pass of this batch
        self.outcome = []
        infotext.clear(p)
        self.guarded(self.open, p, values)

    def open(self, p, values):
        self.choice = choose(values, getattr(p, OVERRIDES, None))
        if not self.choice.on:
            return
        infotext.write(p, self.choice, {}, self.result)
        loaded = {name: self.shelf.load(name) for name in self.choice.names}
        infotext.write(p, self.choice, loaded, self.result)
        self.preferences = together(loaded.values())

    @property
    def p(self):
        return self._p()

    @property
    def on(self):
        return bool(self.choice and self.choice.on and not self.error)

    def begin_batch(self):
        self.run = self.first = None
        self.outcome = []

    def begin_pass(self, p, conditioning):
        """A sampling pass starts -> its Run, or None where nothing is to be done. Called twice, it starts afresh."""
        self.run = None
        return self.guarded(self._begin_pass, p, conditioning) if self.on else None

    def _begin_pass(self, p, conditioning):
        choice, preferences, hires = self.choice, self.preferences, getattr(p, "is_hr_pass", False)
        check_model(p.sd_model, preferences)
        strength = choice.strength * (choice.hires_strength if hires else 1.0)
        if not strength:
            return None
        window = window_of(p.sd_model, choice.start, choice.end)
        settings = Settings(strength=strength, target=choice.target, window=window, cap=choice.cap or None)
        seeds = coin_seeds(p)
        regions = regions_of(conditioning, len(seeds))
        earlier = self.first if hires else None
        self.run = Run(preferences, settings, regions, coins_from_seeds(seeds), earlier)
        if not hires:
            self.first = self.run
        return self.run

    def end_batch(self):
        """The batch is sampled: keep its outcome for the infotexts, and let the passes go."""
        if not self.error:
            self.outcome = self.results()
            for run in self.passes() if self.p else ():
                for line in run.summaries(cfg_of(self.p)):
                    logging.getLogger("rs_corrector").info("RS-Corrector: %s", line)
        self.run = self.first = None

    def passes(self):
        """The batch's passes: the first, and the hires pass if there is one."""
        return [run for run in dict.fromkeys((self.first, self.run)) if run is not None]

    def results(self):
        """One text a picture; what the hires pass did is said where it is something else."""
        texts = [run.results() for run in self.passes() if run.decided is not None]
        if len(texts) < 2:
            return texts[0] if texts else []
        pairs = zip(*texts, strict=True)
        return [first if first == hires else f"{first}; hires pass: {hires}" for first, hires in pairs]

    def close(self):
        """The networks back to the CPU, and nothing kept: the host's `p` holds us by the outcome's function."""
        for preference in self.preferences:
            place(preference.source, torch.device("cpu"))
        self.preferences, self.run, self.first = [], None, None

    def result(self, index, use_main_prompt):
        """The outcome of one picture of the batch at work, or of the whole batch for a grid's text."""
        outcome = self.outcome or self.results()
        if self.error or not outcome:
            return None
        if use_main_prompt:
            return f"corrected {sum('corrected' in text for text in outcome)} of {len(outcome)} in the last batch"
        return outcome[(index or 0) % len(outcome)]

    def guarded(self, call, *args, otherwise=None):
        """`call(*args)`; what goes wrong is said on the page and in the infotext, and the picture stays the host's."""
        try:
            return call(*args)
        except SENTENCES as error:
            self.fail(str(error))
        except Exception as error:
            logging.getLogger("rs_corrector").exception("RS-Corrector failed")
            self.fail(
                f"RS-Corrector failed ({type(error).__name__}: {error}) and left the rest of the picture as it was; "
                "the console has the details, which make a good bug report."
            )
        return otherwise

    def fail(self, sentence):
        self.error = " ".join(sentence.split())
        self.run = None
        p = self.p
        if p is not None:
            infotext.write_error(p, self.error)
            p.comment(f"RS-Corrector: {self.error}")
