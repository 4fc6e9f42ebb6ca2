"""The script that the host loads; forwards its callbacks to the job of `p`.

It alone imports the host, but for the functions that ask the model and train gates, which do while they run.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

from modules import paths, script_callbacks, scripts

from ..corrector.files.folders import AXES, WEIGHTS
from . import forge, page, xyz
from .a1111 import Calls
from .host import is_forge, space_of
from .job import Jobs
from .preferences import AXES_FOLDER, FOLDER, Shelf

USERS_FOLDER = Path(paths.models_path) / FOLDER
with suppress(OSError):  # in a read-only folder there are only the shipped preferences
    USERS_FOLDER.mkdir(parents=True, exist_ok=True)
SHELF = Shelf(USERS_FOLDER, WEIGHTS, axes=(USERS_FOLDER / AXES_FOLDER, AXES))
JOBS = Jobs()
CALLS = Calls(JOBS)


def loaded_space() -> str | None:
    """The loaded model's latent space, or None; does not load a model."""
    from modules import sd_models

    return space_of(getattr(sd_models.model_data, "sd_model", None))


class RSCorrectorScript(scripts.Script):
    """Always visible, off by default. Its arguments are in the order of choice.ARGUMENTS."""

    def title(self) -> str:
        return "RS-Corrector"

    def show(self, is_img2img: bool) -> object:
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list:
        tab = "img2img" if is_img2img else "txt2img"
        made = page.build(tab, SHELF, loaded_space, lambda: JOBS.last_read)
        self.on_after_component(lambda log: made.tell_reading_after(log.component), elem_id=f"html_log_{tab}")
        self.infotext_fields = made.pasted
        self.paste_field_names = made.keys
        return made.controls

    def process(self, p: Any, *values: Any) -> None:
        JOBS.open(p, values, SHELF)

    def process_batch(self, p: Any, *values: Any, **_: Any) -> None:
        if job := JOBS.of(p):
            job.begin_batch()

    def process_before_every_sampling(
        self, p: Any, *values: Any, c: Any = None, x: Any = None, noise: Any = None, **_: Any
    ) -> None:
        """Called before each pass; in Forge twice before the hires pass."""
        if job := JOBS.of(p):
            run = job.begin_pass(p, c, x, noise)
            if run and is_forge(p.sd_model):
                job.guarded(forge.install, p, job, run)

    def postprocess_batch(self, p: Any, *values: Any, **_: Any) -> None:
        if job := JOBS.of(p):
            forge.remove(p.sd_model)
            job.end_batch()

    def postprocess(self, p: Any, processed: Any, *values: Any) -> None:
        if job := JOBS.of(p):
            forge.remove(p.sd_model)
            job.tell(processed)
            JOBS.close(p)


script_callbacks.on_before_ui(lambda: xyz.register(scripts.scripts_data, SHELF))
script_callbacks.on_cfg_denoiser(CALLS.on_cfg_denoiser)
script_callbacks.on_cfg_denoised(CALLS.on_cfg_denoised)
script_callbacks.on_cfg_after_cfg(CALLS.on_cfg_after_cfg)
