"""A CLIP judge from a local folder in transformers' format. Nothing is downloaded."""

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F

from .judges import ClipJudge
from .plan import AuditError

MEAN = 0.48145466, 0.4578275, 0.40821073  # of CLIP's training pictures, by channel
DEVIATION = 0.26862954, 0.26130258, 0.27577711
BATCH = 32


def clip_judge(folder, axis):
    """A ClipJudge of `axis`. Raises AuditError if the folder has no complete CLIP model."""
    embed_pictures, embed_texts, digest = load_clip(folder)
    return ClipJudge(embed_pictures, embed_texts, axis, f"{Path(folder).name} ({digest})")


def load_clip(folder):
    """Load CLIP from a folder -> (embed_pictures, embed_texts, hash of both projections).

    The functions take pictures [N, 3, H, W] in -1..1 and a list of texts, and return embeddings [N, E].
    Raises AuditError if the folder has no complete CLIP model.
    """
    from transformers import CLIPModel, CLIPTokenizer, logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # missing weights are an error below
    try:
        model, found = CLIPModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises various exceptions for folders that are not its own
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AuditError(
            f"{folder}: no CLIP model found ({first[:160]}); give a folder with config.json, model.safetensors and the "
            "tokenizer files of a CLIP model."
        ) from None
    finally:
        logging.set_verbosity(verbosity)
    missing = sorted(name for name in found["missing_keys"] if "position_ids" not in name)
    if missing or found["mismatched_keys"]:
        raise AuditError(
            f"{folder}: not a complete CLIP model: {missing[0] if missing else 'a tensor'} is missing or has another "
            "shape. The text encoder of Stable Diffusion alone cannot judge pictures; give the folder of a CLIP model."
        )
    model.eval()
    size = model.config.vision_config.image_size
    mean, deviation = (torch.tensor(three).view(1, 3, 1, 1) for three in (MEAN, DEVIATION))

    @torch.no_grad()
    def embed_pictures(pictures):
        vectors = []
        for part in pictures.float().split(BATCH):
            output = model.vision_model(pixel_values=(_square((part + 1) / 2, size) - mean) / deviation)
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


def _square(pictures, size):
    """Resize the shorter side of pictures [N, 3, H, W] in 0..1 to `size` and crop the centre -> [N, 3, size, size]."""
    height, width = pictures.shape[2:]
    scale = size / min(height, width)
    shape = max(size, round(height * scale)), max(size, round(width * scale))
    pictures = F.interpolate(pictures, shape, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    return pictures[:, :, top : top + size, left : left + size]
