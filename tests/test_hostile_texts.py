"""Texts of a file are texts: in charts, on pages and in reports, whatever they contain."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from audit_world import DRAWN, drawn_audit, plan
from corrector.auditing.blind import write_blind_page
from corrector.auditing.chart import draw_chart, draw_grid, report_table
from corrector.auditing.page import publish, write_audit_page
from corrector.auditing.report_file import load_report, write_report
from corrector.learning import report as learning_report
from corrector.learning.pairs import Pairs
from corrector.learning.report import draw_report
from preference_files import small_preference

HOSTILE = "$x_1^{", "\\frac{$a$", "<!--<script>", "\x1b[31m\u202e"


@pytest.fixture
def pairs():
    return Pairs(torch.randn(2, 2, 3, 4, 4, 4), torch.rand(2, 2, 3), torch.zeros(2, 3))


def hostile(axis):
    side = replace(axis.stereotype, description="$\\nothing$")
    return replace(axis, title="costs $5 or $x_1^{", groups=HOSTILE[:2], stereotype=side, aliases={})


@pytest.mark.parametrize("title", ("costs $5 or $x_1^{", "Poor ($) or rich ($$$)"))
def test_a_learning_report_with_dollars_in_its_texts_is_drawn(title, axis, pairs, monkeypatch):
    monkeypatch.setattr(learning_report, "_text", None)  # it must not be needed
    preference = replace(small_preference(axis), axis=replace(hostile(axis), title=title), name="$_$")
    assert draw_report(preference, pairs).ndim == 3


def test_what_cannot_be_drawn_is_written(axis, pairs, monkeypatch, tmp_path):
    def fail(*_):
        raise RuntimeError("no font")

    monkeypatch.setattr(learning_report, "_charts", fail)
    drawn = draw_report(small_preference(axis), pairs, tmp_path / "report.png")
    assert drawn.ndim == 3 and (tmp_path / "report.png").is_file() and not list(tmp_path.glob("*.part"))


def test_an_audits_pages_hold_hostile_names_as_text(tmp_path):
    run = drawn_audit(plan(("Orvane", "Tavelu"), images=4, explicit=2, strengths=(1.0,)), [DRAWN])
    report, thumbnails = publish(run, run.run(tmp_path / "pictures"), tmp_path)
    text = json.dumps(report)
    for name, other in zip(("Orvane", "Tavelu", "model", "Village backdrop"), HOSTILE, strict=True):
        text = text.replace(name, json.dumps(other)[1:-1])
    report = json.loads(text)
    write_report(report, tmp_path / "hostile.json")
    report = load_report(tmp_path / "hostile.json")
    for title in ("Poor ($) or rich ($$$)", "a long title of an axis about $5 $ and $ " * 7):
        report["axis"]["title"] = title
        assert np.ptp(draw_chart(report)) > 0 and np.ptp(draw_chart(report, narrow=True)) > 0
    chart = draw_chart(report)
    assert chart.shape[2] == 3 and np.ptp(chart) > 0 and draw_grid(report, thumbnails).ndim == 3
    write_audit_page(report, thumbnails, tmp_path / "audit.html")
    assert "<!--<script>" not in (tmp_path / "audit.html").read_text() and "$x_1^{" in report_table(report)
    for picture in report["pictures"]:
        picture["prompt"] += "<!--<script>\ud800"
    write_blind_page(report, thumbnails, tmp_path)
    page = (tmp_path / "blind.html").read_text()
    data = page.partition("const data = ")[2].partition(";\n")[0]
    assert "<" not in data and json.loads(data)["items"][0]["prompt"].endswith("<!--<script>?")
    assert page.rstrip().endswith("</html>") and page.count("<script>") == page.count("</script>") == 1
