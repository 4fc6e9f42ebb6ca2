"""Files with several preferences, each for another axis: all are applied."""

from pathlib import Path

import pytest
import torch

from corrector.preference.file import file_hash, load_preferences, save_preferences
from webui_hosts import Processing
from webui_modules import relabelled

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
TAVELU, ORVANE = "a portrait of a Tavelu person", "a portrait of an Orvane person"


@pytest.fixture
def both(models_path):
    """Makes `both` with the preferences of two axes, and `attire` with one of them; `backdrop` exists -> folder."""
    folder = models_path / "rs_corrector"
    relabelled(WEIGHTS / "miniature-attire.safetensors", folder / "attire.safetensors")
    parts = [load_preferences(folder / f"{name}.safetensors")[0] for name in ("backdrop", "attire")]
    save_preferences(parts, folder / "both.safetensors")
    return folder


def made(host, script, *values, prompts=(TAVELU, ORVANE), seeds=(1, 2)):
    p = Processing(host.sd_model, prompts, seeds)
    latents, texts = host.process_images(script, p, *values)
    return latents, texts, p


def shown(script, *picked):
    return script.ui(False)[1].events["change"](*picked)


def test_one_file_corrects_both_axes_as_two_files_do(host, script, both):
    plain, _, _ = made(host, script, False)
    apart, _, _ = made(host, script, True, "backdrop", None, None, None, None, None, None, "attire")
    latents, texts, p = made(host, script, True, "both")
    assert torch.equal(latents, apart) and not torch.equal(latents, plain) and not p.comments
    assert texts[0]["RS-Corrector result"] == "miniature-backdrop: corrected; miniature-attire: corrected"
    assert "miniature-attire: left alone, the prompt names nobody" in texts[1]["RS-Corrector result"]


def test_the_card_shows_both(script, both):
    card = shown(script, "both", "None")
    assert card.count("rs-corrector-card") == 2 and "warning" not in card
    for path in ("backdrop", "attire"):
        assert load_preferences(both / f"{path}.safetensors")[0].axis.title in card


def test_the_infotext_has_the_hash_of_the_file_and_can_be_pasted(host, script, part, both):
    first, texts, _ = made(host, script, True, "both", 0.75)
    written = f"both [{file_hash(both / 'both.safetensors')}]"
    assert texts[0]["RS-Corrector preference"] == written
    assert part("script").SHELF.pasted(written) == ("both", "")
    again, texts_again, _ = made(host, script, True, written, 0.75)
    assert torch.equal(first, again) and texts == texts_again


def test_another_file_of_the_same_name_is_refused(host, script, both):
    _, texts, _ = made(host, script, True, "both")
    parts = load_preferences(both / "both.safetensors")
    save_preferences(parts[::-1], both / "both.safetensors")
    _, texts, _ = made(host, script, True, texts[0]["RS-Corrector preference"])
    assert "another file" in texts[0]["RS-Corrector error"]


def test_a_preference_that_does_not_fit_is_named_and_nothing_is_corrected(host, script, both):
    parts = [
        *load_preferences(both / "backdrop.safetensors"),
        *load_preferences(WEIGHTS / "miniature-attire.safetensors"),
    ]
    save_preferences(parts, both / "mixed.safetensors")
    plain, _, _ = made(host, script, False)
    latents, texts, _ = made(host, script, True, "mixed")
    assert torch.equal(plain, latents)
    assert '"miniature-attire" was made for miniature latents' in texts[0]["RS-Corrector error"]
    card = shown(script, "mixed", "None").replace("&quot;", '"')
    assert card.count("rs-corrector-warning") == 1 and '"miniature-attire" was made for miniature latents' in card


def test_two_files_with_the_same_axis_are_refused(host, script, both):
    plain, _, _ = made(host, script, False)
    latents, texts, p = made(host, script, True, "both", None, None, None, None, None, None, "attire")
    assert torch.equal(plain, latents)
    assert "would be corrected twice; select only one file" in texts[0]["RS-Corrector error"] and len(p.comments) == 1
    assert "would be corrected twice" in shown(script, "both", "attire")
    both_once, _, _ = made(host, script, True, "both")
    both_twice, texts, _ = made(host, script, True, "both", None, None, None, None, None, None, "both")
    assert torch.equal(both_once, both_twice) and "RS-Corrector error" not in texts[0]


def test_a_grid_accepts_it(script, part, both, fakes):
    options = []
    option = type("AxisOption", (), {"__init__": lambda self, label, *_, **more: vars(self).update(more, label=label)})
    fakes.scripts.scripts_data.append(
        type("Data", (), {"module": type("Grid", (), dict(axis_options=options, AxisOption=option))})
    )
    part("xyz").register(fakes.scripts.scripts_data, part("script").SHELF)
    assert "both" in options[0].choices() and options[0].confirm(None, ["both"]) is None
