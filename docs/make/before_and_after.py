"""Draw the picture at the top of the README: the same portraits of the miniature at CFG 7, plain and corrected.

python docs/make/before_and_after.py
"""

import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from corrector.correction.sampled import sample_corrected  # noqa: E402
from corrector.correction.update import Settings  # noqa: E402
from corrector.files.folders import WEIGHTS  # noqa: E402
from corrector.miniature.host import Miniature, pictures_to_uint8  # noqa: E402
from corrector.preference.file import load_preference  # noqa: E402

OUT = ROOT / "docs" / "pictures" / "before-and-after.png"
PROMPT, SEEDS, CFG, STEPS = "a portrait of an Orvane person", range(2026, 2033), 7.0, 16
SIDE, GAP, HEADING = 128, 4, 34  # pixels


def pictures():
    """The portraits -> (plain, corrected), each uint8 [N, H, W, 3]."""
    host, preference = Miniature(), load_preference(WEIGHTS / "miniature-backdrop.safetensors")
    prompts, seeds = [PROMPT] * len(SEEDS), list(SEEDS)
    plain = host.sample(host.encode(prompts), seeds, CFG, STEPS)
    corrected, _ = sample_corrected(host, prompts, seeds, [preference], Settings(), CFG, steps=STEPS)
    return [pictures_to_uint8(host.decode(latents)) for latents in (plain, corrected)]


def draw(rows):
    """Rows of (heading, pictures) -> one picture."""
    width, row = len(rows[0][1]) * (SIDE + GAP) - GAP, HEADING + SIDE
    sheet = Image.new("RGB", (width, len(rows) * row + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(17)
    for index, (heading, images) in enumerate(rows):
        pen.text((2, index * row + 8), heading, "#222222", font)
        for place, image in enumerate(images):
            sheet.paste(Image.fromarray(image), (place * (SIDE + GAP), index * row + HEADING))
    return sheet


def save(sheet, path):
    """Write a small PNG."""
    path.parent.mkdir(exist_ok=True)
    sheet.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"Wrote {path} ({path.stat().st_size / 1000:.0f} kB).")


def main():
    torch.set_num_threads(1)
    plain, corrected = pictures()
    headings = f"“{PROMPT}”, plain", "the same prompt, seeds and model, with RS-Corrector"
    save(draw(list(zip(headings, (plain, corrected), strict=True))), OUT)


if __name__ == "__main__":
    main()
