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
from rs_pack.nodes.prompts import ComfyPrompts
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
    return cond, [asked.condition(ComfyPrompts([side]), X)[0] for side in sides]


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
