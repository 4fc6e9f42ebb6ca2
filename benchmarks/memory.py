"""Memory that learning takes on SDXL beyond the model itself, on the CPU.

`learn` and `calibrate` run whole, at 1024 x 1024, on texts as wide as SDXL's. The model is hollow: UNet, VAE and text
encoders answer at once, with nothing. So all pairs count as sound, and the network is trained for a few steps only. The
memory of decoding a picture is that of a real VAE in full size with random weights.
"""

import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import psutil
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from benchmarks.measuring import Options, number
from benchmarks.records import ROOT, Row
from corrector.axis.axis import load_axis
from corrector.hosts.components import decoded
from corrector.hosts.sampler import karras_sigmas, sample_euler
from corrector.latents.host import starting_noise
from corrector.learning import learn as learning
from corrector.learning.calibrate import calibrate
from corrector.learning.learn import learn
from corrector.learning.training import train_distilled

WIDTH, TOKENS, SIDE = 2048, 77, 1024
TRAINED = 20  # steps
VAE = dict(
    block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, scaling_factor=0.13025,
    down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=32,
)  # fmt: skip


class HollowSDXL:
    """A LearningHost with SDXL's sizes."""

    space, steps, batch, device, vocabulary = "sdxl", 16, 2, torch.device("cpu"), ()
    identity = {"checkpoint": "hollow", "space": "sdxl"}

    def __init__(self, side: int):
        self.shape = (4, side // 8, side // 8)

    def encode_each(self, prompts: Sequence[str]) -> Iterator[Tensor]:
        for prompt in prompts:
            yield torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(zlib.crc32(prompt.encode())))

    def encode(self, prompts: Sequence[str]) -> Tensor:
        return torch.stack(list(self.encode_each(prompts)))

    def denoise(self, x: Tensor, sigma: Tensor, conditioning: Tensor) -> Tensor:
        mean = conditioning.mean(dim=(1, 2)).view(-1, 1, 1, 1)
        return x / (1 + sigma.view(-1, 1, 1, 1) ** 2) + mean

    def sample(self, conditioning, seeds, cfg=2.0, steps=16, hook=None) -> Tensor:
        conditioning = conditioning.expand(len(seeds), -1, -1)
        noise = starting_noise(seeds, self.shape)
        return sample_euler(self, conditioning, noise, karras_sigmas(steps), cfg, hook)

    def decode(self, latents: Tensor) -> Tensor:
        return F.interpolate(latents[:, :3], scale_factor=8.0).clamp(-1, 1)

    def encode_pictures(self, pictures: Tensor) -> Tensor:
        return F.avg_pool2d(pictures, 8)[:, [0, 1, 2, 0]]


class Peaks:
    """The process' memory, and its peak in each stage, beyond what it had at first, in GiB."""

    def __init__(self):
        self.process, self.stage, self.done = psutil.Process(), "pairs", False
        self.first = self.process.memory_info().rss
        self.peaks: dict[str, float] = {}
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        while not self.done:
            taken = (self.process.memory_info().rss - self.first) / 2**30
            self.peaks[self.stage] = max(self.peaks.get(self.stage, 0.0), taken)
            time.sleep(0.005)

    def rows(self) -> Iterator[Row]:
        self.done = True
        for stage, peak in self.peaks.items():
            yield Row({"model": "SDXL", "stage": stage}, {"GiB beyond the model": number(peak)})


def sdxl(options: Options) -> Iterator[Row]:
    axis, side = load_axis(ROOT / "axes" / "miniature-backdrop.json"), 128 if options.quick else SIDE
    host, peaks = HollowSDXL(side), Peaks()

    def progress(stage: str, done: int, total: int) -> None:
        peaks.stage = {"verdict": "pairs"}.get(stage, stage)

    def few_steps(*args: Any, **options: Any) -> tuple:
        return train_distilled(*args[:3], TRAINED, *args[4:], **options)

    sound = patch.object(learning, "verdict_agreement", lambda *_: 1.0)
    with tempfile.TemporaryDirectory() as folder, sound, patch.object(learning, "train_distilled", few_steps):
        points = 40 if options.quick else 1000
        preference = learn(host, axis, count=2, points=points, folder=folder, progress=progress)
        peaks.stage = "calibration"
        calibrate(host, preference, 8, [7.0])
    yield from peaks.rows()


def vae(options: Options) -> Iterator[Row]:
    side = 16 if options.quick else SIDE // 8
    pipe, peaks = SimpleNamespace(vae=AutoencoderKL(**VAE).eval().requires_grad_(False)), Peaks()
    peaks.stage = "decoding a picture"
    decoded(pipe, torch.randn(1, 4, side, side), torch.device("cpu"))
    yield from peaks.rows()


PARTS = {"sdxl": sdxl, "vae": vae}
