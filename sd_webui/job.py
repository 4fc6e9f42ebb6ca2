"""One job of the host: its settings, its sampling passes, its outcome, and whatever went wrong.

Jobs are kept by their `p`: a detailer or an upscaler starts an inner job while the outer one is still running.
"""

import logging
import uuid
import weakref

from ..corrector.axis.axis import AxisError
from ..corrector.correction.run import Run
from ..corrector.correction.thinning import coins_from_seeds
from ..corrector.correction.update import CorrectionError, Settings
from ..corrector.preference.file import PreferenceFileError
from ..corrector.preference.networks import PreferenceError
from ..corrector.preference.prompt_gate import GateError
from . import infotext
from .choice import choose
from .host import check_model, coin_seeds, window_of
from .preferences import together
from .prompts import regions_of

OVERRIDES = "rs_corrector_overrides"  # a grid's settings, on the host's `p`
SENTENCES = (CorrectionError, PreferenceError, PreferenceFileError, GateError, AxisError)


class Job:
    """What the extension does during one `process_images` of the host.

    Args:
        p: the host's processing object; held weakly.
        values: the script's arguments, in the order of `choice.ARGUMENTS`.
        shelf: Shelf of preference files.
        outer: the Job inside which this one runs, or None.
    """

    def __init__(self, p, values, shelf, outer=None):
        self._p, self.shelf = weakref.ref(p), shelf
        self.context = outer.context if outer else uuid.uuid4()  # of pictures that are likely the same
        self.error, self.choice, self.preferences = "", None, []
        self.run = self.first = None  # the current pass; the first pass of this batch
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
        self.end_passes()
        self.outcome = []

    def begin_pass(self, p, conditioning, x=None, noise=None):
        """A sampling pass starts -> its Run, or None if nothing is to be done. Called twice, it starts afresh.

        `x`: the latents [B, C, H, W] that the pass starts from, or the noise itself; `noise` [B, C, H, W].
        """
        self.run = None
        return self.guarded(self._begin_pass, p, conditioning, None if x is noise else x) if self.on else None

    def _begin_pass(self, p, conditioning, start):
        choice, preferences, hires = self.choice, self.preferences, getattr(p, "is_hr_pass", False)
        check_model(p.sd_model, preferences)
        strength = choice.strength * (choice.hires_strength if hires else 1.0)
        if not strength:
            return None
        window = window_of(p.sd_model, choice.start, choice.end)
        settings = Settings(strength=strength, target=choice.target, window=window, cap=choice.cap or None)
        seeds, repainted = coin_seeds(p), getattr(p, "nmask", None)
        self.run = Run(
            preferences, settings, coins_from_seeds(seeds), regions_of(conditioning, len(seeds)), start=start,
            repainted=None if repainted is None else repainted[None, :1], before=self.first if hires else None,
            context=self.context,
        )  # fmt: skip
        if not hires:
            self.first = self.run
        return self.run

    def end_batch(self):
        """The batch is sampled: keep its outcome for the infotexts, and release the passes."""
        if not self.error:
            self.outcome = self.results()
            for run in self.passes():
                for line in run.report():
                    logging.getLogger("rs_corrector").info("RS-Corrector: %s", line)
        self.end_passes()

    def end_passes(self):
        for run in self.passes():
            run.finish()
        self.run = self.first = None

    def passes(self):
        """The batch's passes: the first, and the hires pass if there is one."""
        return [run for run in dict.fromkeys((self.first, self.run)) if run is not None]

    def results(self):
        """One text a picture; what the hires pass did is said if it differs."""
        texts = [outcomes for run in self.passes() if (outcomes := run.outcomes())]
        if len(texts) < 2:
            return texts[0] if texts else []
        pairs = zip(*texts, strict=True)
        return [first if first == hires else f"{first}; hires pass: {hires}" for first, hires in pairs]

    def close(self):
        """Networks go back to the CPU, and nothing is kept: the host's `p` holds this job through `result`."""
        self.end_passes()
        self.preferences = []

    def result(self, index, use_main_prompt):
        """The outcome of one picture of the current batch, or of the whole batch for a grid's text."""
        outcome = self.outcome or self.results()
        if self.error or not outcome:
            return None
        if use_main_prompt:
            return f"corrected {sum('corrected' in text for text in outcome)} of {len(outcome)} in the last batch"
        return outcome[(index or 0) % len(outcome)]

    def guarded(self, call, *args, otherwise=None):
        """`call(*args)`; an error is shown on the page and in the infotext, and the picture stays the host's."""
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
        self.end_passes()
        p = self.p
        if p is not None:
            infotext.write_error(p, self.error)
            p.comment(f"RS-Corrector: {self.error}")


class Jobs:
    """The jobs that are running, by their `p`, which has no hash."""

    def __init__(self):
        self.running = {}

    def open(self, p, values, shelf):
        """Start the job of `p`; jobs that the host gave up are closed."""
        for key, job in list(self.running.items()):
            if job.p is None or job.p is p:
                self.running.pop(key).close()
        outer = next(reversed(self.running.values()), None)
        self.running[id(p)] = Job(p, values, shelf, outer)

    def of(self, p):
        """The job of this `p`, or None."""
        job = self.running.get(id(p))
        return job if job is not None and job.p is p else None

    def close(self, p):
        if self.of(p):
            self.running.pop(id(p)).close()
