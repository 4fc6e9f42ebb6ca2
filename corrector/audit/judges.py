"""Who says which side of an axis a picture shows. None of them classifies anybody by race.

A judge has a `name`, `about` (what it is, its accuracy, its caveat; JSON-able) and `look(latents, pictures)` ->
(sides, groups): a side or "unreadable" a picture, and the group that each picture shows where the judge can tell, else
None. Only the miniature's reader can: its peoples are invented.
"""

from ..learning.training import train_judge
from ..preference.networks import PreferenceError

JUDGE_PAIRS = 48  # pictures a side and group from which an audit trains a judge of its own


class LatentJudge:
    """The cross-fitted judge of clean latents; none of its networks corrects."""

    name = "latent"

    def __init__(self, judge, accuracy, source, caveat=""):
        self.judge = judge
        self.about = {
            "name": self.name,
            "what": "a small network that looks at the latent, trained on the model's own pictures of the two sides",
            "source": source,
            "cross_fitted_accuracy": accuracy,
            "caveat": caveat or "It knows the two sides only, and calls every picture one of them.",
        }

    def look(self, latents, pictures):
        return ["counter" if seen else "stereotype" for seen in self.judge.counter(latents).tolist()], None


def latent_judge(preference, correcting=()):
    """The judge that came with a preference file. `correcting`: hashes of the preferences that correct.

    Raises PreferenceError where the file has none.
    """
    if preference.judge is None:
        raise PreferenceError(f'The preference "{preference.name}" has no judge of pictures; learn it again, or give '
                              "another file.")  # fmt: skip
    caveat = ""
    if preference.hash in correcting:
        caveat = (
            "It comes from the file that corrects: none of its networks corrects, but both learned from the same "
            "pictures. A judge from another file is more independent."
        )
    accuracy = preference.training.get("judge_cross_fitted_accuracy")
    return LatentJudge(preference.judge, accuracy, f"{preference.name} ({preference.hash})", caveat)


def trained_judge(pairs, seed):
    """A judge of the audit's own, from pairs made for it alone: no picture of them is audited."""
    judge, accuracy = train_judge(pairs, seed)
    count = pairs.latents.shape[2]
    return LatentJudge(judge, round(accuracy, 4), f"trained for this audit on {count} pairs a group, seed {seed}")


class ReaderJudge:
    """The miniature's reader, trained on drawn pictures: as near to the truth as there is for generated ones."""

    name = "reader"

    def __init__(self, reader, axis):
        self.reader = reader
        self.attribute = axis.id.removeprefix("miniature-")
        self.sides = {"backdrop": ("village", "city"), "attire": ("traditional", "modern")}[self.attribute]
        self.about = {
            "name": self.name,
            "what": "the miniature's reader: a network trained on drawn pictures of its world, whose truth is known",
            "source": "weights/miniature",
            "cross_fitted_accuracy": None,
            "caveat": "Pictures that it cannot read with confidence count as failures.",
        }

    def look(self, latents, pictures):
        read = self.reader.read(pictures)
        names = dict(zip(self.sides, ("stereotype", "counter"), strict=True))
        return [names.get(label, "unreadable") for label in read[self.attribute]], read["group"]


class ClipJudge:
    """Zero-shot with a CLIP that the caller hands in: which side's description is nearer to the picture.

    `embed_pictures(pictures)` and `embed_texts(texts)` -> [N, E]. Asked about the sides only, never about people.
    """

    name = "CLIP"

    def __init__(self, embed_pictures, embed_texts, axis, source):
        self.embed_pictures = embed_pictures
        self.texts = [
            embed_texts([f"a photo {phrase}" for phrase in side.phrases]) for side in (axis.stereotype, axis.counter)
        ]
        self.about = {
            "name": self.name,
            "what": "zero-shot: whether the picture is nearer to the words of the stereotype or of the counter side",
            "source": source,
            "cross_fitted_accuracy": None,
            "caveat": "CLIP has stereotypes of its own; see its agreement with what prompts asked for.",
        }

    def look(self, latents, pictures):
        seen = _unit(self.embed_pictures(pictures))
        scores = [(seen @ _unit(_unit(texts).mean(dim=0, keepdim=True)).T)[:, 0] for texts in self.texts]
        return ["counter" if more else "stereotype" for more in (scores[1] > scores[0]).tolist()], None


def _unit(vectors):
    return vectors / vectors.norm(dim=-1, keepdim=True)
