"""RS-Corrector (any checkpoint) with unusual phrases, settings, graphs, models and folders."""

import comfy.hooks
import comfy.lora
import folder_paths
import host_extras
import pytest
import torch
from check_any_checkpoint import AXIS, NEUTRAL, corrected, graph, sides  # noqa: F401
from host import NODES, encode, node, sample

import nodes as host_nodes

CORRECTED = "corrected 4 of 4", "a village: 4 -> 0 of 4"
UNSURE = "left alone 4: the model predicts the same for both sides, or nothing for one of them"


@pytest.fixture(scope="module")
def prompts(clip):
    with torch.inference_mode():
        return encode(clip, NEUTRAL), encode(clip, "")


@pytest.fixture
def drawn(vae, reader, prompts, caplog):
    """`drawn(model, positive, negative)` -> (latents, backdrops of the pictures, what the log says)."""

    def draw(model, positive=prompts[0], negative=prompts[1], batch=4, steps=12, **settings):
        caplog.clear()
        latents = sample(model, positive, negative, batch=batch, steps=steps, **settings)
        return latents, sides(reader, vae, latents), "\n".join(record.getMessage() for record in caplog.records)

    caplog.set_level("INFO")
    return draw


def test_phrases_that_mean_the_same_to_the_model_change_nothing_and_it_is_said(model, clip, drawn):
    phrases = {"stereotype": "an Orvane person in a village", "counter": "an Orvane person in a hamlet"}
    latents, _, said = drawn(corrected(model, clip, **phrases))
    assert UNSURE in said
    assert torch.equal(latents, drawn(model)[0])


@pytest.mark.parametrize(
    ("phrases", "says"),
    (
        (("in a village", "in a city"), "no group in common"),
        (("an Orvane person in a village", "a Tavelu man in a city"), "no group in common"),
        (("an Orvane person in a village", " "), "There is one phrase only"),
        (("an Orvane person in a village", "AN Orvane  person in a village"), "are the same"),
        (("an Orvane person", "an Orvane person in a city"), "no words that the other lacks"),
    ),
)
def test_phrases_that_make_no_axis_are_refused_before_the_graph_runs(phrases, says):
    assert says in NODES["RSCorrectorAnyCheckpoint"].validate_inputs(AXIS, *phrases)


@pytest.mark.parametrize(
    "settings",
    ({"cfg": 30.0}, {"steps": 1}, {"sampler": "heun"}, {"sampler": "dpmpp_sde"}, {"batch": 64, "steps": 2}),
    ids=str,
)
def test_with_other_settings_all_villages_become_cities_in_parts_as_large_as_the_hosts(model, clip, drawn, settings):
    evaluated = []

    def note(apply, call):
        evaluated.append(len(call["input"]))
        return apply(call["input"], call["timestep"], **call["c"])

    plain, candidate = model.clone(), corrected(model, clip)
    plain.set_model_unet_function_wrapper(note)
    before, largest = drawn(plain, **settings)[1], max(evaluated)
    evaluated.clear()
    candidate.set_model_unet_function_wrapper(note)
    _, after, said = drawn(candidate, **settings)
    assert before.count("village") > 0.9 * len(before) and set(after) == {"city"}
    assert f" -> 0 of {len(after)}" in said and max(evaluated) == largest


def test_at_cfg_0_which_ignores_the_prompt_pictures_keep_their_sides_and_it_is_said(model, clip, drawn):
    before, (_, after, said) = drawn(model, cfg=0.0)[1], drawn(corrected(model, clip), cfg=0.0)
    count = before.count("village")
    assert after == before and f"a village: {count} -> {count} of 4" in said


def test_a_model_that_predicts_nothing_for_one_side_changes_nothing_and_it_is_said(model, clip, drawn):
    phrases = node("RSCorrectorLoadAxis", AXIS).counter.phrases
    pairs = zip(phrases, [*phrases[1:], phrases[0]], strict=True)
    cities = [encode(clip, f"{NEUTRAL}, {one}, {other}")[0][0][0] for one, other in pairs]

    def broken(apply, call):
        out = apply(call["input"], call["timestep"], **call["c"])
        for row, text in zip(out, call["c"]["c_crossattn"], strict=True):
            if any(torch.allclose(text, city, atol=1e-4) for city in cities):
                row.fill_(torch.nan)
        return out

    candidate = corrected(model, clip)
    candidate.set_model_unet_function_wrapper(broken)
    latents, _, said = drawn(candidate)
    assert UNSURE in said and torch.equal(latents, drawn(model)[0])


def with_control_net(model, prompts):
    hint = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(0))
    control = host_extras.control_net(model)
    return model, *host_nodes.ControlNetApplyAdvanced().apply_controlnet(*prompts, control, hint, 0.2, 0.0, 1.0)


def with_regions(model, prompts):
    (right,) = host_nodes.ConditioningSetArea().append(prompts[1], 64, 128, 64, 0, 1.0)
    (whole,) = host_nodes.ConditioningSetMask().append(prompts[0], torch.ones(1, 128, 128), "default", 1.0)
    return model, whole + right, prompts[1]


def with_lora_hooks(model, prompts):
    generator = torch.Generator().manual_seed(0)
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    name = next(key for key in keys if key.startswith("lora_unet") and key.endswith("attn2_to_q"))
    out_width, in_width = model.model.state_dict()[keys[name]].shape
    lora = {
        f"{name}.lora_up.weight": torch.randn(out_width, 2, generator=generator),
        f"{name}.lora_down.weight": torch.randn(2, in_width, generator=generator) * 0.3,
    }
    hooks = comfy.hooks.create_hook_lora(lora, 0.3, 0.0)
    return model, *(comfy.hooks.set_hooks_for_conditioning(prompt, hooks) for prompt in prompts)


def with_picture_tokens(model, prompts):
    """As IP-Adapter gives them to the model."""
    picture = 0.1 * torch.randn(1, 4, 4096, generator=torch.Generator().manual_seed(0))

    def adapter(q, k, v, _):
        tokens = picture[..., : k.shape[-1]].expand(len(k), -1, -1).to(k)
        return q, torch.cat([k, tokens], dim=1), torch.cat([v, tokens], dim=1)

    adapted = model.clone()
    adapted.set_model_attn2_patch(adapter)
    return adapted, *prompts


@pytest.mark.parametrize("add", (with_control_net, with_regions, with_lora_hooks, with_picture_tokens))
def test_what_else_changes_the_pictures_does_so_for_both_sides(model, clip, drawn, prompts, add):
    changed, *conditionings = add(model, prompts)
    plain, before, _ = drawn(changed, *conditionings)
    assert not torch.equal(plain, drawn(model)[0]) and before == ["village"] * 4
    _, after, said = drawn(corrected(changed, clip), *conditionings)
    assert after == ["city"] * 4 and all(part in said for part in CORRECTED)


def test_a_prompt_of_another_clip_is_found_in_no_widget_and_gets_the_phrase_behind_it(model, clip, drawn):
    _, lora = host_extras.with_lora(model, clip, 0.0, 0.2)
    _, after, said = drawn(corrected(model, clip), encode(lora, NEUTRAL), encode(lora, ""))
    assert after == ["city"] * 4 and all(part in said for part in CORRECTED)


def test_where_the_gate_cannot_be_kept_the_run_is_the_same_and_the_log_says_so(
    model, clip, drawn, tmp_path, monkeypatch, caplog
):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path / "file"))
    candidate = corrected(model, clip)
    assert "the gate was not kept (Not a directory), so it is trained again next time" in caplog.text
    assert drawn(candidate)[1] == ["city"] * 4
