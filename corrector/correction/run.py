"""One sampling run of any host, from its first prediction to its report."""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F

from ..latent_space.devices import device_of, place
from ..preference.prompt_gate import PromptReading
from .decision import Decided, decide, groups_of, summary
from .memory import Memory
from .thinning import first_lean
from .update import CorrectionError, correct

MEMORY = Memory()  # of this process: stages of a picture may be runs of different models
OUTSIDE = "the window holds none of this run's steps"


class Run:
    """Decides once what each preference does to each picture, corrects at every call, and reports.

    A run that starts from pictures of an earlier run keeps what was decided for them. Networks are moved to the latents
    when the run starts, and back when it is finished.

    Args:
        preferences: the Preferences that act.
        settings: Settings. The mask may have any size.
        coins: [B] in 0..1, one a picture, from `thinning.coins_from_noise` or `coins_from_seeds`.
        prompts: for each picture the token vectors of its prompts (regions), each [1, T, W]; what the gate reads.
        start: latents [B, C, H, W] in model space that the run starts from beside noise, or None.
        repainted: [B or 1, 1, H, W], 1 where `start` is painted anew and says nothing of the picture; or None.
        context: what the runs of one graph, job or block have in common (`Memory.keep`).
        use_gate: False has every picture corrected whatever its prompt.
        evaluate: `evaluate(text, x, sigma)` -> (D_c, D_s) of a Text preference, by the host's model.
        memory: Memory of earlier runs.
        before: the Run of the same pictures in the same order, if the host knows it.
    """

    def __init__(
        self, preferences, settings, coins, prompts, start=None, repainted=None, context=None, use_gate=True,
        evaluate=None, memory=MEMORY, before=None,
    ):  # fmt: skip
        self.settings, self.coins, self.context, self.memory = settings, coins, context, memory
        self.preferences = [
            replace(preference, source=preference.source.in_run(evaluate))
            if preference.source.kind == "text"
            else preference
            for preference in preferences
        ]
        self.readings = [_read(preference.gate, prompts, use_gate) for preference in preferences]
        self.earlier = [None] * len(coins)
        self.unknown = 0  # pictures that the run starts from and that no earlier run is known to have made
        if before is not None and before.decisions is not None:
            self.earlier = before.decided()
        elif start is not None and _shows_something(start):
            self.earlier = memory.find(start, repainted, context)
            self.unknown = self.earlier.count(None)
        self.decisions, self.acted, self.cfg, self.homes, self.sigmas = None, False, None, {}, (0.0, math.inf)
        self._last = None  # a function -> the last corrected prediction

    def correct(self, denoised, x, sigma, cfg=1.0, conditional=None, predicted=None):
        """The corrected denoised [B, C, H, W]; the very tensor that came if nothing acts.

        Args:
            denoised: the model's prediction after CFG, model space, any dtype.
            x: the noisy latent in variance-exploding form, x = x0 + sigma n.
            sigma: [B].
            cfg: the CFG scale of this call.
            conditional: the prediction for the user's prompt, without CFG, if the host has it; Text needs it.
            predicted: `predicted()` -> the prediction after CFG, if `denoised` is something else.
        """
        if denoised.ndim == 4:
            if self.decisions is None:
                self._decide(predicted() if predicted else denoised, x, sigma, cfg)
            self._place(x.device)
        result = correct(denoised, x, sigma, self.preferences, self.decisions, self.settings, cfg, conditional)
        self.acted |= result is not denoised
        self._last = lambda: result
        return result

    def over(self, x, sigma):
        """Whether x and sigma [B] are the next run's, for hosts that do not tell: sigma rose to where it began."""
        first, last = self.sigmas
        self.sigmas = max(first, level := float(sigma.max())), level
        return (level > last and level >= first > 0) or len(x) != len(self.coins)

    def change(self, x, sigma, cfg, predicted):
        """D* - D [B, C, H, W] in float32, or None if nothing acts; for hosts whose model output is not x0.

        It does not depend on D, so that pictures that are left alone keep the bits of the host's own output.
        """
        nothing = torch.zeros_like(x, dtype=torch.float32)
        change = self.correct(nothing, x.float(), sigma.float(), cfg, predicted=predicted)
        self._last = lambda: predicted().float() + change
        return None if change is nothing else change

    def _decide(self, denoised, x, sigma, cfg):
        if len(x) != len(self.coins):
            raise CorrectionError(
                f"The host samples {len(x)} pictures at once and {len(self.coins)} were announced; something else "
                "changes the batch. Switch that off, or RS-Corrector."
            )
        self.cfg, target = cfg, self.settings.target
        if self.settings.mask is not None:
            mask = self.settings.mask.reshape(-1, 1, *self.settings.mask.shape[-2:]).float()
            mask = F.interpolate(mask, x.shape[2:], mode="bilinear")
            mask = mask[torch.arange(len(x)) % len(mask)]
            self.settings = replace(self.settings, mask=mask.clamp(0, 1).to(x.device))
        self._place(x.device)
        decided = []
        for preference, readings in zip(self.preferences, self.readings, strict=True):
            lean = first_lean(preference, denoised, x, sigma, groups_of(readings), target)
            earlier = [known and known.get(preference.axis.hash) for known in self.earlier]
            decided.append(decide(preference, readings, self.coins, target, cfg, lean, earlier))
        self.decisions = [decision.to(x.device) for decision, _ in decided]
        self._reasons = [reasons for _, reasons in decided]

    def _place(self, device):
        for preference in self.preferences:
            source = preference.source
            if preference.source.kind != "text" and device_of(source) != device:
                self.homes.setdefault(source, device_of(source))
                place(source, device)

    def finish(self, made=None):
        """The run is over, or was interrupted: networks go back, and its pictures can be found again.

        `made`: latents [B, C, H, W] in model space; the last corrected prediction is remembered as well.
        """
        for source, home in self.homes.items():
            place(source, home)
        if self.decisions is not None and self._last:
            last = self._last()
            if made is None or (last - made.to(last)).abs().mean() > 0.1 * last.abs().mean():  # noise was left over
                self.memory.keep(last, self.decided(), self.context)
            if made is not None:
                self.memory.keep(made, self.decided(), self.context)
        self.homes, self._last = {}, None

    def decided(self):
        """What was decided for each picture, here or in an earlier stage -> one {axis hash: Decided} a picture."""
        decided = [dict(known or {}) for known in self.earlier]
        for preference, decision, reasons in zip(self.preferences, self.decisions, self._reasons, strict=True):
            columns = decision.group.tolist(), decision.active.tolist(), reasons
            for own, *one in zip(decided, *columns, strict=True):
                if one[0] >= 0 or preference.axis.hash not in own:
                    own[preference.axis.hash] = Decided(*one)
        return decided

    @property
    def reasons(self):
        """A list a preference: for each picture why it was left alone, "" if it was corrected."""
        if self.decisions is None or self.acted:
            return self._reasons if self.decisions is not None else []
        return [[why or OUTSIDE for why in own] for own in self._reasons]

    def outcomes(self):
        """One text a picture, for its metadata; empty before the first call."""
        columns = []
        for preference, reasons in zip(self.preferences, self.reasons, strict=False):
            name = f"{preference.name}: " if len(self.preferences) > 1 else ""
            columns.append([f"{name}left alone, {why}" if why else f"{name}corrected" for why in reasons])
        return ["; ".join(row) for row in zip(*columns, strict=True)]

    def report(self):
        """What the run did, a line a preference; empty before the first call."""
        lines = [summary(*one, self.cfg) for one in zip(self.preferences, self.reasons, strict=False)]
        if self.unknown and self.settings.target < 1 and lines:
            lines.append(
                f"{self.unknown} of {len(self.coins)} pictures that this run starts from were not made by an earlier "
                "run that is known here; what the target share does to them was decided anew"
            )
        return lines


def _read(gate, prompts, use_gate):
    """What a gate reads for each picture -> a PromptReading each, None each if there is no gate."""
    if gate is None:
        return [None] * len(prompts)
    readings = [gate.read(regions) for regions in prompts]
    return readings if use_gate else [PromptReading(max(reading.group, 0), "neither") for reading in readings]


def _shows_something(latents):
    """Whether latents [B, C, H, W] are more than an empty picture, which has one value a channel."""
    return bool((latents - latents[:, :, :1, :1]).any())
