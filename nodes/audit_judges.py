"""Who judges an audit in ComfyUI: a latent judge, the graph's own CLIP by words, and the miniature's reader."""

import torch

from ..corrector.learning.pairs import make_pairs
from .identity import identity_of
from .miniature import WEIGHTS


def judges_of(host, axis, preferences, clip, folder, seed, cfg, progress):
    """The preference's own judge of this axis or one that is trained here; CLIP's; the miniature's reader.

    `clip`: (vision model, text model), or None.
    """
    from ..corrector.audit.judges import JUDGE_PAIRS, ClipJudge, ReaderJudge, latent_judge, trained_judge

    own = next((p for p in preferences if p.axis.id == axis.id and p.judge is not None), None)
    if own:
        judges = [latent_judge(own, [p.hash for p in preferences])]
    else:
        seed += 1_000_003  # other pictures than any that are audited
        total = 2 * JUDGE_PAIRS * len(axis.groups)
        pairs = make_pairs(
            host, axis, JUDGE_PAIRS, seed, cfg, host.steps, folder=folder / "judge-pairs", batch=host.batch,
            progress=lambda latents: progress.drawn(len(latents), total, host.preview(latents)),
        )  # fmt: skip
        with torch.enable_grad():
            judges = [trained_judge(pairs, seed)]
    if clip is not None:
        pictures, texts = clip_embeddings(*clip)
        judges.append(ClipJudge(pictures, texts, axis, f"the CLIP of this graph, {identity_of_clip(*clip)}"))
    readable = host.space == "miniature" and host.shape[1:] == (16, 16)
    if readable and axis.id in ("miniature-backdrop", "miniature-attire"):
        from ..corrector.miniature.reader import load_reader

        judges.append(ReaderJudge(load_reader(WEIGHTS), axis))
    return judges


def identity_of_clip(vision, text):
    """Which CLIP judges: hashes of the vision and of the text model."""
    return f"{identity_of(vision.patcher)} and {identity_of(text.patcher)}"


def clip_embeddings(vision, text):
    """-> functions of pictures [N, 3, H, W] in -1..1 and of texts, to vectors [N, E] of the host's own CLIP.

    Raises AuditError where the two do not belong together, or the text model's last layer was never loaded.
    """

    @torch.inference_mode()
    def pictures(some):
        seen = vision.encode_image(((some + 1) / 2).movedim(1, -1))
        return seen["image_embeds"].float().cpu().clone()

    @torch.inference_mode()
    def texts(some):
        found = [text.encode_from_tokens(text.tokenize(words), return_pooled=True)[1] for words in some]
        return torch.cat(found).float().cpu().clone()

    _check(pictures(torch.zeros(1, 3, 64, 64)), texts(["a photo of a city", "a cat"]), text)
    return pictures, texts


def _check(seen, said, text):
    from ..corrector.audit.plan import AuditError

    if seen.shape[-1] != said.shape[-1]:
        raise AuditError(
            f"The CLIP vision model's vectors have {seen.shape[-1]} numbers and those of the text encoder "
            f"{said.shape[-1]}: they are not of one CLIP. Connect the text model that belongs to the vision model as "
            "clip_text, or leave clip_vision out."
        )
    if not said.isfinite().all() or torch.equal(said[0], said[1]) or any(map(_never_loaded, _projections(text))):
        raise AuditError(
            "The text encoder lacks CLIP's text projection, as those of SD1.5 checkpoints do, so that its vectors "
            "cannot be compared with pictures. Load the whole CLIP text model with a CLIP loader and connect it as "
            "clip_text, or leave clip_vision out."
        )


def _projections(text):
    """The text projections of a CLIP's encoders."""
    named = text.cond_stage_model.named_parameters()
    return [weight for name, weight in named if name.endswith("text_projection.weight")]


def _never_loaded(weight):
    """What the host leaves where a file has none: nothing, an identity, or whatever memory held."""
    weight = weight.detach().float()
    size = weight.square().mean().sqrt()  # 0.01 to 0.1 in a trained one
    return not 1e-4 < size < 1e2 or torch.equal(weight, torch.eye(*weight.shape, device=weight.device))
