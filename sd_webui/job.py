"""One job of the host: its settings, its sampling passes, its outcome and its error.

Jobs are looked up by their `p`, because a detailer or an upscaler starts an inner job while the outer one is running.
"""

import logging
import uuid
import weakref

from ..corrector.correction.run import Run
from ..corrector.correction.thinning import coins_from_seeds
from ..corrector.correction.update import Settings
from ..corrector.files.errors import RSCorrectorError
from . import infotext
from .choice import choose
from .host import check_space, coin_seeds, nesting, space_of, window_of
from .outcome import Outcome
from .preferences import together
from .prompts import regions_of

OVERRIDES = "rs_corrector_overrides"  # attribute of `p` with the settings of an X/Y/Z grid


class Job:
    """What the extension does during one `process_images` of the host.

    Args:
        p: the host's processing object; held weakly.
        values: the script's arguments, in the order of `choice.ARGUMENTS`.
        shelf: Shelf of preference files.
        depth: as `nesting` returns it.
        outer: the Job inside which this one runs, or None.
    """

    def __init__(self, p, values, shelf, depth, outer=None):
        self._p, self.shelf, self.depth = weakref.ref(p), shelf, depth
        self.context = outer.context if outer else uuid.uuid4()  # inner jobs start from the outer job's pictures
        self.error, self.choice, self.preferences = "", None, []
        self.run, self.passes = None, []  # the Run of the current pass, if it is corrected; all Runs of this batch
        self.outcome, self.whole = [], Outcome()  # a text for each picture of this batch; of the whole job
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
        """A sampling pass starts -> its Run, or None if it is not corrected. A second call replaces the first.

        Args:
            p: the host's processing object.
            conditioning: the host's MulticondLearnedConditioning.
            x: latents [B, C, H, W] that the pass starts from; the same tensor as `noise` for text to image.
            noise: [B, C, H, W].
        """
        self.run = None
        return self.guarded(self._begin_pass, p, conditioning, None if x is noise else x) if self.on else None

    def _begin_pass(self, p, conditioning, start):
        choice, preferences, hires = self.choice, self.preferences, getattr(p, "is_hr_pass", False)
        for preference in preferences:
            check_space(preference, space_of(p.sd_model))
        strength = choice.strength * (choice.hires_strength if hires else 1.0)
        if not strength:
            return None
        window = window_of(p.sd_model, choice.start, choice.end)
        settings = Settings(strength=strength, target=choice.target, window=window, cap=choice.cap or None)
        seeds, repainted = coin_seeds(p), getattr(p, "nmask", None)
        self.run = Run(
            preferences, settings, coins_from_seeds(seeds), regions_of(conditioning, len(seeds)), start=start,
            repainted=None if repainted is None else repainted[None, :1], context=self.context,
            before=self.passes[0] if hires and self.passes else None,
        )  # fmt: skip
        self.passes.append(self.run)
        return self.run

    def end_batch(self):
        """The batch is sampled: log it, keep its outcome for the infotexts and release the passes."""
        if not self.error:
            self.outcome = self.results()
            self.whole.add(self.passes)
            for line in [line for run in self.passes for line in run.report()]:
                logging.getLogger("rs_corrector").info("RS-Corrector: %s", line)
        self.end_passes()

    def end_passes(self):
        passes, self.run, self.passes = self.passes, None, []
        for run in passes:
            run.finish()

    def results(self):
        """One text per picture, with the outcome of the hires pass if it differs."""
        texts = [outcomes for run in self.passes if (outcomes := run.outcomes())]
        pairs = zip(texts[0], texts[-1], strict=True) if texts else ()
        return [first if first == hires else f"{first}; hires pass: {hires}" for first, hires in pairs]

    def tell(self, processed):
        """Say under the gallery what the job did. `processed`: the host's Processed, with its comments as text."""
        sentences = self.whole.sentences()
        if self.choice and self.choice.enabled and not self.choice.strength:
            sentences = ["nothing was corrected, because the strength is 0"]
        if not self.error:
            comments = getattr(processed, "comments", None) or ""
            processed.comments = comments + "".join(f"RS-Corrector: {sentence}.\n" for sentence in sentences)

    def close(self):
        """Release everything: `p` may live on and refers to this job through `result`."""
        self.end_passes()
        self.preferences = []

    def result(self, index=0, use_main_prompt=False, **_):
        """The outcome of one picture of the current batch, or of the whole batch for the text of a grid."""
        outcome = self.outcome or self.results()
        if self.error or not outcome:
            return None
        if use_main_prompt:
            return f"corrected {sum('corrected' in text for text in outcome)} of {len(outcome)} in the last batch"
        return outcome[(index or 0) % len(outcome)]

    def guarded(self, call, *args, otherwise=None):
        """`call(*args)`; reports an error on the page and in the infotext, and returns `otherwise`."""
        try:
            return call(*args)
        except RSCorrectorError as error:
            self.fail(str(error))
        except Exception as error:
            logging.getLogger("rs_corrector").exception("RS-Corrector failed")
            self.fail(
                f"RS-Corrector failed ({type(error).__name__}: {error}) and stopped correcting this picture; please "
                "report this bug with the details in the console."
            )
        return otherwise

    def fail(self, sentence):
        self.error = " ".join(sentence.split())
        self.end_passes()
        p = self.p
        if p is not None:
            p.extra_generation_params[infotext.ERROR] = self.error
            p.comment(f"RS-Corrector: {self.error}")


class Jobs:
    """The running jobs."""

    def __init__(self):
        self.running = {}  # by id of `p`, which is not hashable

    def open(self, p, values, shelf):
        """Start the job of `p`, and close jobs that the host abandoned after an error.

        Those may keep their `p`, but the host is no longer in as many calls as when they were opened.
        """
        depth = nesting()
        for key, job in list(self.running.items()):
            if job.p is None or job.p is p or job.depth >= depth:
                self.running.pop(key).close()
        outer = next(reversed(self.running.values()), None)
        self.running[id(p)] = Job(p, values, shelf, depth, outer)

    def of(self, p):
        """The job of this `p`, or None."""
        job = self.running.get(id(p))
        return job if job is not None and job.p is p else None

    def close(self, p):
        if self.of(p):
            self.running.pop(id(p)).close()
