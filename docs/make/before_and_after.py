"""Draw the picture at the top of the README: portraits of the miniature at CFG 7, plain and corrected without learning.

python docs/make/before_and_after.py
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from corrector.axis.axis import load_axis  # noqa: E402
from corrector.correction.sampled import sample_corrected  # noqa: E402
from corrector.correction.update import Settings  # noqa: E402
from corrector.files.folders import AXES  # noqa: E402
from corrector.latents.skin import to_uint8  # noqa: E402
from corrector.miniature.host import Miniature  # noqa: E402
from corrector.preference.preference import Preference  # noqa: E402
from corrector.preference.text import Text  # noqa: E402

OUT = ROOT / "docs" / "pictures" / "before-and-after.png"
PROMPT = "a portrait of an Orvane person"
SEEDS = range(2026, 2033)
CFG, STEPS = 7.0, 16
SIDE, GAP, HEADING = 128, 4, 34  # pixels


def pictures() -> list[np.ndarray]:
    """The plain and the corrected portraits, each uint8 [N, H, W, 3]."""
    host = Miniature()
    preference = Preference(load_axis(AXES / "miniature-backdrop.json"), "any", Text())
    prompts = [PROMPT] * len(SEEDS)
    seeds = list(SEEDS)
    plain = host.sample(host.encode(prompts), seeds, CFG, STEPS)
    corrected, _ = sample_corrected(host, prompts, seeds, [preference], Settings(), CFG, steps=STEPS)
    return [to_uint8(host.decode(latents)) for latents in (plain, corrected)]


def draw(rows: list[tuple[str, Sequence[np.ndarray]]]) -> Image.Image:
    """One picture with a row of pictures under each heading."""
    width = len(rows[0][1]) * (SIDE + GAP) - GAP
    height = HEADING + SIDE  # of a row
    sheet = Image.new("RGB", (width, len(rows) * height + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (heading, images) in enumerate(rows):
        pen.text((2, row * height + 8), heading, "#222222", ImageFont.load_default(17))
        for column, image in enumerate(images):
            sheet.paste(Image.fromarray(image), (column * (SIDE + GAP), row * height + HEADING))
    return sheet


def save(sheet: Image.Image, path: Path) -> None:
    """Write a small PNG."""
    path.parent.mkdir(exist_ok=True)
    sheet.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"Wrote {path} ({path.stat().st_size / 1000:.0f} kB).")


def main():
    torch.set_num_threads(1)
    plain, corrected = pictures()
    rows = [(f"“{PROMPT}”, plain", plain), ("the same prompt, seeds and model, with RS-Corrector", corrected)]
    save(draw(rows), OUT)


if __name__ == "__main__":
    main()
