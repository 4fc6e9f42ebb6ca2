"""A whole audit of one axis, from its judges to its pages: for the command line, Python and ComfyUI alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..latents.host import cfg_of
from .judges import AuditJudge, ClipJudge, ModelJudge, ReaderJudge
from .page import publish
from .plan import Plan
from .run import Audit

if TYPE_CHECKING:
    from torch import Tensor

    from ..axis.axis import Axis
    from ..latents.host import Host
    from ..preference.preference import Preference


def audit(
    host: Host,
    axis: Axis,
    preferences: Sequence[Preference] = (),
    folder: str | Path = "out/audit",
    progress: Callable[[int, int, Tensor | None], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Sample, judge and report one axis -> the report. Called again after a stop, it resumes.

    Args:
        host: the model.
        axis: what to audit.
        preferences: those that correct; empty audits the plain model alone.
        folder: where pictures, report and pages are saved; use one folder per axis and settings.
        progress: as for `Audit.run`.
        options: of `prepared`.
    """
    run, folder = prepared(host, axis, preferences, **options), Path(folder)
    return publish(run, run.run(folder / "pictures", progress=progress), folder)[0]


def prepared(
    host: Host,
    axis: Axis,
    preferences: Sequence[Preference],
    clip: ClipJudge | str | Path | None = None,
    **options: Any,
) -> Audit:
    """The Audit of one axis with the judges that there are.

    Args:
        host, axis, preferences: as for `audit`.
        clip: as for `judges_of`.
        options: of Plan. By default the strength is 1 with preferences, the steps are the host's, and the CFG scale is
            `cfg_of`.

    Raises:
        AuditError: if an option is out of range, or CLIP is not usable.
        PreferenceError: if a preference is for another model.
    """
    for preference in preferences:
        preference.check_space(host.space, "this checkpoint")
    defaults = {"strengths": (1.0,), "steps": host.steps, "cfgs": (cfg_of(host),)}
    plan = Plan(axis, **{**defaults, **options, **({} if preferences else {"strengths": ()})})
    return Audit(host, plan, judges_of(host, axis, clip), list(preferences))


def judges_of(host: Host, axis: Axis, clip: ClipJudge | str | Path | None = None) -> list[AuditJudge]:
    """The judges of an audit: the model itself, CLIP if given, and the miniature's reader if the host has it.

    Args:
        host, axis: as for `audit`.
        clip: the folder of a CLIP model in transformers' format, or a ClipJudge.
    """
    judges: list[AuditJudge] = [ModelJudge(host, axis)]
    if isinstance(clip, ClipJudge):
        judges.append(clip)
    elif clip is not None:
        from .clip import clip_judge

        judges.append(clip_judge(clip, axis))
    reader = getattr(host, "reader", None) if axis.id in ReaderJudge.SIDES else None
    if reader is not None:
        judges.append(ReaderJudge(reader, axis))
    return judges
