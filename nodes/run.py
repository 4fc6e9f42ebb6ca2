"""One sampling run in ComfyUI: what was decided for each image, the correction at each call, and the report."""

import logging
import math
from dataclasses import replace

import comfy.samplers
import comfy.utils
from comfy.sampler_helpers import convert_cond

from ..corrector.correction.decision import decide, groups_of, summary
from ..corrector.correction.thinning import coins_from_noise, first_lean
from ..corrector.correction.update import correct
from ..corrector.preference.prompt_gate import PromptReading
from ..corrector.preference.text import Text
from . import metadata


def wanted(conds):
    """A guider's conditionings by name -> those that say what is wanted: all but the negative ones."""
    return [cond for name, some in conds.items() if "neg" not in name for cond in some]


class Run:
    """One sampling run: decides once what each preference does to each image, then corrects at every call."""

    def __init__(self, preferences, settings, noise, conditionings, thinning_seed, use_gate, hosted):
        self.preferences, self.settings, self.use_gate, self.hosted = preferences, settings, use_gate, hosted
        self.coins = coins_from_noise(noise, thinning_seed)
        tokens = [cond["cross_attn"] for cond in conditionings if cond.get("cross_attn") is not None]
        self.tokens = [rows.detach().float().cpu() for rows in tokens]  # a region each, [1 or batch, T, width]
        self.readings = [self.read(preference.gate) for preference in preferences]
        self.sources, self.decisions, self.acted = preferences, None, False
        self.args, self.cfg, self.first_sigma, self.last_sigma = None, None, 0.0, math.inf

    def read(self, gate):
        """What the gate reads for each image; a batch of prompts goes round, as ComfyUI does it."""
        count = len(self.coins)
        if gate is None:
            return [None] * count
        rows = [[tokens[i % len(tokens)][None] for tokens in self.tokens] for i in range(count)]
        readings = [gate.read(regions) for regions in rows]
        if not self.use_gate:
            return [PromptReading(max(reading.group, 0), "neither") for reading in readings]
        return readings

    def over(self, args):
        """Whether these arguments are the next run's, where the host does not tell: sigma rose to where it began."""
        if self.hosted:
            return False
        sigma = float(args["sigma"].max())
        return (sigma > self.last_sigma and sigma >= self.first_sigma) or len(args["input"]) != len(self.coins)

    def correct(self, args):
        """The arguments of ComfyUI's post-CFG hook -> the corrected denoised."""
        self.args, self.last_sigma = args, float(args["sigma"].max())
        self.first_sigma = max(self.first_sigma, self.last_sigma)
        denoised, x, cfg = args["denoised"], args["input"], args.get("cond_scale", 1.0)
        if self.decisions is None and denoised.ndim == 4:
            self.decide(args, cfg)
        result = correct(denoised, x, args["sigma"], self.sources, self.decisions, self.settings, cfg)
        self.acted |= result is not denoised
        self.args = None  # they hold the model
        return result

    def decide(self, args, cfg):
        x, settings, self.cfg = args["input"], self.settings, cfg
        count = len(x)
        if settings.mask is not None:
            mask = comfy.utils.reshape_mask(settings.mask, (count, 1, *x.shape[2:]))
            self.settings = replace(settings, mask=mask.clamp(0, 1).to(x.device))
        decided = []
        for preference, readings in zip(self.preferences, self.readings, strict=True):
            groups = groups_of(readings)
            lean = first_lean(preference, args["denoised"], x, args["sigma"], groups, settings.target)
            decided.append(decide(preference, readings, self.coins, settings.target, cfg, lean))
        self.decisions = [decision.to(x.device) for decision, _ in decided]
        self.reasons = [reasons for _, reasons in decided]
        self.sources = [
            replace(preference, source=self.text_source(preference.source, decision.active, x))
            if preference.source.kind == "text"
            else preference
            for preference, decision in zip(self.preferences, self.decisions, strict=True)
        ]

    def text_source(self, sides, active, x):
        """Text for this run: both sides encoded for the model, with the ControlNet and LoRA hooks of the prompt."""
        model, first = self.args["model"], self.args["cond"][0]
        conds = []
        for side in (sides.counter, sides.stereotype):
            (cond,) = convert_cond(side[:1])
            cond |= {name: first[name] for name in ("control", "hooks") if name in first}
            (cond,) = comfy.samplers.encode_model_conds(model.extra_conds, [cond], x, x.device, "positive")
            cond["model_conds"] = {**first["model_conds"], **cond["model_conds"]}
            conds.append([cond])

        def predict(x, sigma):
            options = self.args["model_options"]
            counter, stereotype = comfy.samplers.calc_cond_batch(model, conds, x, sigma, options)
            return self.args["cond_denoised"][active].float(), counter.float(), stereotype.float()

        return Text(predict)

    def report(self):
        """One line a preference in the log, and the same in the pictures' metadata."""
        if self.decisions is None:
            return
        entries = []
        for preference, reasons in zip(self.preferences, self.reasons, strict=True):
            if not self.acted:
                outside = "the window holds none of this run's steps"
                reasons = [reason or outside for reason in reasons]
            logging.info("RS-Corrector: %s", summary(preference, reasons, self.cfg))
            images = [f"left alone: {reason}" if reason else "corrected" for reason in reasons]
            entry = {"preference": preference.name, "hash": preference.hash, "images": images}
            entries.append(entry | {"strength": float(self.settings.strength), "target": self.settings.target})
        metadata.record(entries)
