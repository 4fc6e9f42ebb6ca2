"""What the hosts show under the gallery, and the labels of an X/Y/Z grid."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from webui_hosts import Processing
from webui_modules import relabelled

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
ORVANE, KITTEN = "a portrait of an Orvane person", "a kitten"
VILLAGE = "a portrait of an Orvane person in a village"
ON = (True, "backdrop", 1.0)


def told(host, script, *values, prompts, **more):
    """The lines under the gallery."""
    p = Processing(host.sd_model, prompts, range(len(prompts)), **more)
    host.process_images(script, p, *values)
    return p.processed.comments.splitlines()


def test_the_whole_job_is_summed_up_over_its_batches(host, script):
    prompts = [ORVANE, VILLAGE, ORVANE, KITTEN]
    (line,) = told(host, script, *ON, prompts=prompts, batch_size=2)
    assert line.startswith("RS-Corrector: corrected 2 of 4; left alone 1: the prompt asks for a village")
    assert "left alone 1: the prompt names nobody of Orvane, Tavelu, Quilmari" in line


def test_why_nothing_was_corrected_is_said(forge, script):
    (line,) = told(forge, script, *ON, prompts=[VILLAGE, VILLAGE])
    assert line == "RS-Corrector: nothing was corrected, because the prompt asks for a village."
    (line,) = told(forge, script, *ON, prompts=[VILLAGE, KITTEN])
    assert line.startswith("RS-Corrector: nothing was corrected: 1 because the prompt asks for a village; 1 because")
    (line,) = told(forge, script, *ON, None, 0.05, 0.1, prompts=[ORVANE])
    assert line == "RS-Corrector: nothing was corrected, because the window contains none of this run's steps."
    (line,) = told(forge, script, True, "backdrop", 0.0, prompts=[ORVANE])
    assert line == "RS-Corrector: nothing was corrected, because the strength is 0."


def test_each_of_several_preferences_is_named(forge, script, models_path):
    relabelled(WEIGHTS / "miniature-attire.safetensors", models_path / "rs_corrector" / "attire.safetensors")
    first, second = told(forge, script, *ON, None, None, None, None, None, "attire", prompts=[ORVANE])
    assert first == "RS-Corrector: miniature-backdrop: corrected 1 of 1."
    assert second.startswith("RS-Corrector: miniature-attire: nothing was corrected, because the prompt names nobody")


def test_when_off_nothing_is_said(forge, script):
    assert told(forge, script, False, "backdrop", prompts=[ORVANE]) == []


def test_after_an_error_only_the_error_is_said(forge, script):
    (line,) = told(forge, script, True, "gone", prompts=[ORVANE])
    assert 'The preference "gone" is not in models/rs_corrector' in line


@pytest.mark.parametrize(
    "axis, value, label",
    [
        ("preference", "villages [9e2684dfc8]", "villages"), ("preference", "None", "no preference"),
        ("strength", 0.5, "strength 0.5"), ("strength", 0.0, "not corrected"), ("target", 0.8, "target 80 %"),
        ("start", 0.25, "from 25 % of the steps"), ("end", 0.125, "until 12.5 %"),
    ],
)  # fmt: skip
def test_the_labels_of_a_grid_read_without_the_extensions_name(script, part, axis, value, label):
    def option(label, kind, apply, format_value=None, **more):
        return SimpleNamespace(label=label, type=kind, format_value=format_value)

    grid = SimpleNamespace(axis_options=[], AxisOption=option)
    part("xyz").register([SimpleNamespace(module=grid)], part("script").SHELF)
    (found,) = [one for one in grid.axis_options if one.label == f"[RS-Corrector] {axis}"]
    assert found.format_value(None, found, found.type(value)) == label
