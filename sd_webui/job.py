"""One job of the host: its settings, its sampling passes, its outcome and its error.

Jobs are looked up by their `p`, because a detailer or an upscaler starts an inner job while the outer one is running.
"""

import logging
import uuid
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..corrector.correction.run import Run
from ..corrector.correction.thinning import coins_from_seeds
from ..corrector.correction.update import Settings
from ..corrector.files.errors import RSCorrectorError
from ..corrector.hosts.replaced_method import ReplacedMethod
from ..corrector.preference.preference import Preference
from ..corrector.preference.text import Text
from . import infotext
from .asking import AskedA1111, AskedForge, AskedModel, pictures_of
from .choice import DEFAULTS, choose
from .gates import with_gate
from .host import Processing, check_space, coin_seeds, is_forge, regions_of, space_of, window_of
from .outcome import Outcome, outcome_of
from .preferences import Shelf, together
from .prompts import texts_of

OVERRIDES = "rs_corrector_overrides"  # attribute of `p` with the settings of an X/Y/Z grid
LOG = logging.getLogger("rs_corrector")
T = TypeVar("T")


class Job:
    """What the extension does during one `process_images` of the host.

    Args:
        p: the host's processing object; held weakly.
        values: the script's arguments, in the order of `choice.ARGUMENTS`.
        shelf: the preference files.
        context: as for `Run`.
    """

    def __init__(self, p: Processing, values: Sequence[object], shelf: Shelf, context: object):
        self._p = weakref.ref(p)
        self.context = context
        self.error = ""
        self.choice = DEFAULTS
        self.preferences: list[Preference] = []
        self.run: Run | None = None  # of the current pass, if it is corrected
        self.asked: AskedModel | None = None  # of the current pass, if a preference asks the model
        self._sampler = ExitStack()  # of the current pass, with a replaced method
        self.passes: list[Run] = []  # of the current batch
        self.results: list[str] = []  # a text for each picture of the current batch, once it is sampled
        self.shown: str | None = None  # what these pictures show, if the model was asked
        self.outcome = Outcome()
        infotext.clear(p)
        self.guarded(self._open, p, values, shelf)

    def _open(self, p: Processing, values: Sequence[object], shelf: Shelf) -> None:
        self.choice = choose(values, getattr(p, OVERRIDES, None))
        if not self.choice.on:
            return
        infotext.write(p, self.choice, {}, self.result, self.show)
        loaded = {name: shelf.load(name) for name in self.choice.names}
        infotext.write(p, self.choice, loaded, self.result, self.show)
        self.preferences = together(loaded.values())

    @property
    def p(self) -> Processing | None:
        return self._p()

    def begin_batch(self) -> None:
        self.end_passes()
        self.results, self.shown = [], None

    def begin_pass(
        self, p: Processing, conditioning: object, x: Tensor | None = None, noise: Tensor | None = None
    ) -> Run | None:
        """A sampling pass starts -> its Run, or None if it is not corrected. A second call replaces the first.

        Args:
            p: the host's processing object.
            conditioning: the host's MulticondLearnedConditioning.
            x: latents [B, C, H, W] that the pass starts from; the same tensor as `noise` for text to image.
            noise: [B, C, H, W].
        """
        self.run = self.asked = None
        self._sampler.close()
        if self.choice.on and not self.error:
            self.run = self.guarded(self._new_run, p, conditioning, x, noise)
        if self.run is not None:
            self.passes.append(self.run)
        return self.run

    def _new_run(self, p: Processing, conditioning: Any, x: Tensor | None, noise: Tensor | None) -> Run | None:
        choice, hires = self.choice, getattr(p, "is_hr_pass", False)
        for preference in self.preferences:
            check_space(preference, space_of(p.sd_model))
        strength = choice.strength * (choice.hires_strength if hires else 1.0)
        if not strength:
            return None
        window = window_of(p.sd_model, choice.start, choice.end)
        settings = Settings(
            strength, choice.target, window, cap=choice.cap or None, verdict=choice.verdict, thrifty=choice.thrifty
        )
        seeds, repainted = coin_seeds(p), getattr(p, "nmask", None)
        preferences = [
            with_gate(preference, p.sd_model) if isinstance(preference.source, Text) else preference
            for preference in self.preferences
        ]
        if any(isinstance(preference.source, Text) for preference in preferences):
            self.asked = (AskedForge if is_forge(p.sd_model) else AskedA1111)(p, conditioning)
        self._sampler.enter_context(ReplacedMethod(p.sampler, "launch_sampling", self._sampled))
        device = torch.device("cpu") if noise is None else noise.device
        return Run(
            preferences, settings, coins_from_seeds(seeds), regions_of(conditioning, len(seeds)),
            start=None if x is noise else x, pictures=lambda: pictures_of(p.sd_model, device),
            repainted=None if repainted is None else repainted[None, :1], context=self.context,
            before=self.passes[0] if hires and self.passes else None, asks=self.asked,
            steps=(hires and getattr(p, "hr_second_pass_steps", None)) or p.steps, texts=texts_of(p, len(seeds)),
        )  # fmt: skip

    def _sampled(self, launch: Callable, steps: int, sample: Callable[[], Tensor]) -> Tensor:
        """What the host's sampler makes of a pass: with the verdict on it, and the skin tone of plain pictures."""
        completed = False

        def watched() -> Tensor:
            nonlocal completed
            made, completed = sample(), True
            return made

        made = launch(steps, watched)  # also returns after an interruption
        if completed and self.run:
            kept = self.guarded(self._finished, self.run, made)
            made = made if kept is None else kept
        if self.asked:
            self.asked.call = None  # it holds tensors of the sampling
        return made

    def _finished(self, run: Run, made: Tensor) -> Tensor:
        run.judge(made)
        kept = run.finished(made)
        run.finish(kept)
        return kept

    def end_batch(self) -> None:
        """The batch is sampled: log it, keep its outcome for the infotexts and release the passes."""
        if not self.error:
            self.results, self.shown = self._results(), outcome_of(self.passes)
            self.outcome.add(self.passes)
            for line in [line for run in self.passes for line in run.report()]:
                LOG.info("RS-Corrector: %s", line)
        self.end_passes()

    def end_passes(self) -> None:
        self._sampler.close()
        passes, self.run, self.asked, self.passes = self.passes, None, None, []
        for run in passes:
            run.finish()

    def _results(self) -> list[str]:
        """One text per picture, with the outcome of the hires pass if it differs."""
        outcomes = [run.outcomes() for run in self.passes if run.outcomes()]
        pairs = zip(outcomes[0], outcomes[-1], strict=True) if outcomes else ()
        return [first if first == hires else f"{first}; hires pass: {hires}" for first, hires in pairs]

    def tell(self, processed: Any) -> None:
        """Say under the gallery what the job did. `processed`: the host's Processed, with its comments as text."""
        sentences = self.outcome.sentences()
        if self.choice.enabled and not self.choice.strength:
            sentences = ["nothing was corrected, because the strength is 0"]
        if not self.error:
            comments = getattr(processed, "comments", None) or ""
            processed.comments = comments + "".join(f"RS-Corrector: {sentence}.\n" for sentence in sentences)

    def close(self) -> None:
        """Release everything: `p` may live on and refers to this job through `result`."""
        self.end_passes()
        self.preferences = []

    def result(self, index: int | None = 0, use_main_prompt: bool = False, **_: object) -> str | None:
        """The outcome of one picture of the current batch, or of the whole batch for the text of a grid."""
        results = self.results or self._results()
        if self.error or not results:
            return None
        if use_main_prompt:
            return f"corrected {sum('corrected' in text for text in results)} of {len(results)} in the last batch"
        return results[(index or 0) % len(results)]

    def show(self, **_: object) -> str | None:
        """What the pictures of the current batch show, if the model was asked."""
        return None if self.error else self.shown

    def guarded(self, call: Callable[..., T], *args: object) -> T | None:
        """`call(*args)`, or None after an error, which it reports on the page and in the infotext."""
        try:
            return call(*args)
        except RSCorrectorError as error:
            self._fail(str(error))
        except Exception as error:
            LOG.exception("RS-Corrector failed")
            self._fail(
                f"RS-Corrector failed ({type(error).__name__}: {error}) and stopped correcting this picture; please "
                "report this bug with the details in the console."
            )
        return None

    def _fail(self, sentence: str) -> None:
        self.error = " ".join(sentence.split())
        self.end_passes()
        if p := self.p:
            p.extra_generation_params[infotext.ERROR] = self.error
            p.comment(f"RS-Corrector: {self.error}")


class Jobs:
    """The running jobs."""

    def __init__(self) -> None:
        self.running: dict[int, Job] = {}  # by id of `p`, which is not hashable
        self.last_read: dict[str, str] = {}  # what the last job to end has read in its prompts

    def open(self, p: Processing, values: Sequence[object], shelf: Shelf) -> None:
        """Start the job of `p`; close an earlier one of this `p`, and those that the host abandoned after an error."""
        for key, job in list(self.running.items()):
            if job.p is None or job.p is p:
                self.running.pop(key).close()
        outer = next(iter(self.running.values()), None)  # inner jobs start from the outer one's pictures
        self.running[id(p)] = Job(p, values, shelf, outer.context if outer else uuid.uuid4())

    def of(self, p: Processing) -> Job | None:
        """The job of this `p`, or None."""
        job = self.running.get(id(p))
        return job if job is not None and job.p is p else None

    def close(self, p: Processing) -> None:
        if job := self.of(p):
            del self.running[id(p)]
            self.last_read = job.outcome.read
            job.close()
