"""A saved picture carries what was done to it, and no other picture carries anything; through ComfyUI's API."""

import json

import numpy as np
import pytest
from PIL import Image

from hosts.workflow import by_class, load_workflow, node, succeeded, to_graph

PERSON, VILLAGE = "a portrait of an Orvane person", "a portrait of an Orvane person in a village"
CORRECTED, ASKED = "corrected", "left alone, the prompt asks for a village"
ADVANCED = dict(strength=1.0, start_percent=0.0, end_percent=1.0, thinning_seed=0, cap=0.0, gate=True)


def sampled(name, model, latent="two", positive="person", **changes):
    """Nodes that sample `name`, decode it as "`name` picture" and save it as "`name` saved"."""
    inputs = dict(
        model=[model, 0], positive=[positive, 0], negative=["empty", 0], latent_image=[latent, 0], seed=1, steps=4,
        cfg=2.0, sampler_name="euler", scheduler="karras", denoise=1.0,
    )  # fmt: skip
    return {name: node("KSampler", **inputs | changes)} | saved(name)


def saved(name):
    """Nodes that decode the latents `name` and save them."""
    return {
        f"{name} picture": node("VAEDecode", samples=[name, 0], vae=["model", 2]),
        f"{name} saved": save(f"{name} picture", name),
    }


def save(picture, name):
    return node("SaveImage", images=[picture, 0], filename_prefix=name)


def correcting(model="model", file="file", strength=1.0):
    return node("RSCorrector", model=[model, 0], preference=[file, 0], strength=strength)


@pytest.fixture
def graph():
    """A corrected model, prompts, and batches to start from; ids say what they are."""
    return {
        "model": node("RSCorrectorMiniature"),
        "file": node("RSCorrectorLoadPreference", file="miniature-backdrop.safetensors"),
        "ours": correcting(),
        "half": node("RSCorrectorAdvanced", model=["model", 0], preference=["file", 0], target=0.5, **ADVANCED),
        "person": node("CLIPTextEncode", clip=["model", 1], text=PERSON),
        "village": node("CLIPTextEncode", clip=["model", 1], text=VILLAGE),
        "empty": node("CLIPTextEncode", clip=["model", 1], text=""),
        **{
            name: node("EmptyLatentImage", width=128, height=128, batch_size=count)
            for name, count in (("one", 1), ("two", 2), ("four", 4))
        },
    }


@pytest.fixture
def pictures(server):
    """`pictures(graph)` -> {saving node: paths}."""
    return lambda graph: server.pictures(succeeded(server.run(graph, workflow={"id": "a workflow"})))


@pytest.fixture
def outcomes(pictures):
    """`outcomes(graph)` -> {saving node: for each picture the outcomes of all corrections in its metadata}."""
    return lambda graph: {name: [outcomes_in(path) for path in paths] for name, paths in pictures(graph).items()}


def outcomes_in(path):
    text = Image.open(path).text
    assert json.loads(text["workflow"]) == {"id": "a workflow"}
    if "rs_corrector" not in text:
        return []
    record = json.loads(text["rs_corrector"])
    assert record["format"] == 1
    return [correction["outcome"] for correction in record["corrections"]]


def test_all_pictures_of_first_correction_are_right(pictures, object_info):
    graph = to_graph(load_workflow("1-see-a-stereotype-corrected.json"), object_info)
    paths = pictures(graph)
    before, after = by_class(graph, "SaveImage")
    assert [outcomes_in(path) for path in paths[before]] == [[]] * 4
    assert [outcomes_in(path) for path in paths[after]] == [[CORRECTED]] * 4
    (correction,) = json.loads(Image.open(paths[after][0]).text["rs_corrector"])["corrections"]
    (preference,) = correction["preferences"]
    assert correction["strength"] == correction["target"] == 1.0
    assert preference["name"] == "Village backdrop (miniature)" and len(preference["hash"]) == 10
    assert preference["corrected"] and not preference["reason"]
    assert (preference["would_show"], preference["shows"]) == ("stereotype", "counter")


