"""The correction in combination with other nodes."""

import host_extras
import pytest
import torch
from host import correct, encode, host_nodes, node, sample
from safetensors.torch import save_file


def differs(a, b):
    return bool((a - b).abs().mean() > 1e-5)


def test_combined_preferences_are_equal_to_two_nodes_in_a_row_of_which_the_last_finishes_first(
    model, backdrop, attire, prompts
):
    positive, negative = prompts["person"], prompts["empty"]
    combined = node("RSCorrectorCombinePreferences", preference_1=attire, preference_3=backdrop)
    in_a_row = sample(correct(correct(model, backdrop), attire), positive, negative)
    together = sample(correct(model, combined), positive, negative)
    assert torch.allclose(in_a_row, together, atol=1e-4)
    assert all(differs(together, sample(correct(model, each), positive, negative)) for each in (backdrop, attire))


def test_a_preference_connected_twice_is_applied_once(model, backdrop, prompts):
    twice = node("RSCorrectorCombinePreferences", preference_1=backdrop, preference_2=backdrop)
    once = sample(correct(model, backdrop), prompts["person"], prompts["empty"])
    assert torch.equal(sample(correct(model, twice), prompts["person"], prompts["empty"]), once)


def test_the_preserved_region_of_inpainting_is_not_changed(model, backdrop, prompts):
    kept = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 64:] = 1
    latent = {"samples": kept, "noise_mask": mask}
    plain = sample(model, prompts["person"], prompts["empty"], latent=latent)
    corrected = sample(correct(model, backdrop), prompts["person"], prompts["empty"], latent=latent)
    assert torch.allclose(corrected[..., :8], kept[..., :8], atol=1e-4)
    assert differs(corrected[..., 8:], plain[..., 8:])


def test_a_mask_of_any_size_limits_the_correction_to_its_white_part(model, backdrop, prompts):
    mask = torch.zeros(1, 64, 64)
    mask[..., 32:] = 1
    steps = dict(steps=1, scheduler="simple")  # with more steps the model propagates changes
    plain = sample(model, prompts["person"], prompts["empty"], **steps)
    corrected = sample(correct(model, backdrop, mask=mask), prompts["person"], prompts["empty"], **steps)
    assert torch.equal(corrected[..., :7], plain[..., :7])
    assert differs(corrected[..., 8:], plain[..., 8:])


def test_the_gate_works_with_a_lora_on_clip_and_with_clip_skip(model, clip, backdrop):
    _, with_lora = host_extras.with_lora(model, clip, 0.0, 0.2)
    skipped = clip.clone()
    skipped.clip_layer(-2)
    plain = encode(clip, "a portrait of a Tavelu person")[0][0]
    gate = backdrop[0].gate
    for changed in (with_lora, skipped):
        conds = [
            encode(changed, text)[0][0]
            for text in ("a portrait of a Tavelu person", "a portrait of a Tavelu person in a village", "a cat")
        ]
        assert not torch.equal(conds[0], plain)
        assert [gate.read([cond]).open for cond in conds] == [True, False, False]


def test_the_gate_reads_the_words_beside_a_textual_inversion(clip, backdrop, tmp_path, monkeypatch):
    table = clip.cond_stage_model.clip_l.transformer.get_input_embeddings().weight
    drawn = torch.randn(3, table.shape[1], generator=torch.Generator().manual_seed(0)) * table.std()
    save_file({"emb_params": drawn.float()}, tmp_path / "calm.safetensors")
    monkeypatch.setattr(clip.tokenizer.clip_l, "embedding_directory", str(tmp_path))
    texts = ("a portrait of a Tavelu person", "a portrait of a Tavelu person in a village", "a cat")
    inverted = [encode(clip, f"{text}, embedding:calm")[0][0] for text in texts]
    assert not any(torch.equal(cond, encode(clip, text)[0][0]) for cond, text in zip(inverted, texts, strict=True))
    assert [backdrop[0].gate.read([cond]).open for cond in inverted] == [True, False, False]


