"""The accordion on the page, for Gradio 3.41 and 4.40; independent of the host.

Its controls are in the order of choice.ARGUMENTS, which is also the API's.
"""

from functools import partial
from types import SimpleNamespace

import gradio as gr

from . import infotext
from .card import card, warning
from .choice import ARGUMENTS, DEFAULTS
from .preferences import NONE

# Buttons with settings that are often wanted: {name in `preset`: label}.
PRESETS = {"off": "Off", "all": "Correct all", "most": "To 80 %", "half": "To 50 %"}
TARGETS = {"all": 1.0, "most": 0.8, "half": 0.5}
PRESET_CONTROLS = ("enabled", "strength", "target", "start", "end", "cap", "hires_strength")


def preset(name):
    """The values of PRESET_CONTROLS; all but the target are defaults."""
    values = {control: getattr(DEFAULTS, control) for control in PRESET_CONTROLS}
    return list((values | {"enabled": name != "off", "target": TARGETS.get(name, DEFAULTS.target)}).values())


def build(tab, shelf, loaded_space):
    """Build the accordion.

    Args:
        tab: "txt2img" or "img2img".
        shelf: Shelf of preference files.
        loaded_space: function -> the loaded model's latent space, or None.

    Returns:
        namespace with `controls` in the order of ARGUMENTS, `pasted` [(component, function of parsed infotext)], and
        `keys` of the infotext.
    """

    def elem(name):
        return f"rs_corrector_{tab}_{name}"

    def names():
        return [NONE, *shelf.names()]

    def slider(name, label, low, high, step, info):
        value = getattr(DEFAULTS, name)
        return gr.Slider(low, high, value=value, step=step, label=label, info=info, elem_id=elem(name))

    def preference_list(name, label):
        # Custom values are allowed because an infotext may name a file that is missing here.
        return gr.Dropdown(
            names(), value=NONE, label=label, allow_custom_value=True, elem_id=elem(name), interactive=True
        )

    def small(label, name, **more):
        return gr.Button(label, size="sm", min_width=80, elem_id=elem(name), **more)

    made = {}
    with gr.Accordion("RS-Corrector", open=False, elem_id=elem("accordion")):
        made["enabled"] = gr.Checkbox(
            value=False, label="Enable RS-Corrector", info="Off leaves pictures bit-identical.", elem_id=elem("enabled")
        )
        with gr.Row():
            made["preference"] = preference_list("preference", "Preference")
            refresh = small("Refresh", "refresh", scale=0)
        with gr.Row():
            presets = [(small(label, f"preset_{name}"), name) for name, label in PRESETS.items()]
        made["strength"] = slider("strength", "Strength", 0, 2, 0.05, "0 is off. 1 is as calibrated.")
        made["target"] = slider(
            "target", "Target share", 0.01, 1, 0.01,
            "Share of counter pictures. Below 1, some seeds are corrected fully and the others not at all.",
        )  # fmt: skip
        shown = gr.HTML("", elem_id=elem("card"))
        pasted = gr.HTML("", elem_id=elem("pasted"))
        with gr.Accordion("Advanced", open=False, elem_id=elem("advanced")):
            made["start"] = slider("start", "Start", 0, 1, 0.01, "When it starts, as a fraction of the steps.")
            made["end"] = slider("end", "End", 0, 1, 0.01, "When it ends, as a fraction of the steps.")
            made["cap"] = slider(
                "cap", "Cap", 0, 10, 0.01, "Maximum change of a picture in one step (RMS, latent units); 0 for no cap."
            )
            made["hires_strength"] = slider(
                "hires_strength", "Hires strength", 0, 2, 0.05, "Factor on the strength in the hires pass."
            )
            made["second_preference"] = preference_list("second_preference", "Second preference")

    lists = [made["preference"], made["second_preference"]]

    def describe(*selected):
        return card(shelf, selected, loaded_space())

    def refreshed(*selected):
        return [*[gr.update(choices=names())] * 2, describe(*selected)]

    for one in lists:
        one.change(describe, lists, [shown], show_progress=False)
    refresh.click(refreshed, lists, [*lists, shown], show_progress=False)

    for button, name in presets:
        button.click(partial(preset, name), [], [made[name] for name in PRESET_CONTROLS], show_progress=False)

    def warnings(params):
        return "".join(map(warning, infotext.complaints(params, shelf)))

    restored = [(made[name], partial(infotext.pasted, name, shelf)) for name in ARGUMENTS] + [(pasted, warnings)]
    return SimpleNamespace(controls=[made[name] for name in ARGUMENTS], pasted=restored, keys=list(infotext.KEYS))
