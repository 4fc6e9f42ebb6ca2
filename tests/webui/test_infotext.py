"""Writing and pasting infotexts, and X/Y/Z grids."""

import re
import shutil
from types import SimpleNamespace

import pytest
import torch

from webui_hosts import Processing
from webui_modules import relabelled

ORVANE = "a portrait of an Orvane person"
KEY = re.compile(r"\w[\w \-/]+")  # what both hosts accept as a key
SETTINGS = (True, "backdrop", 0.75, 0.5, 0.1, 0.9, 0.4, 0.5, "None")


def made(host, script, *values, seeds=(1, 2), p=None):
    p = p or Processing(host.sd_model, [ORVANE] * len(seeds), seeds)
    latents, texts = host.process_images(script, p, *values)
    return latents, texts, p


def pasted(script, texts):
    """Parsed infotext -> values of the page's controls, by the script's own paste functions, defaults where None."""
    controls = script.ui(False)
    values = {id(control): control.value for control in controls}
    for component, function in script.infotext_fields:
        value = function(texts)
        if value is not None:
            values[id(component)] = value
    shown = [function(texts) for component, function in script.infotext_fields if component.kind == "HTML"]
    return tuple(values[id(control)] for control in controls), "".join(shown)


def test_pasted_settings_make_the_same_picture(host, script):
    first, texts, _ = made(host, script, *SETTINGS)
    values, warnings = pasted(script, texts[0])
    assert values == SETTINGS and not warnings
    again, texts_again, _ = made(host, script, *values)
    assert torch.equal(first, again) and texts == texts_again


def test_name_and_hash_are_written_with_keys_that_hosts_can_parse(host, script, part):
    _, texts, _ = made(host, script, *SETTINGS)
    digest = part("script").SHELF.load("backdrop").hash
    assert texts[0]["RS-Corrector preference"] == f"backdrop [{digest}]"
    assert all(KEY.fullmatch(key) for key in texts[0])
    script.ui(False)
    assert set(texts[0]) <= set(script.paste_field_names)


def test_a_name_of_any_length_is_split_from_its_hash_in_linear_time(part):
    split_hash, spaces = part("preferences").split_hash, " " * 500_000
    assert split_hash(f"a{spaces}[0123456789]") == ("a", "0123456789")
    assert split_hash(f"a{spaces}b") == (f"a{spaces}b", "")


def test_defaults_are_not_written(host, script):
    _, texts, _ = made(host, script, True, "backdrop")
    names = {"RS-Corrector preference", "RS-Corrector strength", "RS-Corrector target", "RS-Corrector result"}
    assert set(texts[0]) == names


def test_an_infotext_without_our_keys_disables_the_correction(script):
    values, warnings = pasted(script, {"Steps": "20", "Sampler": "Euler"})
    assert values[0] is False and not warnings


def test_a_missing_file_is_reported_on_the_page_and_when_generating(host, script):
    text = {"RS-Corrector preference": "villages [0123456789]", "RS-Corrector strength": "1"}
    values, warnings = pasted(script, text)
    assert values[:2] == (True, "villages [0123456789]")
    assert "&quot;villages&quot; is not in models/rs_corrector" in warnings
    _, texts, _ = made(host, script, *values)
    assert "is not in models/rs_corrector" in texts[0]["RS-Corrector error"]


def test_another_file_of_the_same_name_is_reported_and_refused(host, script, models_path):
    _, texts, _ = made(host, script, True, "backdrop")
    other = models_path.parents[0] / "other.safetensors"
    relabelled(models_path / "rs_corrector" / "backdrop.safetensors", other, name="another")
    shutil.move(other, models_path / "rs_corrector" / "backdrop.safetensors")
    values, warnings = pasted(script, texts[0])
    assert "another file" in warnings and values[1] == texts[0]["RS-Corrector preference"]
    plain, _, _ = made(host, script, False)
    latents, texts, _ = made(host, script, *values)
    assert torch.equal(plain, latents) and "another file" in texts[0]["RS-Corrector error"]


def test_the_error_in_a_pasted_infotext_is_shown(script):
    text = {"RS-Corrector preference": "backdrop", "RS-Corrector error": "it <failed>"}
    _, warnings = pasted(script, text)
    assert "it &lt;failed&gt;" in warnings


def test_invalid_numbers_are_replaced_by_the_defaults(script):
    values, _ = pasted(script, {"RS-Corrector preference": "backdrop", "RS-Corrector strength": "a lot"})
    assert values[2] == 1.0


def test_the_text_of_a_grid_has_the_count_of_its_batch(host, script):
    p = Processing(host.sd_model, [ORVANE, "a kitten"], (1, 2))
    host.process_images(script, p, True, "backdrop")
    assert p.grid_text["RS-Corrector result"] == "corrected 1 of 2 in the last batch"


def test_each_batch_of_a_job_has_its_own_outcomes(host, script):
    p = Processing(host.sd_model, [ORVANE, "a kitten", "a kitten", ORVANE], (1, 2, 3, 4), batch_size=2)
    _, texts = host.process_images(script, p, True, "backdrop")
    assert [text["RS-Corrector result"] == "corrected" for text in texts] == [True, False, False, True]


class AxisOption:
    def __init__(self, label, type, apply, format_value=None, confirm=None, cost=0.0, choices=None, prepare=None):
        self.label, self.type, self.apply, self.confirm, self.choices = label, type, apply, confirm, choices


def grid(fakes):
    module = SimpleNamespace(axis_options=[AxisOption("Seed", int, None)], AxisOption=AxisOption)
    fakes.scripts.scripts_data.append(SimpleNamespace(module=module))
    return module


def make_page(fakes):
    for callback in fakes.callbacks["before_ui"]:
        callback()


def test_grid_axes_are_added_once(fakes, script):
    module = grid(fakes)
    for _ in range(3):
        make_page(fakes)
    labels = [option.label for option in module.axis_options]
    assert labels[1:] == [f"[RS-Corrector] {name}" for name in ("preference", "strength", "target", "start", "end")]


def test_the_cells_of_a_grid_do_not_affect_each_other(fakes, host, script):
    module = grid(fakes)
    make_page(fakes)
    axes = {option.label.split()[-1]: option for option in module.axis_options[1:]}
    cells = {}
    base = Processing(host.sd_model, [ORVANE], (1,))
    for strength in (0.0, 0.5, 1.0):
        p = Processing.__new__(Processing)
        p.__dict__.update(base.__dict__)  # a shallow copy, as the grid makes it
        axes["preference"].apply(p, "backdrop", ["backdrop"])
        axes["strength"].apply(p, strength, [0.0, 0.5, 1.0])
        cells[strength], texts, _ = made(host, script, False, p=p)
        assert texts[0].get("RS-Corrector strength") == (f"{strength:g}" if strength else None)
    plain, texts, _ = made(host, script, False, p=base)
    assert torch.equal(cells[0.0], plain) and texts == [{}]
    assert not torch.equal(cells[0.5], plain) and not torch.equal(cells[0.5], cells[1.0])


def test_a_grid_refuses_an_unknown_preference_before_the_first_picture(fakes, script):
    module = grid(fakes)
    make_page(fakes)
    preference = next(option for option in module.axis_options if option.label.endswith("preference"))
    preference.confirm(None, ["backdrop", "None"])
    with pytest.raises(ValueError, match='"gone" is not in models/rs_corrector'):
        preference.confirm(None, ["backdrop", "gone"])
    assert "backdrop" in preference.choices()