def test_a_controlnet_and_the_correction_both_act(model, backdrop, prompts):
    hint = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(0))
    control = host_extras.control_net(model)
    positive, negative = host_nodes.ControlNetApplyAdvanced().apply_controlnet(
        prompts["person"], prompts["empty"], control, hint, 1.0, 0.0, 1.0
    )
    plain = sample(model, prompts["person"], prompts["empty"])
    controlled = sample(model, positive, negative)
    corrected = sample(correct(model, backdrop), positive, negative)
    assert differs(plain, controlled) and differs(controlled, corrected)


def test_a_region_that_asks_for_the_stereotype_disables_it(model, backdrop, prompts):
    def regions(left, right):
        area = host_nodes.ConditioningSetArea()
        (left,), (right,) = area.append(left, 64, 128, 0, 0, 1.0), area.append(right, 64, 128, 64, 0, 1.0)
        return left + right

    for right, acts in (("person", True), ("cat", True), ("village", False)):
        positive = regions(prompts["person"], prompts[right])
        plain = sample(model, positive, prompts["empty"])
        assert differs(sample(correct(model, backdrop), positive, prompts["empty"]), plain) == acts


def test_each_prompt_of_a_batch_is_read(model, backdrop, prompts):
    both = torch.cat([prompts["person"][0][0], prompts["cat"][0][0]])
    positive = [[both, {}]]
    plain = sample(model, positive, prompts["empty"], batch=4)
    corrected = sample(correct(model, backdrop), positive, prompts["empty"], batch=4)
    same = [torch.equal(a, b) for a, b in zip(plain, corrected, strict=True)]
    assert same == [False, True, False, True]


@pytest.mark.parametrize("kind", ("dual", "dual nested", "perp-neg", "basic"))
def test_other_guiders_are_corrected(model, backdrop, prompts, kind):
    second = prompts["village" if kind == "perp-neg" else "cat"]  # negative prompts are not read
    plain, corrected = (host_extras.guided(kind, m, prompts, second) for m in (model, correct(model, backdrop)))
    assert corrected.isfinite().all() and differs(plain, corrected)


def test_the_second_scale_of_a_nested_dual_guider_does_not_scale_the_correction(model, backdrop, prompts):
    """Scales of 2 and 1.5 equal a CFG of 3 for the prompt; in one step only the correction differs."""
    empty = prompts["empty"]
    nested = [
        host_extras.guided("dual nested", m, prompts, empty, steps=1)  # empty: the chance is that of CFG 3 as well
        for m in (model, correct(model, backdrop))
    ]
    with_cfg_3 = [host_extras.guided("cfg", m, prompts, empty, steps=1) for m in (model, correct(model, backdrop))]
    change, wanted = nested[1] - nested[0], with_cfg_3[1] - with_cfg_3[0]
    assert wanted.abs().max() > 1e-3 and torch.allclose(change, wanted, atol=1e-4)


def test_both_prompts_of_the_dual_guider_are_read(model, backdrop, prompts):
    second = prompts["village"]
    plain, corrected = (host_extras.guided("dual", m, prompts, second) for m in (model, correct(model, backdrop)))
    assert torch.equal(plain, corrected)


@pytest.mark.parametrize("first", ("rescale", "correction"))
def test_rescale_cfg_works_before_and_after_it(model, backdrop, prompts, first):
    positive, negative = prompts["person"], prompts["empty"]
    rescaled = host_extras.rescale_cfg(model)
    both = correct(rescaled, backdrop) if first == "rescale" else host_extras.rescale_cfg(correct(model, backdrop))
    results = [sample(m, positive, negative, cfg=5.0) for m in (rescaled, correct(model, backdrop), both)]
    assert all(differs(a, b) for i, a in enumerate(results) for b in results[:i])


def test_with_the_gate_off_every_prompt_is_corrected(model, backdrop, prompts):
    plain = sample(model, prompts["village"], prompts["empty"])
    assert differs(sample(correct(model, backdrop, gate=False), prompts["village"], prompts["empty"]), plain)
