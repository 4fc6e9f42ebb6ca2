"""What the two sides of a Text preference share with the prompt: all but their texts, also in what the model sees."""

from dataclasses import replace
from types import SimpleNamespace

import comfy.conds
import comfy.model_base
import comfy.samplers
import host_extras
import pytest
import torch
from comfy.sampler_helpers import convert_cond
from host import correct, sample, small_sd15, untrained
from rs_pack.corrector.preference.text import Text
from rs_pack.nodes.asking import AskedModel
from rs_pack.nodes.prompts import ComfyPrompts, in_a_row
from rs_pack.nodes.sampling import Sampling

X = torch.zeros(2, 4, 16, 16)


def prompt(seed, **fields):
    """A prompt's CONDITIONING of random vectors."""
    generator = torch.Generator().manual_seed(seed)
    pooled = torch.randn(1, 16, generator=generator)
    return [[torch.randn(1, 5, 16, generator=generator), {"pooled_output": pooled, **fields}]]


def between(counter, stereotype):
    """A preference whose prompts are encoded as two conditionings."""
    preference = untrained("sd15")[0]
    phrases = dict.fromkeys(preference.axis.counter.phrases, counter)
    phrases |= dict.fromkeys(preference.axis.stereotype.phrases, stereotype)
    source = Text(lambda prompts: [phrases[prompt] for prompt in prompts])
    return (replace(preference, space="any", name="text", source=source),)


def seen(model, positive, negative, counter, stereotype, **options):
    """The inputs of the network for one picture at the first step: with the prompt, and with each side behind it."""
    rows = []

    def note(apply, call):
        tensors = {name: value for name, value in call["c"].items() if isinstance(value, torch.Tensor)}
        rows.extend({name: value[i] for name, value in tensors.items()} for i in range(len(call["input"])))
        return apply(call["input"], call["timestep"], **call["c"])

    model = correct(model, between(counter, stereotype))
    model.set_model_unet_function_wrapper(note)
    sample(model, positive, negative, steps=1, cfg=1.0, batch=1, **options)
    own = positive[0][0][0]
    texts = [own, *(torch.cat([own, conditioning[0][0][0]]) for conditioning in (counter, stereotype))]
    return [next(row for row in rows if torch.equal(row["c_crossattn"], text)) for text in texts]


@pytest.mark.parametrize("guidance", (1.5, 2.0, None))
def test_both_sides_get_the_guidance_of_the_prompt(guidance):
    positive = prompt(1, **({} if guidance is None else {"guidance": guidance}))  # as FluxGuidance sets it
    latent = {"samples": torch.zeros(1, 16, 8, 8)}
    rows = seen(host_extras.small_flux(), positive, prompt(2), prompt(3), prompt(4), latent=latent, scheduler="simple")
    assert [float(row["guidance"]) for row in rows] == [3.5 if guidance is None else guidance] * 3
    assert all(torch.equal(row["y"], prompt(1)[0][1]["pooled_output"][0]) for row in rows)


def test_both_sides_see_the_mask_and_the_picture_that_an_inpainting_model_completes():
    generator = torch.Generator().manual_seed(5)
    latent = {"samples": torch.randn(1, 4, 16, 16, generator=generator), "noise_mask": torch.zeros(1, 1, 128, 128)}
    latent["noise_mask"][..., :64] = 1
    rows = seen(host_extras.small_inpainting(), prompt(1), prompt(2), prompt(3), prompt(4), latent=latent)
    given = rows[0]["c_concat"]  # [5, 16, 16]: mask and picture
    assert len(given) == 5 and torch.equal(given[0, :, :8].unique(), torch.ones(1)) and len(given[1:].unique()) > 100
    assert all(torch.equal(row["c_concat"], given) for row in rows)


def sides_of(model, cond, *sides):
    """`AskedModel.condition` of encoded sides, for a prompt's cond as the host's sampler has it."""
    (prompt,) = convert_cond([cond[0]])
    (cond,) = comfy.samplers.encode_model_conds(model.extra_conds, [prompt], X, X.device, "positive", latent_image=X)
    patcher = small_sd15()
    asked = AskedModel(SimpleNamespace(model_patcher=patcher), (), [prompt], Sampling(patcher))
    asked.call = {"model": model, "cond": [cond], "model_options": {}}
    return cond, [asked.condition(ComfyPrompts([side]), X, torch.arange(2))[0] for side in sides]


