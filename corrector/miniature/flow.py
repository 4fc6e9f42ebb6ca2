"""Train the flow miniature and its few-step twin from scratch: VAE, text encoders, transformer, twin.

`python -m corrector.miniature.flow --out runs/flow` takes under an hour on two CPU cores. Stages, checkpoints and
randomness are as for the miniature, whose world, captions and reader these models share.
"""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import trange

from ..latents.host import starting_noise
from . import flow_model, model
from .flow_host import TWIN_STEPS, FlowMiniature
from .flow_model import NO_T5, SPACE, JointAttention, Texts
from .train import Trainer, captions_of, main, normal

BATCH = 64
PAIRS_AT_ONCE = 128
TWIN_PAIRS = 80 * PAIRS_AT_ONCE
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

    stages = {"autoencoder": (1200, 2e-3), "text": (500, 2e-3), "transformer": (6000, 2e-3), "twin": (1500, 1e-3)}
    latent_sd = 1 / SPACE.scale
    latent_noise = 0.15

    def run(self) -> None:
        """Train all networks and write the folders "checkpoint" and "turbo"."""
        self.tokenizer = model.new_tokenizer(self.seed, self.checkpoint / "tokenizer", flow_model.TEXT_LENGTH)
        torch.manual_seed(self.seed)
        self.transformer, encoders, autoencoder = flow_model.new_flow_networks(self.tokenizer)
        self.encoder = nn.ModuleList(encoders)
        self.autoencoder = autoencoder.to(memory_format=torch.channels_last)  # half the time of a step
        self.train(self.autoencoder, "autoencoder", self.autoencoder_loss, average=0.995)
        latents = (self.encoded_pictures() - SPACE.shift) * SPACE.scale
        self.train_text_encoder()
        self.train_transformer(latents)
        tokenizer = self.checkpoint / "tokenizer"
        model.add_synonyms(tokenizer, *encoders)
        flow_model.save_flow(self.checkpoint, self.transformer, encoders, autoencoder, tokenizer)
        twin = self.train_twin(FlowMiniature(self.checkpoint, bf16=True))
        flow_model.save_flow(self.folder / "turbo", twin, encoders, autoencoder, tokenizer)

    def latent_penalty(self, latent: Tensor) -> Tensor:
        """For each channel, of another mean and standard deviation than SPACE's."""
        values = (latent.transpose(0, 1).flatten(1) - SPACE.shift) * SPACE.scale
        return 0.1 * ((values.std(dim=1) - 1).square() + values.mean(dim=1).square()).mean()

    def text_features(self, captions: Sequence[str]) -> tuple[Tensor, ...]:
        texts = flow_model.texts_of(self.tokenizer, list(self.encoder), captions)
        return texts.tokens.mean(dim=1), texts.tokens[:, -1], texts.pooled

    def train_transformer(self, latents: Tensor) -> None:
        """Train the transformer on latents [N, C, H, W] in model space."""

        def loss_of_step(step: int) -> Tensor:
            rng = np.random.default_rng((self.seed, 3, step))
            chosen = self.chosen_scenes(rng, BATCH)
            captions = captions_of(rng, [self.pool[index] for index in chosen], self.captioner)
            with torch.no_grad():
                texts = flow_model.texts_of(self.tokenizer, list(self.encoder), captions)
            x0 = latents[chosen]
            return flow_loss(self.transformer, x0, normal(rng, x0.shape), texts, rng)

        self.train(self.transformer, "transformer", loss_of_step, average=0.999)

    def train_twin(self, teacher: FlowMiniature) -> nn.Module:
        """Train a copy of the teacher's transformer to draw in TWIN_STEPS steps without CFG -> the copy.

        By reflow (Liu, Gong and Liu 2023), with guidance folded in as by Meng et al. (2023): it learns the straight lines
        between noise and what the teacher draws from it with CFG, so that its first step decides the picture.
        """
        endpoints, captions = self.drawn_pairs(teacher)
        twin = deepcopy(teacher.transformer).requires_grad_(True).train()

        def loss_of_step(step: int) -> Tensor:
            rng = np.random.default_rng((self.seed, 7, step))
            chosen = rng.integers(len(endpoints), size=BATCH)
            noise = starting_noise(TWIN_SEED + chosen, teacher.shape)
            encoded = teacher.encode([captions[index] for index in chosen])
            return flow_loss(twin, endpoints[chosen], noise, Texts(encoded.tokens, encoded.pooled), rng, TWIN_LOGIT)

        self.train(twin, "twin", loss_of_step, average=0.995)
        return twin

    def drawn_pairs(self, teacher: FlowMiniature) -> tuple[Tensor, list[str]]:
        """Latents [N, C, H, W] that the teacher draws with CFG from the noise of seeds from TWIN_SEED, and captions."""
        path = self.folder / "pairs.pt"
        parts = torch.load(path, weights_only=True) if path.exists() else []
        rng = np.random.default_rng((self.seed, 8))
        chosen = self.chosen_scenes(rng, TWIN_PAIRS)
        captions = captions_of(rng, [self.pool[index] for index in chosen], self.captioner)
        for start in trange(len(parts) * PAIRS_AT_ONCE, TWIN_PAIRS, PAIRS_AT_ONCE, desc="pairs", mininterval=20):
            batch = slice(start, start + PAIRS_AT_ONCE)
            seeds = range(TWIN_SEED + batch.start, TWIN_SEED + batch.stop)
            parts.append(teacher.sample(teacher.encode(captions[batch]), seeds, TWIN_CFG, TWIN_SOLVER_STEPS).half())
            torch.save(parts, path)
        return torch.cat(parts).float(), captions


if __name__ == "__main__":
    main(FlowTrainer, "runs/flow")
