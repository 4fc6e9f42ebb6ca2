"""What an audit has only in ComfyUI: the graph's CLIP and the miniature's reader as judges, and Text preferences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..corrector.files.folders import WEIGHTS
from .identity import identity_of

if TYPE_CHECKING:
    from ..corrector.auditing.judges import ClipJudge
    from ..corrector.axis.axis import Axis
    from .host import ComfyHost


def clip_judge(clip: tuple[Any, Any], axis: Axis) -> ClipJudge:
    """A ClipJudge of (vision model, text model). Raises AuditError if they cannot judge, as `clip_embeddings` says."""
    from ..corrector.auditing.judges import ClipJudge

    return ClipJudge(*clip_embeddings(*clip), axis, f"the CLIP of this graph, {identity_of_clip(*clip)}")


def add_reader(host: ComfyHost) -> None:
    """Give a ComfyHost the miniatures' reader, if that can read its pictures."""
    if host.space in ("miniature", "flow-miniature") and host.shape[1:] == (16, 16):
        from ..corrector.miniature.reader import load_reader

        host.reader = load_reader(WEIGHTS / "miniature")


def identity_of_clip(vision: Any, text: Any) -> str:
    """Hashes of the vision and the text model."""
    return f"{identity_of(vision.patcher)} and {identity_of(text.patcher)}"


def clip_embeddings(vision: Any, text: Any) -> tuple[Callable[[Tensor], Tensor], Callable[[Sequence[str]], Tensor]]:
    """-> (embed_pictures, embed_texts), which return embeddings [N, E] on the CPU, by the host's CLIP.

    They take pictures [N, 3, H, W] in -1..1 and texts. Raises AuditError if the two models are not of the same CLIP, or
    the text projection was not loaded.
    """

    @torch.inference_mode()
    def embed_pictures(pictures):
        output = vision.encode_image(((pictures + 1) / 2).movedim(1, -1))
        return output["image_embeds"].float().cpu().clone()

    @torch.inference_mode()
    def embed_texts(texts):
        pooled = [text.encode_from_tokens(text.tokenize(words), return_pooled=True)[1] for words in texts]
        return torch.cat(pooled).float().cpu().clone()

    _check(embed_pictures(torch.zeros(1, 3, 64, 64)), embed_texts(["a photo of a city", "a cat"]), text)
    return embed_pictures, embed_texts


def _check(of_pictures, of_texts, text):
    """Raise AuditError unless embeddings of some pictures and of two texts are comparable."""
    from ..corrector.auditing.plan import AuditError

    if of_pictures.shape[-1] != of_texts.shape[-1]:
        raise AuditError(
            f"The embeddings of the CLIP vision model have {of_pictures.shape[-1]} numbers and those of the text "
            f"encoder {of_texts.shape[-1]}: they are not of the same CLIP. Connect the text model that belongs to the "
            "vision model as clip_text, or disconnect clip_vision."
        )
    named = text.cond_stage_model.named_parameters()
    projections = [weight for name, weight in named if name.endswith("text_projection.weight")]
    if not of_texts.isfinite().all() or torch.equal(*of_texts) or any(map(_not_loaded, projections)):
        raise AuditError(
            "The text encoder has no CLIP text projection (those of SD1.5 checkpoints have none), so its embeddings "
            "cannot be compared with pictures. Load the complete CLIP text model with a CLIP loader and connect it as "
            "clip_text, or disconnect clip_vision."
        )


def _not_loaded(weight):
    """Whether a projection has the host's placeholder for missing weights: zeros, an identity, or raw memory."""
    weight = weight.detach().float()
    rms = weight.square().mean().sqrt()  # 0.01 to 0.1 if trained
    return not 1e-4 < rms < 1e2 or torch.equal(weight, torch.eye(*weight.shape, device=weight.device))
