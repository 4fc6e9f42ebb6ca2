"""Draw the banner of the Comfy registry, 21:9, from the picture at the top of the README.

python docs/make/banner.py
"""

from before_and_after import GAP, HEADING, OUT, SIDE, save
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 1155, 495  # pixels
BACKGROUND, TITLE_COLOUR, SUBTITLE_COLOUR = "#1d2033", "#ffffff", "#c3c8e6"
SUBTITLE = "The same prompt, seeds and model: above without, below with the correction"


def draw_banner(sheet: Image.Image) -> Image.Image:
    """The portraits of a before-and-after sheet, plain above corrected, under the title."""
    banner = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    count = (sheet.width + GAP) // (SIDE + GAP)
    side = WIDTH // count
    top = HEIGHT - 2 * side
    for row in range(2):
        for column in range(count):
            left = column * (SIDE + GAP)
            upper = row * (HEADING + SIDE) + HEADING
            portrait = sheet.crop((left, upper, left + SIDE, upper + SIDE))
            portrait = portrait.resize((side - GAP, side - GAP), Image.Resampling.BICUBIC)
            banner.paste(portrait, (column * side + GAP // 2, top + row * side))
    pen = ImageDraw.Draw(banner)
    pen.text((WIDTH // 2, top * 0.38), "RS-Corrector", TITLE_COLOUR, ImageFont.load_default(64), anchor="mm")
    pen.text((WIDTH // 2, top * 0.78), SUBTITLE, SUBTITLE_COLOUR, ImageFont.load_default(25), anchor="mm")
    return banner


if __name__ == "__main__":
    save(draw_banner(Image.open(OUT).convert("RGB")), OUT.with_name("banner.png"))
