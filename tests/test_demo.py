"""The first command of a newcomer: what it draws, says and writes."""

import io
import json
import sys

import pytest
from PIL import Image

from corrector.cli.commands import main


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """-> (the folder that the demo wrote to, what it printed)."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("corrector.hosts.given.cache_folder", lambda name: folder / name)
        patch.setattr(sys, "stdout", io.StringIO())
        main(["demo", "--images", "2", "--out", str(folder), "--json", str(folder / "demo.json")])
        return folder, sys.stdout.getvalue()


@pytest.fixture(scope="module")
def rows(demo):
    return json.loads((demo[0] / "demo.json").read_text())


def test_the_demo_says_first_what_it_will_do_and_how_long_it_takes(demo):
    first = demo[1].split("\n\n")[0]
    assert "nothing is learned" in first and "2 portraits for each of 4 prompts" in first and "minute" in first


def test_the_demo_takes_the_village_and_keeps_the_people(demo, rows):
    for prompt, group in (("a portrait of an Orvane person", "Orvane"), ("a portrait of a Tavelu person", "Tavelu")):
        said = demo[1].split(f'"{prompt}"\n')[1].split("\n\n")[0]
        assert "corrected 2 of 2" in said and "a village: 2 -> 0 of 2" in said and f"still {group} 2 of 2" in said
        (row,) = (row for row in rows if row["prompt"] == prompt)
        assert row["plain"] == row["group_kept"] == 1 and row["corrected"] == 0 and abs(row["skin_lightness"]) < 2


def test_the_demo_leaves_alone_who_asks_for_a_village_and_whom_the_axis_does_not_name(demo):
    asking, other = demo[1].split('in a village"\n')[1].split("\n\n")[:2]
    assert "left alone 2: the prompt asks for a village" in asking and "bit for bit" in asking
    assert "left alone 2: the prompt names nobody of Orvane" in other and "bit for bit" in other


def test_every_share_of_the_demo_has_its_setting_n_interval_and_seed(rows):
    assert len(rows) == 4
    for row in rows:
        assert (row["cfg"], row["steps"], row["n"], row["seed"]) == (7, 16, 2, 2026)
        assert 0 <= row["low"] <= row["corrected"] <= row["high"] <= 1 and row["high"] - row["low"] > 0.6


def test_the_sheet_fits_a_screen(demo):
    with Image.open(demo[0] / "demo.png") as sheet:
        assert sheet.width <= 1366 and sheet.height <= 768
