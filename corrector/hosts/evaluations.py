"""What a pipeline's denoiser is asked between two steps of the scheduler, and how it can be asked for something else.

In this module latents and outputs are as `scheduler.step` has them, unless they are called pictures: [B, C, H, W].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..latents.spaces import flowing, scale_input
from .denoiser_arguments import arguments_of, prompts_of, rows_of, with_prompts
from .families import Family, denoiser_of
from .guidance import combined, scale_of, scaled, scaling_of
from .prompts import Prompts
from .schedulers import is_flow, nearest_timestep

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline


@dataclass
class Evaluation:
    """An evaluation of the denoiser: its arguments by name, and once it has ended, its output."""

    call: dict[str, Any]
    output: Any = None


class Guidance(NamedTuple):
    """How a step's prediction after CFG was formed.

    prompted: the output for the prompts, of the same form as that after CFG.
    scale: the CFG scale; 1 without.
    scaling: by what the output after CFG was multiplied; None if it was not.
    """

    prompted: Tensor
    scale: float
    scaling: Tensor | None


class Evaluations:
    """The denoiser of one call of a pipeline, and its evaluations since the last step.

    Args:
        pipe: the pipeline.
        family: of the pipeline.
        encoded: what encode_prompt returned for the prompts.
    """

    def __init__(self, pipe: DiffusionPipeline, family: Family, encoded: Sequence[Any]):
        self.pipe: Any = pipe
        self.family = family
        self.denoiser = denoiser_of(pipe)
        self.tokens = encoded[0]  # as the denoiser gets them, a row or an entry for each picture
        self.prompts = prompts_of(family, encoded)
        self.aside = False  # whether the denoiser is asked for something else, which is none of these evaluations
        self.guidance: Guidance | None = None  # of the last step whose output after CFG was read
        self._size: tuple[int, int] | None = None  # height and width in pixels
        self._prompted: Evaluation | None = None
        self._negative: Evaluation | None = None
        self._negative_before: Evaluation | None = None  # of the last step
        self._more = False  # whether the pipeline asks more than once with its own prompts

    def __len__(self):
        return len(self.prompts)

    def prepared(self, count: int, size: tuple[int, int]) -> None:
        """The pipeline makes `count` pictures of a size (height, width); Z-Image only now repeats its prompts."""
        self._size = size
        if self.family.listed and count % len(self) == 0:
            repeats = count // len(self)
            self.tokens = [tokens for tokens in self.tokens for _ in range(repeats)]
            self.prompts = Prompts(prompt for prompt in self.prompts.conditionings for _ in range(repeats))

    def begin(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """An evaluation begins -> whether it is the one for the prompts of this call of the pipeline."""
        evaluation = Evaluation(arguments_of(self.family, args, kwargs))
        if not self.family.two_calls:
            if self._prompted is not None and self._is_own(self._prompted):
                self._more = True  # as for SD3's skip-layer guidance
                return False
            self._prompted = self._negative = evaluation
            return self._is_own(evaluation)
        if self._prompted is None and self._is_own(evaluation):
            self._prompted = evaluation
            return True
        if self._prompted is not None and self._negative is None:
            self._negative = evaluation
            self._more |= self._is_own(evaluation)  # as without a negative prompt in modular pipelines for SD3
        return False

    def end(self, output: Any) -> None:
        """The evaluation that began last has ended."""
        evaluation = self._negative or self._prompted
        if evaluation is not None and evaluation.output is None:
            evaluation.output = output[0]

    def stepped(self) -> None:
        """The scheduler has made its step."""
        self._negative_before = self._negative if self.family.two_calls else None
        self._prompted = self._negative = None  # they hold tensors of the denoiser

    def _is_own(self, evaluation):
        tokens = evaluation.call.get(self.family.tokens)
        if tokens is None:
            return False
        rows = [tokens[row] for row in self._rows(evaluation).tolist()]
        return len(rows) == len(self) and all(map(_same, rows, self.tokens))

    @property
    def _guided(self) -> bool:
        """Whether CFG is on in this step. Pipelines with perturbed attention have more rows without CFG too."""
        by_pipe = getattr(self.pipe, "do_classifier_free_guidance", None)
        if self._prompted is None:  # a denoiser that was compiled in place calls no hooks
            return bool(by_pipe)
        if self.family.two_calls:
            return self._negative_at_hand is not None
        return self._count(self._prompted) > len(self) and by_pipe is not False

    @property
    def _negative_at_hand(self) -> Evaluation | None:
        """That for the negative prompts; of the last step, while it is yet to come."""
        coming = self._prompted is not None and self._prompted.output is None
        return self._negative or (self._negative_before if coming else None)

    def _count(self, evaluation):
        return len(evaluation.call[self.family.latents])

    def _rows(self, evaluation) -> Tensor:
        """The rows [B] for the prompts, or in an evaluation for negative prompts only, for these."""
        first = len(self) if self._guided and not (self.family.two_calls or self.family.prompts_first) else 0
        return torch.arange(self._count(evaluation))[first : first + len(self)]

    def _negative_rows(self) -> Tensor:
        return torch.arange(len(self)) + len(self) * self.family.prompts_first

    @property
    def odd(self) -> str:
        """What keeps the denoiser from being asked for something else, as a clause; "" if nothing does."""
        name = "UNet" if self.family.denoiser == "unet" else self.family.denoiser
        if self._prompted is None:
            return f"its {name} was compiled, or a callback changed its prompts"
        batches = 2 if self._guided and not self.family.two_calls else 1
        if self._count(self._prompted) != batches * len(self):
            return f"its {name} evaluates {self._count(self._prompted)} latents for {len(self)} pictures"
        return f"its {name} has a cache" if getattr(self.denoiser, "is_cache_enabled", False) else ""

    def read_guidance(self, guided: Tensor) -> Guidance:
        """How the output after CFG was formed; without evaluations, it is taken for that for the prompts."""
        prompted, scale, scaling = guided, 1.0, None
        if self._prompted is not None and self._prompted.output is not None:
            prompted = self._output(self._prompted.output, self._rows(self._prompted))
        if self._guided:
            family, negative = self.family, None
            if self._negative is not None and (family.lengths or family.scale is None):
                negative = self._output(self._negative.output, self._negative_rows()).float()
            guided, conditional = guided.float(), prompted.float()
            if family.scale is not None:
                scale = family.scale(self.pipe)
            elif negative is not None:
                scale = scale_of(guided, conditional, negative, family.lengths)
            if family.lengths and negative is not None:
                scaling = scaling_of(guided, combined(conditional, negative, scale), family.lengths)
        self.guidance = Guidance(prompted, scale, scaling)
        return self.guidance

    def _chosen(self, batch, rows) -> Tensor:
        """Rows of latents or of an output; lists have a frame each."""
        return torch.stack([batch[row] for row in rows.tolist()])[:, :, 0] if self.family.listed else batch[rows]

    def _output(self, output, rows):
        """An output of the denoiser for some rows, as the pipeline has it before CFG."""
        output = self._chosen(output, rows)
        return self.family.sign * (output if self.family.packed else output[:, : self._channels])  # without variances

    @property
    def _channels(self) -> int | None:
        return self.pipe.vae.config.get("latent_channels")

    def pictures(self, latents: Tensor) -> Tensor:
        """Latents -> [B, C, H, W]."""
        if not self.family.packed:
            return latents
        unpacked = self.pipe._unpack_latents(latents, *(self._size or ()), self.pipe.vae_scale_factor)
        return unpacked[:, :, 0] if unpacked.ndim == 5 else unpacked

    def latents(self, pictures: Tensor) -> Tensor:
        """The way back of `pictures`."""
        return self.pipe._pack_latents(pictures.contiguous(), *pictures.shape) if self.family.packed else pictures

    @property
    def timestep(self) -> Any:
        """That of the evaluation at hand, without its repetitions for each row."""
        assert self._prompted is not None  # noqa: S101
        timestep = self._prompted.call[self.family.timestep]
        return timestep.flatten()[0] if isinstance(timestep, Tensor) else timestep

    def given(self) -> Tensor:
        """The latents for the prompts that the evaluation at hand was given, as pictures; a UNet's are scaled."""
        evaluation = self._prompted
        assert evaluation is not None  # noqa: S101
        latents = self._chosen(evaluation.call[self.family.latents], self._rows(evaluation))
        return self.pictures(latents)[:, : self._channels]

    def replaced(self, prompts: Prompts, active: Tensor) -> dict[str, Any] | None:
        """The arguments of the evaluation at hand with others' prompts for the pictures that are active, bool [B].

        None if one batch cannot have prompts of such lengths, if the other pictures would not keep their bits, or if
        CFG is not all that the pipeline makes of the prediction.
        """
        evaluation = self._prompted
        assert evaluation is not None  # noqa: S101
        if self._more:
            return None
        call, rows = evaluation.call, self._rows(evaluation)[active]
        changed = with_prompts(self.family, call, rows.tolist(), prompts)
        if changed is None or active.all():
            return changed
        before, after = (_longest(arguments[self.family.tokens]) for arguments in (call, changed))
        return changed if before == after else None

    def prompted(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The output for the prompts, for pictures x in variance-exploding form at sigma [B]."""
        return self._evaluated(self._prompted, self._rows(self._prompted), x, sigma)

    def guided(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The output after CFG."""
        if not self._guided or self.guidance is None:
            return self.prompted(x, sigma)
        if self.family.two_calls:
            negative = self._evaluated(self._negative_at_hand, self._negative_rows(), x, sigma)
            prompted = self.prompted(x, sigma)
        else:
            rows = torch.cat([self._negative_rows(), self._rows(self._prompted)])
            both = self._evaluated(self._prompted, rows, x.repeat(2, 1, 1, 1), sigma.repeat(2))
            negative, prompted = both.chunk(2)
        plain = combined(prompted, negative, self.guidance.scale)
        return plain if self.guidance.scaling is None else scaled(plain, prompted, self.family.lengths)

    def side(self, prompts: Prompts, x: Tensor, sigma: Tensor, index: Tensor) -> Tensor:
        """The output for other prompts, of the pictures at `index` [N]."""
        rows = self._rows(self._prompted)[index]
        outputs = {}
        for part in [torch.arange(len(index))] if self._any_lengths else prompts.alike():
            there = part.to(x.device)
            output = self._evaluated(self._prompted, rows[part], x[there], sigma[there], prompts[part])
            outputs |= dict(zip(part.tolist(), output, strict=True))
        return torch.stack([outputs[i] for i in range(len(index))])

    @property
    def _any_lengths(self) -> bool:
        """Whether one batch may have prompts of any lengths."""
        return bool(self.family.repeats or self.family.listed or self.family.mask)

    def _evaluated(self, evaluation, rows, x, sigma, prompts: Prompts | None = None):
        """The output for rows [N] of an evaluation, with other latents, and with other prompts if any are given."""
        family, scheduler = self.family, self.pipe.scheduler
        call = rows_of(family, evaluation.call, rows)
        if is_flow(scheduler):
            x, sigma = flowing(x.float(), sigma.float())
            time = family.time(self.pipe, sigma) if family.time else sigma
            call[family.timestep] = time.to(call[family.timestep].dtype)
        else:
            x = scale_input(x.float(), sigma.float())
            call[family.timestep] = nearest_timestep(scheduler, sigma)
        given = call[family.latents]
        if family.listed:
            call[family.latents] = list(x[:, :, None].to(given[0]))
        elif family.packed:
            call[family.latents] = self.latents(x).to(given)
        else:
            call[family.latents] = torch.cat([x.to(given), given[:, x.shape[1] :]], dim=1)  # for inpainting it has more
        if prompts is not None:
            call = with_prompts(family, call, range(len(rows)), prompts)
        with self._asking(), torch.no_grad():
            output = self.denoiser(**call)[0]
        return self._output(output, torch.arange(len(rows))).float()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        self.aside = True
        try:
            yield
        finally:
            self.aside = False


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other.to(one))


def _longest(tokens: Sequence[Tensor] | Tensor) -> int:
    return max(len(row) for row in tokens)
