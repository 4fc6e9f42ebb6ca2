"""A saved picture carries what was done to it, and no other picture carries anything; through ComfyUI's API."""

import json

import numpy as np
import pytest
from PIL import Image

from hosts.workflow import by_class, load_workflow, succeeded, to_graph

PERSON, VILLAGE = "a portrait of an Orvane person", "a portrait of an Orvane person in a village"
CORRECTED, ASKED = "corrected", "left alone, the prompt asks for a village"


def sampler(model, latent, positive="person", seed=1, **changes):
    inputs = {
        "model": [model, 0], "positive": [positive, 0], "negative": ["empty", 0], "latent_image": latent, "seed": seed,
        "steps": 4, "cfg": 2.0, "sampler_name": "euler", "scheduler": "karras", "denoise": 1.0, **changes,
    }  # fmt: skip
    return node("KSampler", **inputs)


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def decode(latent):
    return node("VAEDecode", samples=latent, vae=["model", 2])


def save(picture, name="picture", kind="SaveImage"):
    return node(kind, images=picture, **({"filename_prefix": name} if kind == "SaveImage" else {}))


@pytest.fixture
def graph():
    """A corrected model, prompts, and a batch of two to start from; ids say what they are."""
    return {
        "model": node("RSCorrectorMiniature"),
        "file": node("RSCorrectorLoadPreference", file="miniature-backdrop.safetensors"),
        "ours": node("RSCorrector", model=["model", 0], preference=["file", 0], strength=1.0),
        "person": node("CLIPTextEncode", clip=["model", 1], text=PERSON),
        "village": node("CLIPTextEncode", clip=["model", 1], text=VILLAGE),
        "empty": node("CLIPTextEncode", clip=["model", 1], text=""),
        "two": node("EmptyLatentImage", width=128, height=128, batch_size=2),
        "one": node("EmptyLatentImage", width=128, height=128, batch_size=1),
    }


@pytest.fixture
def outcomes(server):
    """`outcomes(graph)` -> {saving node: for each picture the outcomes of all corrections in its metadata}."""

    def run(graph):
        pictures = server.pictures(succeeded(server.run(graph, workflow={"id": "a workflow"})))
        return {name: [outcomes_in(path) for path in paths] for name, paths in pictures.items()}

    return run


def outcomes_in(path):
    text = Image.open(path).text
    assert json.loads(text["workflow"]) == {"id": "a workflow"}
    if "rs_corrector" not in text:
        return []
    record = json.loads(text["rs_corrector"])
    assert record["format"] == 1
    return [correction["outcome"] for correction in record["corrections"]]


def test_all_pictures_of_first_correction_are_right(server, object_info):
    graph = to_graph(load_workflow("1-first-correction.json"), object_info)
    pictures = server.pictures(succeeded(server.run(graph, workflow={"id": "a workflow"})))
    before, after = by_class(graph, "SaveImage")
    assert [outcomes_in(path) for path in pictures[before]] == [[]] * 4
    assert [outcomes_in(path) for path in pictures[after]] == [[CORRECTED]] * 4
    (correction,) = json.loads(Image.open(pictures[after][0]).text["rs_corrector"])["corrections"]
    (preference,) = correction["preferences"]
    assert correction["strength"] == correction["target"] == 1.0
    assert preference["name"] == "miniature-backdrop" and len(preference["hash"]) == 10
    assert preference["corrected"] and not preference["reason"]


def test_three_samplers_whose_pictures_are_saved_apart_and_in_one_batch(graph, outcomes):
    graph |= {
        "plain": sampler("model", ["two", 0]),
        "corrected": sampler("ours", ["two", 0]),
        "asked": sampler("ours", ["one", 0], "village"),
    }
    for name in ("plain", "corrected", "asked"):
        graph |= {f"{name} picture": decode([name, 0]), f"{name} saved": save([f"{name} picture", 0], name)}
    graph |= {
        "some": node("ImageBatch", image1=["plain picture", 0], image2=["asked picture", 0]),
        "all": node("ImageBatch", image1=["some", 0], image2=["corrected picture", 0]),
        "all saved": save(["all", 0], "all"),
        "all shown": save(["all", 0], kind="PreviewImage"),
    }
    wanted = {
        "plain saved": [[], []],
        "corrected saved": [[CORRECTED]] * 2,
        "asked saved": [[ASKED]],
        "all saved": [[]] * 5,  # joined pictures of which nothing holds for all
        "all shown": [[]] * 5,
    }
    assert outcomes(graph) == wanted
    del graph["all shown"], wanted["all shown"]
    for name in ("plain", "corrected", "asked", "all"):
        graph[f"{name} saved"]["inputs"]["filename_prefix"] += " again"  # saves what the host's cache kept
    assert outcomes(graph) == wanted


