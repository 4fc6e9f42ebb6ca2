"""The page in Gradio and Chromium. RS_GRADIO_PYTHONS: Pythons with Gradio 3.41 (A1111) and 4.40 (Forge)."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from hosts.served import answers, chromium, free_port, served
from hosts.served import screenshot as save_screenshot

PAGE = Path(__file__).parent / "gradio_page.py"
PYTHONS = [path for path in os.environ.get("RS_GRADIO_PYTHONS", "").split(os.pathsep) if path]

OPAQUE = "part => { while (part && getComputedStyle(part).opacity === '1') part = part.parentElement; return !part }"


@pytest.fixture(params=PYTHONS or ["none"])
def webui(request, webui_reference, tmp_path):
    if request.param == "none":
        pytest.skip("There is no Gradio: set RS_GRADIO_PYTHONS to Pythons with Gradio 3.41 and 4.40.")
    folder = tmp_path / "rs_corrector"
    folder.mkdir()
    shutil.copy(webui_reference / "backdrop.safetensors", folder)
    port, log = free_port(), tmp_path / "log.txt"
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "no_proxy": "127.0.0.1,localhost"}
    address, command = f"http://127.0.0.1:{port}/", [request.param, PAGE, folder, port]
    with served(command, log, answers(address), env=environment), chromium() as browser:
        page = browser.new_page(viewport={"width": 900, "height": 1400})
        page.set_default_timeout(60_000)
        page.folder = folder
        page.goto(address)
        page.get_by_text("RS-Corrector", exact=True).first.wait_for()
        yield page


def screenshot(page, name):
    version = page.locator("text=/^gradio /").first.inner_text().replace("gradio ", "")
    save_screenshot(page, f"{name}-gradio-{version}", full_page=True)


def values(page):
    """The values of the controls as the server receives them when generating."""
    page.evaluate("document.querySelector('#values textarea').value = ''")
    page.locator("#show").click()
    page.wait_for_function("document.querySelector('#values textarea').value.startsWith('[')")
    return json.loads(page.locator("#values textarea").input_value())


def pick(page, name):
    box = page.locator("#rs_corrector_txt2img_preference input").first
    box.click()
    box.fill(name)
    page.locator(f"li[aria-label='{name}']").first.click()  # its role differs between the versions


def paste(page, infotext):
    page.locator("#infotext textarea").fill(json.dumps(infotext))
    page.locator("#paste").click()


def test_selecting_refreshing_and_pasting_preferences(webui):
    webui.get_by_text("RS-Corrector", exact=True).first.click()
    webui.locator("#rs_corrector_txt2img_enabled input").wait_for(state="visible")
    assert values(webui) == [False, "None", 1, 1, 0, 1, 0, 1, "None", True, False]

    pick(webui, "backdrop")
    webui.get_by_text("Village backdrop (miniature)").wait_for()
    assert webui.locator(".rs-corrector-warning").count() == 0
    webui.locator("#rs_corrector_txt2img_enabled input").check()
    webui.locator("#rs_corrector_txt2img_strength input[type=number]").fill("0.5")
    webui.locator("#rs_corrector_txt2img_strength input[type=number]").press("Tab")
    assert values(webui) == [True, "backdrop", 0.5, 1, 0, 1, 0, 1, "None", True, False]
    webui.get_by_text("Advanced", exact=True).first.click()
    webui.locator("#rs_corrector_txt2img_hires_strength").wait_for(state="visible")
    screenshot(webui, "card")

    webui.locator("#rs_corrector_txt2img_preset_half").click()
    webui.wait_for_function("document.querySelector('#rs_corrector_txt2img_strength input[type=number]').value == '1'")
    assert values(webui) == [True, "backdrop", 1, 0.5, 0, 1, 0, 1, "None", True, False]
    assert not webui.get_by_text("Author, licence").is_visible()
    webui.locator(".rs-corrector-card summary").click()
    webui.get_by_text("Author, licence").wait_for()
    screenshot(webui, "details")
    webui.locator(".rs-corrector-card summary").click()

    pick(webui, "miniature-backdrop")
    webui.locator(".rs-corrector-warning").first.wait_for()
    assert "the loaded model has the latents of SD1.5" in webui.locator(".rs-corrector-warning").first.inner_text()
    screenshot(webui, "warning")

    shutil.copy(webui.folder / "backdrop.safetensors", webui.folder / "fresh.safetensors")
    webui.locator("#rs_corrector_txt2img_refresh").click()
    time.sleep(1)
    pick(webui, "fresh")
    webui.get_by_text("Village backdrop (miniature)").wait_for()
    assert values(webui)[1] == "fresh"

    paste(webui, {"RS-Corrector preference": "gone [0123456789]", "RS-Corrector strength": "0.75"})
    webui.locator("#rs_corrector_txt2img_pasted .rs-corrector-warning").wait_for()
    assert values(webui) == [True, "gone [0123456789]", 0.75, 1, 0, 1, 0, 1, "None", True, False]
    screenshot(webui, "missing")
    webui.locator("#generate").click()
    webui.get_by_text("Last job: the prompt names Orvane and asks for nothing").click()
    webui.get_by_text("names Orvane 0.98 of 0.80 needed").wait_for()
    webui.wait_for_timeout(1000)
    assert webui.get_by_text("Last job: ").evaluate(OPAQUE)  # not grey, as what Gradio still waits for
    screenshot(webui, "read")
    paste(webui, {"Steps": "20"})
    webui.wait_for_function("!document.querySelector('#rs_corrector_txt2img_enabled input').checked")
    assert values(webui)[0] is False
