"""RS-Corrector corrects racial stereotypes in the pictures of latent diffusion models while they are sampled.

    from rs_corrector import corrected

    with corrected(pipe, "african-house-poverty") as run:
        images = pipe("a portrait of ...").images
    print(run.report())

corrected: a context in which a diffusers pipeline is corrected.
RSCorrectorGuidance: a guider for diffusers' modular pipelines.
load_preferences, save_preferences, Preference: what corrects, and its file.
load_axis: a stereotype axis from its file.
learn, calibrate, audit: what the commands of that name do, on a pipeline.
Run, Settings, correct: for a host of your own.

These names are public; everything else may change. Importing the package imports nothing heavy.
"""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files.version import version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    from .axis.axis import Axis, load_axis
    from .correction.run import Run
    from .correction.update import Settings, correct
    from .hosts.diffusers import corrected
    from .hosts.given import Given
    from .hosts.guider import RSCorrectorGuidance
    from .latents.host import Host, LearningHost
    from .preference.file import load_preferences, save_preferences
    from .preference.preference import Preference

_HOMES = {
    "corrected": "hosts.diffusers",
    "RSCorrectorGuidance": "hosts.guider",
    "correct": "correction.update",
    "Settings": "correction.update",
    "Run": "correction.run",
    "Preference": "preference.preference",
    "load_preferences": "preference.file",
    "save_preferences": "preference.file",
    "load_axis": "axis.axis",
}
__all__ = [
    "Preference", "RSCorrectorGuidance", "Run", "Settings", "audit", "calibrate", "correct", "corrected", "learn",
    "load_axis", "load_preferences", "save_preferences",
]  # fmt: skip


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version()
    if name in _HOMES:
        with _extra_named():
            return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def learn(model: DiffusionPipeline | LearningHost, axis: Axis | str | Path, **options) -> Preference:
    """Learn a preference from a model's own pictures of both sides of an axis -> Preference, not calibrated yet.

    Args:
        model: a diffusers pipeline for Stable Diffusion 1.5, 2.x or XL, or a host (`latents.host.LearningHost`).
        axis: an Axis, the path of an axis file, or the name of a shipped axis.
        options: of `learning.learn.learn`: count, seed, cfg, steps, points, progress, folder (from which an interrupted
            run resumes) and so on.
    """
    with _extra_named():
        from .files.folders import AXES
        from .gate.texts import gate_others
        from .learning.learn import learn

    host, axis = _host(model), _axis(axis)
    return learn(host, axis, **gate_others(axis, AXES, host.space), **options)


def calibrate(model: DiffusionPipeline | Host, preference: Preference, **options) -> Preference:
    """Measure a preference on a model -> the Preference with its calibrations.

    Args:
        model: as for `learn`.
        preference: a learned Preference.
        options: of `learning.calibrate.calibrate`: count, cfgs, seed, steps, progress and folder.
    """
    with _extra_named():
        from .learning.calibrate import calibrate

    return calibrate(_host(model), preference, **options)


def audit(
    model: DiffusionPipeline | Host,
    axis: Axis | str | Path,
    preferences: Iterable[Given] = (),
    folder: str | Path = "out/audit",
    **options,
) -> dict:
    """Sample a model's pictures of an axis, plain and corrected, and measure them -> the report.

    Args:
        model: as for `learn`.
        axis: an Axis, the path of an axis file, or the name of a shipped axis.
        preferences: what corrects, if anything does, as for `corrected`.
        folder: where pictures, report and page are kept; an audit that was stopped goes on from there.
        options: of `auditing.whole.audit`: images, seed, cfgs, strengths, target and so on.
    """
    with _extra_named():
        from .auditing.whole import audit
        from .hosts.given import preferences_of

    host = _host(model)
    return audit(host, _axis(axis), preferences_of(preferences, lambda: host), folder, **options)


def _host(model: Any) -> LearningHost:
    from .hosts.checkpoint import Checkpoint

    return Checkpoint(model) if hasattr(model, "unet") and hasattr(model, "scheduler") else model


def _axis(axis: Axis | str | Path) -> Axis:
    from .axis.axis import load_axis

    return load_axis(axis) if isinstance(axis, str | Path) else axis


@contextmanager
def _extra_named() -> Iterator[None]:
    """Names the extra of pip that brings a package which is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith(__name__):
            raise
        raise ModuleNotFoundError(
            f"RS-Corrector needs the package {error.name}, which is not installed; run: "
            'pip install "rs-corrector[diffusers]"',
            name=error.name,
        ) from error
