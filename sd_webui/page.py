"""The accordion on the page, in Gradio 3.41 and 4.40 alike; it knows nothing of the host.

Its controls stand in the order of choice.ARGUMENTS, which is also the API's.
"""

from types import SimpleNamespace

import gradio as gr

from . import infotext
from .card import card, warning
from .choice import ARGUMENTS, DEFAULTS
from .preferences import NONE


def build(tab, shelf, loaded_space):
    """`tab`: "txt2img" or "img2img"; `loaded_space()` -> the loaded model's latent space or None.

    -> namespace with `controls` (in the order of ARGUMENTS), `pasted` [(component, function of parsed infotext)] and
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
        # A name that is not in the list stays visible: an infotext may ask for a file that is not here.
        return gr.Dropdown(
            names(), value=NONE, label=label, allow_custom_value=True, elem_id=elem(name), interactive=True
        )

    made = {}
    with gr.Accordion("RS-Corrector", open=False, elem_id=elem("accordion")):
        made["enabled"] = gr.Checkbox(
            value=False, label="Enable RS-Corrector", info="Off means off, bit for bit.", elem_id=elem("enabled")
        )
        with gr.Row():
            made["preference"] = preference_list("preference", "Preference")
            refresh = gr.Button("Refresh", elem_id=elem("refresh"))
        made["strength"] = slider("strength", "Strength", 0, 2, 0.05, "0 is off. 1 is as calibrated.")
        made["target"] = slider(
            "target", "Target share", 0.01, 1, 0.01,
            "Share of pictures on the counter side. Below 1, a seeded part is corrected fully and the rest not at all.",
        )  # fmt: skip
        shown = gr.HTML("", elem_id=elem("card"))
        pasted = gr.HTML("", elem_id=elem("pasted"))
        with gr.Accordion("Advanced", open=False, elem_id=elem("advanced")):
            made["start"] = slider("start", "Start", 0, 1, 0.01, "Where in the run the correction starts.")
            made["end"] = slider("end", "End", 0, 1, 0.01, "Where in the run it ends.")
            made["cap"] = slider(
                "cap", "Cap", 0, 10, 0.01, "The most that a step may change a picture, in latent units; 0 is no cap."
            )
            made["hires_strength"] = slider(
                "hires_strength", "Hires strength", 0, 2, 0.05, "Times the strength, in the hires pass."
            )
            made["second_preference"] = preference_list("second_preference", "Second preference")

    lists = [made["preference"], made["second_preference"]]

    def describe(*picked):
        return card(shelf, picked, loaded_space())

    def refreshed(*picked):
        return [gr.update(choices=names()), gr.update(choices=names()), describe(*picked)]

    for one in lists:
        one.change(describe, lists, [shown], show_progress=False)
    refresh.click(refreshed, lists, [*lists, shown], show_progress=False)

    def told(params):
        return "".join(map(warning, infotext.complaints(params, shelf)))

    restored = [(made["enabled"], infotext.pasted_enabled)]
    restored += [(made[name], infotext.pasted_number(name)) for name in infotext.NUMBERS]
    restored += [
        (made["preference"], infotext.pasted_preference(infotext.PREFERENCE, shelf)),
        (made["second_preference"], infotext.pasted_preference(infotext.SECOND, shelf)),
        (pasted, told),
    ]
    return SimpleNamespace(controls=[made[name] for name in ARGUMENTS], pasted=restored, keys=list(infotext.KEYS))
