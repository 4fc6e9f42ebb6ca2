"""The thumbnail of a preference: what its model draws without and with it."""

import io
import logging

from PIL import Image

from ..correction.sampled import sample_corrected
from ..correction.update import Settings
from ..latents.host import Host, cfg_of
from ..latents.skin import to_uint8
from ..pages.charts import montage_of
from ..pages.templates import data_uri
from ..preference.preference import Preference
from .pairs import steps_of

LOG = logging.getLogger("rs_corrector")
PICTURES = 4  # in a line
SIDES = (192, 128, 64)  # pixels of a picture, the first with which it is small enough
LARGEST = 64_000  # characters; a file has it up to three times, and ComfyUI reads headers of 1 MiB


def thumbnail(host: Host, preference: Preference) -> str:
    """A JPEG as a data: URI: pictures of the groups in turn, plain above corrected; "" if it cannot be drawn.

    They are of the axis' first prompt and of the seeds 0, 1, 2, ...: nobody chose them.
    """
    seeds = range(PICTURES)
    groups = preference.axis.groups
    prompts = [preference.axis.prompts(groups[seed % len(groups)])[0] for seed in seeds]
    cfg = preference.training.get("cfg", cfg_of(host))
    try:
        plain = host.sample(host.encode(prompts), seeds, cfg=cfg, steps=steps_of(host)).cpu()
        corrected, _ = sample_corrected(host, prompts, seeds, [preference], Settings(), cfg, steps=steps_of(host))
        lines = [to_uint8(host.decode(latents.nan_to_num())) for latents in (plain, corrected)]
        sizes = (_jpeg(Image.fromarray(montage_of(*lines)), side, lines[0].shape[1:3]) for side in SIDES)
        return next(filter(lambda uri: len(uri) <= LARGEST, sizes), "")
    except (RuntimeError, OSError) as error:  # as without memory: it must not cost what was learned
        LOG.warning("The thumbnail of %s could not be drawn: %s", preference.name, error)
        return ""


def _jpeg(picture: Image.Image, side: int, size: tuple[int, ...]) -> str:
    """A grid of pictures of a size, downscaled until they have at most `side` pixels -> JPEG as a data: URI."""
    scale = min(1, side / max(size))
    file = io.BytesIO()
    small = picture.resize([round(scale * length) for length in picture.size], Image.Resampling.LANCZOS)
    small.save(file, "JPEG", quality=85)
    return data_uri(file.getvalue())
