"""The benchmark of peers: each method runs and gives its columns, and none changes the model."""

from dataclasses import replace

import pytest
import torch

from benchmarks.peer_methods import UCE, concepts, edited, vectors_of
from benchmarks.peers import Bench, markdown
from corrector.files.folders import WEIGHTS
from corrector.preference.file import load_preference

SEED = 150_000_000
TRIED = ("plain", "rs", "text", "word", "negative", "sega", "sld-max", "uce")  # the others differ in numbers only


def weights_of(pipe):
    return {name: tensor.clone() for name, tensor in pipe.unet.state_dict().items()}


@pytest.fixture(scope="module")
def measured(one_thread):
    """(Bench, the UNet's weights before): two pictures of one group, four steps, CFG 7."""
    bench = Bench("backdrop", 2, SEED, TRIED, steps=4, rounds=1)
    before = weights_of(bench.host.pipe)
    bench.run(groups=("Orvane",), cfgs=(7.0,))
    return bench, before


def test_every_method_gives_its_columns(measured):
    bench, _ = measured
    found = {key: {row["figure"] for row in bench.rows if row["method"] == key} for key in TRIED}
    always = {
        "village", "group kept", "Frechet distance, over plain's", "skin L* over plain",
        "out of scope: bit-identical", "out of scope: change, RMS", "UNet evaluations, over plain's",
        "wall time, over plain's",
    }  # fmt: skip
    assert all(always <= own for own in found.values())
    assert all(own == found["plain"] for own in found.values())


def test_the_table_has_a_line_for_each_method_and_one_with_its_costs(measured):
    bench, _ = measured
    lines = markdown(bench.rows, bench.methods).splitlines()
    for method in bench.methods.values():
        assert sum(f"| {method.name} |" in line for line in lines) == 2


def test_the_unet_stays_bit_identical_through_all_methods(measured):
    bench, before = measured
    assert all(torch.equal(tensor, before[name]) for name, tensor in bench.host.pipe.unet.state_dict().items())


def test_only_what_is_added_to_a_step_costs_evaluations(measured):
    bench, _ = measured
    used = {row["method"]: row["value"] for row in bench.rows if row["figure"] == "UNet evaluations, over plain's"}
    wanted = {"plain": 1, "rs": 1, "text": 2, "word": 1, "negative": 1, "sega": 2, "sld-max": 1.5, "uce": 1}
    assert {key: used[key] for key in wanted} == wanted


def test_no_method_but_ours_leaves_prompts_out_of_scope_bit_identical(measured):
    bench, _ = measured
    same = {row["method"]: row["value"] for row in bench.rows if row["figure"] == "out of scope: bit-identical"}
    assert {key for key, share in same.items() if share == 1} == {"plain", "rs", "text"}


@pytest.mark.parametrize("settings", UCE.values(), ids=UCE)
def test_uce_brings_edited_prompts_to_the_counter_side_and_keeps_others(measured, settings):
    host, axis = measured[0].host, load_preference(WEIGHTS / "miniature-backdrop.safetensors").axis
    edits, preserved = concepts(replace(axis, neutral=axis.neutral[:3]), measured[0].others)
    before, after = (
        unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_v.weight.double()
        for unet in (host.pipe.unet, edited(host, edits, preserved, **settings))
    )
    source, goal, other = (
        torch.cat(vectors_of(host, prompts, False)) for prompts in (*zip(*edits, strict=True), preserved)
    )

    def gap(vectors, weight, wanted):
        return float((vectors @ weight.T - wanted @ before.T).square().mean())

    assert gap(source, after, goal) < 0.3 * gap(source, before, goal)
    assert gap(other, after, other) < 0.3 * gap(source, before, goal)
