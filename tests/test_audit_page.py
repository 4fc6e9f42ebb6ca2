"""The audit's page and the blind page in Chromium; chart, grid, table and comparison."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from audit_world import AXIS, DRAWN, DrawnHost, drawn_audit, plan
from corrector.auditing.blind import read_answers
from corrector.auditing.chart import draw_chart, draw_grid, report_table
from corrector.auditing.compare import compare, compare_table, write_compare_page
from corrector.auditing.page import publish, write_audit_page
from corrector.auditing.plan import AuditError
from corrector.auditing.raters import evaluate
from corrector.auditing.report_file import verdict

pytestmark = pytest.mark.usefixtures("one_thread")
MOST_BYTES = 15 * 2**20


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An audit of 100 pictures a group, plain and corrected: 400 neutral ones -> (folder, report, thumbnails)."""
    folder = tmp_path_factory.mktemp("audit")
    run = drawn_audit(plan(("Orvane", "Tavelu"), images=100, explicit=5, strengths=(1.0,)), [DRAWN])
    return folder, *publish(run, run.run(folder / "pictures"), folder)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


def opened(browser, path, width, errors, **options):
    page = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options).new_page()
    page.on("console", lambda message: errors.extend([message.text] * (message.type == "error")))
    page.on("pageerror", lambda error: errors.append(str(error)))
    local = "file:", "data:", "blob:"
    page.on("request", lambda request: errors.extend([request.url] * (not request.url.startswith(local))))
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize("width", (380, 1600))
def test_the_page_of_400_pictures_opens_offline_fits_the_window_and_is_usable_by_keyboard(made, browser, width):
    path, errors = made[0] / "audit.html", []
    assert path.stat().st_size <= MOST_BYTES
    page = opened(browser, path, width, errors)
    assert page.evaluate("document.images.length") >= 390
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(image => image.alt.length > 10)")
    assert page.evaluate("[...document.querySelectorAll('section')].every(s => "
                         "document.getElementById(s.getAttribute('aria-labelledby')))")  # fmt: skip
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#findings"
    page.click("text=All figures")
    page.wait_for_timeout(300)
    assert 0 <= page.evaluate("document.getElementById('figures').getBoundingClientRect().top") < 900
    page.focus("summary")
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('details').open") and errors == []


def test_findings_come_first_and_pictures_that_got_worse_second(made):
    text = (made[0] / "audit.html").read_text(encoding="utf-8")
    parts = "findings", "worse", "rates", "changed", "judges", "pictures", "figures"
    order = [text.index(f'<section id="{name}"') for name in parts]
    assert order == sorted(order)
    assert "nothing here was measured on Stable Diffusion" not in text  # the host is not the miniature
    assert "the checkpoint drawn" in text


def test_the_verdict_has_rates_failures_and_notes_in_one_line_each(made):
    report = made[1]
    lines = verdict(report)
    assert lines[0][0] == "said" and lines[0][1].startswith(f"{report['axis']['stereotype']['description']}: Orvane ")
    assert " → " in lines[0][1] and "Tavelu" in lines[0][1]
    named = {level: {f["name"] for f in report["findings"] if f["level"] == level} for level in ("failure", "note")}
    said = dict(lines[1:])
    assert all(name in said["failure"] for name in named["failure"]) and bool(named["failure"]) == ("failure" in said)
    assert ("success" in said) == (not named["failure"])
    assert all(name in said["note"] for name in named["note"]) and len(lines) <= 3
    many = {**report, "axis": {**report["axis"], "groups": ["Orvane"] * 6}}
    assert verdict(many)[0][1].endswith("and 2 more groups")


def test_chart_and_grid_are_pictures_and_the_table_has_every_figure(made):
    _, report, thumbnails = made
    narrow = draw_chart(report, narrow=True)
    assert narrow.shape[1] <= 380  # readable on a phone without zooming
    for picture in (draw_chart(report), narrow, draw_grid(report, thumbnails)):
        assert picture.dtype == np.uint8 and picture.shape[2] == 3 and picture.std() > 5
    table = report_table(report)
    assert table.count("\n") >= len(report["figures"]) and "stereotype rate" in table


def test_a_figure_of_no_setting_has_empty_cells_on_the_page(made, tmp_path):
    _, report, thumbnails = made
    about_all = dict.fromkeys(("cfg", "strength", "value", "low", "high"))
    row = {**report["figures"][0], **about_all, "figure": "of all"}
    write_audit_page({**report, "figures": [*report["figures"], row]}, thumbnails, tmp_path / "audit.html")
    line = (tmp_path / "audit.html").read_text(encoding="utf-8").partition("of all")[2].partition("</tr>")[0]
    assert line.count('"></td>') == 4 and "None" not in line


def press_all(page, keys, rater):
    page.fill("#rater", rater)
    page.keyboard.press("Tab")
    for side, fits in keys:
        page.keyboard.press(side)
        page.keyboard.press(fits)
    with page.expect_download() as download:
        page.keyboard.press("s")
    return download.value


def truth_keys(made, wrong=()):
    """The keys of a rater who agrees with the reader, except on the pictures numbered `wrong`."""
    key = json.loads((made[0] / "blind-key.json").read_text())["pictures"]
    keys = []
    for number, place in enumerate(key.values()):
        stereotype = made[1]["pictures"][place]["sides"]["reader"] == "stereotype"
        keys.append(("1" if stereotype != (number in wrong) else "2", "y"))
    return keys


