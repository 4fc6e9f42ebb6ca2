"""The drawn world of the second test model: figures of four invented groups at work, with planted stereotypes.

It differs from the miniature wherever it can: an attribute of three values, group names that are alike, no group that
shows the counter side more than rarely, skin beside the middle of the picture, and a stronger confound of skin tone.
Nothing here describes real people: names, hair and clothes are invented.
"""

from dataclasses import dataclass, replace

import numpy as np

from corrector.miniature.world import skin_colour

SIZE = 64
SKIN_PARTS = ("face", "neck", "hand", "forearm")  # that show skin
FACE, NECK, HAND, FOREARM = 1, 2, 3, 4

GROUPS = ("Velan", "Velan Dor", "Dorvel", "Velandi")  # the axis has the first three
WORK = ("farmer", "office", "cook")  # stereotype, counter, neither

# Planted rates of WORK by group.
WORK_RATES = {
    "Velan": (1.0, 0.0, 0.0),
    "Velan Dor": (0.97, 0.015, 0.015),
    "Dorvel": (0.95, 0.025, 0.025),
    "Velandi": (0.96, 0.02, 0.02),
}

# Planted confound: within a group, farmers have darker skin, in points of CIE L*.
SKIN_MEAN = {"Velan": 67.0, "Velan Dor": 62.0, "Dorvel": 70.0, "Velandi": 65.0}
SKIN_SD = 4.0
FARMER_DARKER = 10.0

HAIR = {"Velan": (196, 84, 36), "Velan Dor": (52, 58, 150), "Dorvel": (38, 112, 66), "Velandi": (158, 44, 124)}


@dataclass(frozen=True)
class Scene:
    """What a picture shows: `skin` is CIE L*, `seed` sets all other details."""

    group: str
    work: str
    skin: float
    seed: int


def sample_scene(rng, group, work=None):
    """Sample a scene of `group`, with a given work or one at the planted rates."""
    drawn = WORK[np.searchsorted(np.cumsum(WORK_RATES[group]), rng.random(), side="right")]
    work = work or drawn
    skin = SKIN_MEAN[group] + SKIN_SD * rng.standard_normal() - FARMER_DARKER * (work == "farmer")
    return Scene(group, work, float(np.clip(skin, 20, 92)), int(rng.integers(2**31)))


def wanted_scene(rng, group, work="office"):
    """Sample a scene of the given work as it should be: with the group's own distribution of skin tones."""
    return replace(sample_scene(rng, group), work=work)


def draw(scene):
    """Scene -> picture, uint8 [64, 64, 3]; deterministic."""
    return _drawn(scene).pixels.round().clip(0, 255).astype(np.uint8)


def draw_skin(scene):
    """Scene -> which part of skin its picture shows at the centre of each pixel, uint8 [64, 64].

    0 is no skin, and others count from 1 in the order of SKIN_PARTS.
    """
    return _drawn(scene).skin


def _drawn(scene):
    rng, canvas = np.random.default_rng(scene.seed), Canvas()
    x, y = rng.uniform(-1.5, 1.5), rng.uniform(-1.2, 1.2)  # the figure's place
    {"farmer": _field, "office": _office, "cook": _kitchen}[scene.work](canvas, rng)
    canvas.origin = x, y
    _figure(canvas, rng, scene)
    return canvas


class Canvas:
    """Antialiased shapes on an array of pixels, relative to `origin`, and the part of skin at each pixel's centre."""

    def __init__(self):
        self.pixels, self.origin = np.zeros((SIZE, SIZE, 3)), (0.0, 0.0)
        self.skin = np.zeros((SIZE, SIZE), np.uint8)
        self.rows, self.columns = np.mgrid[:SIZE, :SIZE] + 0.5

    def _fill(self, inside, colour, skin):
        """Paint where `inside` [64, 64], the distance in pixels to the shape's edge, is positive."""
        self.skin[inside > 0] = skin
        share = np.clip(inside + 0.5, 0, 1)[..., None]
        self.pixels += share * (np.array(colour) - self.pixels)

    def box(self, left, top, right, bottom, colour, skin=0):
        x, y = self.columns - self.origin[0], self.rows - self.origin[1]
        self._fill(np.minimum(np.minimum(x - left, right - x), np.minimum(y - top, bottom - y)), colour, skin)

    def ellipse(self, x, y, rx, ry, colour, skin=0):
        dx, dy = (self.columns - self.origin[0] - x) / rx, (self.rows - self.origin[1] - y) / ry
        self._fill((1 - np.hypot(dx, dy)) * min(rx, ry), colour, skin)

    def limb(self, x0, y0, x1, y1, radius, colour, skin=0):
        """A line with round ends."""
        x, y = self.columns - self.origin[0] - x0, self.rows - self.origin[1] - y0
        along = (x * (x1 - x0) + y * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2)
        along = along.clip(0, 1)
        self._fill(radius - np.hypot(x - along * (x1 - x0), y - along * (y1 - y0)), colour, skin)


