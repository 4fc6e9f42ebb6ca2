"""The CLIP judge, with CLIP's own architecture and random weights: shapes, dtypes and error messages.

The accuracy of a trained CLIP is not tested, since its weights are not available offline.
"""

import json
import logging
import os
import pickle
import shutil

import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPVisionConfig

from audit_world import AXIS, ROOT, SHIPPED, DrawnHost, drawn_audit, plan, report_of
from corrector.auditing.clip import clip_judge, load_clip
from corrector.auditing.judges import ClipJudge
from corrector.auditing.plan import AuditError
from corrector.cli.commands import main
from corrector.miniature.model import WEIGHTS, load_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")
DEEP = dict(num_hidden_layers=2, num_attention_heads=2, intermediate_size=48)


def text_config():
    """For the miniature's tokenizer; CLIP pools the text embedding at the end-of-text token."""
    tokenizer = load_tokenizer(WEIGHTS / "tokenizer")
    ids = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=0)
    return CLIPTextConfig(vocab_size=len(tokenizer), hidden_size=24, **DEEP, **ids)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The folder of a small CLIP in transformers' format."""
    folder = tmp_path_factory.mktemp("clip") / "small-clip"
    vision = CLIPVisionConfig(hidden_size=32, image_size=48, patch_size=16, **DEEP)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        both = dict(text_config=text_config().to_dict(), vision_config=vision.to_dict())
        CLIPModel(CLIPConfig(**both, projection_dim=20)).save_pretrained(folder)
    shutil.copytree(WEIGHTS / "tokenizer", folder, dirs_exist_ok=True)
    return folder


def test_pictures_of_any_size_and_texts_are_embedded_in_the_same_space(clip):
    pictures, texts, digest = load_clip(clip)
    for size in ((128, 128), (40, 200), (96, 64)):
        assert pictures(torch.rand(3, 3, *size) * 2 - 1).shape == (3, 20)
    said = texts(["a photo of a city", "a village, and a longer text about it", "word " * 200])
    assert said.shape == (3, 20) and said.isfinite().all() and len(digest) == 10
    assert torch.allclose(said[:1], texts(["a photo of a city"]), atol=1e-5)  # padding changes nothing


def test_pictures_are_preprocessed_like_by_clips_own_processor(clip):
    """Up to rounding: the processor resizes 8-bit pictures."""
    picture = torch.nn.functional.interpolate(torch.rand(1, 3, 9, 6), (144, 96), mode="bicubic").clamp(0, 1)
    array = (picture[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    own = CLIPImageProcessor(size={"shortest_edge": 48}, crop_size=48)(array, return_tensors="pt").pixel_values
    model = CLIPModel.from_pretrained(clip).eval()
    with torch.no_grad():
        expected = model.visual_projection(model.vision_model(pixel_values=torch.as_tensor(own)).pooler_output)
    found = load_clip(clip)[0](picture * 2 - 1)
    assert torch.nn.functional.cosine_similarity(found, expected).item() > 0.999


def test_an_audit_notes_that_a_clip_with_random_weights_is_unreliable(clip, tmp_path):
    """The report finds that from prompts that ask for a side."""
    run = drawn_audit(plan(images=20, explicit=20), host=DrawnHost())
    run.judges.append(clip_judge(clip, AXIS))
    report = report_of(run, tmp_path)
    about = report["judges"][2]
    assert about["name"] == "CLIP" and about["source"].startswith("small-clip (")
    assert about["agrees_with_explicit_prompts"]["value"] < 0.75 and "stereotypes of its own" in about["caveat"]
    assert any(f["name"] == "a judge that errs" and "CLIP" in f["words"] for f in report["findings"])


def test_the_side_with_the_closer_words_is_chosen():
    axis_of = {"city": torch.tensor([1.0, 0.1]), "village": torch.tensor([0.1, 1.0])}

    def texts(some):
        return torch.stack([axis_of["city" if any(p in t for p in AXIS.counter.phrases) else "village"] for t in some])

    judge = ClipJudge(lambda pictures: pictures[:, 0, 0, :2], texts, AXIS, "made up")
    pictures = torch.zeros(2, 3, 1, 2)
    pictures[0, 0, 0], pictures[1, 0, 0] = torch.tensor([5.0, 1.0]), torch.tensor([0.2, 0.9])
    assert judge.look(None, pictures, "Orvane") == (["counter", "stereotype"], None)


def test_an_incomplete_clip_is_refused_with_a_message(clip, tmp_path, caplog):
    alone = tmp_path / "text-encoder"
    CLIPTextModel(text_config()).save_pretrained(alone)
    for file in ("vocab.json", "merges.txt"):
        shutil.copy(WEIGHTS / "tokenizer" / file, alone / file)
    with caplog.at_level(logging.ERROR), pytest.raises(AuditError, match=r"not a complete CLIP|no CLIP model found"):
        load_clip(alone)
    cut, deaf = (shutil.copytree(clip, tmp_path / name) for name in ("cut", "deaf"))
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(AuditError, match="no CLIP model found"):
        load_clip(cut)
    for file in (WEIGHTS / "tokenizer").iterdir():  # transformers makes an empty tokenizer, for which all texts are one
        (deaf / file.name).unlink()
    with pytest.raises(AuditError, match=r"its tokenizer has \d+ tokens and its text model 1326; copy vocab.json"):
        load_clip(deaf)


def test_the_name_of_a_clip_on_a_hub_is_refused_before_pairs_are_sampled(clip, tmp_path, no_network):
    options = ["--images", "2", "--explicit", "1", "--clip", "openai/clip-vit-base-patch32", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"no CLIP model found.*nothing is downloaded"):
        main(["audit", str(ROOT / "axes" / "miniature-backdrop.json"), *options])
    assert not list(tmp_path.rglob("*.safetensors"))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "openai/clip-vit-base-patch32"}')
    with pytest.raises(AuditError, match=r"config.json is missing"):
        load_clip(adapter)
    kernel = tmp_path / "kernel"
    shutil.copytree(clip, kernel)
    config = json.loads((kernel / "config.json").read_text())
    (kernel / "config.json").write_text(json.dumps(config | {"attn_implementation": "somebody/kernel"}))
    assert load_clip(kernel)[2] == load_clip(clip)[2]


def test_the_shell_is_offline_for_all_libraries(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    main(["inspect", str(SHIPPED)])
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_a_pickle_in_the_folder_is_refused_and_never_executed(clip, tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "executed").touch, ()

    folder = tmp_path / "pickled"
    shutil.copytree(clip, folder)
    (folder / "model.safetensors").unlink()
    for write in (
        lambda path: path.write_bytes(pickle.dumps(Trap())),
        lambda path: torch.save(CLIPModel.from_pretrained(clip).state_dict(), path),  # which torch would read
    ):
        write(folder / "pytorch_model.bin")
        with pytest.raises(AuditError, match=r"no CLIP model found.*give a folder with config.json, model.safetensors"):
            load_clip(folder)
    assert not (tmp_path / "executed").exists()
