"""The miniature's classifier: reads group, backdrop and attire from a picture, or "unreadable" if it is not sure.

Trained only on drawn pictures, never on generated ones.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from .world import ATTIRES, BACKDROPS, GROUPS, Scene

CLASSES = {"group": (*GROUPS, "nobody"), "backdrop": BACKDROPS, "attire": (*ATTIRES, "nobody")}
CONFIDENT = 0.9


class Reader(nn.Module):
    """A small convolutional network with a head for each attribute.

    Args:
        classes: {attribute: labels}.
        widths: numbers of features, the first of the picture; each further one halves the sides.
        shrink: factor by which pictures are shrunk before; 1 for none.
        dropout: share of the last features that training leaves out.
    """

    def __init__(
        self, classes: Mapping[str, Sequence[str]] = CLASSES, widths: Sequence[int] = (3, 16, 32, 48, 64),
        shrink: int = 2, dropout: float = 0.1,
    ):  # fmt: skip
        super().__init__()
        self.classes = classes
        self.dropout = dropout
        layers: list[nn.Module] = [nn.AvgPool2d(shrink)] if shrink > 1 else []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
        self.features = nn.Sequential(*layers, nn.Flatten())  # 64 x 64 -> 4 x 4
        self.heads = nn.ModuleDict({name: nn.Linear(widths[-1] * 16, len(labels)) for name, labels in classes.items()})

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Pictures [B, 3, H, W] in -1..1 -> logits by attribute."""
        features = F.dropout(self.features(pictures), self.dropout, self.training)
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, pictures: Tensor) -> dict[str, list[str]]:
        """Pictures [B, 3, H, W] in -1..1 -> {attribute: list of B labels}, "unreadable" below the threshold."""
        chunks = [self(chunk) for chunk in pictures.split(250)]
        readings = {}
        for name, labels in self.classes.items():
            probability, index = torch.cat([chunk[name] for chunk in chunks]).softmax(-1).max(-1)
            pairs = zip(probability.tolist(), index.tolist(), strict=True)
            readings[name] = [labels[i] if p >= CONFIDENT else "unreadable" for p, i in pairs]
        return readings


def load_reader(folder: Path, kind: Callable[[], Reader] = Reader) -> Reader:
    """The trained reader of a kind in a folder of weights."""
    reader = kind()
    reader.load_state_dict({k: v.float() for k, v in load_file(folder / "reader.safetensors").items()})
    return reader.eval().requires_grad_(False)


def reader_targets(scenes: Iterable[Scene]) -> Tensor:
    """Scenes -> class indices [N, 3] in the order of CLASSES."""
    rows = []
    for scene in scenes:
        truth = scene.group or "nobody", scene.backdrop, scene.attire if scene.group else "nobody"
        rows.append([labels.index(label) for labels, label in zip(CLASSES.values(), truth, strict=True)])
    return torch.tensor(rows)
