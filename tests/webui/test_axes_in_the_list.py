"""Axes beside learned preferences: in the list, on the card, in infotexts and grids; models that cannot be asked."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from webui_forge import Forge
from webui_hosts import ORVANE

AXES = Path(__file__).resolve().parents[2] / "axes"
AXIS = "miniature-backdrop (any checkpoint)"
ON = (True, AXIS)


@pytest.fixture
def mine(folder):
    """An axis of the user's, under a name of a shipped one -> its file."""
    (folder / "axes").mkdir()
    return Path(shutil.copy(AXES / "miniature-backdrop.json", folder / "axes"))


def reworded(file, **changed):
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changed), encoding="utf-8")


def test_axes_follow_the_preferences_by_their_names_and_the_users_own_come_first(script, part, mine):
    names = script.ui(False)[1].args[0]
    assert names.index("backdrop") < names.index(AXIS) and names.count(AXIS) == 1
    assert "african-house-poverty (any checkpoint)" in names and not any("schema" in name for name in names)
    shutil.copy(mine, mine.with_name("my-own.json"))
    assert "my-own (any checkpoint)" in script.ui(False)[1].args[0]
    reworded(mine, title="Mine")
    assert part("script").SHELF.load(AXIS).preferences[0].axis.title == "Mine"


def test_an_axis_file_that_is_none_is_refused_with_its_error(forge, mine):
    mine.write_text("{}", encoding="utf-8")
    assert "miniature-backdrop.json: " in forge.generate(*ON).errors[0]
    made = forge.generate(True, "gone (any checkpoint)")
    assert '"gone (any checkpoint)" is not in models/rs_corrector/axes' in made.errors[0]
    assert torch.equal(forge.plain(), made.latents)


def test_the_infotext_has_the_axis_and_its_hash_and_makes_the_same_picture_again(host, script, part, mine):
    first = host.generate(*ON, prompts=[ORVANE])
    written = first.texts[0]["RS-Corrector preference"]
    assert written == f"{AXIS} [{part('script').SHELF.load(AXIS).hash}]"
    assert set(first.texts[0]) <= set(script.paste_field_names or (script.ui(False) and script.paste_field_names))
    assert part("script").SHELF.pasted(written) == (AXIS, "")
    again = host.generate(True, written, prompts=[ORVANE])
    torch.testing.assert_close(first.latents, again.latents, rtol=0, atol=1e-5)
    assert first.texts == again.texts
    reworded(mine, title="Reworded")
    assert "another file" in part("script").SHELF.pasted(written)[1]
    assert "another file" in host.generate(True, written).errors[0]


def test_the_card_of_an_axis_says_that_the_model_is_asked(script, fakes):
    change = script.ui(False)[1].events["change"]
    card = change(AXIS, "None")
    assert "asks the loaded model, without learning" in card.partition("</summary>")[0]
    assert "<td>any checkpoint</td>" in card and "Calibrated" not in card and "warning" not in card


def test_an_axis_and_a_preference_for_the_same_axis_are_refused_but_for_others_act_together(forge):
    two = [None] * 6
    assert "would be corrected twice" in forge.generate(True, "backdrop", *two, AXIS).errors[0]
    forge.steps = 8
    both = forge.generate(True, "miniature-attire (any checkpoint)", *two, "backdrop", prompts=[ORVANE] * 2)
    assert not both.p.comments and "miniature-backdrop: corrected" in both.results[0]


def test_a_grid_can_compare_axes(fakes, script):
    option = lambda label, *rest, **more: SimpleNamespace(label=label, **more)  # noqa: E731
    module = SimpleNamespace(axis_options=[], AxisOption=option)
    fakes.scripts.scripts_data.append(SimpleNamespace(module=module))
    for callback in fakes.callbacks["before_ui"]:
        callback()
    preference = module.axis_options[0]
    assert AXIS in preference.choices() and preference.confirm(None, [AXIS, "backdrop"]) is None
    assert preference.format_value(None, None, f"{AXIS} [0123456789]") == AXIS


# Models that cannot be asked


