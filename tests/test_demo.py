"""The first command of a newcomer: what it draws, says and writes."""

import io
import json
import re
import sys

import pytest
from PIL import Image

from corrector.cli.commands import main


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """-> (the folder that the demo wrote to, what it printed, its progress)."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.StringIO())
        patch.setattr(sys, "stderr", io.StringIO())
        main(["demo", "--images", "1", "--out", str(folder), "--json", str(folder / "demo.json")])
        return folder, sys.stdout.getvalue(), sys.stderr.getvalue()


def test_the_demo_tells_the_time_that_is_left_before_it_loads_anything(demo):
    first = demo[2].replace("\r", "\n").split("\n")[1 if demo[2].startswith(("\r", "\n")) else 0]
    assert re.search(r"0 of 8 pictures, 00:00 so far, 00:0\d left", first)


def test_the_demo_draws_every_group_at_the_cfg_scale_of_hosts_and_says_n_and_interval(demo):
    rows = json.loads((demo[0] / "demo.json").read_text())
    assert [row["group"] for row in rows] == [g for g in ("Orvane", "Tavelu", "Quilmari", "Zendoli") for _ in range(2)]
    assert all(row["cfg"] == 7 and row["n"] == 1 and 0 <= row["low"] < row["high"] <= 1 for row in rows)
    assert demo[1].count("[0.00, 0.79]       1") == 8  # the interval of none of one


def test_the_sheet_fits_a_screen(demo):
    with Image.open(demo[0] / "demo.png") as sheet:
        assert sheet.width <= 1366 and sheet.height <= 768
