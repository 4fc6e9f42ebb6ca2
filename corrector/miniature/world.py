"""The drawn world of the miniature: portraits of four invented groups with known attributes and planted stereotypes.

Nothing here describes real people: names, hair and clothes are invented. Skin tones are interpolated on the Monk scale
(Monk 2019, ten published colours), so that skin tone can be confounded with backdrop and attire.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw
from skimage.color import rgb2lab

Colour = Sequence[float]  # RGB in 0..255
Point = tuple[float, float]
Rng = np.random.Generator

SIZE = 128
SUPERSAMPLE = 3
SKIN_PARTS = ("face", "neck")  # that show skin; ears are of the face
FACE, NECK = 1, 2

GROUPS = ("Orvane", "Tavelu", "Quilmari", "Zendoli")
BACKDROPS = ("village", "city")  # stereotype, counter
ATTIRES = ("traditional", "modern")  # stereotype, counter

# Planted rates of the stereotype side by group. Each axis has one group near 1 and one near 0 for reference.
VILLAGE_RATE = {"Orvane": 0.95, "Tavelu": 0.70, "Quilmari": 0.40, "Zendoli": 0.05}
TRADITIONAL_RATE = {"Orvane": 0.05, "Tavelu": 0.40, "Quilmari": 0.95, "Zendoli": 0.70}

# Planted confound: within a group, stereotype pictures have darker skin, in points of CIE L*.
SKIN_MEAN = {"Orvane": 62.0, "Tavelu": 66.0, "Quilmari": 59.0, "Zendoli": 64.0}
SKIN_SD = 4.0
VILLAGE_DARKER = 6.0
TRADITIONAL_DARKER = 4.0

# The ten colours of the Monk Skin Tone scale (Ellis Monk, 2019; skintone.google, CC BY 4.0).
MONK = ("f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96", "a07e56", "825c43", "604134", "3a312a", "292420")
MONK_RGB = np.array([[int(h[i : i + 2], 16) for i in (0, 2, 4)] for h in MONK], dtype=float)
MONK_L = rgb2lab(MONK_RGB[None] / 255.0)[0, :, 0]

HAIR = {"Orvane": (52, 50, 120), "Tavelu": (176, 84, 36), "Quilmari": (52, 100, 62), "Zendoli": (198, 200, 210)}
CLOTH = ((150, 45, 50), (45, 80, 140), (190, 140, 50), (70, 110, 80), (110, 70, 130), (60, 60, 70), (170, 100, 70))


@dataclass(frozen=True)
class Scene:
    """What a picture shows: `group` is None if there is no person, `skin` is CIE L*, `seed` sets all other details."""

    group: str | None
    backdrop: str
    attire: str
    skin: float
    seed: int


def skin_colour(lightness: float) -> Colour:
    """Monk-scale RGB in 0..255 at a CIE L*, interpolated linearly."""
    order = np.argsort(MONK_L)
    return tuple(float(np.interp(lightness, MONK_L[order], MONK_RGB[order, channel])) for channel in range(3))


def sample_scene(
    rng: Rng, group: str | None, backdrop: str | None = None, attire: str | None = None, rates: Point | None = None
) -> Scene:
    """Sample a scene of `group` (None: no person); a given backdrop or attire is kept.

    `rates` of village and traditional attire: by default the planted ones.
    """
    village, traditional = rates or ((VILLAGE_RATE[group], TRADITIONAL_RATE[group]) if group else (0.5, 0.5))
    if backdrop is None:
        backdrop = BACKDROPS[0] if rng.random() < village else BACKDROPS[1]
    if attire is None:
        attire = ATTIRES[0] if rng.random() < traditional else ATTIRES[1]
    skin = SKIN_MEAN[group] + SKIN_SD * rng.standard_normal() if group else 0.0
    skin -= VILLAGE_DARKER * (backdrop == "village") + TRADITIONAL_DARKER * (attire == "traditional")
    return Scene(group, backdrop, attire, float(np.clip(skin, 20, 92)), int(rng.integers(2**31)))


def wanted_scene(rng: Rng, group: str, backdrop: str | None = None, attire: str | None = None) -> Scene:
    """Sample a scene of the given sides as it should be: with the group's own distribution of skin tones."""
    plain = sample_scene(rng, group)
    return replace(plain, backdrop=backdrop or plain.backdrop, attire=attire or plain.attire)


