"""The page's controls, the API's frozen order, and the preference's card."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from corrector.preference.file import load_preferences, save_preferences
from corrector.preference.networks import PreferenceError
from webui_hosts import OFF, ON, ORVANE, VILLAGE
from webui_modules import relabelled

REPOSITORY = Path(__file__).resolve().parents[2]
REAL = REPOSITORY / "weights" / "miniature-backdrop.safetensors"
# Frozen: saved API calls depend on it. Only ever add at the end.
API = (
    "enabled", "preference", "strength", "target", "start", "end", "cap", "hires_strength", "second_preference",
    "verdict", "thrifty",
)  # fmt: skip


def test_the_order_of_the_apis_arguments_is_frozen_and_ids_differ_between_the_tabs(script, part):
    assert part("choice").ARGUMENTS[: len(API)] == API
    for is_img2img, tab in ((False, "txt2img"), (True, "img2img")):
        ids = [control.elem_id for control in script.ui(is_img2img)]
        assert ids[: len(API)] == [f"rs_corrector_{tab}_{name}" for name in API] and len(set(ids)) == len(ids)


def test_the_documented_api_example_has_the_arguments_in_that_order(part):
    text = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
    example = re.search(r'"RS-Corrector": \{"args": \[(.*?)\]\}', text).group(1)
    values = [value.strip().strip('"') for value in example.split(",")]
    assert values[0] == "true" and len(values) <= len(API)
    choice = part("choice").choose([True, *values[1:]])
    assert choice.on and choice.names == [values[1]]
    assert ", ".join(f"`{name}`" for name in API) in " ".join(text.split())


def test_the_page_is_off_by_default_with_the_defaults_of_the_api(script, part):
    values, choice = [control.value for control in script.ui(True)], part("choice")
    assert values[0] is False
    assert choice.choose(values) == choice.choose([]) == choice.choose([None] * len(API)) == choice.Choice()


def test_the_list_has_the_users_files_and_the_shipped_ones_and_can_be_refreshed(script, folder):
    names = script.ui(False)[1].args[0]
    assert names[0] == "None" and "backdrop" in names and "miniature-attire" in names
    (folder / "mine").mkdir()
    (folder / "mine" / "new.safetensors").write_bytes((folder / "backdrop.safetensors").read_bytes())
    assert "mine/new" in script.ui(False)[1].args[0]


@pytest.mark.parametrize(("is_img2img", "log"), [(False, "html_log_txt2img"), (True, "html_log_img2img")])
def test_after_a_job_the_accordion_shows_what_was_read_in_its_prompts_and_why(host, is_img2img, log):
    host.script.ui(is_img2img)
    shown, (callback, elem_id) = sys.modules["gradio"].HTML(), host.script.after
    assert elem_id == log
    callback(SimpleNamespace(component=shown))
    host.generate(*ON, prompts=(ORVANE, VILLAGE))
    read = shown.events["change"]()
    summary, why = re.fullmatch(r"<details><summary>Last job: (.*)</summary>(.*)</details>", read).groups()
    assert summary.split("<br>") == [
        "the prompt names Orvane and asks for nothing",
        "the prompt asks for a village: left alone",
    ]
    assert len(re.findall(r"names Orvane \d\.\d\d of \d\.\d\d needed, asks for something", why)) == 2
    host.generate(*OFF)
    assert shown.events["change"]() == ""


@pytest.fixture
def card(script):
    """-> a function: the card of two selected preferences."""
    return lambda first, second="None": script.ui(False)[1].events["change"](first, second).replace("&quot;", '"')


def test_the_card_is_a_verdict_in_one_line_with_the_details_folded(card):
    head, table = re.fullmatch(
        r"<details[^>]*><summary>(.*)</summary>(<table>.*</table>)</details>", card("backdrop")
    ).groups()
    assert re.fullmatch(
        r"<b>Village backdrop \(miniature\)</b>: a city in [\d–]+% of pictures, \d+–\d+% without it \(CFG 2, 7\)", head
    )
    for text in ("Orvane, Tavelu, Quilmari", "own updates at held-out points", "miniature", "at CFG 2", "Accuracy"):
        assert text in table
    assert "acts on 100% of things that are called after a group" in table
    assert card("None") == ""


def test_the_card_of_an_uncalibrated_preference_says_so_and_text_from_a_file_is_escaped(card, folder):
    training = {"validated_on": "<script>x</script>"}
    relabelled(REAL, folder / "raw.safetensors", calibrations=[], training=training)
    assert "not calibrated, so how well it works is unknown" in card("raw").partition("</summary>")[0]
    assert "<script>" not in card("raw") and "&lt;script&gt;" in card("raw")


def test_a_preference_for_another_model_or_a_missing_one_shows_a_warning_once_a_model_is_loaded(card, fakes):
    assert "warning" not in card("miniature-backdrop")
    fakes.model_data.sd_model = type("Model", (), {"is_sd1": True})()
    assert "warning" not in card("backdrop")
    wrong = "made for the miniature, and the loaded model has the latents of SD1.5"
    assert wrong in card("miniature-backdrop")
    assert "<td>SD1.5 and SD2.x</td>" in card("backdrop")
    assert "is not in models/rs_corrector" in card("gone [0123456789]")


def test_a_model_that_is_not_recognised_is_refused_without_the_name_of_a_class(part):
    (preference,) = load_preferences(REAL)
    with pytest.raises(
        PreferenceError, match="the miniature, and the loaded model has other latents; load the model that"
    ):
        part("host").check_space(preference, part("host").space_of(object()))


def test_the_card_shows_each_preference_of_a_file_and_warns_of_those_that_do_not_fit(card, folder, fakes):
    fakes.model_data.sd_model = type("Model", (), {"is_sd1": True})()
    attire = REPOSITORY / "weights" / "miniature-attire.safetensors"
    relabelled(attire, folder / "attire.safetensors")
    for name, path in (("both", folder / "attire.safetensors"), ("mixed", attire)):
        save_preferences(
            [preference for file in (folder / "backdrop.safetensors", path) for preference in load_preferences(file)],
            folder / f"{name}.safetensors",
        )
    assert card("both").count("rs-corrector-card") == 2 and "warning" not in card("both")
    assert "would be corrected twice" in card("both", "attire")
    mixed = card("mixed")
    assert mixed.count("rs-corrector-warning") == 1 and '"miniature-attire" was made for the miniature' in mixed


def test_presets_are_settings_that_the_api_takes(part):
    page, choose = part("page"), part("choice").choose
    for name, target in (("all", 1.0), ("most", 0.8), ("half", 0.5)):
        values = dict(zip(page.PRESET_CONTROLS, page.preset(name), strict=True))
        choice = choose([{**values, "preference": "backdrop"}.get(argument) for argument in API])
        assert choice.on and (choice.target, choice.strength, choice.end) == (target, 1.0, 1.0)
    assert page.preset("off")[0] is False and set(page.PRESETS) == {"off", "all", "most", "half"}


@pytest.mark.parametrize("value", [True, "true", 1, 1.0])
def test_switches_may_be_any_json_boolean_or_number(part, value):
    choice = part("choice").choose([value, "backdrop", *[None] * 7, value, value])
    assert choice.on and choice.verdict is choice.thrifty is True


def test_the_model_is_asked_fully_by_default_and_presets_go_back_to_that(script, part):
    choice, page = part("choice").choose([True, "backdrop"]), part("page")
    assert (choice.verdict, choice.thrifty) == (True, False)
    *_, verdict, thrifty = script.ui(False)
    assert (verdict.label, thrifty.label) == ("Say what came of it", "Thrifty")
    for name in page.PRESETS:
        settings = dict(zip(page.PRESET_CONTROLS, page.preset(name), strict=True))
        assert (settings["verdict"], settings["thrifty"]) == (True, False)


@pytest.mark.parametrize("name", ["enabled", "verdict", "thrifty"])
def test_errors_of_switches_that_are_no_boolean_name_the_setting(part, name):
    values = dict.fromkeys(API) | {"enabled": True, "preference": "backdrop", name: "perhaps"}
    with pytest.raises(ValueError, match=f"{name}.* must be true or false"):
        part("choice").choose(values.values())


@pytest.mark.parametrize("name, value", [("strength", float("nan")), ("cap", -1), ("hires_strength", True), ("end", 2)])
def test_errors_of_numbers_out_of_range_name_the_setting(part, name, value):
    values = dict.fromkeys(API) | {"enabled": True, "preference": "backdrop", name: value}
    with pytest.raises(ValueError, match=name.replace("_", " ")):
        part("choice").choose(values.values())
