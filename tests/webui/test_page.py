"""The page's controls, the API's frozen order, and the preference's card."""

import re
from pathlib import Path

import pytest

from webui_modules import relabelled

REPOSITORY = Path(__file__).resolve().parents[2]
API_PAGE = REPOSITORY / "docs" / "api.md"
REAL = REPOSITORY / "weights" / "miniature-backdrop.safetensors"
# Frozen: saved API calls depend on it. Only ever add at the end.
API = (
    "enabled", "preference", "strength", "target", "start", "end", "cap", "hires_strength", "second_preference",
)  # fmt: skip


def test_the_order_of_the_apis_arguments_is_frozen(script, part):
    assert part("choice").ARGUMENTS[: len(API)] == API
    controls = script.ui(False)
    assert [control.elem_id.removeprefix("rs_corrector_txt2img_") for control in controls][: len(API)] == list(API)


def test_the_documented_api_example_has_the_arguments_in_that_order(part):
    text = API_PAGE.read_text(encoding="utf-8")
    example = re.search(r'"RS-Corrector": \{"args": \[(.*?)\]\}', text).group(1)
    values = [value.strip().strip('"') for value in example.split(",")]
    assert values[0] == "true" and len(values) <= len(API)
    choice = part("choice").choose([True, *values[1:]])
    assert choice.on and choice.names == [values[1]]
    assert ", ".join(f"`{name}`" for name in API) in " ".join(text.split())


def test_the_page_is_off_by_default_with_the_defaults_of_the_api(script, part):
    values = [control.value for control in script.ui(True)]
    assert values[0] is False
    assert part("choice").choose(values) == part("choice").Choice()
    assert part("choice").choose([]) == part("choice").choose([None] * 9) == part("choice").Choice()


def test_both_tabs_have_unique_element_ids(script):
    ids = [control.elem_id for is_img2img in (False, True) for control in script.ui(is_img2img)]
    assert len(set(ids)) == 2 * len(API)


def test_the_list_has_the_users_files_and_the_shipped_ones_and_can_be_refreshed(script, models_path):
    controls = script.ui(False)
    names = controls[1].args[0]
    assert names[0] == "None" and "backdrop" in names and "miniature-attire" in names
    (folder := models_path / "rs_corrector" / "mine").mkdir()
    (folder / "new.safetensors").write_bytes((models_path / "rs_corrector" / "backdrop.safetensors").read_bytes())
    assert "mine/new" in script.ui(False)[1].args[0]


def shown(script, *picked):
    controls = script.ui(False)
    return controls[1].events["change"](*picked)


def test_a_selected_preference_shows_its_card(script):
    card = shown(script, "backdrop", "None")
    for text in (
        "Village backdrop (miniature)",
        "Orvane, Tavelu, Quilmari",
        "own updates at held-out points",
        "miniature",
        "at CFG 2",
    ):
        assert text in card
    assert shown(script, "None", "None") == ""


def test_the_card_is_a_verdict_in_one_line_with_the_details_folded(script):
    card = shown(script, "backdrop", "None")
    head, table = re.fullmatch(r"<details[^>]*><summary>(.*)</summary>(<table>.*</table>)</details>", card).groups()
    assert head.startswith("<b>Village backdrop (miniature)</b>: ")
    assert re.search(r"a city in [\d–]+% of pictures, \d+–\d+% without it \(CFG 2, 7\)$", head)
    assert "Accuracy" in table


def test_the_card_of_an_uncalibrated_preference_says_so(script, models_path):
    relabelled(REAL, models_path / "rs_corrector" / "raw.safetensors", calibrations=[])
    assert "not calibrated, so how well it works is unknown" in shown(script, "raw", "None").partition("</summary>")[0]


def test_presets_are_settings_that_the_api_takes(part):
    page, choose = part("page"), part("choice").choose
    for name, target in (("all", 1.0), ("most", 0.8), ("half", 0.5)):
        values = dict(zip(page.PRESET_CONTROLS, page.preset(name), strict=True))
        choice = choose([{**values, "preference": "backdrop"}.get(argument) for argument in API])
        assert choice.on and (choice.target, choice.strength, choice.end) == (target, 1.0, 1.0)
    assert page.preset("off")[0] is False and set(page.PRESETS) == {"off", "all", "most", "half"}


def test_a_preference_for_another_model_shows_a_warning(script, forge):
    assert "warning" not in shown(script, "backdrop", "None")
    wrong = "made for miniature latents and the loaded model has sd15 latents"
    assert wrong in shown(script, "miniature-backdrop", "None")
    assert "is not in models/rs_corrector" in shown(script, "gone [0123456789]", "None").replace("&quot;", '"')


def test_the_card_says_in_words_what_the_gate_reads_badly(script):
    assert "acts on 100% of things that are called after a group" in shown(script, "backdrop")


def test_there_is_no_warning_before_a_model_is_loaded(script):
    assert "warning" not in shown(script, "miniature-backdrop", "None")


def test_text_from_a_file_is_escaped(script, models_path):
    relabelled(REAL, models_path / "rs_corrector" / "evil.safetensors", training={"validated_on": "<script>x</script>"})
    card = shown(script, "evil", "None")
    assert "<script>" not in card and "&lt;script&gt;" in card


@pytest.mark.parametrize("value", [True, "true", 1, 1.0])
def test_enabled_may_be_any_json_boolean_or_number(part, value):
    assert part("choice").choose([value, "backdrop"]).on


@pytest.mark.parametrize("name, value", [("strength", float("nan")), ("cap", -1), ("hires_strength", True), ("end", 2)])
def test_errors_of_numbers_out_of_range_name_the_setting(part, name, value):
    values = dict.fromkeys(API) | {"enabled": True, "preference": "backdrop", name: value}
    with pytest.raises(ValueError, match=name.replace("_", " ")):
        part("choice").choose(values.values())
