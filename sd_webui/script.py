"""The host's script, which forwards its callbacks to the job of their `p`. The only module that imports the host."""

from contextlib import suppress
from pathlib import Path

from modules import paths, script_callbacks, scripts

from . import forge, page, xyz
from .a1111 import Calls
from .host import is_forge, space_of
from .job import Jobs
from .preferences import FOLDER, SHIPPED, Shelf

OWN = Path(paths.models_path) / FOLDER
with suppress(OSError):  # a folder that cannot be written to is one without preferences
    OWN.mkdir(parents=True, exist_ok=True)
SHELF = Shelf(OWN, SHIPPED)
JOBS = Jobs()
CALLS = Calls(JOBS)


def loaded_space():
    """The latent space of the model that is loaded by now; asking must not load one."""
    from modules import sd_models

    return space_of(getattr(sd_models.model_data, "sd_model", None))


class RSCorrectorScript(scripts.Script):
    """Always there, off by default. Argument order: choice.ARGUMENTS."""

    def title(self):
        return "RS-Corrector"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        made = page.build("img2img" if is_img2img else "txt2img", SHELF, loaded_space)
        self.infotext_fields = made.pasted
        self.paste_field_names = made.keys
        return made.controls

    def process(self, p, *values):
        JOBS.open(p, values, SHELF)

    def process_batch(self, p, *values, **_):
        if job := JOBS.of(p):
            job.begin_batch()

    def process_before_every_sampling(self, p, *values, c=None, x=None, noise=None, **_):
        """Before each pass, and in Forge twice before the hires pass."""
        job = JOBS.of(p)
        run = job and job.begin_pass(p, c, x, noise)
        if run and is_forge(p.sd_model):
            job.guarded(forge.install, p, job, run)

    def postprocess_batch(self, p, *values, **_):
        if job := JOBS.of(p):
            forge.remove(p.sd_model)
            job.end_batch()

    def postprocess(self, p, processed, *values):
        if JOBS.of(p):
            forge.remove(p.sd_model)
            JOBS.close(p)


script_callbacks.on_before_ui(lambda: xyz.register(scripts.scripts_data, SHELF))
script_callbacks.on_cfg_denoiser(CALLS.on_cfg_denoiser)
script_callbacks.on_cfg_after_cfg(CALLS.on_cfg_after_cfg)
