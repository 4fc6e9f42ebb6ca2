"""One sampling run of any host, from its first prediction to its report."""

import math
from dataclasses import replace
from itertools import chain

import torch

from ..gate.prompt_gate import PromptReading
from ..latents.devices import device_of, place
from ..latents.spaces import fit_mask
from .decision import Decided, decide, groups_of, notes, summary
from .memory import Memory
from .thinning import first_lean
from .update import CorrectionError, correct

MEMORY = Memory()  # shared by all models, because the stages of a picture may use different ones
OUTSIDE = "the window contains none of this run's steps"
OFF = "its strength is 0"


class Run:
    """Decides once which pictures each preference corrects, corrects at every call, and reports.

    A run that starts from pictures of an earlier run keeps its decisions. Networks are moved to the device of the
    latents at the first call, and back by `finish`.

    Args:
        preferences: Preferences, applied together.
        settings: Settings. The mask may have any size.
        coins: [B] in 0..1, from `thinning.coins_from_noise` or `coins_from_seeds`.
        prompts: for each picture the token vectors of its prompts (regions), each [1, T, W], for the gate.
        start: latents [B, C, H, W] in model space to which the run adds noise, or None.
        repainted: inpainting mask [..., H, W], 1 where `start` is not used; or None.
        context: a value that the runs of one graph or job share (`Memory.keep`).
        use_gate: False corrects every picture, whatever its prompt.
        evaluate: `evaluate(text, x, sigma)` -> (D_c, D_s) of a Text preference, by the host's model.
        memory: Memory of earlier runs.
        before: an earlier Run of the same pictures in the same order, if known.
        model: the identity of the model that samples, as `Calibration.of_other_model` takes it, or a function that
            gives it, which is called once if a preference was calibrated; "" if not known.
    """

    def __init__(
        self, preferences, settings, coins, prompts, start=None, repainted=None, context=None, use_gate=True,
        evaluate=None, memory=MEMORY, before=None, model="",
    ):  # fmt: skip
        self.settings, self.coins, self.context, self.memory = settings, coins, context, memory
        calibrated = any(known.checkpoint for preference in preferences for known in preference.calibrations)
        self.model = model if isinstance(model, str) else model() if calibrated else ""
        self._off = (settings.strengths(len(coins)) == 0).tolist()  # for each picture
        self.preferences = [replace(one, source=one.source.in_run(evaluate)) for one in preferences]
        self.readings = [_read(preference.gate, prompts, use_gate) for preference in preferences]
        self.earlier = [None] * len(coins)
        self.unknown = 0  # number of pictures in `start` that no known run made
        if before is not None and before.decisions is not None:
            self.earlier = before.decided()
        elif start is not None and _shows_something(start):
            self.earlier = memory.find(start, repainted, context)
            self.unknown = self.earlier.count(None)
        self.decisions, self.acted, self.cfg, self.homes, self.sigmas = None, False, None, {}, (0.0, math.inf)
        self._reasons, self._last = [], None  # a list per preference; a function -> the last corrected prediction

    def correct(self, denoised, x, sigma, cfg=1.0, conditional=None, unprompted=None):
        """The corrected denoised [B, C, H, W]; the same tensor object if no picture is corrected.

        Args:
            denoised: the model's prediction after CFG, model space, any dtype.
            x: the noisy latent in variance-exploding form, x = x0 + sigma n.
            sigma: [B].
            cfg: the CFG scale of this call.
            conditional: the prediction for the user's prompt, without CFG; by default `denoised`.
            unprompted: the prediction for the negative prompt, with `conditional`; from hosts in which something else,
                as another node or an inpainting mask, may have changed `denoised` before.
        """
        if denoised.ndim == 4:
            if self.decisions is None:
                self._decide(denoised, x, sigma, cfg, conditional, unprompted)
            self._place(x.device)
        result = correct(denoised, x, sigma, self.preferences, self.decisions, self.settings, cfg, conditional)
        self.acted |= result is not denoised
        self._last = lambda: result
        return result

    def over(self, x, sigma):
        """Whether x and sigma [B] belong to a new run, because sigma rose to its start, if the host does not tell."""
        first, last = self.sigmas
        self.sigmas = max(first, level := float(sigma.max())), level
        return (level > last and level >= first > 0) or len(x) != len(self.coins)

    def change(self, x, sigma, cfg, conditional, predicted, unprompted=None):
        """D* - D [B, C, H, W] in float32, or None if no picture is corrected; for hosts whose model output is not x0.

        It does not depend on D, so the host's output for other pictures stays bit-identical.

        Args:
            x, sigma, cfg, conditional, unprompted: as for `correct`.
            predicted: `predicted()` -> the prediction after CFG, called at the first step and at the end of the run.
        """
        if self.decisions is None and x.ndim == 4:
            self._decide(predicted(), x, sigma, cfg, conditional, unprompted)
        nothing = torch.zeros_like(x, dtype=torch.float32)
        change = self.correct(nothing, x.float(), sigma.float(), cfg, conditional)
        self._last = lambda: predicted().float() + change
        return None if change is nothing else change

    def _decide(self, denoised, x, sigma, cfg, conditional, unprompted=None):
        if len(x) != len(self.coins):
            raise CorrectionError(
                f"The host samples {len(x)} pictures, but announced {len(self.coins)}; another extension changes the "
                "batch. Disable it, or RS-Corrector."
            )
        self.cfg, target = cfg, self.settings.target
        if self.settings.mask is not None:
            self.settings = replace(self.settings, mask=fit_mask(self.settings.mask, x))
        self._place(x.device)
        decided, own = [], denoised if conditional is None else conditional
        guided = denoised if unprompted is None else unprompted + cfg * (conditional - unprompted)
        for preference, readings in zip(self.preferences, self.readings, strict=True):
            lean = first_lean(preference, x, sigma, groups_of(readings), own, guided, cfg)
            earlier = [known and known.get(preference.axis.hash) for known in self.earlier]
            decided.append(decide(preference, readings, self.coins, target, cfg, lean, earlier))
        self.decisions = [decision.to(x.device) for decision, _ in decided]
        self._reasons = [reasons for _, reasons in decided]

    def _place(self, device):
        for preference in self.preferences:
            source = preference.source
            if source.has_weights and device_of(source) != device:
                self.homes.setdefault(source, device_of(source))
                place(source, device)

    def finish(self, made=None):
        """End the run, also after an interruption: move networks back and remember its pictures for later stages.

        Args:
            made: latents [B, C, H, W] in model space that the run returns, or None.
        """
        for source, home in self.homes.items():
            place(source, home)
        if self.decisions is not None and self._last:
            last = self._last()
            same = made is not None and made.shape == last.shape
            # If noise is left in `made`, a later stage may also start from the last prediction.
            if not same or (last - made.to(last)).abs().mean() > 0.1 * last.abs().mean():
                self.memory.keep(last, self.decided(), self.context)
            if made is not None and len(made) == len(self.coins):
                self.memory.keep(made, self.decided(), self.context)
        self.homes, self._last = {}, None

    def decided(self):
        """The decisions of this run and of earlier stages -> {axis hash: Decided} for each picture."""
        decided = [dict(known or {}) for known in self.earlier]
        strengths = self.settings.strengths(len(decided)).tolist() if self.acted else [0.0] * len(decided)
        for preference, decision, reasons in zip(self.preferences, self.decisions, self._reasons, strict=True):
            columns = decision.group.tolist(), decision.active.tolist(), reasons, strengths
            for own, group, active, why, strength in zip(decided, *columns, strict=True):
                earlier = own.get(preference.axis.hash)
                if group >= 0 or earlier is None:
                    strongest = max(strength, earlier.strength if earlier and earlier.active else 0.0)
                    own[preference.axis.hash] = Decided(group, active, why, self.settings.target, strongest)
        return decided

    @property
    def reasons(self):
        """For each preference and picture, why it was left alone, or "" if it was corrected."""
        defaults = [OFF if off else "" if self.acted else OUTSIDE for off in self._off]
        return [[why or default for why, default in zip(own, defaults, strict=True)] for own in self._reasons]

    def outcomes(self):
        """One text per picture, for its metadata; empty before the first call."""
        columns = []
        for preference, reasons in zip(self.preferences, self.reasons, strict=False):
            name = f"{preference.name}: " if len(self.preferences) > 1 else ""
            columns.append([f"{name}left alone, {why}" if why else f"{name}corrected" for why in reasons])
        return ["; ".join(row) for row in zip(*columns, strict=True)]

    def report(self):
        """Log lines, one per preference; empty before the first call."""
        lines = [summary(*about, self.cfg, self.model) for about in self._outcomes()]
        return lines + self._unknown() if lines else []

    def notes(self):
        """What a user should know about the run besides its reasons -> short texts, each once."""
        each = [notes(*about, self.cfg, self.model) for about in self._outcomes()]
        return list(dict.fromkeys([*chain(*each), *self._unknown()]))

    def _outcomes(self):
        """For each preference (itself, its reasons, the group of each picture); empty before the first call."""
        decisions = self.decisions or ()
        groups = [decision.group.tolist() for decision in decisions]
        return list(zip(self.preferences, self.reasons, groups, strict=False))

    def _unknown(self):
        if not self.unknown or self.settings.target == 1:
            return []
        return [
            f"{self.unknown} of {len(self.coins)} pictures that this run starts from were not made by an earlier run "
            "in memory, so the target share was applied to them again"
        ]


def _read(gate, prompts, use_gate):
    """The gate's PromptReading for each picture, or None for each if there is no gate."""
    if gate is None:
        return [None] * len(prompts)
    readings = [gate.read(regions) for regions in prompts]
    return readings if use_gate else [PromptReading(max(reading.group, 0), "neither") for reading in readings]


def _shows_something(latents):
    """Whether latents [B, C, H, W] are not constant, as those of an empty picture are."""
    return bool((latents - latents[:, :, :1, :1]).any())
