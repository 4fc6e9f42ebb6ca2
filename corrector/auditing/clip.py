"""A CLIP judge from a local folder in transformers' format. Nothing is downloaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..latents.skin import to_uint8
from .judges import ClipJudge
from .plan import AuditError

if TYPE_CHECKING:
    from ..axis.axis import Axis

CLIP_BATCH = 32
NEEDED = "give a folder with config.json, model.safetensors and the tokenizer files of a CLIP model"


def clip_judge(folder: str | Path, axis: Axis) -> ClipJudge:
    """A judge of an axis. Raises AuditError if the folder has no complete CLIP model."""
    embed_pictures, embed_texts, digest = load_clip(folder)
    return ClipJudge(embed_pictures, embed_texts, axis, f"{Path(folder).name} ({digest})")


def load_clip(folder: str | Path) -> tuple[Callable[[Tensor], Tensor], Callable[[Sequence[str]], Tensor], str]:
    """Load CLIP from a folder -> (embed_pictures, embed_texts, hash of both projections).

    The functions take pictures [N, 3, H, W] in -1..1 and N texts, and return embeddings [N, E].
    Raises AuditError if the folder has no complete CLIP model.
    """
    model, tokenizer = _loaded(folder)
    from transformers import CLIPImageProcessor

    size = model.config.vision_config.image_size
    processor = CLIPImageProcessor(size={"shortest_edge": size}, crop_size=size)

    @torch.no_grad()
    def embed_pictures(pictures):
        vectors = []
        for part in pictures.split(CLIP_BATCH):
            output = model.vision_model(processor(list(to_uint8(part)), return_tensors="pt").pixel_values)
            vectors.append(model.visual_projection(output.pooler_output).float())
        return torch.cat(vectors)

    @torch.no_grad()
    def embed_texts(texts):
        tokens = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt",
                           max_length=model.config.text_config.max_position_embeddings)  # fmt: skip
        output = model.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        return model.text_projection(output.pooler_output).float()

    digest = hashlib.sha256()
    for projection in (model.visual_projection, model.text_projection):
        digest.update(projection.weight.detach().float().numpy().tobytes())
    return embed_pictures, embed_texts, digest.hexdigest()[:10]


def _loaded(folder):
    """(CLIPModel, CLIPTokenizer) of a folder; its weights and its tokenizer are complete."""
    if not os.path.isfile(Path(folder) / "config.json"):  # transformers would ask the hub for a model of this name
        raise AuditError(f"{folder}: no CLIP model found (config.json is missing); nothing is downloaded, so {NEEDED}.")
    from transformers import CLIPModel, CLIPTokenizer, logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # missing weights are an error below, and torchvision is not needed
    try:
        model, loading = CLIPModel.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]  # output_loading_info
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True,
            attn_implementation="sdpa",  # config.json may name code on the hub
        )  # fmt: skip
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises various exceptions for folders that are not its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AuditError(f"{folder}: no CLIP model found ({reason[:160]}); {NEEDED}.") from None
    finally:
        logging.set_verbosity(verbosity)
    missing = sorted(name for name in loading["missing_keys"] if "position_ids" not in name)
    if missing or loading["mismatched_keys"]:
        raise AuditError(
            f"{folder}: not a complete CLIP model: {missing[0] if missing else 'a tensor'} is missing or has another "
            "shape. The text encoder of Stable Diffusion alone cannot judge pictures; give the folder of a CLIP model."
        )
    tokens, needed = len(tokenizer), model.config.text_config.vocab_size
    if tokens < needed:  # transformers makes an empty tokenizer if its files are missing
        raise AuditError(
            f"{folder}: its tokenizer has {tokens} tokens and its text model {needed}; copy vocab.json and merges.txt "
            "(or tokenizer.json) of this CLIP into the folder."
        )
    return model.eval(), tokenizer
