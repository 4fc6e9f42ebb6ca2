"""The second world as a host, with its reader."""

from functools import cached_property
from pathlib import Path

from corrector.hosts.checkpoint import Checkpoint
from corrector.hosts.loading import load_pipeline

from .reader import load_reader

WEIGHTS = Path(__file__).with_name("weights")


class SecondWorld(Checkpoint):
    """The second world, computed on the CPU; `folder` holds its checkpoint and reader.safetensors."""

    def __init__(self, folder=WEIGHTS):
        super().__init__(load_pipeline(folder, device="cpu"))
        self.folder = Path(folder)

    @cached_property
    def reader(self):
        return load_reader(self.folder)