@pytest.mark.parametrize("kind", [{"is_sd3": True}, {}])
def test_a_model_of_another_kind_is_refused_in_a1111_and_asked_in_forge(host, kind):
    plain = host.plain()
    host.sd_model.is_sd1 = False
    vars(host.sd_model).update(kind)
    made = host.generate(*ON)
    if isinstance(host, Forge):
        assert not made.p.comments and not torch.equal(plain, made.latents)
    else:
        assert "only SD1.5, SD2.x and SDXL models can be asked" in made.errors[0] and torch.equal(plain, made.latents)


def test_a_model_that_edits_pictures_is_refused(a1111, part):
    """It evaluates three latents for each picture."""
    p = a1111.begin(*ON, prompts=[ORVANE])
    job = part("script").JOBS.of(p)
    x = a1111.miniature.noise([1]) * 14.6
    tokens = a1111.miniature.encode([ORVANE])
    denoiser = SimpleNamespace(p=p, step=0, get_pred_x0=lambda x, output, sigma: output)
    call = SimpleNamespace(
        x=x.repeat(3, 1, 1, 1), sigma=torch.full((3,), 14.6), text_cond=tokens, denoiser=denoiser, image_cond=None
    )
    job.asked.begin_call(call, job.run)
    job.guarded(job.asked.plain, x, call.sigma[:1])
    assert "InstructPix2Pix model cannot be asked" in p.extra_generation_params["RS-Corrector error"]


def test_an_extension_that_adds_prompts_on_the_way_is_refused(host):
    from modules import prompt_parser

    encode = prompt_parser.get_multicond_learned_conditioning

    def other(sd_model, prompts, *rest):
        return encode(sd_model, [f"{prompt} AND a cat" for prompt in prompts], *rest)

    p = host.processing()
    p.get_conds_with_caching = lambda function, prompts, *rest: other(p.sd_model, prompts, 99)
    made = host.generate(*ON, p=p)
    assert "another extension changes the prompts" in made.errors[0] and torch.equal(host.plain(), made.latents)


# ControlNet in Automatic1111 marks prompts by a first vector


def test_marks_before_the_tokens_are_kept_for_the_model_and_hidden_from_the_gate(a1111, part):
    conditioning = sys.modules["webui_prompts"].conditioning_of(a1111.miniature, [ORVANE])
    (schedule,) = conditioning.batch[0][0].schedules
    plain, width = part("host").regions_of(conditioning, 1)[0][0], schedule.cond.shape[-1]
    schedule.cond = torch.cat([torch.full((1, width), 1024.0), schedule.cond])
    assert torch.equal(part("host").regions_of(conditioning, 1)[0][0], plain)
    p = a1111.begin(*ON, prompts=[ORVANE])
    asked = part("script").JOBS.of(p).asked
    asked.call = SimpleNamespace(text_cond=schedule.cond[None], denoiser=SimpleNamespace(step=0))
    text = asked._text(asked.encode(None, ["in a city"]))
    assert torch.equal(text[0, 0], schedule.cond[0])
    assert torch.equal(text[0, 1:], a1111.miniature.encode([f"{ORVANE}, in a city"])[0])


def test_sdxls_texts_have_their_pooled_vectors_replaced_beside_the_tokens(forge, part):
    class Texts(dict):
        """As the host's DictWithShape."""

    own = Texts(crossattn=torch.zeros(3, 77, 4), vector=torch.zeros(3, 6))
    side = Texts(crossattn=torch.ones(3, 77, 4), vector=torch.ones(3, 6))
    p = forge.begin(*ON, prompts=[ORVANE] * 3)
    asked = part("script").JOBS.of(p).asked
    asked.call, asked._text = SimpleNamespace(text_cond=own), lambda phrased: side
    mixed = asked._with_side(None, torch.tensor([True, False, True]))
    assert type(mixed) is Texts and mixed["vector"].mean(dim=1).tolist() == [1, 0, 1]
    assert mixed["crossattn"].mean(dim=(1, 2)).tolist() == [1, 0, 1] and not own["vector"].any()
