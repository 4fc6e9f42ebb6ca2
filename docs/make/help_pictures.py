"""Draw the pictures of the nodes' help pages, on the miniature at CFG 7, in a few minutes on one core.

python docs/make/help_pictures.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from before_and_after import CFG, ROOT, STEPS, draw, save
from PIL import Image

from corrector.auditing.map import Acts, overlay, step_tiles
from corrector.correction.run import Run
from corrector.correction.sampled import sample_corrected
from corrector.correction.thinning import coins_from_seeds
from corrector.correction.update import Settings
from corrector.files.folders import WEIGHTS
from corrector.latents.skin import to_uint8
from corrector.miniature.host import Miniature
from corrector.preference.file import load_preference

OUT = ROOT / "web" / "docs" / "pictures"


class Portraits:
    """Portraits of one prompt, from the same seeds each time."""

    def __init__(self, host, prompt, count):
        self.host, self.prompts, self.seeds = host, [prompt] * count, list(range(3000, 3000 + count))

    def plain(self):
        latents = self.host.sample(self.host.encode(self.prompts), self.seeds, CFG, STEPS)
        return to_uint8(self.host.decode(latents))

    def corrected(self, *preferences, **settings):
        settings = Settings(**settings)
        latents, _ = sample_corrected(self.host, self.prompts, self.seeds, preferences, settings, CFG, steps=STEPS)
        return to_uint8(self.host.decode(latents))

    def mapped(self, preference):
        """-> (the map, its steps), each uint8 [N, H, W, 3]."""
        acts, tokens = Acts(), self.host.encode(self.prompts)
        run = Run([preference], Settings(), coins_from_seeds(self.seeds), [[encoded[None]] for encoded in tokens])

        def hook(denoised, x, sigma, _, conditional):
            return acts.after_correction(run.correct(acts.before_correction(denoised), x, sigma, CFG, conditional))

        latents = self.host.sample(tokens, self.seeds, CFG, STEPS, hook=hook)
        pictures = torch.from_numpy(to_uint8(self.host.decode(latents))).float() / 255
        return [(images * 255).byte().numpy() for images in (overlay(pictures, acts.mask), step_tiles(acts))]


def audit_chart():
    """The chart of a small audit of the miniature."""
    axis, preference = ROOT / "axes" / "miniature-backdrop.json", WEIGHTS / "miniature-backdrop.safetensors"
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "corrector", "audit", axis, "--preference", preference, "--images", 24, "--cfg", CFG]
        subprocess.run([sys.executable, *map(str, command), "--out", folder], cwd=ROOT, check=True)
        (chart,) = Path(folder).rglob("chart.png")
        picture = Image.open(chart).convert("RGB")
    picture.thumbnail((900, 900))
    return picture


def main():
    torch.set_num_threads(1)
    host = Miniature()
    backdrop, attire = (load_preference(WEIGHTS / f"miniature-{name}.safetensors") for name in ("backdrop", "attire"))

    four = Portraits(host, "a portrait of a Tavelu person", 4)
    rows = [("plain", four.plain()), ("corrected, from the same seeds", four.corrected(backdrop))]
    save(draw(rows), OUT / "RSCorrector.png")

    eight = Portraits(host, "a portrait of an Orvane person", 8)
    rows = [("plain", eight.plain()), ("target 0.5", eight.corrected(backdrop, target=0.5))]
    save(draw(rows), OUT / "RSCorrectorAdvanced.png")

    four = Portraits(host, "a portrait of a Quilmari person", 4)
    rows = [("plain", four.plain()), ("attire corrected", four.corrected(attire))]
    rows += [("attire and backdrop corrected", four.corrected(attire, backdrop))]
    save(draw(rows), OUT / "RSCorrectorCombinePreferences.png")

    groups = ("an Orvane", "a Tavelu", "a Quilmari", "a Zendoli")
    faces = [Portraits(host, f"a portrait of {group} person", 1).plain()[0] for group in groups]
    save(draw([("Orvane, Tavelu, Quilmari, Zendoli", faces)]), OUT / "RSCorrectorMiniature.png")

    two = Portraits(host, "a portrait of an Orvane person", 2)
    (maps, steps), corrected = two.mapped(backdrop), two.corrected(backdrop)
    faces = draw([("corrected, and the map", [face for pair in zip(corrected, maps, strict=True) for face in pair])])
    tiles = Image.fromarray(steps[0]).resize((faces.width, round(steps.shape[1] * faces.width / steps.shape[2])))
    sheet = Image.new("RGB", (faces.width, faces.height + tiles.height + 4), "white")
    sheet.paste(faces, (0, 0))
    sheet.paste(tiles, (0, faces.height))
    save(sheet, OUT / "RSCorrectorMap.png")

    save(audit_chart(), OUT / "RSCorrectorAudit.png")


if __name__ == "__main__":
    main()
