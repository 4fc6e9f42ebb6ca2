"""Train the second world from scratch: draw the pictures, then train its networks, as the miniature's are.

`OMP_NUM_THREADS=1 python -m benchmarks.second_world.train --out runs/second-world` takes 20 to 30 minutes on one core.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.second_world import world
from benchmarks.second_world.host import CLASSES, Reader
from benchmarks.second_world.prompts import training_prompt
from corrector.miniature.diffusion_loss import normal
from corrector.miniature.prompts import Named
from corrector.miniature.train import SKIN_STAGE, Trainer, main, to_tensor

UNET = dict(
    sample_size=8, in_channels=4, out_channels=4, block_out_channels=(64, 64), layers_per_block=1, norm_num_groups=16,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=2, cross_attention_dim=64, use_linear_projection=True,
)  # fmt: skip
TEXT = dict(
    hidden_size=64, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=77,
    hidden_act="gelu", projection_dim=64,
)  # fmt: skip
VAE = dict(
    encoder_block_out_channels=(32,) * 4, num_encoder_blocks=(1,) * 4,
    decoder_block_out_channels=(32,) * 4, num_decoder_blocks=(1,) * 4,
)  # fmt: skip


def caption(rng: np.random.Generator, kind: str, scene: world.Scene) -> tuple[str, Named]:
    """A caption of a scene, and what it names -> (text, (group, work)); scenes at the planted rates name no work."""
    named = None if rng.random() < 0.1 else scene.group, scene.work if kind == "asked" else None
    return training_prompt(rng, *named), named


class SecondWorldTrainer(Trainer):
    """Trains the second world: v-prediction, a VAE of a given scale, a reader that is unsure of unclear pictures."""

    scenes = {"natural": 6000, "asked": 4000}
    shares = {"natural": 0.5, "asked": 0.5}
    answers = ((*world.GROUPS, None), (*world.WORK, None))
    stages = {
        "autoencoder": (3200, 2e-3), "reader": (500, 3e-3), "text": (1500, 2e-3), "unet": (1800, 1.5e-3),
        "skin": SKIN_STAGE,
    }  # fmt: skip
    networks = {"unet": UNET, "text": TEXT, "vae": VAE}
    reader_class = Reader
    draw = staticmethod(world.draw)
    draw_skin = staticmethod(world.draw_skin)
    skin_parts = world.SKIN_PARTS
    captioner = staticmethod(caption)
    latent_sd = 0.5
    schedule = {"prediction_type": "v_prediction"}
    prediction = "v_prediction"
    has_synonyms = False  # it reads the group names of its own world in pieces

    def sampled_pool(self, rng: np.random.Generator) -> list[tuple[str, Any]]:
        pool = []
        for kind, count in self.scenes.items():
            for index in range(count):
                work = world.WORK[rng.integers(3)] if kind == "asked" else None
                pool.append((kind, world.sample_scene(rng, world.GROUPS[index % len(world.GROUPS)], work)))
        return pool

    def latent_penalty(self, latent: Tensor) -> Tensor:
        spread = (latent.std() / self.latent_sd - 1).square()
        return 0.3 * spread + 0.01 * latent.mean(dim=(0, 2, 3)).square().sum()

    def reader_loss(self, step: int) -> Tensor:
        """Of pictures and reconstructions, and of blends, halves and noise, to be unsure of those."""
        size = 48
        rng = np.random.default_rng((self.seed, 2, step))
        torch.manual_seed(step)  # of dropout
        chosen = np.sort(rng.integers(self.scenes["natural"], len(self.pool), size=size))  # every work as often
        other = rng.permutation(size)
        share = torch.from_numpy(rng.uniform(0.3, 0.7, (size, 1, 1, 1))).float()
        clear = to_tensor(self.pictures[chosen])
        unclear = torch.lerp(clear[other], clear, share)
        unclear[1::3] = torch.cat([clear[1::3, ..., :32], clear[other][1::3, ..., 32:]], dim=-1)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):  # a sixth are decoded latents
            pair = torch.cat([clear[::6], clear[other][::6]])
            latent, second = self.autoencoder.encode(pair).latents.float().chunk(2)
            disturbed = latent + 0.2 * self.latent_sd * normal(rng, latent.shape)
            decoded = self.autoencoder.decode(torch.cat([disturbed, torch.lerp(second, latent, share[::6])])).sample
        clear[::6], unclear[::6] = decoded.float().clamp(-1, 1).chunk(2)
        noise = normal(rng, clear.shape)
        level = torch.from_numpy(rng.uniform(0, 0.2, (size, 1, 1, 1))).float()
        nothing = noise[: size // 4]
        loss = torch.zeros(())
        for name, logits in self.reader(torch.cat([clear + level * noise, unclear, nothing])).items():
            labels = [CLASSES[name].index(getattr(self.pool[index][1], name)) for index in chosen]
            truth = F.one_hot(torch.tensor(labels), len(CLASSES[name])).float()
            weight = share[:, 0, 0].clone()
            weight[1::3] = 1.0 if name == "group" else 0.5  # the left half has the figure, without the tools
            unknown = torch.full((len(nothing), truth.shape[1]), 1 / truth.shape[1])
            targets = torch.cat([truth, torch.lerp(truth[other], truth, weight), unknown])
            loss = loss + F.cross_entropy(logits, targets)
        return loss


if __name__ == "__main__":
    main(SecondWorldTrainer, "runs/second-world")