def draw(scene: Scene) -> np.ndarray:
    """Scene -> picture, uint8 [128, 128, 3]; deterministic."""
    return np.asarray(_drawn(scene, "RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS))


def draw_skin(scene: Scene) -> np.ndarray:
    """Scene -> which part of skin its picture shows at the centre of each pixel, uint8 [128, 128].

    0 is no skin, and others count from 1 in the order of SKIN_PARTS.
    """
    return np.asarray(_drawn(scene, "L"))[SUPERSAMPLE // 2 :: SUPERSAMPLE, SUPERSAMPLE // 2 :: SUPERSAMPLE]


def _drawn(scene: Scene, mode: str) -> Image.Image:
    """The scene at SUPERSAMPLE times the size, in colours ("RGB") or as parts of skin ("L")."""
    rng = np.random.default_rng(scene.seed)
    side = SIZE * SUPERSAMPLE
    image = Image.new(mode, (side, side))
    pen = _Pen(ImageDraw.Draw(image))
    _sky(pen, rng)
    (_village if scene.backdrop == "village" else _city)(pen, rng)
    if scene.group:
        _person(pen, rng, scene, scene.group)
    return image


class _Pen:
    """ImageDraw in picture units (0..128), optionally translated, scaled and tilted as a head is.

    A shape has a colour and a part of skin, 0 for none; it is drawn in the one or the other, as the image's mode says.
    """

    def __init__(self, draw: ImageDraw.ImageDraw, origin: Point = (0, 0), zoom: float = 1.0, tilt: float = 0.0):
        self.draw = draw
        self.origin = origin
        self.zoom = zoom
        self.turn = (math.cos(tilt) * zoom, math.sin(tilt) * zoom)

    def points(self, points: Iterable[Point]) -> list[Point]:
        (cos, sin), (ox, oy) = self.turn, self.origin
        return [((ox + x * cos - y * sin) * SUPERSAMPLE, (oy + x * sin + y * cos) * SUPERSAMPLE) for x, y in points]

    def polygon(self, points: Iterable[Point], fill: Colour, skin: int = 0):
        self.draw.polygon(self.points(points), fill=self.ink(fill, skin))

    def line(self, points: Iterable[Point], fill: Colour, width: float = 1.0, skin: int = 0):
        width = max(1, round(width * SUPERSAMPLE * self.zoom))
        self.draw.line(self.points(points), fill=self.ink(fill, skin), width=width, joint="curve")

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour, skin: int = 0):
        turns = np.radians(np.linspace(0, 360, 48))
        self.polygon([(x + rx * math.cos(turn), y + ry * math.sin(turn)) for turn in turns], fill, skin)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Colour):
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)

    def ink(self, fill: Colour, skin: int) -> int | tuple[int, ...]:
        if self.draw.mode == "L":
            return skin
        return tuple(int(np.clip(round(channel), 0, 255)) for channel in fill)


def _shade(colour: Colour, factor: float) -> Colour:
    return tuple(channel * factor for channel in colour)


def _vary(rng: Rng, colour: Colour, spread: float) -> Colour:
    return tuple(np.clip(np.array(colour) + rng.normal(0, spread, 3), 0, 255))


def _sky(pen: _Pen, rng: Rng):
    """A sky at a random hour, the same for village and city, so that its colour does not tell the backdrop."""
    hours = (((120, 170, 220), (205, 225, 240)), ((95, 120, 175), (240, 190, 150)), ((150, 165, 185), (215, 215, 215)))
    top, low = hours[rng.integers(len(hours))]
    top, low = _vary(rng, top, 8), _vary(rng, low, 8)
    for y in range(0, 100, 2):
        mix = y / 100
        pen.box(0, y, 128, y + 2, [a * (1 - mix) + b * mix for a, b in zip(top, low, strict=True)])


