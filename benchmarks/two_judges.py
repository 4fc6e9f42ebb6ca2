"""Two judges of the miniature's pictures that are trained apart and can say "neither side".

Each is trained on drawn pictures of its own, and on pictures that show no side: blends and collages of two sides,
latents that are disturbed or too strong, and noise. None sees a picture that the model drew.
"""

import numpy as np
import torch
import torch.nn.functional as F

from corrector.learning.training import optimise
from corrector.miniature.reader import Reader
from corrector.miniature.train import to_tensor
from corrector.miniature.world import GROUPS, draw, sample_scene

NEITHER = "neither side"
BATCH = 48


class Judge:
    """One judge of an attribute.

    Args:
        host: the miniature, whose VAE shows latents.
        name, sides: of the attribute.
        seed: of its pictures and weights.
        pictures: how many it draws, half of each side.
        steps: of training.
    """

    def __init__(self, host, name, sides, seed, pictures=500, steps=250):
        self.name, self.labels = name, (*sides, NEITHER)
        clear, side, unsure = _training_set(host, name, sides, np.random.default_rng((17, seed)), pictures)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = Reader({name: self.labels}, dropout=0.0)

        def loss_of_step(step):
            rng = np.random.default_rng((18, seed, step))
            some, other = rng.integers(len(clear), size=BATCH), rng.integers(len(unsure), size=BATCH // 2)
            target = torch.cat([side[some], torch.full((len(other),), 2)])
            shown = torch.cat([clear[some], unsure[other]])
            noise = torch.from_numpy(rng.standard_normal(shown.shape, dtype=np.float32))
            return F.cross_entropy(self.network(shown + 0.03 * noise)[name], target)

        optimise(self.network, steps, loss_of_step, f"judge {seed}", 2e-3, lambda step: 1 - step / steps)

    @torch.no_grad()
    def read(self, pictures):
        """Pictures [N, 3, H, W] -> list of N labels, one of the sides or NEITHER."""
        index = torch.cat([self.network(part)[self.name] for part in pictures.split(250)]).argmax(dim=1)
        return [self.labels[i] for i in index.tolist()]


@torch.autocast("cpu", torch.bfloat16)
def _training_set(host, name, sides, rng, count):
    """-> pictures that show a side [M, 3, H, W], which one [M], and pictures that show none [K, 3, H, W]."""
    scenes = [sample_scene(rng, GROUPS[i // 2 % 4], **{name: sides[i % 2]}) for i in range(count)]
    drawn = to_tensor(np.stack([draw(scene) for scene in scenes]))
    latents = torch.cat([host.encode_pictures(part).float() for part in drawn.split(100)])
    first, second = latents[0::2], latents[1::2]  # of the two sides
    noise = latents.std() * torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
    few = count // 8
    too_strong = torch.from_numpy(rng.uniform(1.6, 2.5, (few, 1, 1, 1))).float()
    nothing = (
        torch.lerp(first[:few], second[:few], 0.5),
        latents[:few] + too_strong / 1.6 * noise[:few],
        latents[few : 2 * few] * too_strong,
        noise[-few:],
    )
    shown, unsure = (
        torch.cat([host.decode(part).float() for part in some.split(50)])
        for some in (latents[: count // 2] + 0.15 * noise[: count // 2], torch.cat(nothing))
    )
    middle = drawn.shape[-1] // 2
    collage = torch.cat([drawn[0 : 2 * few : 2, ..., :middle], drawn[1 : 2 * few : 2, ..., middle:]], dim=-1)
    side = torch.arange(count) % 2
    return torch.cat([drawn, shown]), torch.cat([side, side[: count // 2]]), torch.cat([unsure, collage])
