"""Serves our page, and a text box to paste infotexts, in Gradio without a WebUI. Arguments: folder, port."""

import json
import sys
from pathlib import Path
from types import ModuleType

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = "rs_corrector_extension"
READ = {"the prompt names Orvane and asks for nothing": "names Orvane 0.98 of 0.80 needed"}


def load():
    """Load the repository as the extension's package, without its script."""
    package = ModuleType(PACKAGE)
    package.__path__ = [str(REPOSITORY)]
    sys.modules[PACKAGE] = package


def main(folder, port):
    load()
    import gradio as gr
    from rs_corrector_extension.corrector.files.folders import WEIGHTS
    from rs_corrector_extension.sd_webui import page
    from rs_corrector_extension.sd_webui.preferences import Shelf

    with gr.Blocks() as blocks:
        gr.Markdown(f"gradio {gr.__version__}")
        made = page.build("txt2img", Shelf(Path(folder), WEIGHTS), lambda: "sd15", lambda: READ)
        show = gr.Button("Show values", elem_id="show")
        values = gr.Textbox(label="values", elem_id="values")
        show.click(lambda *given: json.dumps(given), made.controls, [values])
        text = gr.Textbox(label="infotext", elem_id="infotext")
        paste = gr.Button("Paste", elem_id="paste")

        def pasted(infotext):
            found = [function(json.loads(infotext)) for _, function in made.pasted]
            return [gr.update() if value is None else gr.update(value=value) for value in found]

        log = gr.HTML(elem_id="html_log_txt2img")
        made.tell_reading_after(log)
        gr.Button("Generate", elem_id="generate").click(lambda: "Time taken: 1 s", [], [log])
        paste.click(pasted, [text], [component for component, _ in made.pasted])
    blocks.queue().launch(server_name="127.0.0.1", server_port=int(port), share=False, quiet=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
