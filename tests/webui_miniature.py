"""The miniature for hosts with packages of their own: its networks as TorchScript, and its tokenizer's files."""

import shutil
from pathlib import Path

import torch

PARTS = ("unet", "text_encoder", "decoder", "encoder")


def save_miniature(folder: Path) -> None:
    """Trace the networks of the shipped miniature into a folder."""
    from corrector.miniature.host import Miniature
    from corrector.miniature.model import WEIGHTS, tokenize

    pipe = Miniature().pipe

    class Unet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unet = pipe.unet

        def forward(self, x, timestep, tokens):
            return self.unet(x, timestep, tokens).sample

    class TextEncoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = pipe.text_encoder

        def forward(self, ids):
            return self.encoder(ids).last_hidden_state

    class Decoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.vae = pipe.vae

        def forward(self, latents):
            return self.vae.decode(latents / self.vae.config.scaling_factor).sample.clamp(-1, 1)

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.vae = pipe.vae

        def forward(self, pictures):
            return self.vae.encode(pictures).latents * self.vae.config.scaling_factor

    ids = tokenize(pipe.tokenizer, ["a portrait of an Orvane person", "a kitten", ""])
    x, timestep = torch.randn(3, 4, 16, 16), torch.full((3,), 500)
    examples = (x, timestep, torch.randn(3, 77, 128)), (ids,), (x,), (torch.rand(3, 3, 128, 128),)
    for name, network, example in zip(PARTS, (Unet(), TextEncoder(), Decoder(), Encoder()), examples, strict=True):
        with torch.no_grad():
            traced = torch.jit.trace(network.eval(), example, check_trace=False)
        traced.save(str(folder / f"{name}.pt"))
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(WEIGHTS / "tokenizer" / name, folder)


class TracedMiniature:
    """The networks that `save_miniature` wrote to a folder, by name, and its tokenizer."""

    def __init__(self, folder: Path):
        from transformers import CLIPTokenizer

        self.unet, self.text_encoder, self.decoder, self.encoder = (
            torch.jit.load(str(folder / f"{name}.pt")) for name in PARTS
        )
        self.tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
        self.evaluations = 0  # of the UNet, counted in pictures

    @torch.no_grad()
    def encode(self, texts):
        options = dict(padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        return self.text_encoder(self.tokenizer(list(texts), **options).input_ids)

    @torch.no_grad()
    def eps(self, x, timestep, tokens):
        self.evaluations += len(x)
        return self.unet(x, timestep.long(), tokens)

    @torch.no_grad()
    def decode(self, latents):
        return self.decoder(latents.clone())

    @torch.no_grad()
    def encode_pictures(self, pictures):
        """Pictures [N, 3, height, width] in -1..1 -> latents [N, 4, H, W]."""
        return self.encoder(pictures.float())