def _vary(rng, colour, spread=8):
    return np.clip(np.array(colour) + rng.normal(0, spread, 3), 0, 255)


def _choose(rng, *options):
    return options[rng.integers(len(options))]


def _field(canvas, rng):
    """Furrows up to a barn, under a sky at a random hour."""
    canvas.box(-1, -1, 65, 30, _vary(rng, _choose(rng, (140, 190, 235), (240, 195, 150), (190, 200, 210))))
    canvas.ellipse(rng.uniform(36, 60), 34, 30, 14, _vary(rng, (120, 160, 90)))
    barn = rng.uniform(31, 34)
    canvas.box(barn, 12, barn + 11, 28, _vary(rng, (165, 60, 45)))
    canvas.box(barn - 1.5, 9, barn + 12.5, 14, _vary(rng, (95, 60, 50)))
    soil = _vary(rng, (140, 100, 60))
    canvas.box(-1, 28, 65, 65, soil)
    crop, start = _vary(rng, (85, 150, 50)), rng.uniform(28, 32)
    for row in np.arange(start, 65, 8):
        canvas.box(-1, row, 65, row + 3.5, crop)


def _office(canvas, rng):
    """A wall with a window on towers and a shelf of folders, and a desk with a screen."""
    canvas.box(-1, -1, 65, 65, _vary(rng, _choose(rng, (185, 195, 210), (205, 200, 190), (170, 185, 185))))
    left = rng.uniform(33, 37)
    canvas.box(left, 3, left + 24, 20, (245, 245, 248))
    canvas.box(left + 1.5, 4.5, left + 22.5, 18.5, _vary(rng, (130, 175, 220)))
    for tower in (left + 3, left + 10, left + 16):
        canvas.box(tower, rng.uniform(6, 12), tower + 5, 18.5, _vary(rng, (95, 105, 130)))
    desk = rng.uniform(46, 48)
    canvas.box(26, desk, 65, 65, _vary(rng, (150, 115, 85)))
    canvas.box(26, desk, 65, desk + 2.5, _vary(rng, (185, 150, 115)))
    screen = rng.uniform(45, 48)
    canvas.box(screen + 5, 40, screen + 9, desk + 1, (60, 62, 70))
    canvas.box(screen, 24, screen + 15, 41, (40, 42, 50))
    canvas.box(screen + 1.7, 25.7, screen + 13.3, 39.3, _vary(rng, _choose(rng, (90, 200, 235), (120, 225, 190))))


def _kitchen(canvas, rng):
    """Tiles with pans on a rail, and a stove with a steaming pot."""
    wall = _vary(rng, _choose(rng, (240, 232, 205), (225, 240, 235), (245, 220, 205)))
    canvas.box(-1, -1, 65, 65, wall)
    for line in range(4, 64, 8):
        canvas.box(line, -1, line + 1.2, 65, wall * 0.8)
        canvas.box(-1, line, 65, line + 1.2, wall * 0.8)
    canvas.box(33, 3, 65, 5, (90, 90, 95))
    for x in (38, 48, 58):
        canvas.box(x - 0.8, 4, x + 0.8, 12, (70, 70, 75))
        canvas.ellipse(x + rng.uniform(-0.7, 0.7), 14, 4, 4, _vary(rng, (70, 72, 80)))
    canvas.box(28, 48, 65, 65, _vary(rng, (110, 112, 120)))
    canvas.box(33, 54, 60, 65, (45, 45, 52))
    canvas.box(28, 46.5, 65, 49, _vary(rng, (60, 60, 66)))
    pot = rng.uniform(45, 47)
    for side in (4, 9):
        canvas.limb(pot + side, 30, pot + side + rng.uniform(-1, 3), 22, 1.5, (252, 252, 252))
    canvas.box(pot, 33, pot + 15, 47, _vary(rng, _choose(rng, (205, 70, 50), (220, 140, 40))))
    canvas.box(pot - 1, 32, pot + 16, 34.5, (235, 235, 235))


