"""`python -m corrector audit | merge | compare | raters` on the miniature, and their error messages."""

import json
from dataclasses import replace

import pytest

import corrector
from audit_world import AXIS, ROOT, SHIPPED
from corrector.auditing.whole import audit
from corrector.cli.commands import main
from corrector.miniature.host import Miniature
from corrector.preference.file import load_preference
from corrector.preference.networks import PreferenceError

pytestmark = pytest.mark.usefixtures("one_thread")
BACKDROP = ROOT / "axes" / "miniature-backdrop.json"
SMALL = ["--images", "4", "--explicit", "2", "--steps", "3", "--bf16"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of an audit of the miniature, plain and corrected."""
    out = tmp_path_factory.mktemp("out")
    main(["audit", str(BACKDROP), "--preference", str(SHIPPED), *SMALL, "--out", str(out)])
    return out / AXIS.id


def test_it_writes_report_page_chart_grid_and_blind_page(made, capsys):
    names = {path.name for path in made.iterdir()}
    assert names >= {"report.json", "audit.html", "chart.png", "grid.png", "blind.html", "blind-key.json", "pictures"}
    report = json.loads((made / "report.json").read_text())
    assert [judge["name"] for judge in report["judges"]] == ["model", "reader"]
    assert report["validated_on"] == "the miniature"


def test_an_audit_from_python_is_that_of_the_command_line_and_resumes_it(made, monkeypatch):
    host, preference = Miniature(bf16=True), load_preference(SHIPPED)
    host.steps = 3
    monkeypatch.setattr(host, "sample", lambda *_, **__: pytest.fail("a picture was sampled again"))
    report = audit(host, AXIS, [preference], made, images=4, explicit=2)
    assert report == json.loads((made / "report.json").read_text()) and report["settings"]["cfgs"] == [2.0]
    with pytest.raises(PreferenceError, match="was made for SDXL, and this checkpoint"):
        audit(host, AXIS, [replace(preference, space="sdxl")], made)


def test_merged_shards_of_several_machines_give_the_same_report(made, tmp_path):
    options = [str(BACKDROP), "--preference", str(SHIPPED), *SMALL]
    for index in (1, 2):
        main(["audit", *options, "--out", str(tmp_path / str(index)), "--shard", f"{index}/2"])
    with pytest.raises(SystemExit, match="parts of this audit are missing"):
        main(["merge", *options, "--out", str(tmp_path / "all"), "--from", str(tmp_path / "1")])
    main(["merge", *options, "--out", str(tmp_path / "all"), "--from", str(tmp_path / "1"), str(tmp_path / "2")])
    assert (tmp_path / "all" / AXIS.id / "report.json").read_bytes() == (made / "report.json").read_bytes()


def test_a_report_compared_with_itself_differs_by_nothing_and_later_formats_are_refused(made, tmp_path, capsys):
    same = str(made / "report.json")
    main(["compare", same, same, "--out", str(tmp_path / "compare.html")])
    assert "+0.000" in capsys.readouterr().out and (tmp_path / "compare.html").is_file()
    (tmp_path / "later.json").write_text(json.dumps({**json.loads((made / "report.json").read_text()), "format": 2}))
    with pytest.raises(SystemExit, match="format 2 is later"):
        main(["compare", same, str(tmp_path / "later.json")])


def test_raters_answers_are_added_to_the_report(made, capsys):
    key = json.loads((made / "blind-key.json").read_text())
    answers = {name: {"side": "counter", "fits": "yes"} for name in key["pictures"]}
    path = made / "answers-Ada.json"
    path.write_text(json.dumps({"page": key["page"], "rater": "Ada", "answers": answers}))
    main(["raters", str(made), str(path)])
    assert "Ada: with the same seeds" in capsys.readouterr().out
    assert json.loads((made / "report.json").read_text())["people"]["raters"] == ["Ada"]
    assert "What people say" in (made / "audit.html").read_text(encoding="utf-8")


def test_an_axis_in_place_of_a_preference_asks_the_model_and_needs_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("corrector.hosts.given.cache_folder", lambda name: tmp_path / name)
    settings = ["--images", "4", "--explicit", "2", "--steps", "8"]
    main(["audit", AXIS.id, "--preference", AXIS.id, *settings, "--out", str(tmp_path)])
    folder = tmp_path / AXIS.id
    report = json.loads((folder / "report.json").read_text())
    assert report["preferences"] == [{"name": AXIS.title, "hash": AXIS.hash}]
    assert [path.suffix for path in (tmp_path / "gates").iterdir() if path.name.startswith("gate-")]
    host = Miniature()
    host.steps = 8
    monkeypatch.setattr(host, "sample", lambda *_, **__: pytest.fail("a picture was sampled again"))
    from_python = corrector.audit(host, AXIS.id, [AXIS], folder, images=4, explicit=2)
    assert from_python == report
    known = [figure for figure in report["figures"] if figure["figure"] == "stereotype rate"]
    plain, asked = (
        [figure["value"] for figure in known if figure["judge"] == "reader" and figure["strength"] == strength]
        for strength in (0, 1)
    )
    assert len(plain) == len(asked) == 3 and max(plain) >= 0.75 and max(asked) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--narrow", "0.9"], "below 0.5"),
        (["--preference", "nowhere.safetensors"], "no such file in"),
    ],
)
def test_invalid_options_are_refused_with_a_message(options, words, tmp_path):
    with pytest.raises(SystemExit, match=words):
        main(["audit", str(BACKDROP), "--out", str(tmp_path), *options])


@pytest.mark.parametrize("shard", ("3/2", "0/2", "half"))
def test_a_shard_that_does_not_exist_is_refused(shard, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["audit", str(BACKDROP), "--shard", shard, "--out", str(tmp_path)])
    assert "is not a shard" in capsys.readouterr().err