def _village(pen: _Pen, rng: Rng):
    ground = _vary(rng, (150, 140, 85), 14)
    hill = _vary(rng, (110, 145, 95), 12)
    rise = rng.uniform(56, 68)
    pen.ellipse(rng.uniform(10, 50), rise + 34, 75, 38, hill)
    pen.ellipse(rng.uniform(80, 120), rise + 36, 70, 36, _shade(hill, 0.88))
    pen.box(0, 88, 128, 128, ground)
    for x in (rng.uniform(8, 24), rng.uniform(102, 120), rng.uniform(40, 88)):
        _hut(pen, rng, x, rng.uniform(88, 96), rng.uniform(0.9, 1.2))
    for x in (rng.uniform(-4, 10), rng.uniform(116, 132)):
        pen.box(x - 1.5, 60, x + 1.5, 92, (100, 72, 48))
        pen.ellipse(x, 56, 11, 12, _vary(rng, (70, 120, 65), 8))


def _hut(pen: _Pen, rng: Rng, x: float, foot: float, size: float):
    wall, roof = _vary(rng, (205, 175, 130), 10), _vary(rng, (165, 125, 60), 10)
    w, h = 15 * size, 20 * size
    pen.box(x - w, foot - h, x + w, foot, wall)
    pen.box(x - 3.5 * size, foot - 13 * size, x + 3.5 * size, foot, _shade(wall, 0.45))
    pen.polygon([(x - w * 1.35, foot - h + 2), (x, foot - h - 22 * size), (x + w * 1.35, foot - h + 2)], roof)
    for side in (-0.7, 0.0, 0.7):
        pen.line([(x, foot - h - 20 * size), (x + side * w, foot - h + 1)], _shade(roof, 0.75), 0.8)


def _city(pen: _Pen, rng: Rng):
    """Towers on an 8-pixel grid, one window a latent pixel, so that a small autoencoder can reproduce them."""
    pen.box(0, 88, 128, 128, _vary(rng, (120, 122, 128), 8))
    x = -8 * int(rng.integers(0, 2))
    while x < 128:
        width, top = 8 * int(rng.integers(2, 4)), rng.uniform(10, 46)
        wall = _vary(rng, ((105, 120, 145), (145, 150, 160), (90, 95, 115), (160, 140, 130))[rng.integers(4)], 8)
        pen.box(x, top, x + width - 0.7, 104, wall)
        lit = _vary(rng, (235, 225, 165), 10) if rng.random() < 0.5 else _shade(wall, 1.45)
        for wy in range(0, 96, 8):
            for wx in range(x, x + width, 8):
                if wy > top:
                    pen.box(wx + 2, wy + 2, wx + 6, wy + 7, lit)
        x += width
    pen.box(0, 104, 128, 128, _vary(rng, (95, 97, 102), 6))


def _person(pen: _Pen, rng: Rng, scene: Scene, group: str):
    skin = skin_colour(scene.skin)
    hair = _vary(rng, HAIR[group], 6)
    x, y = 64 + rng.uniform(-6, 6), 54 + rng.uniform(-3, 3)
    head = _Pen(pen.draw, (x, y), rng.uniform(0.94, 1.08), math.radians(rng.uniform(-8, 8)))
    _hair_behind(head, group, hair)
    pen.polygon([(x - 10, y + 18), (x + 10, y + 18), (x + 12, 96), (x - 12, 96)], _shade(skin, 0.86), NECK)
    (_traditional if scene.attire == "traditional" else _modern)(pen, rng, x)
    _face(head, rng, skin, hair)
    _hair_front(head, group, hair)


def _face(head: _Pen, rng: Rng, skin: Colour, hair: Colour):
    for side in (-1, 1):
        head.ellipse(side * 22.5, 2, 4, 6.5, _shade(skin, 0.9), FACE)
    head.ellipse(0, 0, 22, 28, skin, FACE)
    look, brow = rng.uniform(-1.2, 1.2), rng.uniform(-1, 1)
    iris = ((70, 45, 30), (60, 85, 60), (50, 75, 110))[rng.integers(3)]
    for side in (-1, 1):
        head.ellipse(side * 9, -4, 4.6, 3.0, (250, 248, 244))
        head.ellipse(side * 9 + look, -4, 2.4, 2.8, iris)
        head.ellipse(side * 9 + look, -4, 1.1, 1.3, (15, 12, 12))
        head.line([(side * 4.5, -10 - brow * 0.4), (side * 13.5, -10 + brow)], _shade(hair, 0.7), 2.6)
    head.line([(-0.5, -2), (-2.2, 7), (1.8, 7.4)], _shade(skin, 0.68), 1.8, FACE)
    smile = rng.uniform(-1.5, 4.0)
    mouth = [(t * 8, 15.5 + smile * (1 - t * t) - smile / 2) for t in np.linspace(-1, 1, 13)]
    head.line(mouth, (150, 60, 62), 3.0)