def test_three_samplers_whose_pictures_are_saved_apart_and_in_one_batch(graph, outcomes):
    graph |= sampled("plain", "model") | sampled("corrected", "ours") | sampled("asked", "ours", "one", "village")
    graph |= {
        "some": node("ImageBatch", image1=["plain picture", 0], image2=["asked picture", 0]),
        "all": node("ImageBatch", image1=["some", 0], image2=["corrected picture", 0]),
        "all saved": save("all", "all"),
        "all shown": node("PreviewImage", images=["all", 0]),
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


def test_each_picture_of_a_batch_has_its_own_outcome_which_matches_its_pixels(graph, pictures):
    graph |= sampled("plain", "model", "four") | sampled("corrected", "half", "four")
    graph |= {
        "larger": node("LatentUpscaleBy", samples=["corrected", 0], upscale_method="bislerp", scale_by=1.5),
        **saved("larger"),
    }
    paths = pictures(graph)
    found = {name: [outcomes_in(path) for path in files] for name, files in paths.items()}
    assert found["plain saved"] == [[]] * 4
    assert {CORRECTED} < {outcome for (outcome,) in found["corrected saved"]}
    assert found["larger saved"] == found["corrected saved"]
    plain, half = ([np.asarray(Image.open(path)) for path in paths[f"{name} saved"]] for name in ("plain", "corrected"))
    same = [np.array_equal(first, second) for first, second in zip(plain, half, strict=True)]
    assert same == [outcome != [CORRECTED] for outcome in found["corrected saved"]]


def test_stages_in_a_row_are_all_named_oldest_first(graph, outcomes):
    graph |= sampled("first", "ours")
    graph["larger"] = node("LatentUpscaleBy", samples=["first", 0], upscale_method="bislerp", scale_by=1.5)
    graph |= sampled("second", "ours", "larger", "village", denoise=0.5)
    graph |= sampled("third", "model", "larger", denoise=0.5)
    assert outcomes(graph) == {
        "first saved": [[CORRECTED]] * 2,
        "second saved": [[CORRECTED, ASKED]] * 2,
        "third saved": [[CORRECTED]] * 2,  # the second stage of a plain model adds nothing
    }


def test_two_correcting_nodes_in_a_row_are_both_named(graph, outcomes):
    graph["village"]["inputs"]["text"] = "a portrait of a Tavelu person in a village"
    graph |= {
        "attire": node("RSCorrectorLoadPreference", file="miniature-attire.safetensors"),
        "both": correcting("ours", "attire"),
        "together": node("RSCorrectorCombinePreferences", preference_1=["file", 0], preference_2=["attire", 0]),
        "combined": correcting("model", "together"),
        **sampled("in a row", "both", positive="village"),
        **sampled("in one", "combined", positive="village"),
    }
    found = outcomes(graph)
    assert [sorted(names) for names in found["in a row saved"]] == [[CORRECTED, ASKED]] * 2
    assert found["in one saved"] == [[f"miniature-backdrop: {ASKED}; miniature-attire: {CORRECTED}"]] * 2


def test_at_strength_zero_and_behind_what_may_change_the_order_nothing_is_said(graph, outcomes):
    graph |= {"off": correcting(strength=0.0), **sampled("plain", "off"), **sampled("corrected", "ours")}
    images = dict(image1=["plain picture", 0], image2=["corrected picture", 0])
    graph |= {
        "blended": node("ImageBlend", **images, blend_factor=0.5, blend_mode="normal"),
        "blended saved": save("blended", "blended"),
        "split": node("RebatchImages", images=["corrected picture", 0], batch_size=1),
        "split saved": save("split", "split"),
    }
    assert outcomes(graph) == {
        "plain saved": [[], []],
        "corrected saved": [[CORRECTED]] * 2,
        "blended saved": [[], []],
        "split saved": [[CORRECTED]] * 2,  # all pictures are alike, so their order does not matter
    }
