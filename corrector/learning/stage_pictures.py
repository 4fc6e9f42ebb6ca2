"""The pictures of one stage of a calibration, and what they say: rates, and how lightness changes between stages."""

from torch import Tensor

from .store import Drawn


class StagePictures:
    """Pictures of one stage and CFG scale.

    Args:
        drawn: the pictures.
        numbers: theirs in the group.
        counter: their sides, 1 for the counter side, 0 for the stereotype side, 1/2 if the model is unsure [N].
    """

    def __init__(self, drawn: Drawn, numbers: list[int], counter: Tensor):
        self.latents, self.lightness, self.whole = drawn
        self.numbers = numbers
        self.counter = counter

    def only(self, numbers: list[int]) -> "StagePictures":
        """Some of all pictures of a group."""
        parts = self.latents[numbers], self.lightness[numbers], self.whole[numbers]
        return StagePictures(Drawn(*parts), numbers, self.counter[numbers])

    @property
    def rate(self) -> tuple[float, int]:
        """The share of counter pictures, and of how many."""
        return float(self.counter[self.whole].mean()), int(self.whole.sum())

    def stereotypes_first(self) -> list[int]:
        """The numbers of the pictures, those of the stereotype side before the others."""
        return sorted(self.numbers, key=lambda number: float(self.counter[number]) > 0.5)

    def differences(self, other: "StagePictures") -> tuple[Tensor, Tensor]:
        """Of pictures that are whole in both: (lightness of those with the same seeds minus the lightness here [N],
        whether the one here is of the stereotype side [N])."""
        whole = self.whole[other.numbers] & other.whole
        stereotype = self.counter[other.numbers] < 0.5
        return (other.lightness - self.lightness[other.numbers])[whole], stereotype[whole]

    def drift(self, other: "StagePictures") -> float:
        """The mean difference in lightness of pictures with the same seeds."""
        return float(self.differences(other)[0].mean())

    def change(self, other: "StagePictures") -> float:
        """As `drift`, of the pictures that show the stereotype here; 0 if there are none."""
        difference, stereotype = self.differences(other)
        return float(difference[stereotype].mean()) if stereotype.any() else 0.0
