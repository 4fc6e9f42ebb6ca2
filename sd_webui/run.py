"""One sampling pass of a batch, for any host: what was decided for each picture, and the correction at each call."""

from dataclasses import replace

import torch
from torch import nn

from ..corrector.correction.decision import decide, groups_of, summary
from ..corrector.correction.thinning import first_lean
from ..corrector.correction.update import CorrectionError, correct


class Run:
    """Decides once what each preference does to each picture, then corrects at every call.

    `settings`: corrector.correction.Settings; `regions`: the gate's conditionings for each picture; `coins` [B].
    `earlier`: the same batch's first pass, when this one is its hires pass.
    """

    def __init__(self, preferences, settings, regions, coins, earlier=None):
        self.preferences, self.settings, self.coins = preferences, settings, coins
        self.readings = [self.read(preference.gate, regions) for preference in preferences]
        self.earlier, self.decided, self.acted = earlier, None, False

    @staticmethod
    def read(gate, regions):
        return [gate.read(of_one) if gate else None for of_one in regions]

    def correct(self, denoised, x, sigma, cfg, predicted=None):
        """denoised, x [B, C, H, W] in model space, sigma [B] -> corrected denoised.

        `predicted()`: the model's prediction of x0 after CFG, where `denoised` is something else.
        """
        if self.decided is None:
            self.decide(predicted() if predicted else denoised, x, sigma, cfg)
        decisions = [decision for decision, _ in self.decided]
        result = correct(denoised, x, sigma, self.preferences, decisions, self.settings, cfg)
        self.acted |= result is not denoised
        return result

    def decide(self, denoised, x, sigma, cfg):
        if len(x) != len(self.coins):
            raise CorrectionError(
                f"The host samples {len(x)} pictures at once where {len(self.coins)} were announced; another "
                "extension changes the batch. Switch it off, or RS-Corrector."
            )
        for preference in self.preferences:
            place(preference.source, x.device)
        self.decided = [self.decide_one(index, denoised, x, sigma, cfg) for index in range(len(self.preferences))]

    def decide_one(self, index, denoised, x, sigma, cfg):
        """One preference -> (Decision, reasons). The hires pass keeps to what the first pass decided."""
        preference, readings, first = self.preferences[index], self.readings[index], self.earlier
        if first and first.decided and first.readings[index] == readings:
            gains, _ = decide(preference, readings, self.coins, 1.0, cfg)
            decision, reasons = first.decided[index]
            return replace(gains, active=decision.active), reasons
        target = self.settings.target
        lean = first_lean(preference, denoised, x, sigma, groups_of(readings), target)
        return decide(preference, readings, self.coins, target, cfg, lean)

    def results(self):
        """One text a picture for its infotext, once it is decided: what each preference did to it."""
        columns = []
        for preference, (_, reasons) in zip(self.preferences, self.decided, strict=True):
            name = f"{preference.name}: " if len(self.preferences) > 1 else ""
            columns.append([f"{name}left alone, {why}" if why else f"{name}corrected" for why in self.reasons(reasons)])
        return ["; ".join(row) for row in zip(*columns, strict=True)]

    def summaries(self, cfg):
        """One line a preference for the log."""
        decided = zip(self.preferences, self.decided or (), strict=False)
        return [summary(preference, self.reasons(reasons), cfg) for preference, (_, reasons) in decided]

    def reasons(self, reasons):
        if self.acted:
            return reasons
        return [why or "the window holds none of this run's steps" for why in reasons]


def place(source, device):
    """A preference's network onto a device. What a host moved under inference mode is made fit for autograd again."""
    for module in source.modules():
        named = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, tensor in named:
            if tensor.device == device and not tensor.is_inference():
                continue
            with torch.inference_mode(False):
                moved = tensor.detach().to(device, copy=True)
                setattr(module, name, nn.Parameter(moved, False) if isinstance(tensor, nn.Parameter) else moved)
