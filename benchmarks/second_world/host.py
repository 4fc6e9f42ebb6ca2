"""The second world as a host, with its classifier, which reads group and work from a picture.

It was trained on drawn pictures alone, half of them such that show no single answer (blends, collages and noise), of
which it is not sure.
"""

from functools import cached_property
from pathlib import Path

from corrector.miniature import reader as miniature
from corrector.miniature.host import Miniature

from .world import GROUPS, WORK

WEIGHTS = Path(__file__).with_name("weights")
CLASSES = {"group": GROUPS, "work": WORK}


class Reader(miniature.Reader):
    def __init__(self):
        super().__init__(CLASSES, (3, 16, 24, 32, 48), shrink=1, dropout=0.2)


class SecondWorld(Miniature):
    """The second world, computed on the CPU; `folder` holds its checkpoint and reader.safetensors."""

    def __init__(self, folder: Path = WEIGHTS):
        super().__init__(folder)

    @cached_property
    def reader(self) -> miniature.Reader:
        return miniature.load_reader(self.folder, Reader)
