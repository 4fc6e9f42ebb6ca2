"""The second world's classifier: reads group and work from a picture, or "unreadable" if it is not sure.

Trained only on drawn pictures, never on generated ones. Half of its batch are pictures that show no single answer
(blends, collages and noise), so that it is not sure of those. Skin lightness is measured without a network.
"""

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from corrector.axis.axis import load_axis
from corrector.latent_space.skin import lightness
from corrector.miniature.reader import CONFIDENT

from .world import GROUPS, WORK

AXIS = load_axis(Path(__file__).with_name("axis.json"))
CLASSES = {"group": GROUPS, "work": WORK}


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        layers = []
        for before, after in pairwise((3, 16, 24, 32, 48)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
        self.features = nn.Sequential(*layers, nn.Flatten())  # 64 x 64 -> 4 x 4
        self.heads = nn.ModuleDict({name: nn.Linear(48 * 16, len(labels)) for name, labels in CLASSES.items()})

    def forward(self, pictures):
        """Pictures [B, 3, 64, 64] in -1..1 -> logits by attribute."""
        features = F.dropout(self.features(pictures), 0.2, self.training)
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, pictures):
        """Pictures [B, 3, 64, 64] in -1..1 -> {attribute: list of B labels}, "unreadable" below the threshold."""
        read = {}
        for name, logits in self(pictures).items():
            share, index = logits.softmax(-1).max(-1)
            pairs = zip(share.tolist(), index.tolist(), strict=True)
            read[name] = [CLASSES[name][i] if p >= CONFIDENT else "unreadable" for p, i in pairs]
        return read


def load_reader(folder):
    """The trained reader in a folder of weights."""
    reader = Reader()
    reader.load_state_dict({k: v.float() for k, v in load_file(Path(folder) / "reader.safetensors").items()})
    return reader.eval().requires_grad_(False)


def skin_lightness(pictures):
    """Pictures [B, 3, 64, 64] in -1..1 -> CIE L* of the forearm [B], 0 to 100."""
    return lightness(pictures, AXIS.skin_region).double().numpy()
