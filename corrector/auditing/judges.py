"""Judges: classifiers of which side of an axis a picture shows. No judge classifies people by race."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..learning.training import train_judge
from ..preference.networks import PreferenceError

if TYPE_CHECKING:
    from ..axis.axis import Axis
    from ..learning.pairs import Pairs
    from ..preference.preference import Preference

JUDGE_PAIRS = 48  # pictures per side and group that train an audit's own judge

Verdicts: TypeAlias = tuple[list[str], list[str] | None]


class AuditJudge(Protocol):
    """A judge of pictures.

    Attributes:
        name: unique in an audit.
        about: JSON {name, what, source, cross_fitted_accuracy, caveat}; the source is part of the audit's identity.
    """

    name: str
    about: dict[str, Any]

    def look(self, latents: Tensor, pictures: Tensor) -> Verdicts:
        """Judge latents [N, C, H, W] and their pictures [N, 3, H, W] in -1..1, both on the CPU.

        Returns:
            ("stereotype", "counter" or "unreadable" per picture, the group that each picture shows or None). Only the
            miniature's reader classifies groups: its peoples are invented.
        """
        ...


def _about(name, what, source, caveat, accuracy=None):
    return {"name": name, "what": what, "source": source, "cross_fitted_accuracy": accuracy, "caveat": caveat}


def _sides(counter: Tensor) -> list[str]:
    """bool [N] -> names of sides."""
    return ["counter" if is_counter else "stereotype" for is_counter in counter.tolist()]


class LatentJudge:
    """A network that classifies clean latents; it takes no part in the correction.

    Args:
        judge: has `counter(latents)` -> bool [N], such as preference.judge.Judge.
        accuracy: its cross-fitted accuracy in 0..1, or None if unknown.
        source: where it comes from.
        caveat: what a reader of the report should know of it.
    """

    name = "latent"

    def __init__(self, judge, accuracy: float | None, source: str, caveat: str = ""):
        self.judge = judge
        what = "a small network that classifies latents, trained on the model's own pictures of the two sides"
        caveat = caveat or "It knows only the two sides and assigns every picture to one of them."
        self.about = _about(self.name, what, source, caveat, accuracy)

    def look(self, latents: Tensor, pictures: Tensor) -> Verdicts:
        return _sides(self.judge.counter(latents)), None


def latent_judge(preference: Preference, correcting: Collection[str] = ()) -> LatentJudge:
    """The judge stored in a preference file. Raises PreferenceError if the file has none.

    `correcting`: hashes of the preferences that the audit corrects with.
    """
    if preference.judge is None:
        raise PreferenceError(
            f'The preference "{preference.name}" has no judge of pictures; learn it again, or use another file.'
        )
    caveat = ""
    if preference.hash in correcting:
        caveat = (
            "It comes from the file that corrects. Its networks take no part in the correction, but they learned from "
            "the same pictures: a judge from another file is more independent."
        )
    accuracy = preference.training.get("judge_cross_fitted_accuracy")
    return LatentJudge(preference.judge, accuracy, f"{preference.name} ({preference.hash})", caveat)


@torch.enable_grad()
def trained_judge(pairs: Pairs, seed: int) -> LatentJudge:
    """Train a judge on pairs made for this purpose only; none of their pictures is audited."""
    judge, accuracy = train_judge(pairs, seed)
    count = pairs.latents.shape[2]
    return LatentJudge(judge, round(accuracy, 4), f"trained for this audit on {count} pairs a group, seed {seed}")


class ReaderJudge:
    """The miniature's reader, trained on drawn pictures with known labels: the closest there is to ground truth."""

    name = "reader"
    SIDES = {
        "miniature-backdrop": {"village": "stereotype", "city": "counter"},
        "miniature-attire": {"traditional": "stereotype", "modern": "counter"},
    }

    def __init__(self, reader, axis: Axis):
        self.reader = reader
        self.sides = self.SIDES[axis.id]
        self.attribute = axis.id.removeprefix("miniature-")
        what = "the miniature's reader: a network trained on drawn pictures of its world with known labels"
        caveat = "Pictures that it cannot classify with confidence count as failures."
        self.about = _about(self.name, what, "weights/miniature", caveat)

    def look(self, latents: Tensor, pictures: Tensor) -> Verdicts:
        labels = self.reader.read(pictures)
        return [self.sides.get(label, "unreadable") for label in labels[self.attribute]], labels["group"]


class ClipJudge:
    """Zero-shot classification with CLIP: which side's wordings are closer to the picture. Never asked about people.

    Args:
        embed_pictures: pictures [N, 3, H, W] in -1..1 -> [N, E].
        embed_texts: texts -> [N, E].
        axis: its two sides are compared.
        source: which CLIP it is.
    """

    name = "CLIP"

    def __init__(
        self,
        embed_pictures: Callable[[Tensor], Tensor],
        embed_texts: Callable[[Sequence[str]], Tensor],
        axis: Axis,
        source: str,
    ):
        self.embed_pictures = embed_pictures
        sides = (axis.stereotype, axis.counter)
        texts = [embed_texts([f"a photo {phrase}" for phrase in side.phrases]) for side in sides]
        self.directions = normalize(torch.stack([normalize(vectors).mean(dim=0) for vectors in texts]))  # [2, E]
        what = "zero-shot: whether the picture is closer to the words of the stereotype or of the counter side"
        caveat = "CLIP has stereotypes of its own; see how often it agrees with explicit prompts."
        self.about = _about(self.name, what, source, caveat)

    def look(self, latents: Tensor, pictures: Tensor) -> Verdicts:
        stereotype, counter = (normalize(self.embed_pictures(pictures)) @ self.directions.T).T  # [N] each
        return _sides(counter > stereotype), None