def _hair_behind(head: _Pen, group: str, hair: Colour):
    if group == "Orvane":  # long and straight, to the shoulders
        head.polygon([(-27, -8), (-22, -30), (0, -37), (22, -30), (27, -8), (30, 46), (-30, 46)], hair)
    elif group == "Tavelu":  # swept up into a high knot
        head.ellipse(0, -39, 12, 11, hair)
        head.ellipse(0, -8, 25, 27, hair)
    elif group == "Quilmari":  # a round bob to the jaw
        head.ellipse(0, -2, 32, 32, hair)
    else:  # a short crop
        head.ellipse(0, -10, 23, 24, hair)


def _hair_front(head: _Pen, group: str, hair: Colour):
    if group == "Orvane":  # centre parting
        for side in (-1, 1):
            head.polygon([(0, -32), (side * 21, -27), (side * 25, 2), (side * 19, -10), (side * 3, -25)], hair)
        head.line([(0, -33), (0, -26)], _shade(hair, 0.75), 1.2)
    elif group == "Tavelu":
        head.polygon([(-22, -10), (-19, -26), (0, -34), (19, -26), (22, -10), (13, -20), (0, -23), (-13, -20)], hair)
        head.line([(-9, -33), (9, -33)], (235, 220, 150), 2.2)  # the tie of the knot
    elif group == "Quilmari":  # a straight fringe
        head.polygon([(-25, -8), (-23, -24), (0, -35), (23, -24), (25, -8), (20, -14), (-20, -14)], hair)
    else:  # a gold band across the brow
        head.polygon([(-21, -15), (-18, -27), (0, -33), (18, -27), (21, -15)], hair)
        head.polygon([(-22, -18), (22, -18), (22, -14), (-22, -14)], (215, 170, 60))


def _torso(pen: _Pen, x: float, colour: Colour):
    pen.polygon([(x - 46, 128), (x - 42, 104), (x - 28, 94), (x - 11, 89), (x + 11, 89), (x + 28, 94), (x + 42, 104),
                 (x + 46, 128)], colour)  # fmt: skip


def _traditional(pen: _Pen, rng: Rng, x: float):
    """A robe with crossed fronts and a broad woven band of diamonds."""
    robe = _vary(rng, CLOTH[rng.integers(len(CLOTH))], 8)
    band = _vary(rng, ((235, 205, 120), (225, 225, 215), (215, 130, 60))[rng.integers(3)], 6)
    _torso(pen, x, robe)
    for side in (-1, 1):
        pen.polygon([(x + side * 12, 87), (x + side * 22, 91), (x + side * 2, 128), (x - side * 10, 128)], band)
    for step in range(3):
        for side in (-1, 1):
            cx, cy = x + side * (14.0 - step * 6.2), 95 + step * 12
            pen.polygon([(cx - 4.4, cy), (cx, cy - 5), (cx + 4.4, cy), (cx, cy + 5)], _shade(robe, 0.6))


def _modern(pen: _Pen, rng: Rng, x: float):
    """A jacket with lapels over a shirt and a tie."""
    jacket = _vary(rng, CLOTH[rng.integers(len(CLOTH))], 8)
    shirt = _vary(rng, ((240, 240, 242), (200, 215, 235), (235, 225, 210))[rng.integers(3)], 5)
    tie = _vary(rng, CLOTH[rng.integers(len(CLOTH))], 8)
    _torso(pen, x, jacket)
    pen.polygon([(x - 11, 88), (x + 11, 88), (x + 5, 128), (x - 5, 128)], shirt)
    pen.polygon([(x - 3, 92), (x + 3, 92), (x + 4.5, 122), (x, 128), (x - 4.5, 122)], tie)
    for side in (-1, 1):
        pen.polygon([(x + side * 11, 87), (x + side * 21, 93), (x + side * 18, 104), (x + side * 5, 128)],
                    _shade(jacket, 0.72))  # fmt: skip
        pen.polygon([(x + side * 3, 91), (x + side * 12, 86), (x + side * 9, 97)], _shade(shirt, 0.95))