@pytest.fixture(scope="module")
def answers(made, browser, tmp_path_factory):
    """Files that two raters saved from the page by keyboard; the second disagrees on eight pictures."""
    folder, errors, files = tmp_path_factory.mktemp("answers"), [], []
    for rater, wrong in (("Ada", ()), ("Ben", range(8))):
        page = opened(browser, made[0] / "blind.html", 380, errors, accept_downloads=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
        press_all(page, truth_keys(made, wrong), rater).save_as(folder / f"{rater}.json")
        files.append(folder / f"{rater}.json")
    assert errors == []
    return files


def test_the_blind_page_does_not_reveal_which_pictures_are_corrected(made):
    text = (made[0] / "blind.html").read_text(encoding="utf-8")
    assert not any(word in text for word in ('"strength"', "corrected", '"seed"', "plain"))


def test_saved_answers_give_rates_agreement_and_a_paired_test(made, answers):
    folder, report, _ = made
    key, raters = read_answers(folder, answers)
    people = evaluate(report, key, raters)
    assert people["raters"] == ["Ada", "Ben"] and len(key) == 120
    rates = {(r["group"], r["strength"]): r["value"] for r in people["rates"] if r["figure"] == "stereotype"}
    assert rates["Orvane", 0] > 0.7 and rates["Orvane", 1.0] < 0.2
    kappa = people["agreement"]["Cohen's kappa, Ada and Ben"]
    assert 0.7 < kappa < 1 and people["agreement"]["Fleiss' kappa, all"] == pytest.approx(kappa, abs=0.02)
    assert people["tests"][0]["p"] < 1e-6 and people["tests"][0]["appeared"] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda said, name: {**said, "page": "0" * 16}, "of another page"),
        (lambda said, name: {**said, "rater": " "}, "it has no rater's name"),
        (lambda said, name: {**said, "answers": {"zzzz": said["answers"][name]}}, "which the page does not have"),
        (lambda said, name: {**said, "answers": {name: said["answers"][name]}}, "119 of 120 pictures have no answer"),
        (lambda said, name: {**said, "answers": {name: {"side": "city", "fits": "yes"}}}, "it must be one of"),
        (lambda said, name: ["a list"], "not a file of answers"),
        (lambda said, name: None, "no such file"),
    ],
)
def test_invalid_files_of_answers_are_refused_with_a_message(made, answers, tmp_path, change, words):
    said, path = json.loads(answers[0].read_text()), tmp_path / "a.json"
    if (data := change(said, next(iter(said["answers"])))) is not None:
        path.write_text(json.dumps(data))
    with pytest.raises(AuditError, match=words):
        read_answers(made[0], [path])


def test_answers_given_twice_or_without_a_blind_page_are_refused(made, answers, tmp_path):
    with pytest.raises(AuditError, match='"Ada" is there twice'):
        read_answers(made[0], [answers[0], answers[0]])
    with pytest.raises(AuditError, match="it has no blind page"):
        read_answers(tmp_path, answers)


@pytest.fixture(scope="module")
def other(made, tmp_path_factory):
    """The same audit of a derivative that draws fewer villages."""
    folder = tmp_path_factory.mktemp("other")
    host = DrawnHost({"Orvane": 0.3}, name="derivative")
    run = drawn_audit(plan(("Orvane", "Tavelu"), images=100, explicit=5, strengths=(1.0,)), [DRAWN], host)
    return publish(run, run.run(folder / "pictures"), folder)[0]


def test_reports_of_two_checkpoints_stand_side_by_side(made, other, browser, tmp_path):
    rows = compare([made[1], other], ["one", "two"])
    row = next(r for r in rows if r["group"] == "Orvane" and (r["judge"], r["pictures"]) == ("reader", "plain"))
    value, low, high = row["gaps"][1]
    assert low < value < high < -0.3  # 0.9 against 0.3
    assert "one" in compare_table(rows, ["one", "two"])
    path, errors = tmp_path / "compare.html", []
    write_compare_page(rows, ["one", "two"], "Village", path)
    page = opened(browser, path, 380, errors)
    assert page.evaluate("document.documentElement.scrollWidth") <= 380 and errors == []
    named = page.evaluate("getComputedStyle(document.querySelector('td:last-child'), '::before').content")
    assert named.startswith('"two')  # narrow tables have no header row


def test_mismatched_reports_are_refused_with_a_message(made, other):
    first = made[1]
    with pytest.raises(AuditError, match=r"is of the axis .* only reports of the same axis"):
        compare([first, {**other, "axis_hash": replace(AXIS, title="Other").hash}], ["one", "two"])
    with pytest.raises(AuditError, match='has another "steps"'):
        compare([first, {**other, "settings": {**other["settings"], "steps": 99}}], ["one", "two"])
    with pytest.raises(AuditError, match="no judge in common"):
        compare([first, {**other, "judges": [{**other["judges"][0], "name": "CLIP"}]}], ["one", "two"])
    with pytest.raises(AuditError, match="Only one report"):
        compare([first], ["one"])
