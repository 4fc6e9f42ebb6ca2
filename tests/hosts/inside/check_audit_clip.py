"""The judge by words on the host's own CLIP classes, at full size with random weights: what fits and what is refused.

How often a trained CLIP is right is not tested here: its weights cannot be had in these tests.
"""

import inspect
from pathlib import Path

import comfy.clip_vision
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import pytest
import torch
from host import node
from rs_pack.corrector.auditing.judges import ClipJudge
from rs_pack.corrector.auditing.plan import AuditError
from rs_pack.nodes.audit_host import clip_embeddings, identity_of_clip

CONFIG = Path(inspect.getfile(comfy.clip_vision)).with_name("clip_vision_config_vitl.json")


def filled(module, seed):
    """Weights as large as those of a trained model, which the host's classes leave as memory held them."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        values = torch.randn(parameter.shape, generator=generator) * 0.02
        parameter.data.copy_(values + (parameter.ndim == 1 and "norm" in name and name.endswith("weight")))


@pytest.fixture(scope="module")
def vision():
    """CLIP ViT-L/14's vision model, 304 million numbers."""
    with torch.inference_mode(False):
        model = comfy.clip_vision.ClipVisionModel(str(CONFIG))
        filled(model.model, 0)
    return model


@pytest.fixture(scope="module")
def text():
    """CLIP-L as SD1.5 has it, with its text projection and the host's own tokenizer."""
    with torch.inference_mode(False):
        target = comfy.supported_models_base.ClipTarget(comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel)
        model = comfy.sd.CLIP(target)
        filled(model.cond_stage_model, 1)
    return model


def test_pictures_and_words_meet_in_one_space_and_each_picture_gets_a_side(vision, text):
    pictures, texts = clip_embeddings(vision, text)
    assert texts(["a city", "a village"]).shape == (2, 768)
    for size in ((64, 64), (512, 768)):
        some = torch.rand(3, 3, *size) * 2 - 1
        assert pictures(some).shape == (3, 768) and pictures(some).dtype == torch.float32
    axis = node("RSCorrectorLoadAxis", "miniature-backdrop.json")
    judge = ClipJudge(pictures, texts, axis, identity_of_clip(vision, text))
    sides, groups = judge.look(None, torch.rand(3, 3, 128, 128) * 2 - 1, "Orvane")
    assert set(sides) <= {"stereotype", "counter"} and len(sides) == 3 and groups is None


@pytest.mark.parametrize("left", ("nothing", "an identity", "NaN"))
def test_a_text_encoder_without_its_projection_is_refused_with_what_to_do(vision, text, left):
    """SD1.5 checkpoints have none, and the host says nothing of it."""
    weight = text.cond_stage_model.clip_l.transformer.text_projection.weight
    kept = weight.data.clone()
    weight.data.copy_({"nothing": torch.zeros(768, 768), "an identity": torch.eye(768)}.get(left, kept * torch.nan))
    try:
        with pytest.raises(AuditError, match="connect it as clip_text"):
            clip_embeddings(vision, text)
    finally:
        weight.data.copy_(kept)


def test_a_vision_model_of_another_clip_is_refused(vision, miniature):
    with pytest.raises(AuditError, match="768 numbers and those of the text encoder 128"):
        clip_embeddings(vision, miniature[1])
