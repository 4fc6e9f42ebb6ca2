"""Writing and pasting infotexts, and X/Y/Z grids."""

import copy
import re
import shutil
from types import SimpleNamespace

import pytest
import torch

from webui_hosts import ORVANE
from webui_modules import relabelled

KEY = re.compile(r"\w[\w \-/]+")  # what both hosts accept as a key
SETTINGS = (True, "backdrop", 0.75, 0.5, 0.1, 0.9, 0.4, 0.5, "None", False, True)


@pytest.fixture
def paste(script):
    """Parsed infotext -> (values of the page's controls, warnings), by the script's own paste functions."""

    def paste(texts):
        controls = script.ui(False)
        values = {id(control): control.value for control in controls}
        pasted = [(component, function(texts)) for component, function in script.infotext_fields]
        values |= {id(component): value for component, value in pasted if value is not None}
        warnings = "".join(value for component, value in pasted if component.kind == "HTML")
        return tuple(values[id(control)] for control in controls), warnings

    return paste


def test_pasted_settings_make_the_same_picture(host, script, part, paste):
    made = host.generate(*SETTINGS)
    values, warnings = paste(made.texts[0])
    assert values == SETTINGS and not warnings
    again = host.generate(*values)
    assert torch.equal(made.latents, again.latents) and made.texts == again.texts
    digest = part("script").SHELF.load("backdrop").hash
    assert made.texts[0]["RS-Corrector preference"] == f"backdrop [{digest}]"
    assert made.texts[0]["RS-Corrector verdict"] == "False" and made.texts[0]["RS-Corrector thrifty"] == "True"
    assert all(KEY.fullmatch(key) for key in made.texts[0])
    assert set(made.texts[0]) <= set(script.paste_field_names)


def test_a_name_of_any_length_is_split_from_its_hash_in_linear_time(part):
    split_hash, spaces = part("preferences").split_hash, " " * 500_000
    assert split_hash(f"a{spaces}[0123456789]") == ("a", "0123456789")
    assert split_hash(f"a{spaces}b") == (f"a{spaces}b", "")


def test_defaults_are_not_written(host):
    names = {f"RS-Corrector {name}" for name in ("preference", "strength", "target", "result")}
    assert set(host.generate(True, "backdrop").texts[0]) == names


def test_infotexts_without_our_keys_with_an_error_or_with_invalid_values(paste):
    values, warnings = paste({"Steps": "20", "Sampler": "Euler"})
    assert values[0] is False and not warnings
    text = {"RS-Corrector preference": "backdrop", "RS-Corrector strength": "a lot", "RS-Corrector verdict": "perhaps"}
    values, warnings = paste(text | {"RS-Corrector error": "<failed>"})
    assert values[:3] == (True, "backdrop", 1.0) and values[-2:] == (True, False) and "&lt;failed&gt;" in warnings


def test_a_missing_file_is_reported_on_the_page_and_when_generating(forge, paste):
    values, warnings = paste({"RS-Corrector preference": "villages [0123456789]", "RS-Corrector strength": "1"})
    assert values[:2] == (True, "villages [0123456789]")
    assert "&quot;villages&quot; is not in models/rs_corrector" in warnings
    assert "is not in models/rs_corrector" in forge.generate(*values).errors[0]


def test_another_file_of_the_same_name_is_reported_and_refused(host, folder, tmp_path, paste):
    text = host.generate(True, "backdrop").texts[0]
    other = relabelled(folder / "backdrop.safetensors", tmp_path / "other.safetensors", name="another")
    shutil.move(other, folder / "backdrop.safetensors")
    values, warnings = paste(text)
    assert "another file" in warnings and values[1] == text["RS-Corrector preference"]
    made = host.generate(*values)
    assert torch.equal(host.plain(), made.latents) and "another file" in made.errors[0]


class AxisOption:
    def __init__(self, label, type, apply, format_value=None, confirm=None, choices=None):
        self.label, self.type, self.apply, self.confirm, self.choices = label, type, apply, confirm, choices
        self.format_value = format_value


@pytest.fixture
def axes(fakes, script):
    """The axes of the grid by name, after the page was made three times."""
    module = SimpleNamespace(axis_options=[AxisOption("Seed", int, None)], AxisOption=AxisOption)
    fakes.scripts.scripts_data.append(SimpleNamespace(module=module))
    for callback in fakes.callbacks["before_ui"] * 3:
        callback()
    return {option.label.removeprefix("[RS-Corrector] "): option for option in module.axis_options[1:]}


def test_grid_axes_are_added_once_and_refuse_an_unknown_preference_before_the_first_picture(axes):
    assert list(axes) == ["preference", "strength", "target", "start", "end"]
    axes["preference"].confirm(None, ["backdrop", "None"])
    with pytest.raises(ValueError, match='"gone" is not in models/rs_corrector'):
        axes["preference"].confirm(None, ["backdrop", "gone"])
    assert "backdrop" in axes["preference"].choices()


def test_the_cells_of_a_grid_do_not_affect_each_other(axes, host):
    base, cells = host.processing([ORVANE]), {}
    for strength in (0.0, 0.5, 1.0):
        p = copy.copy(base)  # a shallow copy, as the grid makes it
        axes["preference"].apply(p, "backdrop", ["backdrop"])
        axes["strength"].apply(p, strength, [0.0, 0.5, 1.0])
        cells[strength] = host.generate(False, p=p)
        assert cells[strength].texts[0].get("RS-Corrector strength") == (f"{strength:g}" if strength else None)
    plain = host.generate(False, p=base)
    assert torch.equal(cells[0.0].latents, plain.latents) and plain.texts == [{}]
    assert not torch.equal(cells[0.5].latents, plain.latents)
    assert not torch.equal(cells[0.5].latents, cells[1.0].latents)


@pytest.mark.parametrize(
    "axis, value, label",
    [
        ("preference", "villages [9e2684dfc8]", "villages"), ("preference", "None", "no preference"),
        ("strength", 0.5, "strength 0.5"), ("strength", 0.0, "not corrected"), ("target", 0.8, "target 80 %"),
        ("start", 0.25, "from 25 % of the steps"), ("end", 0.125, "until 12.5 %"),
    ],
)  # fmt: skip
def test_the_labels_of_a_grid_read_without_the_extensions_name(axes, axis, value, label):
    option = axes[axis]
    assert option.format_value(None, option, option.type(value)) == label
