"""What learning, calibration and audits need of a model: five functions, and five facts about it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from .skin import Pictures

Hook = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class Conditioning(Protocol):
    """N encoded prompts: token vectors [N, T, W], or `Prompts`, which are indexed and repeated like a tensor."""

    def __len__(self) -> int: ...

    def __getitem__(self, index, /) -> "Conditioning": ...

    def expand(self, *sizes: int) -> "Conditioning": ...


C = TypeVar("C", bound=Conditioning)


class Host(Protocol[C]):
    """A model that can be sampled, whose conditioning is of a type C.

    Latents are in model space, (VAE space - shift) * scale; x at sigma is x0 + sigma * noise. Arguments may be on any
    device; `denoise` and `sample` return float32 on `device`, all else is returned on the CPU.

    Attributes:
        space: name in LATENT_SPACES of the latents.
        device: where the networks compute.
        batch: most pictures in one batch of `sample`.
        steps: default number of sampling steps.
        identity: all that a picture depends on except prompt, seed, CFG and steps, as JSON; equal each time the same
            weights are loaded. Its "checkpoint" stands for UNet and text encoders.
    """

    @property
    def space(self) -> str: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def batch(self) -> int: ...

    @property
    def steps(self) -> int: ...

    @property
    def identity(self) -> dict: ...

    def encode(self, prompts: Sequence[str]) -> C: ...

    def denoise(self, x: Tensor, sigma: Tensor, conditioning: C) -> Tensor:
        """x [B, C, H, W], sigma [B], the conditioning of B prompts or 1 -> denoised without CFG [B, C, H, W]."""
        ...

    def sample(
        self, conditioning: C, seeds: Sequence[int], cfg: float | None = None, steps: int | None = None,
        hook: Hook | None = None,
    ) -> Tensor:  # fmt: skip
        """From seeds to latents [N, C, H, W].

        Args:
            conditioning: of N prompts, or of one for all pictures.
            seeds: N integers, of the `starting_noise`.
            cfg: CFG scale, by default `default_cfg`; the negative prompt is empty.
            steps: by default the host's.
            hook: `hook(denoised, x, sigma, indices, conditional)`, called after CFG, returns the new denoised; indices
                [B] are those of the batch's pictures, `conditional` is the prediction without CFG.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [N, C, H, W] -> pictures [N, 3, 8H, 8W] in -1..1."""
        ...

    def encode_pictures(self, pictures: Tensor) -> Tensor:
        """The way back of `decode`, without noise."""
        ...


class TextEncoder(Protocol):
    """What learning a gate needs of a host beside that.

    Attributes:
        vocabulary: the tokens that the text encoder's tokenizer knows, as texts; () if that is not known.
    """

    @property
    def vocabulary(self) -> Sequence[str]: ...

    def encode_each(self, prompts: Sequence[str]) -> Iterator[Tensor]:
        """Many texts -> the token vectors [T, W] of each, as `encode` gives them, on the CPU."""
        ...


class LearningHost(Host[C], TextEncoder, Protocol[C]):
    """A host from which a preference can be learned."""


def default_cfg(space: str) -> float:
    """The CFG scale at which pictures of a latent space are drawn if none is named."""
    return 2.0 if space in ("miniature", "flow-miniature") else 7.0


def cfg_of(host: Host) -> float:
    """The CFG scale at which a host's pictures are drawn if none is named: its own `cfg` if it has one."""
    return getattr(host, "cfg", default_cfg(host.space))


def pictures_of(host: Host) -> Pictures:
    """How a host shows latents; one whose colours are only approximate says by `invertible` that they are."""
    return Pictures(host.decode, host.encode_pictures, getattr(host, "invertible", True))


def starting_noise(seeds: Iterable[int], shape: Sequence[int]) -> Tensor:
    """Noise of each seed [N, C, H, W] on the CPU for latents of shape (C, H, W), independent of batch and device."""
    return torch.stack([torch.randn(*shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds])
