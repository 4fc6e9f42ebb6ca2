"""Draw the icon: one portrait whose background turns from huts into a city.

python docs/make/icon.py
"""

from pathlib import Path

from PIL import Image, ImageDraw

OUT = Path(__file__).resolve().parents[1] / "pictures" / "icon.png"
SIDE, FINE = 256, 4  # pixels; drawn larger by FINE and reduced, for smooth edges
SKY, DUSK, EARTH, STREET = "#8fb6dd", "#5a6fa8", "#a9b46a", "#55586b"
WALL, ROOF, TOWERS, WINDOW = "#e3bf86", "#c9773a", ("#454d74", "#353c5e"), "#f4d878"
SKIN, HAIR, COAT = "#8a5a3a", "#2b2540", "#2f7d6d"


def draw():
    """-> the icon, RGBA with round corners."""
    image = Image.new("RGBA", (SIDE * FINE,) * 2)
    pen = ImageDraw.Draw(image)

    def scaled(points):
        return [tuple(value * FINE for value in point) for point in points]

    def box(left, top, right, bottom, colour):
        pen.rectangle(scaled([(left, top), (right, bottom)]), colour)

    def oval(left, top, right, bottom, colour):
        pen.ellipse(scaled([(left, top), (right, bottom)]), colour)

    middle = SIDE // 2
    box(0, 0, middle, SIDE, SKY)
    box(middle, 0, SIDE, SIDE, DUSK)
    box(0, 190, middle, SIDE, EARTH)
    box(middle, 205, SIDE, SIDE, STREET)
    box(14, 142, 66, 196, WALL)
    pen.polygon(scaled([(4, 146), (40, 104), (76, 146)]), ROOF)
    for number, (left, top) in enumerate(((150, 70), (186, 40), (222, 88))):
        box(left, top, left + 32, 212, TOWERS[number % 2])
        for y in range(top + 10, 200, 16):
            for x in (left + 6, left + 19):
                box(x, y, x + 6, y + 7, WINDOW)
    oval(74, 52, 182, 176, HAIR)
    box(74, 112, 182, 196, HAIR)
    oval(50, 182, 206, 330, COAT)
    box(112, 158, 144, 200, SKIN)
    oval(86, 70, 170, 180, SKIN)
    pen.pieslice(scaled([(84, 56), (172, 128)]), 180, 360, HAIR)
    for x in (110, 146):
        oval(x - 7, 116, x + 7, 128, "white")
        oval(x - 4, 118, x + 4, 127, "#1d1a24")
    pen.arc(scaled([(112, 132), (144, 158)]), 20, 160, "#5c2f26", 4 * FINE)
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).rounded_rectangle(scaled([(0, 0), (SIDE - 1, SIDE - 1)]), 40 * FINE, 255)
    image.putalpha(mask)
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    draw().save(OUT, optimize=True)
    print(f"Wrote {OUT}.")
