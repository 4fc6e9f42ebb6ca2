"""Make the banner (21:9) and the icon of the Comfy registry from the picture at the top of the README.

python docs/make/registry.py
"""

from before_and_after import GAP, HEADING, OUT, SIDE, save
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 1155, 495  # pixels
ICON = 256  # pixels
BACKGROUND, TITLE_COLOUR, SUBTITLE_COLOUR = "#1d2033", "#ffffff", "#c3c8e6"
SUBTITLE = "The same prompt, seeds and model: above without, below with the correction"


def portraits(sheet: Image.Image) -> list[list[Image.Image]]:
    """The portraits on a before-and-after sheet: a row of plain ones and a row of corrected ones."""
    step = SIDE + GAP
    tops = [HEADING, 2 * HEADING + SIDE]
    return [[sheet.crop((x, top, x + SIDE, top + SIDE)) for x in range(0, sheet.width, step)] for top in tops]


def draw_banner(rows: list[list[Image.Image]]) -> Image.Image:
    """All portraits, plain above corrected, under the title."""
    banner = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    side = WIDTH // len(rows[0])
    top = HEIGHT - 2 * side
    for row, images in enumerate(rows):
        for column, portrait in enumerate(images):
            portrait = portrait.resize((side - GAP, side - GAP), Image.Resampling.BICUBIC)
            banner.paste(portrait, (column * side + GAP // 2, top + row * side))
    pen = ImageDraw.Draw(banner)
    pen.text((WIDTH // 2, top * 0.38), "RS-Corrector", TITLE_COLOUR, ImageFont.load_default(64), anchor="mm")
    pen.text((WIDTH // 2, top * 0.78), SUBTITLE, SUBTITLE_COLOUR, ImageFont.load_default(25), anchor="mm")
    return banner


def draw_icon(plain: Image.Image, corrected: Image.Image) -> Image.Image:
    """The left half of a plain portrait beside the right half of the corrected one, with round corners."""
    icon = plain.copy()
    icon.paste(corrected.crop((SIDE // 2, 0, SIDE, SIDE)), (SIDE // 2, 0))
    icon = icon.resize((ICON, ICON), Image.Resampling.LANCZOS)
    mask = Image.new("L", icon.size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, ICON - 1, ICON - 1), ICON // 6, 255)
    icon.putalpha(mask)
    return icon


def main():
    rows = portraits(Image.open(OUT).convert("RGB"))
    save(draw_banner(rows), OUT.with_name("banner.png"))
    draw_icon(rows[0][0], rows[1][0]).save(OUT.with_name("icon.png"), optimize=True)


if __name__ == "__main__":
    main()