def test_each_picture_of_a_batch_has_its_own_outcome(graph, outcomes):
    graph |= {
        "four": node("EmptyLatentImage", width=128, height=128, batch_size=4),
        "half": node(
            "RSCorrectorAdvanced", model=["model", 0], preference=["file", 0], strength=1.0, target=0.5,
            start_percent=0.0, end_percent=1.0, thinning_seed=0, cap=0.0, gate=True,
        ),
        "sampler": sampler("half", ["four", 0]),
        "picture": decode(["sampler", 0]),
        "saved": save(["picture", 0]),
        "plain": sampler("model", ["four", 0]),
        "plain picture": decode(["plain", 0]),
        "plain saved": save(["plain picture", 0]),
        "larger": node("LatentUpscaleBy", samples=["sampler", 0], upscale_method="bislerp", scale_by=1.5),
        "larger picture": decode(["larger", 0]),
        "larger saved": save(["larger picture", 0]),
    }  # fmt: skip
    found = outcomes(graph)
    assert found["plain saved"] == [[]] * 4
    assert {CORRECTED} < {outcome for (outcome,) in found["saved"]}
    assert found["larger saved"] == found["saved"]


def test_the_outcomes_in_a_batch_match_the_pixels(graph, server):
    graph |= {
        "four": node("EmptyLatentImage", width=128, height=128, batch_size=4),
        "half": node(
            "RSCorrectorAdvanced", model=["model", 0], preference=["file", 0], strength=1.0, target=0.4,
            start_percent=0.0, end_percent=1.0, thinning_seed=0, cap=0.0, gate=True,
        ),
    }  # fmt: skip
    for name, model in (("plain", "model"), ("half", "half")):
        graph |= {f"{name} sampler": sampler(model, ["four", 0], seed=3)}
        graph |= {f"{name} picture": decode([f"{name} sampler", 0]), f"{name} saved": save([f"{name} picture", 0])}
    pictures = server.pictures(succeeded(server.run(graph, workflow={"id": "a workflow"})))
    for plain, half in zip(pictures["plain saved"], pictures["half saved"], strict=True):
        same = np.array_equal(np.asarray(Image.open(plain)), np.asarray(Image.open(half)))
        assert same == (outcomes_in(half) != [CORRECTED])


def test_stages_in_a_row_are_all_named_oldest_first(graph, outcomes):
    graph |= {
        "first": sampler("ours", ["two", 0]),
        "larger": node("LatentUpscaleBy", samples=["first", 0], upscale_method="bislerp", scale_by=1.5),
        "second": sampler("ours", ["larger", 0], "village", denoise=0.5),
        "third": sampler("model", ["larger", 0], denoise=0.5),
    }
    for name in ("first", "second", "third"):
        graph |= {f"{name} picture": decode([name, 0]), f"{name} saved": save([f"{name} picture", 0], name)}
    assert outcomes(graph) == {
        "first saved": [[CORRECTED]] * 2,
        "second saved": [[CORRECTED, ASKED]] * 2,
        "third saved": [[CORRECTED]] * 2,  # the second stage of a plain model adds nothing
    }


def test_two_correcting_nodes_in_a_row_are_both_named(graph, outcomes):
    graph["village"]["inputs"]["text"] = "a portrait of a Tavelu person in a village"
    graph |= {
        "attire": node("RSCorrectorLoadPreference", file="miniature-attire.safetensors"),
        "both": node("RSCorrector", model=["ours", 0], preference=["attire", 0], strength=1.0),
        "together": node("RSCorrectorCombinePreferences", preference_1=["file", 0], preference_2=["attire", 0]),
        "combined": node("RSCorrector", model=["model", 0], preference=["together", 0], strength=1.0),
        "sampler": sampler("both", ["two", 0], "village"),
        "picture": decode(["sampler", 0]),
        "saved": save(["picture", 0]),
        "combined sampler": sampler("combined", ["two", 0], "village"),
        "combined picture": decode(["combined sampler", 0]),
        "combined saved": save(["combined picture", 0]),
    }
    found = outcomes(graph)
    assert [sorted(one) for one in found["saved"]] == [[CORRECTED, ASKED]] * 2
    assert found["combined saved"] == [[f"miniature-backdrop: {ASKED}; miniature-attire: {CORRECTED}"]] * 2


def test_at_strength_zero_and_behind_what_may_change_the_order_nothing_is_said(graph, outcomes):
    graph |= {
        "off": node("RSCorrector", model=["model", 0], preference=["file", 0], strength=0.0),
        "sampler": sampler("off", ["two", 0]),
        "picture": decode(["sampler", 0]),
        "saved": save(["picture", 0], "off"),
        "corrected": sampler("ours", ["two", 0]),
        "corrected picture": decode(["corrected", 0]),
        "blended": node(
            "ImageBlend", image1=["picture", 0], image2=["corrected picture", 0], blend_factor=0.5, blend_mode="normal"
        ),
        "blended saved": save(["blended", 0], "blended"),
        "split": node("RebatchImages", images=["corrected picture", 0], batch_size=1),
        "split saved": save(["split", 0], "split"),
    }
    assert outcomes(graph) == {
        "saved": [[], []],
        "blended saved": [[], []],
        "split saved": [[CORRECTED]] * 2,  # all pictures are alike, so their order does not matter
    }
