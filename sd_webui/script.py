"""The host's script: it hands each of the host's events to the job at work. The only module that imports the host."""

from contextlib import suppress
from pathlib import Path

from modules import paths, script_callbacks, scripts

from . import forge, page, xyz
from .a1111 import Calls
from .host import is_forge, space_of
from .job import Job
from .preferences import FOLDER, SHIPPED, Shelf

OWN = Path(paths.models_path) / FOLDER
with suppress(OSError):  # a folder that cannot be written to is one without preferences
    OWN.mkdir(parents=True, exist_ok=True)
SHELF = Shelf(OWN, SHIPPED)
CALLS = Calls()


def loaded_space():
    """The latent space of the model that is loaded by now; asking must not load one."""
    from modules import sd_models

    return space_of(getattr(sd_models.model_data, "sd_model", None))


class RSCorrectorScript(scripts.Script):
    """Always there, off by default. Argument order: choice.ARGUMENTS."""

    job = None

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
        self.finish()
        self.job = Job(p, values, SHELF)

    def process_batch(self, p, *values, **_):
        if self.ours(p):
            self.job.begin_batch()

    def process_before_every_sampling(self, p, *values, c=None, **_):
        """Before each pass, and in Forge twice before the hires pass."""
        CALLS.watch(None)
        if not self.ours(p) or not self.job.on:
            return
        run = self.job.begin_pass(p, c)
        if run is None:
            return
        if is_forge(p.sd_model):
            self.job.guarded(forge.install, p, self.job, run)
        else:
            CALLS.watch(self.job)

    def postprocess_batch(self, p, *values, **_):
        if self.ours(p):
            CALLS.watch(None)
            forge.remove(p.sd_model)
            self.job.end_batch()

    def postprocess(self, p, processed, *values):
        if self.ours(p):
            self.finish()

    def ours(self, p):
        return self.job is not None and self.job.p is p

    def finish(self):
        """Nothing stays, also after a job that was broken off."""
        CALLS.watch(None)
        if self.job is not None:
            if self.job.p is not None:
                forge.remove(self.job.p.sd_model)
            self.job.close()
            self.job = None


script_callbacks.on_before_ui(lambda: xyz.register(scripts.scripts_data, SHELF))
script_callbacks.on_cfg_denoiser(CALLS.on_cfg_denoiser)
script_callbacks.on_cfg_after_cfg(CALLS.on_cfg_after_cfg)
