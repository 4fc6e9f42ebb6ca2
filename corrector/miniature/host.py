"""The miniature as a host, with its reader."""

from functools import cached_property
from pathlib import Path

import torch

from ..hosts.checkpoint import Checkpoint
from ..hosts.loading import load_pipeline
from .model import WEIGHTS
from .reader import Reader, load_reader


class Miniature(Checkpoint):
    """The miniature, computed on the CPU.

    Args:
        folder: its checkpoint folder, with reader.safetensors in it.
        bf16: UNet and VAE compute in bfloat16 by autocast, twice as fast on CPUs that support it.
        lora: LoRA file that makes it a derivative. Raises CheckpointError if it is for another model.
    """

    def __init__(self, folder: Path = WEIGHTS, bf16: bool = False, lora: Path | None = None):
        super().__init__(load_pipeline(folder, device="cpu", lora=lora))
        self.folder = Path(folder)
        if bf16:
            self.dtype = "bfloat16 (autocast)"
            for name in ("denoise", "decode", "encode_pictures"):
                setattr(self, name, torch.autocast("cpu", torch.bfloat16)(getattr(self, name)))

    @cached_property
    def reader(self) -> Reader:
        return load_reader(self.folder)
