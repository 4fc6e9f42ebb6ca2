"""Train the flow miniature and its few-step twin from scratch: VAE, text encoders, transformer, twin.

`python -m corrector.miniature.flow --out runs/flow` takes about 50 minutes of one CPU core. Stages, checkpoints and
randomness are as for the miniature, whose world, captions and reader these models share.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import trange

from . import flow_model, model
from .diffusion_loss import captions_of, normal
from .flow_host import FlowMiniature
from .flow_model import NO_T5, SPACE, JointAttention, Texts
from .train import Trainer, main

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

BATCH = 64
DROPPED = 0.1  # of the captions, for classifier-free guidance
PAIRS_AT_ONCE = 128
TWIN_CFG = 2.0
TWIN_SOLVER_STEPS = 12
TWIN_SEED = 700_000_000  # of the first pair's noise
# Mean and standard deviation of logit(sigma) in training: about the noise at which groups and sides are decided, and
# for the twin up to pure noise, where most of its picture is.
LOGIT = (0.8, 1.2)
TWIN_LOGIT = (1.0, 2.5)


def flow_loss(
    transformer: nn.Module, x0: Tensor, noise: Tensor, texts: Texts, rng: np.random.Generator,
    logit: tuple[float, float] = LOGIT,
) -> Tensor:  # fmt: skip
    """Flow-matching loss (Lipman et al. 2023) at logit-normal sigmas (Esser et al. 2024).

    Args:
        transformer: network to train, an SD3Transformer2DModel.
        x0, noise: [B, C, H, W] in model space.
        texts: of B prompts.
        rng: of sigma, stratified over the batch, and of whether zeros follow the text, as diffusers appends them.
        logit: mean and standard deviation of logit(sigma).
    """
    count = len(x0)
    quantiles = torch.from_numpy((rng.random() + np.arange(count)) / count % 1).float().clamp(1e-4, 1 - 1e-4)
    sigma = torch.sigmoid(logit[0] + logit[1] * torch.special.ndtri(quantiles))
    x = torch.lerp(x0, noise, sigma[:, None, None, None])
    attention = JointAttention()
    if rng.random() < 0.5:
        attention.repeats = NO_T5
        texts = Texts(F.pad(texts.tokens, (0, 0, 0, 1)), texts.pooled)
    transformer.set_attn_processor(attention)  # pyright: ignore[reportCallIssue]
    with torch.autocast("cpu", torch.bfloat16):
        output = flow_model.velocity(transformer, x, sigma, texts)
    return F.mse_loss(output, noise - x0)


class FlowTrainer(Trainer):
    """Trains the flow miniature and its twin; the settings are the miniature's, with other networks and stages."""

    scenes = {"natural": 6000, "backdrop": 1600, "attire": 1600, "both": 800, "empty": 500}
    stages = {"autoencoder": (2600, 2e-3), "text": (500, 2e-3), "transformer": (5000, 2e-3), "twin": (1200, 1e-3)}
    latent_sd = 1 / SPACE.scale
    latent_noise = 0.05
    pairs = 7680  # of noise and picture, from which the twin learns

    def run(self) -> None:
        """Train all networks and write the folders "checkpoint" and "turbo"."""
        self.tokenizer = model.new_tokenizer(self.seed, self.folder / "tokenizer", flow_model.TEXT_LENGTH)
        torch.manual_seed(self.seed)
        self.transformer, self.encoders, self.autoencoder = flow_model.new_flow_networks(self.tokenizer)
        self.encoder = nn.ModuleList(self.encoders)
        self.train(self.autoencoder, "autoencoder", self.autoencoder_loss, average=0.995)
        latents = (self.encoded_pictures() - SPACE.shift) * SPACE.scale
        self.train_text_encoder()
        self.train_transformer(latents)
        tokenizer = shutil.copytree(self.folder / "tokenizer", self.checkpoint / "tokenizer", dirs_exist_ok=True)
        model.add_synonyms(tokenizer, *self.encoders)
        flow_model.save_flow(self.checkpoint, self.transformer, self.encoders, self.autoencoder, tokenizer)
        twin = self.train_twin(FlowMiniature(self.checkpoint, bf16=True))
        flow_model.save_flow(self.folder / "turbo", twin, self.encoders, self.autoencoder, tokenizer)

    def latent_penalty(self, latent: Tensor) -> Tensor:
        """For each channel, of another mean and standard deviation than SPACE's."""
        values = (latent.transpose(0, 1).flatten(1) - SPACE.shift) * SPACE.scale
        return 0.1 * ((values.std(dim=1) - 1).square() + values.mean(dim=1).square()).mean()

    def text_features(self, captions: Sequence[str]) -> tuple[Tensor, ...]:
        texts = flow_model.texts_of(self.tokenizer, self.encoders, captions)
        return texts.tokens.mean(dim=1), texts.tokens[:, -1], texts.pooled

    @torch.no_grad()
    def encoded(self, captions: Sequence[str]) -> Texts:
        """Captions -> Texts, token vectors in bfloat16."""
        starts = trange(0, len(captions), 250, desc="captions", mininterval=20)
        batches = [captions[start : start + 250] for start in starts]
        texts = [flow_model.texts_of(self.tokenizer, self.encoders, batch) for batch in batches]
        return Texts(torch.cat([part.tokens.bfloat16() for part in texts]), torch.cat([part.pooled for part in texts]))

    def train_transformer(self, latents: Tensor) -> None:
        """Train the transformer on latents [N, C, H, W] in model space, with a caption each."""
        rng = np.random.default_rng((self.seed, 8))
        texts = self.encoded([*(self.captioner(rng, *scene)[0] for scene in self.pool), ""])

        def loss_of_step(step: int) -> Tensor:
            rng = np.random.default_rng((self.seed, 3, step))
            chosen = self.chosen_scenes(rng, BATCH)
            rows = np.where(rng.random(BATCH) < DROPPED, len(latents), chosen)
            x0 = latents[chosen]
            batch = Texts(texts.tokens[rows].float(), texts.pooled[rows])
            return flow_loss(self.transformer, x0, normal(rng, x0.shape), batch, rng)

        self.train(self.transformer, "transformer", loss_of_step, average=0.999)

    def train_twin(self, teacher: FlowMiniature) -> SD3Transformer2DModel:
        """Train a copy of the teacher's transformer to draw in few steps without CFG -> the copy.

        By reflow (Liu, Gong and Liu 2023), with guidance folded in as by Meng et al. (2023): it learns the straight
        lines between noise and what the teacher draws from it with CFG, so its first step decides the picture.
        """
        rng = np.random.default_rng((self.seed, 9))
        chosen = self.chosen_scenes(rng, self.pairs)
        captions = captions_of(rng, [self.pool[index] for index in chosen], self.captioner)
        endpoints, texts = self.endpoints(teacher, captions), self.encoded(captions)
        twin = deepcopy(teacher.transformer).requires_grad_(True).train()

        def loss_of_step(step: int) -> Tensor:
            rng = np.random.default_rng((self.seed, 7, step))
            rows = rng.integers(self.pairs, size=BATCH)
            noise = teacher.noise(TWIN_SEED + rows)
            batch = Texts(texts.tokens[rows].float(), texts.pooled[rows])
            return flow_loss(twin, endpoints[rows], noise, batch, rng, TWIN_LOGIT)

        self.train(twin, "twin", loss_of_step, average=0.995)
        return twin

    def endpoints(self, teacher: FlowMiniature, captions: Sequence[str]) -> Tensor:
        """Latents [N, C, H, W] that the teacher draws with CFG for N captions; TWIN_SEED is the first seed."""
        path = self.folder / "endpoints.safetensors"
        latents = load_file(path)["latents"] if path.exists() else torch.empty(0, *teacher.shape).half()
        for start in trange(len(latents), len(captions), PAIRS_AT_ONCE, desc="endpoints", mininterval=20):
            batch = captions[start : start + PAIRS_AT_ONCE]
            seeds = range(TWIN_SEED + start, TWIN_SEED + start + len(batch))
            drawn = teacher.sample(teacher.encode(batch), seeds, TWIN_CFG, TWIN_SOLVER_STEPS)
            latents = torch.cat([latents, drawn.half()])
            save_file({"latents": latents}, path)
        return latents.float()


if __name__ == "__main__":
    main(FlowTrainer, "runs/flow")
