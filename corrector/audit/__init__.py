"""Audits: what a checkpoint draws for each group of an axis, measured, judged and reported.

The room can be called, as the public function of that name: `audit(pipe, axis, preferences)` -> the report.
"""

import sys
from types import ModuleType


class _Room(ModuleType):
    def __call__(self, model, axis, preferences=(), folder="out/audit", **options):
        """Sample a model's pictures of an axis, plain and corrected, and measure them -> the report, a dict.

        Args:
            model: a diffusers pipeline for Stable Diffusion 1.5, 2.x or XL, or a host.
            axis: an Axis, or the path of an axis file.
            preferences: the Preferences that correct, if any.
            folder: where pictures, report and page are kept; an audit that was stopped goes on from there.
            options: of `whole.audit`: images, seed, cfgs, strengths, target and so on.
        """
        public = sys.modules[__name__.rpartition(".")[0]]
        return public._audit(model, axis, preferences, folder, **options)


sys.modules[__name__].__class__ = _Room