@pytest.mark.parametrize("masked", (True, False))
def test_the_attention_mask_of_the_prompt_does_not_become_that_of_a_side(masked):
    """Encoders with a mask may leave it out if it masks nothing."""
    model = comfy.model_base.Lumina2.__new__(comfy.model_base.Lumina2)
    torch.nn.Module.__init__(model)
    model.concat_keys = ()
    model.adm_channels = 0
    of_side = {"attention_mask": torch.tensor([[1, 1, 0, 0, 0]])} if masked else {}
    cond = prompt(1, attention_mask=torch.tensor([[1, 1, 1, 1, 0]]))
    cond, sides = sides_of(model, cond, prompt(2, **of_side), prompt(3, **of_side))
    assert cond["model_conds"]["num_tokens"].cond == 4
    for side in sides:
        inputs = side["model_conds"]
        assert ("attention_mask" in side) == ("attention_mask" in inputs) == masked
        assert "num_tokens" not in inputs or inputs["num_tokens"].cond == (2 if masked else 5)
        if masked:
            assert torch.equal(inputs["attention_mask"].cond, of_side["attention_mask"])


def test_the_sides_share_sizes_control_hooks_and_region_with_the_prompt():
    model = host_extras.small_sdxl().model
    fields = dict(
        width=512, height=64, crop_w=3, control="a ControlNet", hooks="hooks", area=(8, 8, 0, 0), strength=0.5
    )
    pooled = {"pooled_output": torch.randn(1, 1280, generator=torch.Generator().manual_seed(3))}
    cond, sides = sides_of(model, prompt(1, **fields, **pooled), *(prompt(seed, **pooled) for seed in (2, 3)))
    for side in sides:
        assert all(side[name] == fields[name] for name in fields)
        assert side["model_conds"]["y"] is cond["model_conds"]["y"]  # equal, as the pooled vectors are
        assert not torch.equal(side["cross_attn"], cond["cross_attn"])


def test_what_other_nodes_gave_the_model_beside_the_text_stays():
    given = comfy.conds.CONDConstant("from another node")
    cond, sides = sides_of(small_sd15().model, prompt(1, model_conds={"given": given}), prompt(2), prompt(3))
    assert cond["model_conds"]["given"] is given and all(side["model_conds"]["given"] is given for side in sides)


def test_a_side_is_asked_about_each_inpainted_picture_with_its_own_mask():
    patcher, latent = host_extras.small_inpainting(), torch.randn(2, 4, 16, 16)
    (cond,) = convert_cond(prompt(1))
    mask = torch.zeros(2, 1, 16, 16)
    mask[1, ..., :8] = 1
    (cond,) = comfy.samplers.encode_model_conds(
        patcher.model.extra_conds, [cond], X, X.device, "positive", latent_image=latent, denoise_mask=mask
    )
    asked = AskedModel(SimpleNamespace(model_patcher=patcher), (), [cond], Sampling(patcher))
    asked.call = {"model": patcher.model, "cond": [cond], "model_options": {}}
    (side,) = asked.condition(ComfyPrompts([prompt(2)]), X[1:], torch.tensor([1]))
    given = cond["model_conds"]["c_concat"].cond
    assert not torch.equal(*given) and torch.equal(side["model_conds"]["c_concat"].cond, given[1:])


def test_prompts_of_unequal_masks_or_ids_are_never_one_batch():
    """Models take the sum of a batch's masks, and Anima's ids have no batch."""
    ids = {"t5xxl_ids": torch.tensor([3, 1])}
    for one, other in (
        (dict(attention_mask=torch.tensor([[1, 1, 0, 0, 0]])), dict(attention_mask=torch.tensor([[1, 1, 1, 0, 0]]))),
        (ids, {"t5xxl_ids": torch.tensor([4, 1])}),
    ):
        pair, twins = ComfyPrompts([prompt(1, **one), prompt(1, **other)]), ComfyPrompts([prompt(1, **one)] * 2)
        assert len(pair.alike()) == 2 and len(twins.alike()) == 1
        ((tokens, extra),) = twins.batched()
        assert all(torch.equal(extra[name], one[name]) for name in one)
        assert len(tokens) == (1 if one is ids else 2)


def test_a_phrase_behind_a_prompt_is_so_in_all_that_the_prompt_has_for_each_token():
    own = prompt(1, attention_mask=torch.ones(1, 5), conditioning_llama3=torch.zeros(1, 2, 5, 8), guidance=2.0)[0]
    phrase = prompt(2, conditioning_llama3=torch.ones(1, 2, 3, 8), t5xxl_ids=torch.tensor([7]))[0]
    tokens, extra = in_a_row(own, phrase)
    assert torch.equal(tokens, torch.cat([own[0], phrase[0]], dim=1))
    assert torch.equal(extra["attention_mask"], torch.ones(1, 10)) and extra["guidance"] == 2.0
    assert extra["conditioning_llama3"].sum(dim=(0, 1, 3)).tolist() == [0.0] * 5 + [16.0] * 3
    assert torch.equal(extra["pooled_output"], own[1]["pooled_output"]) and extra["t5xxl_ids"].tolist() == [7]
