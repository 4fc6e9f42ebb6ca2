"""RS-Corrector corrects racial stereotypes in the pictures of latent diffusion models while they are sampled.

    from rs_corrector import corrected, load_preferences

    with corrected(pipe, load_preferences("mine.safetensors")) as run:
        images = pipe("a portrait of ...").images

The names in `__all__` are public. Everything else may change. Importing the package imports nothing heavy.
"""

from importlib import import_module

_HOMES = {
    "corrected": "hosts.diffusers",
    "correct": "correction.update",
    "Settings": "correction.update",
    "Run": "correction.run",
    "Preference": "preference.preference",
    "load_preferences": "preference.file",
    "save_preferences": "preference.file",
    "load_axis": "axis.axis",
}
__all__ = [*_HOMES, "audit", "calibrate", "learn"]


def __getattr__(name):
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name == "audit":
        return import_module(".audit", __name__)  # the room, which can be called
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def learn(model, axis, **options):
    """Learn a preference from a model's own pictures of both sides of an axis -> Preference, not calibrated yet.

    Args:
        model: a diffusers pipeline for Stable Diffusion 1.5, 2.x or XL, or a host (`hosts.sampler.Host`).
        axis: an Axis, or the path of an axis file.
        options: of `learning.learn.learn`: count, seed, cfg, steps, points, pairs, progress and so on.
    """
    from .latent_space.folders import AXES
    from .learning.gate_texts import gate_others
    from .learning.learn import learn

    host, axis = _host(model), _axis(axis)
    return learn(host, axis, **gate_others(axis, AXES, host.space), **options)[0]


def calibrate(model, preference, **options):
    """Measure a preference on a model -> the Preference with its calibrations.

    Args:
        model: as for `learn`.
        preference: a learned Preference.
        options: of `learning.calibrate.calibrate`: count, cfgs, seed, progress and folder.
    """
    from .learning.calibrate import calibrate

    return calibrate(_host(model), preference, preference.judge, **options)


def _audit(model, axis, preferences=(), folder="out/audit", **options):
    from .audit.whole import audit

    return audit(_host(model), _axis(axis), preferences, folder, **options)


def _host(model):
    from .hosts.checkpoint import Checkpoint

    return Checkpoint(model) if hasattr(model, "unet") and hasattr(model, "scheduler") else model


def _axis(axis):
    from .axis.axis import Axis, load_axis

    return axis if isinstance(axis, Axis) else load_axis(axis)
