"""Train the second world from scratch: draw the pictures, then train VAE, reader, text encoder and UNet.

`OMP_NUM_THREADS=1 python -m benchmarks.second_world.train --out runs/second-world` takes 20 to 30 minutes on one core.
Each stage saves a checkpoint and resumes from it; randomness depends only on (seed, step). The folder `checkpoint` in
it is what `weights` beside this file is.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from benchmarks.second_world import world
from benchmarks.second_world.prompts import training_prompt
from benchmarks.second_world.reader import CLASSES, Reader
from corrector.latents.optimise import optimise
from corrector.miniature.model import SCHEDULE, new_tokenizer, save, tokenize
from corrector.miniature.train import encode_pool, to_tensor

NATURAL, ASKED = 6000, 4000  # scenes at the planted rates, and scenes of a work that the caption names
LATENT_SD = 0.5  # of the VAE's latents, by a term of its loss: its scaling factor is 1 / LATENT_SD
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


def new_networks(tokenizer):
    """-> (UNet, text encoder, VAE), with random weights."""
    from diffusers import AutoencoderTiny, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    ids = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    text = CLIPTextConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.eos_token_id, **ids, **TEXT)
    return UNet2DConditionModel(**UNET), CLIPTextModel(text), AutoencoderTiny(**VAE)


def draw_pool(seed, folder):
    """Draw the training scenes to disk, once -> (list of Scenes, uint8 pictures [N, 64, 64, 3]); NATURAL come first."""
    rng = np.random.default_rng(seed)
    groups, count = world.GROUPS, len(world.GROUPS)
    pool = [world.sample_scene(rng, groups[i % count]) for i in range(NATURAL)]
    pool += [world.sample_scene(rng, groups[i % count], world.WORK[rng.integers(3)]) for i in range(ASKED)]
    path = folder / "pictures.npy"
    if not path.exists():
        np.save(folder / "part.npy", np.stack([world.draw(scene) for scene in tqdm(pool, "draw", mininterval=10)]))
        (folder / "part.npy").rename(path)
    return pool, np.load(path, mmap_mode="r")


def caption(rng, pool, index):
    """A caption of a scene, and what it names -> (text, (group, work)); work is named of scenes after NATURAL only."""
    scene, asked = pool[index], index >= NATURAL
    named = None if rng.random() < 0.1 else scene.group, scene.work if asked else None
    return training_prompt(rng, *named), named


def _train(network, path, steps, rate, loss_of_step, average):
    """`optimise` with warm-up and cosine decay of the learning rate; `path` is this stage's checkpoint."""

    def schedule(step):
        return min(1.0, (step + 1) / 100) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))

    options = dict(betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    return optimise(network, steps, loss_of_step, path.stem, rate, schedule, average, path=path, **options)


def train_autoencoder(autoencoder, pictures, folder, seed, steps, batch_size=8):
    autoencoder.to(memory_format=torch.channels_last)  # a quarter faster on a CPU

    def loss_of_step(step):
        rng = np.random.default_rng((seed, 1, step))
        target = to_tensor(pictures[np.sort(rng.integers(len(pictures), size=batch_size))])
        noise = torch.from_numpy(rng.standard_normal((batch_size, 4, 8, 8), dtype=np.float32))
        with torch.autocast("cpu", torch.bfloat16):
            latent = autoencoder.encode(target).latents.float()
            drawn = autoencoder.decode(latent + 0.08 * LATENT_SD * noise).sample.float()
        error = F.l1_loss(drawn, target)
        for axis in (2, 3):  # also the differences between neighbours, as edges matter most in drawings
            error = error + F.l1_loss(drawn.diff(dim=axis), target.diff(dim=axis))
        return error + 0.3 * (latent.std() / LATENT_SD - 1).square() + 0.01 * latent.mean(dim=(0, 2, 3)).square().sum()

    _train(autoencoder, folder / "autoencoder.pt", steps, 2e-3, loss_of_step, average=0.995)
    autoencoder.to(memory_format=torch.contiguous_format)


def train_reader(reader, pool, pictures, autoencoder, folder, seed, steps, batch_size=48):
    """Train the reader on pictures and reconstructions, and on blends, halves and noise, to be unsure of those."""
    truth = {
        name: F.one_hot(torch.tensor([labels.index(getattr(scene, name)) for scene in pool])).float()
        for name, labels in CLASSES.items()
    }

    @torch.random.fork_rng(devices=[])  # so that a resumed run initialises later stages alike
    def loss_of_step(step):
        rng = np.random.default_rng((seed, 2, step))
        torch.manual_seed(step)  # of dropout
        chosen = np.sort(rng.integers(NATURAL, len(pool), size=batch_size))  # every work as often
        other = rng.permutation(batch_size)
        share = torch.from_numpy(rng.uniform(0.3, 0.7, (batch_size, 1, 1, 1))).float()
        clear = to_tensor(pictures[chosen])
        unclear = torch.lerp(clear[other], clear, share)
        unclear[1::3] = torch.cat([clear[1::3, ..., :32], clear[other][1::3, ..., 32:]], dim=-1)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):  # a sixth are decoded latents
            latent, second = autoencoder.encode(torch.cat([clear[::6], clear[other][::6]])).latents.float().chunk(2)
            disturbed = latent + 0.2 * LATENT_SD * torch.from_numpy(rng.standard_normal(latent.shape, dtype=np.float32))
            decoded = autoencoder.decode(torch.cat([disturbed, torch.lerp(second, latent, share[::6])])).sample
        clear[::6], unclear[::6] = decoded.float().clamp(-1, 1).chunk(2)
        noise = torch.from_numpy(rng.standard_normal(clear.shape, dtype=np.float32))
        level = torch.from_numpy(rng.uniform(0, 0.2, (batch_size, 1, 1, 1))).float()
        loss, nothing = 0, noise[: batch_size // 4]
        for name, logits in reader(torch.cat([clear + level * noise, unclear, nothing])).items():
            own, weight = truth[name][chosen], share[:, 0, 0].clone()
            weight[1::3] = 1.0 if name == "group" else 0.5  # the left half has the figure, without the tools
            unknown = torch.full((len(nothing), own.shape[1]), 1 / own.shape[1])
            loss = loss + F.cross_entropy(logits, torch.cat([own, torch.lerp(own[other], own, weight), unknown]))
        return loss

    _train(reader, folder / "reader.pt", steps, 3e-3, loss_of_step, average=0.99)


def train_text_encoder(encoder, pool, tokenizer, folder, seed, steps, batch_size=96):
    """Train the text encoder to tell what a caption names; then it stays frozen, as in SD."""
    answers = ((*world.GROUPS, None), (*world.WORK, None))
    heads = nn.ModuleList(nn.Linear(TEXT["hidden_size"], len(options)) for options in answers)

    def loss_of_step(step):
        rng = np.random.default_rng((seed, 4, step))
        some = (caption(rng, pool, index) for index in rng.integers(len(pool), size=batch_size))
        captions, named = zip(*some, strict=True)
        with sdpa_kernel(SDPBackend.MATH):
            tokens = encoder(tokenize(tokenizer, captions)).last_hidden_state
        loss = 0
        for head, options, answer in zip(heads, answers, zip(*named, strict=True), strict=True):
            target = torch.tensor([options.index(one) for one in answer])
            # From the mean and from the last token, so that cross-attention finds it anywhere.
            loss = loss + sum(F.cross_entropy(head(t), target) for t in (tokens.mean(dim=1), tokens[:, -1]))
        return loss

    _train(nn.ModuleList([encoder, heads]), folder / "text_encoder.pt", steps, 2e-3, loss_of_step, average=0.99)


def train_diffusion(unet, pool, latents, tokenizer, encoder, folder, seed, steps, batch_size=64):
    """Train the UNet on v-prediction with SD's schedule; half of the captions name a work, a tenth are dropped.

    Args:
        latents: [N, 4, 8, 8] in model space, of the scenes in `pool`.
    """
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(**SCHEDULE, prediction_type="v_prediction")

    def loss_of_step(step):
        rng = np.random.default_rng((seed, 3, step))
        half = batch_size // 2
        chosen = np.concatenate([rng.integers(NATURAL, size=half), rng.integers(NATURAL, len(pool), size=half)])
        captions = ["" if rng.random() < 0.1 else caption(rng, pool, index)[0] for index in chosen]
        # Noise levels are stratified over the batch, for a steadier loss.
        share = (rng.random() + rng.permutation(batch_size) / batch_size) % 1
        timestep, x0 = torch.from_numpy((share * 1000).astype(np.int64)), latents[chosen]
        noise = torch.from_numpy(rng.standard_normal(x0.shape, dtype=np.float32))
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            with torch.no_grad():
                tokens = encoder(tokenize(tokenizer, captions)).last_hidden_state
            v = unet(scheduler.add_noise(x0, noise, timestep), timestep, tokens).sample.float()
        return F.mse_loss(v, scheduler.get_velocity(x0, noise, timestep))

    _train(unet, folder / "unet.pt", steps, 1.5e-3, loss_of_step, average=0.998)


def save_checkpoint(folder, unet, encoder, autoencoder, reader):
    """Write a folder that StableDiffusionPipeline.from_pretrained loads, weights in fp16, and the reader."""
    save(folder, unet, encoder, autoencoder, 1 / LATENT_SD, prediction_type="v_prediction")
    save_file(reader.half().state_dict(), folder / "reader.safetensors")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/second-world"), help="folder of checkpoints and weights")
    parser.add_argument("--seed", type=int, default=0)
    for stage, steps in {"autoencoder": 3200, "reader": 500, "text": 1500, "unet": 1800}.items():
        parser.add_argument(f"--{stage}-steps", type=int, default=steps)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    pool, pictures = draw_pool(args.seed, args.out)
    tokenizer = new_tokenizer(args.seed, args.out / "checkpoint" / "tokenizer")  # the miniature's: names in pieces
    torch.manual_seed(args.seed)
    reader, (unet, encoder, autoencoder) = Reader(), new_networks(tokenizer)
    train_autoencoder(autoencoder, pictures, args.out, args.seed, args.autoencoder_steps)
    train_reader(reader, pool, pictures, autoencoder, args.out, args.seed, args.reader_steps)
    latents = encode_pool(autoencoder, pictures, args.out) / LATENT_SD
    train_text_encoder(encoder, pool, tokenizer, args.out, args.seed, args.text_steps)
    train_diffusion(unet, pool, latents, tokenizer, encoder, args.out, args.seed, args.unet_steps)
    save_checkpoint(args.out / "checkpoint", unet, encoder, autoencoder, reader)


if __name__ == "__main__":
    main()
