"""Skin in the pictures of both drawn worlds: what is drawn, what is marked, and how light it is."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab

from benchmarks.cells import tilted
from benchmarks.measuring import mean
from benchmarks.second_world import host as second_host
from benchmarks.second_world import world as second_world
from benchmarks.second_world.train import SecondWorldTrainer
from benchmarks.worlds import WORLDS
from corrector.hosts.loading import load_pipeline
from corrector.miniature import model, train, world
from corrector.miniature.skin import SkinMarker, lightness_of_marked, load_marker
from corrector.miniature.train import to_tensor

SEED = 920_000  # used by no training
COUNT = 48  # scenes of a side
DRAWN = {"miniature": world, "second": second_world}
FOLDERS = {"miniature": model.WEIGHTS, "second": second_host.WEIGHTS}
SIDES = [
    (name, attribute, side)
    for name in DRAWN
    for attribute in WORLDS[name].sides
    for side in WORLDS[name].sides[attribute]
]


class Drawn:
    """COUNT scenes of one side, the same but for the side: pictures, and parts of skin [N, H, W]."""

    def __init__(self, name, attribute, side):
        drawn = DRAWN[name]
        scenes = [drawn.sample_scene(np.random.default_rng((SEED, i)), drawn.GROUPS[i % 4]) for i in range(COUNT)]
        self.scenes = [replace(scene, **{attribute: side}, skin=40 + i) for i, scene in enumerate(scenes)]
        self.pixels = np.stack([drawn.draw(scene) for scene in self.scenes])
        self.pictures = to_tensor(self.pixels)
        self.parts = torch.from_numpy(np.stack([drawn.draw_skin(scene) for scene in self.scenes]))
        self.tones = np.array([scene.skin for scene in self.scenes])
        self.marker = WORLDS[name].marker()


@pytest.fixture(scope="module")
def drawn(one_thread):
    return {(name, side): Drawn(name, attribute, side) for name, attribute, side in SIDES}


def overlap(first, second):
    """Intersection over union of two masks."""
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_drawn_as_skin_has_the_tone_of_the_scene_and_necks_are_in_the_shade(drawn, name):
    for (world_name, _), of_side in drawn.items():
        if world_name == name:
            for label, part in enumerate(of_side.marker.parts, 1):
                ratio = lightness_of_marked(of_side.pictures, of_side.parts == label) / of_side.tones
                ratio = ratio[~np.isnan(ratio)]  # a suit hides the neck
                expected = 0.88 if part == "neck" else 1
                assert not len(ratio) or np.median(ratio) == pytest.approx(expected, abs=0.02), part


@pytest.mark.parametrize(("name", "attribute", "side"), SIDES)
def test_skin_is_marked_where_it_was_drawn(drawn, name, attribute, side):
    of_side = drawn[name, side]
    marked = of_side.marker.mark(of_side.pictures)
    assert overlap(marked > 0, of_side.parts > 0) > 0.92
    for label, part in enumerate(of_side.marker.parts, 1):
        if (of_side.parts == label).sum() > 4 * COUNT:
            assert overlap(marked == label, of_side.parts == label) > (0.75 if part == "neck" else 0.9), part


@pytest.mark.parametrize(("name", "attribute", "side"), SIDES)
def test_marked_skin_is_as_light_as_drawn_skin(drawn, name, attribute, side):
    of_side = drawn[name, side]
    error = of_side.marker.lightness(of_side.pictures) - lightness_of_marked(of_side.pictures, of_side.parts > 0)
    assert np.quantile(np.abs(error), 0.95) < 0.3 and abs(error.mean()) < 0.05
    for part, tones in of_side.marker.lightness_of_parts(of_side.pictures).items():
        label = 1 + of_side.marker.parts.index(part)
        error = tones - lightness_of_marked(of_side.pictures, of_side.parts == label)
        error = error[~np.isnan(error)]
        assert len(error) == 0 or np.abs(error).mean() < (0.8 if part == "neck" else 0.3), part


@pytest.mark.parametrize("name", DRAWN)
def test_the_same_skin_is_as_light_on_both_sides(drawn, name):
    for attribute, (stereotype, counter) in WORLDS[name].sides.items():
        one, other = (drawn[name, side].marker.lightness(drawn[name, side].pictures) for side in (stereotype, counter))
        assert abs((one - other).mean()) < 0.25, attribute


@pytest.mark.parametrize(("name", "attribute", "side"), SIDES)
def test_skin_is_marked_in_what_the_vae_makes_of_a_picture(drawn, name, attribute, side):
    of_side, vae = drawn[name, side], load_pipeline(FOLDERS[name], device="cpu").vae
    pictures = of_side.pictures[::6]
    with torch.no_grad():
        pictures = vae.decode(vae.encode(pictures).latents).sample.clamp(-1, 1)
    assert overlap(of_side.marker.mark(pictures) > 0, of_side.parts[::6] > 0) > 0.9


def test_a_lighter_face_is_seen_beside_an_unchanged_forearm(drawn):
    farmers = drawn["second", "farmer"]
    lab = rgb2lab(farmers.pixels)
    lab[farmers.parts == 1, 0] += 8
    pictures = to_tensor(lab2rgb(lab) * 255)
    before, after = (farmers.marker.lightness_of_parts(each) for each in (farmers.pictures, pictures))
    assert np.nanmean(after["face"] - before["face"]) == pytest.approx(8, abs=0.5)
    assert np.nanmean(after["forearm"] - before["forearm"]) == pytest.approx(0, abs=0.1)
    change = farmers.marker.lightness(pictures) - farmers.marker.lightness(farmers.pictures)
    assert 1.5 < change.mean() < 8 * 0.4  # the face is 40 % of the skin


def test_a_picture_of_nobody_has_no_skin_and_a_hidden_part_no_lightness(drawn):
    scenes = [world.sample_scene(np.random.default_rng((SEED, i)), None) for i in range(COUNT)]
    nobody = to_tensor(np.stack([world.draw(scene) for scene in scenes]))
    assert np.isnan(load_marker().lightness(nobody)).all()
    assert all(np.isnan(tones).all() for tones in load_marker().lightness_of_parts(nobody).values())
    tones = drawn["second", "office"].marker.lightness_of_parts(drawn["second", "office"].pictures)
    assert np.isnan(tones["neck"]).all() and not np.isnan(tones["face"]).any()


def test_figures_leave_out_pictures_that_show_no_skin():
    tones = np.array([50.0, np.nan, 60.0])
    assert (mean(tones).value, mean(tones).n) == (55.0, 2)
    weights = tilted(tones, 57.0)
    assert weights.sum() == pytest.approx(1) and weights[0] < weights[1] < weights[2]


@pytest.mark.parametrize("name", DRAWN)
def test_a_marker_is_small(name):
    assert (FOLDERS[name] / "skin.safetensors").stat().st_size < 100_000


def test_the_marker_is_trained_alone_on_weights_that_are_there_and_each_time_alike(tmp_path, monkeypatch, one_thread):
    monkeypatch.setattr(train, "SKIN_SCENES", 12)
    marked = []
    for run in ("first", "second"):
        checkpoint = tmp_path / run / "weights"
        shutil.copytree(second_host.WEIGHTS / "vae", checkpoint / "vae")
        train.main(
            SecondWorldTrainer, argv=["--out", str(tmp_path / run), "--skin-of", str(checkpoint), "--skin-steps", "2"]
        )
        assert {path.name for path in checkpoint.iterdir()} == {"vae", "skin.safetensors"}
        marker = load_marker(checkpoint, second_world.SKIN_PARTS)
        assert isinstance(marker, SkinMarker) and marker.parts == second_world.SKIN_PARTS
        marked.append(marker(torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)))
    assert torch.equal(*marked)
