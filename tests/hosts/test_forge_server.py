"""A Forge server on the CPU with a full-size SD1.5 checkpoint of random weights: API, model switch, page, reload.

Takes about two minutes and 10 GB of memory; skipped if Forge is missing or cannot start.
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from hosts.forge_server import make_folder, need, random_preference, running
from hosts.served import chromium, screenshot, wait_until
from webui_checkouts import folder_of, python_of

API_PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
PROMPT = "a portrait of an African man"
ON = (True, "random", 0.5)


@pytest.fixture(scope="module")
def forge(tmp_path_factory):
    checkout = folder_of("FORGE_PATH", "stable-diffusion-webui-forge")
    python = python_of(checkout, "FORGE_PYTHON")
    need(checkout)
    folder = tmp_path_factory.mktemp("forge")
    make_folder(checkout, python, folder)
    random_preference(folder / "models" / "rs_corrector" / "random.safetensors")
    with running(checkout, python, folder) as server:
        yield server
    shutil.rmtree(folder / "models" / "Stable-diffusion")


@pytest.fixture(scope="module")
def plain(forge):
    """The host's picture for a request that does not name our script."""
    picture, infotext = forge.generate(prompt=PROMPT)
    assert picture.shape == (64, 64, 3) and picture.std() > 1, "the picture of the random checkpoint is empty"
    assert "RS-Corrector" not in infotext
    return picture


@pytest.fixture(scope="module")
def corrected(forge):
    return forge.generate(*ON, prompt=PROMPT)


def test_the_script_is_listed_once_per_tab_with_the_apis_arguments(forge):
    names = forge.call("/sdapi/v1/scripts")
    assert names["txt2img"].count("rs-corrector") == names["img2img"].count("rs-corrector") == 1
    (ours, _) = [one for one in forge.call("/sdapi/v1/script-info") if one["name"] == "rs-corrector"]
    values = [argument["value"] for argument in ours["args"]]
    assert values == [False, "None", 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, "None"]
    assert "Error loading script: rs_corrector" not in forge.log


def test_the_same_request_twice_makes_the_same_corrected_picture(forge, plain, corrected):
    picture, infotext = corrected
    again, infotext_again = forge.generate(*ON, prompt=PROMPT)
    assert np.array_equal(picture, again) and infotext == infotext_again
    assert not np.array_equal(picture, plain)
    assert "RS-Corrector result: corrected" in infotext and "RS-Corrector strength: 0.5" in infotext
    assert re.search(r"RS-Corrector preference: random \[[0-9a-f]{10}\]", infotext)
    assert np.array_equal(forge.generate(prompt=PROMPT)[0], plain), "nothing is left behind"


def test_the_documented_request_runs_with_another_size_and_preference(forge):
    asked = json.loads(re.search(r"curl .*? -d '(\{.*?\})'", API_PAGE.read_text(encoding="utf-8"), re.DOTALL).group(1))
    asked["alwayson_scripts"]["RS-Corrector"]["args"][1] = "random"
    answer = forge.call("/sdapi/v1/txt2img", asked | {"steps": 1, "width": 64, "height": 64})
    (infotext,) = json.loads(answer["info"])["infotexts"]
    assert "RS-Corrector target: 0.8" in infotext and "RS-Corrector result: " in infotext


def test_switching_the_checkpoint_and_back_neither_keeps_nor_doubles_the_correction(forge, plain, corrected):
    other = {"override_settings": {"sd_model_checkpoint": "other"}, "override_settings_restore_afterwards": False}
    switched, infotext = forge.generate(*ON, prompt=PROMPT, **other)
    assert "Model: other" in infotext and "RS-Corrector result: corrected" in infotext
    alone, infotext = forge.generate(prompt=PROMPT)
    assert "Model: other" in infotext and not np.array_equal(alone, switched)
    back = {"override_settings": {"sd_model_checkpoint": "random"}, "override_settings_restore_afterwards": False}
    assert np.array_equal(forge.generate(*ON, prompt=PROMPT, **back)[0], corrected[0])
    assert np.array_equal(forge.generate(prompt=PROMPT)[0], plain)


@pytest.fixture(scope="module")
def page(forge):
    with chromium() as browser:
        opened = browser.new_page(viewport={"width": 1400, "height": 1800})
        opened.set_default_timeout(30_000)
        opened.goto(forge.address)
        opened.locator("#txt2img_generate").wait_for()
        yield opened


def generated(page, says):
    """Press Generate and wait until the infotext under the picture contains `says` -> that infotext."""
    page.locator("#txt2img_generate").click()
    page.wait_for_function("says => document.querySelector('#html_info_txt2img').innerText.includes(says)", arg=says)
    return page.locator("#html_info_txt2img").inner_text()


def test_the_page_corrects_and_restores_pasted_settings(page, forge, corrected):
    page.locator("#txt2img_prompt textarea").fill(PROMPT)
    page.locator("#rs_corrector_txt2img_accordion").get_by_text("RS-Corrector", exact=True).click()
    page.locator("#rs_corrector_txt2img_enabled input").wait_for(state="visible")
    # The pasted infotext sets our controls, size, steps and seed.
    page.locator("#txt2img_prompt textarea").fill(corrected[1])
    page.locator("#txt2img_tools #paste").click()
    page.wait_for_function("document.querySelector('#rs_corrector_txt2img_enabled input').checked")
    page.locator(".rs-corrector-card").first.wait_for()
    assert page.locator("#rs_corrector_txt2img_preference input").first.input_value() == "random"
    assert float(page.locator("#rs_corrector_txt2img_strength input[type=number]").input_value()) == 0.5
    infotext = generated(page, "RS-Corrector result: corrected")
    screenshot(page, "forge-corrected", full_page=True)
    assert "Seed: 5" in infotext and "RS-Corrector strength: 0.5" in infotext
    assert np.array_equal(forge.saved(), corrected[0]), "page and API make the same picture"
    assert "RS-Corrector: corrected 1 of 1." in page.locator("#html_log_txt2img").inner_text()
    box = page.locator("#rs_corrector_txt2img_preference input").first
    box.click()
    box.fill("miniature-backdrop")
    page.locator("li[aria-label='miniature-backdrop']").first.click()
    page.locator("#rs_corrector_txt2img_card .rs-corrector-warning").wait_for()
    infotext = generated(page, "RS-Corrector error")
    screenshot(page, "forge-wrong-model", full_page=True)
    assert "the loaded model has the latents of SD1.5" in infotext


def test_reloading_the_page_registers_nothing_twice(page, forge, plain, corrected):
    starts = forge.starts
    page.evaluate("document.querySelector('#settings_restart_gradio').click()")
    wait_until(lambda: forge.starts > starts, "Forge did not start again.")
    assert forge.call("/sdapi/v1/scripts")["txt2img"].count("rs-corrector") == 1
    picture, infotext = forge.generate(*ON, prompt=PROMPT)
    assert np.array_equal(picture, corrected[0]) and infotext == corrected[1]
    assert np.array_equal(forge.generate(prompt=PROMPT)[0], plain)
