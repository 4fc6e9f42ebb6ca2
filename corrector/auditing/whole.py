"""A whole audit of one axis, from its judges to its pages: for the command line, Python and ComfyUI alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..latents.host import default_cfg
from ..learning.pairs import make_pairs
from .judges import JUDGE_PAIRS, AuditJudge, ClipJudge, ReaderJudge, latent_judge, trained_judge
from .page import publish
from .plan import AuditError, Plan
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
    run, folder = prepared(host, axis, preferences, folder, **options), Path(folder)
    return publish(run, run.run(folder / "pictures", progress=progress), folder)[0]


def prepared(
    host: Host,
    axis: Axis,
    preferences: Sequence[Preference],
    folder: str | Path,
    judge: Preference | None = None,
    clip: ClipJudge | str | Path | None = None,
    **options: Any,
) -> Audit:
    """The Audit of one axis with the judges that there are; a judge may be trained first.

    Args:
        host, axis, preferences, folder: as for `audit`.
        judge, clip: as for `judges_of`.
        options: of Plan. By default the strength is 1 with preferences, the steps are the host's, and the CFG scale is
            2 for the miniature and 7 for other models.

    Raises:
        AuditError: if an option is out of range, or a judge is for another model or axis.
        PreferenceError: if a preference is for another model.
    """
    for preference in preferences:
        preference.check_space(host.space, "this checkpoint")
    defaults = {"strengths": (1.0,), "steps": host.steps, "cfgs": (default_cfg(host.space),)}
    plan = Plan(axis, **{**defaults, **options, **({} if preferences else {"strengths": ()})})
    return Audit(host, plan, judges_of(host, plan, preferences, folder, judge, clip), list(preferences))


def judges_of(
    host: Host,
    plan: Plan,
    preferences: Sequence[Preference],
    folder: str | Path,
    judge: Preference | None = None,
    clip: ClipJudge | str | Path | None = None,
    progress: Callable[[Tensor], None] | None = None,
) -> list[AuditJudge]:
    """The judges of an audit: a latent judge, CLIP if given, and the miniature's reader if the host has it.

    Args:
        host, preferences, folder: as for `audit`.
        plan: of the audit.
        judge: the Preference whose judge to use; by default a preference of this axis, else a judge is trained on pairs
            that are kept in the folder.
        clip: the folder of a CLIP model in transformers' format, or a ClipJudge.
        progress: of `make_pairs`.
    """
    axis = plan.axis
    if clip is not None and not isinstance(clip, ClipJudge):
        from .clip import clip_judge

        clip = clip_judge(clip, axis)  # before pairs are sampled: it may be refused
    source = judge or next((p for p in preferences if p.axis.id == axis.id and p.judge is not None), None)
    if source is None:
        seed = plan.seed + 1_000_003  # so that none of its pictures are audited
        pairs = make_pairs(host, axis, JUDGE_PAIRS, seed, plan.cfgs[0], plan.steps, progress,
                           Path(folder) / "pairs-of-the-judge", host.batch, wait=True)  # fmt: skip
        judges: list[AuditJudge] = [trained_judge(pairs, seed)]
    elif source.axis.id != axis.id or source.space != host.space:
        raise AuditError(
            f'The judge of "{source.name}" was trained on "{source.axis.title}" in {source.space} latents, and the '
            f'audit is of "{axis.title}" in {host.space} latents; give a judge of that.'
        )
    else:
        judges = [latent_judge(source, [p.hash for p in preferences])]
    if clip is not None:
        judges.append(clip)
    reader = getattr(host, "reader", None) if axis.id in ReaderJudge.SIDES else None
    if reader is not None:
        judges.append(ReaderJudge(reader, axis))
    return judges
