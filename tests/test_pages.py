"""The demo's picture and page, drawn from pictures of the planted world, and the report of a learned preference."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from corrector.axis.axis import Axis, Side
from corrector.cli.demo import Outcome
from corrector.cli.demo_page import draw_demo, write_demo_page
from corrector.learning.pairs import Pairs
from corrector.learning.report import draw_report, verdict, write_report_page
from corrector.miniature.world import GROUPS, draw, wanted_scene
from corrector.preference.networks import Distilled
from corrector.preference.preference import Preference


@pytest.fixture(scope="module")
def demo():
    """Outcomes as the demo makes them: village pictures before, city pictures after."""
    outcomes = []
    for number, group in enumerate(GROUPS[:2]):
        rng = np.random.default_rng(number)
        before, after = (
            np.stack([draw(wanted_scene(rng, group, backdrop=backdrop)) for _ in range(5)])
            for backdrop in ("village", "city")
        )
        said = ["corrected 5 of 5", "a village: 5 -> 0 of 5 & " + "a long text, " * 20]
        outcomes.append(Outcome(f"a portrait of a <b>{group}</b> person", range(2026, 2031), before, after, said, {}))
    return outcomes


class Page(HTMLParser):
    """All tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def page(demo, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "demo.html"
    write_demo_page(demo, path)
    return Page(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("count", (1, 2, 4))
def test_the_picture_is_drawn_and_no_label_is_cut_off_at_its_edges(demo, count, tmp_path):
    draw_demo((2 * demo)[:count], tmp_path / "demo.png")
    pixels = np.asarray(Image.open(tmp_path / "demo.png").convert("L"))
    assert pixels.shape[1] > 1000 and len(np.unique(pixels)) > 100  # not blank
    assert min(edge.min() for edge in (pixels[:, :3], pixels[:, -3:], pixels[:3], pixels[-3:])) == 255


def test_the_page_needs_no_other_file_and_no_network(page):
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "object")
        assert all(attributes.get(name, "data:").startswith("data:") for name in ("src", "href"))
    assert not re.findall(r"url\(|@import", page.text)


def test_the_page_shows_the_very_pictures_with_a_text_for_each(page, demo):
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 2 * 2 * 5
    assert images[0]["alt"] == f"Before, {demo[0].prompt}: seed 2026"
    assert images[-1]["alt"] == f"After, {demo[1].prompt}: seed 2030"
    content = base64.b64decode(images[0]["src"].split(",")[1])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), demo[0].plain[0])


def test_the_page_tells_what_each_run_said_and_its_scope(page, demo):
    for outcome in demo:
        assert f"“{outcome.prompt}”" in page.text  # prompts are text and never markup
        assert all(text in page.text for text in outcome.said)
    assert "Nothing was learned before" in page.text
    assert "Nothing here was measured on Stable Diffusion" in page.text


@pytest.fixture(scope="module")
def learned():
    """A preference that learned nothing, from twenty random pairs of each of two groups."""
    axis = Axis("huts", "Huts", ("one", "two"), ("{group}",), Side("huts", ("huts",)), Side("towers", ("towers",)))
    training = {"pairs_a_side_and_group": 20, "seed": 1, "update_r2": 0.12, "weak": "it learned nothing",
                "belief_r2_by_sigma": {"0.7 to 2": -0.1, "2 to 4": 0.3}}  # fmt: skip
    torch.manual_seed(0)
    source = Distilled("miniature", 2, width=16, blocks=1).eval().requires_grad_(False)
    pairs = Pairs(torch.randn(2, 2, 20, 4, 16, 24), 60 + 5 * torch.randn(2, 2, 20), torch.arange(40).view(2, 20))
    return Preference(axis, "miniature", source, training=training, name="huts"), pairs


@pytest.mark.parametrize("with_pictures", (True, False))
def test_a_learning_report_is_one_picture_with_or_without_sample_pairs(learned, tmp_path, with_pictures):
    pictures = torch.rand(2, 2, 5, 3, 32, 48) * 2 - 1 if with_pictures else None
    drawn = draw_report(*learned, tmp_path / "report.png", pictures)
    assert drawn.dtype == np.uint8 and drawn.ndim == 3 and drawn.shape[2] == 3 and drawn.std() > 5
    assert np.array_equal(np.asarray(Image.open(tmp_path / "report.png")), drawn)


def test_the_report_is_also_a_page_without_scripts_and_a_verdict(learned, tmp_path):
    preference, _ = learned
    write_report_page(preference, draw_report(*learned), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert [tag for tag, _ in page.tags].count("img") == 1 and "<script" not in text and 'src="http' not in text
    assert "WEAK: it learned nothing." in page.text
    assert verdict(preference) == ("failure", "weak: it learned nothing")
    sound = replace(preference, training={"verdict_agreement": 0.98, "update_r2": 0.83})
    assert verdict(sound) == ("success", "sound: 98% of pairs are as asked, 83% of the model's update explained")
