"""The second world's classifier: reads group and work from a picture, or "unreadable" if it is not sure.

Trained only on drawn pictures, never on generated ones. Half of its batch are pictures that show no single answer
(blends, collages and noise), so that it is not sure of those. Skin lightness is measured without a network.
"""

from pathlib import Path

from corrector.axis.axis import load_axis
from corrector.latents.skin import lightness
from corrector.miniature import reader as miniature

from .world import GROUPS, WORK

AXIS = load_axis(Path(__file__).with_name("axis.json"))
CLASSES = {"group": GROUPS, "work": WORK}


class Reader(miniature.Reader):
    def __init__(self):
        super().__init__(CLASSES, (3, 16, 24, 32, 48), shrink=1, dropout=0.2)


def load_reader(folder):
    """The trained reader in a folder of weights."""
    return miniature.load_reader(Path(folder), Reader)


def skin_lightness(pictures):
    """Pictures [B, 3, 64, 64] in -1..1 -> CIE L* of the forearm [B], 0 to 100."""
    return lightness(pictures, AXIS.skin_region).double().numpy()
