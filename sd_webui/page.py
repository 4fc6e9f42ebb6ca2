"""The accordion on the page, for Gradio 3.41 and 4.40; independent of the host.

Its controls are in the order of choice.ARGUMENTS, which is also the API's.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace

import gradio as gr

from . import infotext
from .card import card, reading, warning
from .choice import ARGUMENTS, DEFAULTS, RANGES, SWITCHES
from .preferences import NONE, Shelf

# Buttons with settings that are often wanted: {name: (label, target share)}; all other settings are defaults.
PRESETS = {"off": ("Off", 1.0), "all": ("Correct all", 1.0), "most": ("To 80 %", 0.8), "half": ("To 50 %", 0.5)}
PRESET_CONTROLS = ("enabled", *RANGES, *SWITCHES)

SAYS = (
    "Where the model is asked: whether it also says what the finished pictures show. This costs a tenth of a run of "
    "20 steps."
)
THRIFTY = (
    "Where the model is asked: as little as possible. A run of 20 steps takes a fifth longer in place of half as long "
    "again, but skin is kept less exactly, pictures are misread more often, and nothing is said of the finished ones."
)


def preset(name: str) -> list[bool | float]:
    """The values of PRESET_CONTROLS."""
    values = {control: getattr(DEFAULTS, control) for control in PRESET_CONTROLS}
    return list((values | {"enabled": name != "off", "target": PRESETS[name][1]}).values())


def build(
    tab: str, shelf: Shelf, loaded_space: Callable[[], str | None], last_read: Callable[[], Mapping[str, str]]
) -> SimpleNamespace:
    """Build the accordion.

    Args:
        tab: "txt2img" or "img2img".
        shelf: the preference files.
        loaded_space: gives the loaded model's latent space, or None.
        last_read: gives what the last job has read in its prompts, as `readings_of_run`.

    Returns:
        namespace with `controls` in the order of ARGUMENTS, `pasted` [(component, function of parsed infotext)],
        `keys` of the infotext, and `tell_reading_after(log)` for the component in which the host shows how a job went.
    """
    made = {}

    def elem(name):
        return f"rs_corrector_{tab}_{name}"

    def names():
        return [NONE, *shelf.names()]

    def slider(name, label, step, info):
        low, high = RANGES[name]
        value = getattr(DEFAULTS, name)
        made[name] = gr.Slider(low, high, value=value, step=step, label=label, info=info, elem_id=elem(name))

    def checkbox(name, label, info):
        made[name] = gr.Checkbox(value=getattr(DEFAULTS, name), label=label, info=info, elem_id=elem(name))

    def preference_list(name, label):
        # Custom values are allowed because an infotext may name a file that is missing here.
        made[name] = gr.Dropdown(
            names(), value=NONE, label=label, allow_custom_value=True, elem_id=elem(name), interactive=True
        )

    def button(label, name, **options):
        return gr.Button(label, size="sm", min_width=80, elem_id=elem(name), **options)

    with gr.Accordion("RS-Corrector", open=False, elem_id=elem("accordion")):
        checkbox("enabled", "Enable RS-Corrector", "Off leaves pictures bit-identical.")
        with gr.Row():
            preference_list("preference", "Preference")
            refresh = button("Refresh", "refresh", scale=0)
        with gr.Row():
            presets = {name: button(label, f"preset_{name}") for name, (label, _) in PRESETS.items()}
        slider("strength", "Strength", 0.05, "0 is off. 1 is as calibrated.")
        share = "Share of counter pictures. Below 1, some seeds are corrected fully and the others not at all."
        slider("target", "Target share", 0.01, share)
        description = gr.HTML("", elem_id=elem("card"))
        read = gr.HTML("", elem_id=elem("read"))
        complaints = gr.HTML("", elem_id=elem("pasted"))
        with gr.Accordion("Advanced", open=False, elem_id=elem("advanced")):
            slider("start", "Start", 0.01, "When it starts, as a fraction of the steps.")
            slider("end", "End", 0.01, "When it ends, as a fraction of the steps.")
            slider("cap", "Cap", 0.01, "Maximum change of a picture in one step (RMS, latent units); 0 for no cap.")
            slider("hires_strength", "Hires strength", 0.05, "Factor on the strength in the hires pass.")
            preference_list("second_preference", "Second preference")
            checkbox("verdict", "Say what came of it", SAYS)
            checkbox("thrifty", "Thrifty", THRIFTY)

    def describe(*selected):
        return card(shelf, selected, loaded_space())

    def refreshed(*selected):
        return [*[gr.update(choices=names())] * 2, describe(*selected)]

    def warnings(params):
        return "".join(map(warning, infotext.complaints(params, shelf)))

    def tell_reading_after(log):
        log.change(lambda: reading(last_read()), [], [read], show_progress=False, queue=False)

    lists = [made["preference"], made["second_preference"]]
    for dropdown in lists:
        dropdown.change(describe, lists, [description], show_progress=False)
    refresh.click(refreshed, lists, [*lists, description], show_progress=False)
    for name, preset_button in presets.items():
        preset_button.click(partial(preset, name), [], [made[name] for name in PRESET_CONTROLS], show_progress=False)
    pasted = [(made[name], partial(infotext.pasted, name, shelf)) for name in ARGUMENTS] + [(complaints, warnings)]
    return SimpleNamespace(
        controls=[made[name] for name in ARGUMENTS], pasted=pasted, keys=list(infotext.KEYS),
        tell_reading_after=tell_reading_after,
    )  # fmt: skip
