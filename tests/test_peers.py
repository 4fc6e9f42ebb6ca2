"""The benchmark of peers: each method runs and gives its figures, and none changes the model."""

from dataclasses import replace

import pytest
import torch

from benchmarks.peer_methods import OURS, TEXT, UCE, concepts, edited, vectors_of
from benchmarks.peers import Bench
from corrector.files.folders import WEIGHTS
from corrector.preference.file import load_preference

SEED = 150_000_000
EVALUATIONS = {  # over plain; other methods differ from one of these in numbers only
    "plain": 1, OURS: 1, TEXT: 24 / 8, "word in the prompt": 1, "negative prompt: first phrase": 1,
    "SEGA, Fair Diffusion's settings": 2, "Safe Latent Diffusion, MAX": 1.5, "UCE, authors' code of 2025": 1,
}  # fmt: skip


def weights_of(pipe):
    return {name: tensor.clone() for name, tensor in pipe.unet.state_dict().items()}


@pytest.fixture(scope="module")
def measured(one_thread):
    """(Bench, its figures by method, the UNet's weights before): two pictures of one group, four steps, CFG 7."""
    bench = Bench(2, SEED, tuple(EVALUATIONS), steps=4)
    before, figures = weights_of(bench.host.pipe), {name: {} for name in EVALUATIONS}
    for rows in (bench.rows_of_group("Orvane", 7.0), bench.out_of_scope(7.0), bench.costs(7.0)):
        for row in rows:
            figures[row.settings["method"]] |= row.figures
    return bench, figures, before


def test_every_method_gives_the_same_figures(measured):
    _, figures, _ = measured
    names = {method: set(figures[method]) - {"seconds to set up"} for method in figures}
    assert len(names["plain"]) >= 7 and all(names[method] == names["plain"] for method in names)


def test_the_unet_stays_bit_identical_through_all_methods(measured):
    bench, _, before = measured
    assert all(torch.equal(tensor, before[name]) for name, tensor in bench.host.pipe.unet.state_dict().items())


def test_only_what_is_added_to_a_step_costs_evaluations(measured):
    _, figures, _ = measured
    assert {method: figures[method]["UNet evaluations over plain"].value for method in figures} == EVALUATIONS


def test_no_method_but_ours_leaves_prompts_out_of_scope_bit_identical(measured):
    _, figures, _ = measured
    same = {method for method in figures if figures[method]["out of scope: bit-identical"].value == 1}
    assert same == {"plain", OURS, TEXT}


@pytest.mark.parametrize("settings", UCE.values(), ids=UCE)
def test_uce_brings_edited_prompts_to_the_counter_side_and_keeps_others(measured, settings):
    host, axis = measured[0].host, load_preference(WEIGHTS / "miniature-backdrop.safetensors").axis
    edits, preserved = concepts(replace(axis, neutral=axis.neutral[:3]), ["Zendoli"])
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