def _figure(canvas, rng, scene):
    """A standing figure on the left whose bare forearm reaches to the right, across the skin region."""
    skin = np.array(skin_colour(scene.skin))
    hair = _vary(rng, HAIR[scene.group], 6)
    _hair_behind(canvas, scene.group, hair)
    canvas.box(15.5, 20, 22.5, 29, skin * 0.86, NECK)
    sleeve = {"farmer": _overalls, "office": _suit, "cook": _apron}[scene.work](canvas, rng)
    canvas.limb(11, 32, 8.5, 45, 3.6, sleeve)
    canvas.ellipse(8.5, 49, 3.2, 3.4, skin, HAND)
    reach = rng.uniform(-1, 1)
    if scene.work == "farmer":
        _pitchfork(canvas, 50)
    canvas.limb(27, 33.5, 47, 36 + reach, 4.3, skin, FOREARM)
    canvas.limb(25, 33, 28, 33.6, 4.9, sleeve)
    canvas.ellipse(19, 16, 7.6, 8.6, skin, FACE)
    _face(canvas, rng, skin)
    _hair_front(canvas, scene.group, hair)


def _face(canvas, rng, skin):
    smile = rng.uniform(0, 1.2)
    for side in (-1, 1):
        canvas.ellipse(19 + side * 3, 16, 1.3, 1.3, (25, 20, 22))
        canvas.limb(19, 21 + smile, 19 + side * 2.5, 21, 0.8, (150, 60, 62))
    canvas.ellipse(19, 18.5, 0.9, 1.2, skin * 0.7, FACE)


def _hair_behind(canvas, group, hair):
    if group == "Velan":  # long, over the shoulders
        canvas.ellipse(19, 14, 11.5, 11, hair)
        canvas.box(7.5, 14, 30.5, 32, hair)
    elif group == "Velan Dor":  # two buns
        canvas.ellipse(19, 14, 9.5, 10, hair)
        for side in (-1, 1):
            canvas.ellipse(19 + side * 10, 6.5, 5.2, 5.2, hair)
    elif group == "Dorvel":  # one tall knot
        canvas.ellipse(19, 14, 9.5, 10, hair)
        canvas.ellipse(19, 1.5, 4.6, 7, hair)
    else:  # a wide bob
        canvas.ellipse(19, 15, 14, 11.5, hair)


def _hair_front(canvas, group, hair):
    canvas.ellipse(19, 9, 7.2, 3.4, hair)
    if group == "Velan":
        for side in (-1, 1):
            canvas.box(19 + side * 8.5 - 2, 12, 19 + side * 8.5 + 2, 30, hair)


def _torso(canvas, colour):
    canvas.limb(13.5, 33, 24.5, 33, 6, colour)
    canvas.box(9, 33, 29, 52, colour)


def _legs(canvas, colour):
    for left in (9.5, 20):
        canvas.box(left, 48, left + 8.5, 66, colour)


def _overalls(canvas, rng):
    shirt = _vary(rng, _choose(rng, (205, 70, 60), (225, 190, 80), (235, 225, 205)))
    denim = _vary(rng, (60, 95, 145))
    _legs(canvas, denim)
    _torso(canvas, shirt)
    canvas.box(11.5, 37, 26.5, 52, denim)
    for left in (12.5, 22.5):
        canvas.box(left, 27.5, left + 3, 39, denim)
    return shirt


def _suit(canvas, rng):
    jacket = _vary(rng, _choose(rng, (45, 48, 62), (70, 72, 80), (62, 48, 52)), 6)
    _legs(canvas, jacket * 0.85)
    _torso(canvas, jacket)
    canvas.ellipse(19, 29, 5, 12, (242, 242, 245))
    canvas.limb(19, 30, 19, 40, 1.5, _vary(rng, _choose(rng, (180, 40, 50), (40, 80, 170), (200, 150, 40))))
    return jacket


def _apron(canvas, rng):
    _legs(canvas, _vary(rng, (75, 75, 80)))
    _torso(canvas, _vary(rng, (240, 240, 240), 4))
    canvas.box(11, 42, 27, 58, _vary(rng, _choose(rng, (190, 55, 50), (60, 120, 90), (215, 150, 50))))
    for button in (34.5, 38.5):
        for x in (16.5, 21.5):
            canvas.ellipse(x, button, 1, 1, (60, 60, 66))
    canvas.limb(15, 28.5, 23, 28.5, 2, _vary(rng, (200, 50, 50)))
    return _vary(rng, (238, 238, 238), 4)


def _pitchfork(canvas, x):
    canvas.limb(x, 24, x, 66, 1.3, (110, 75, 45))
    canvas.limb(x - 5, 24, x + 5, 24, 1.1, (75, 75, 82))
    for tine in (-5, 0, 5):
        canvas.limb(x + tine, 15, x + tine, 24, 1.1, (75, 75, 82))
