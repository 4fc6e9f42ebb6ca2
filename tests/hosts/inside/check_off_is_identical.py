"""Off is bit-identical, and the host's model is not changed."""

import gc

import pytest
import torch
from host import correct, sample, weights_hash


def plain(model, prompts, sampler, cfg, prompt="person"):
    return sample(model, prompts[prompt], prompts["empty"], sampler=sampler, cfg=cfg, scheduler="simple")


@pytest.mark.parametrize(("sampler", "cfg"), (("euler", 1.0), ("dpmpp_2m_sde", 7.0), ("uni_pc", 7.0)))
def test_strength_zero_a_window_outside_the_run_and_another_subject_are_bit_identical(
    model, backdrop, prompts, sampler, cfg
):
    expected = plain(model, prompts, sampler, cfg)
    assert torch.equal(plain(correct(model, backdrop, 0.0), prompts, sampler, cfg), expected)
    outside = correct(model, backdrop, start_percent=0.98)
    assert torch.equal(plain(outside, prompts, sampler, cfg), expected)
    cat = plain(model, prompts, sampler, cfg, "cat")
    assert torch.equal(plain(correct(model, backdrop), prompts, sampler, cfg, "cat"), cat)
    on = plain(correct(model, backdrop), prompts, sampler, cfg)
    assert not torch.equal(on, expected)


def test_pictures_whose_prompt_asks_for_the_stereotype_are_bit_identical(model, backdrop, prompts, caplog):
    caplog.set_level("INFO")
    expected = plain(model, prompts, "euler", 2.0, "village")
    assert torch.equal(plain(correct(model, backdrop), prompts, "euler", 2.0, "village"), expected)
    assert "corrected 0 of 2; left alone 2: the prompt asks for" in caplog.text


def test_the_log_says_if_the_cfg_scale_was_never_measured(model, backdrop, prompts, caplog):
    caplog.set_level("INFO")
    plain(correct(model, backdrop), prompts, "euler", 2.0)
    assert "corrected 2 of 2" in caplog.text and "is far from it" not in caplog.text
    plain(correct(model, backdrop), prompts, "euler", 20.0)
    assert "corrected 2 of 2; calibrated at CFG 2 and 7 only, and CFG 20 is far from it" in caplog.text


def test_removing_the_node_leaves_nothing_behind(model, backdrop, prompts):
    before, options = weights_hash(model), repr(sorted(model.model_options))
    expected = plain(model, prompts, "euler", 2.0)
    changed = plain(correct(model, backdrop), prompts, "euler", 2.0)
    assert not torch.equal(changed, expected)
    assert torch.equal(plain(model, prompts, "euler", 2.0), expected)
    assert weights_hash(model) == before
    assert repr(sorted(model.model_options)) == options
    assert not model.wrappers and not model.additional_models


def test_repeated_runs_with_other_settings_leak_no_network(model, backdrop, prompts, caplog):
    for strength in (0.5, 1.0, 1.5):
        plain(correct(model, backdrop, strength), prompts, "euler", 2.0)
        gc.collect()
    assert "leak" not in caplog.text.lower()


def test_the_same_run_twice_is_the_same_picture(model, backdrop, prompts):
    corrected = correct(model, backdrop, target=0.7)
    first, second = (plain(corrected, prompts, "euler", 2.0) for _ in range(2))
    assert torch.equal(first, second)
