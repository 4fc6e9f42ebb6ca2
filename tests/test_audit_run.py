"""Audits of drawn pictures: sampling, resuming, shards, early stopping, reports, and error messages."""

from dataclasses import replace

import pytest
import torch

from audit_world import AXIS, DRAWN, DrawnHost, Push, drawn_audit, plan, report_of
from corrector.auditing.judges import ModelJudge
from corrector.auditing.plan import AuditError, AuditStore, Plan
from corrector.auditing.report_file import load_report, write_report
from corrector.auditing.run import Audit
from corrector.learning.store import PairError
from gaussian_host import PATTERN, GaussianHost
from other_device import other_device

pytestmark = pytest.mark.usefixtures("one_thread")
CORRECTED = dict(groups=("Orvane", "Tavelu"), strengths=(1.0,))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted audit -> (its folder, its report)."""
    folder = tmp_path_factory.mktemp("audit")
    return folder, report_of(drawn_audit(plan(**CORRECTED), [DRAWN]), folder)


def again(folder, **options):
    """The same audit in a folder that may have parts of it -> (its report, number of pictures sampled)."""
    run = drawn_audit(plan(**CORRECTED), [DRAWN])
    return report_of(run, folder, **options), run.host.evaluations


def test_the_report_has_rates_before_and_after_and_the_success(whole):
    _, report = whole
    rates = {
        (row["judge"], row["group"], row["strength"]): row["value"]
        for row in report["figures"]
        if row["figure"] == "stereotype rate"
    }
    for judge in ("model", "reader"):
        assert 0.75 <= rates[judge, "Orvane", 0.0] <= 1 and 0.5 <= rates[judge, "Tavelu", 0.0] <= 0.9
        assert rates[judge, "Orvane", 1.0] < 0.15
    succeeded = {f["group"] for f in report["findings"] if f["level"] == "success"}
    assert succeeded == {"Orvane", "Tavelu"}
    assert not any(f["name"] in ("does nothing", "changes the group") for f in report["findings"])


def test_each_judge_states_how_often_it_agrees_with_prompts_and_its_offset_from_the_reader(whole):
    model, reader = whole[1]["judges"]
    assert model["agrees_with_explicit_prompts"]["n"] == 40
    assert 0.85 < model["agrees_with_explicit_prompts"]["value"] < 1  # it errs on one in forty
    assert all(0 < abs(value) < 0.1 for value in model["rate_minus_the_readers"].values())
    assert reader["agrees_with_explicit_prompts"]["value"] > 0.95


def test_prompts_that_ask_for_a_side_are_left_alone_and_not_sampled_twice(whole, tmp_path):
    asked = [p for p in whole[1]["pictures"] if p["kind"] != "neutral" and p["strength"] == 1.0]
    assert all(p["change"] == 0 and "the prompt asks for" in p["left_alone"] for p in asked)
    neutral = 2 * 2 * 40
    assert again(tmp_path)[1] == neutral + len(asked)  # plain and corrected, and explicit ones once


def test_a_repeated_run_samples_nothing_and_gives_the_same_report(whole):
    assert again(whole[0]) == (whole[1], 0)


def test_an_interrupted_run_resumes_and_gives_the_same_report(whole, tmp_path):
    calls, total = 0, again(tmp_path / "whole")[1]
    for stop in (1, 4, 8):
        folder, calls, run = tmp_path / str(stop), 0, drawn_audit(plan(**CORRECTED), [DRAWN])

        def progress(done, total, latents, stop=stop):
            nonlocal calls
            calls += 1
            if calls == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run.run(folder, progress=progress)
        report, rest = again(folder)
        assert report == whole[1] and run.host.evaluations + rest == total


@pytest.mark.parametrize(("rate", "shown"), [(0.0, 0.0), (1.0, 1.0)])
def test_a_group_that_always_or_never_shows_the_stereotype_has_a_complete_report(rate, shown, tmp_path):
    host = DrawnHost({"Orvane": rate})
    run = drawn_audit(plan(strengths=(1.0,), images=40, explicit=5), [DRAWN], host)
    report = report_of(run, tmp_path)
    row = next(r for r in report["figures"] if (r["figure"], r["judge"]) == ("stereotype rate", "reader"))
    assert row["value"] == shown and row["high"] - row["low"] > 0.08  # an interval, not a point
    names = {f["name"] for f in report["findings"]}
    assert ("target reached" in names) == bool(rate) and "does nothing" not in names


def test_latents_on_another_device_give_the_same_report(whole, tmp_path):
    run = drawn_audit(plan(**CORRECTED), [DRAWN])
    with other_device() as run.host.device:
        assert report_of(run, tmp_path) == whole[1]


def test_separate_shards_give_the_same_report_with_early_stopping(tmp_path):
    settings = dict(images=120, explicit=20, narrow=0.15)
    whole = report_of(drawn_audit(plan(**settings)), tmp_path / "whole")
    run = drawn_audit(plan(**settings))
    first, second = (run.run(tmp_path / str(index), shard=(index, 2)) for index in range(2))
    first.take(second)
    assert report_of(drawn_audit(plan(**settings)), tmp_path / "0") == whole
    neutral = next(cell for cell in whole["sampled"] if cell["kind"] == "neutral")
    rate = next(row for row in whole["figures"] if row["figure"] == "stereotype rate")
    assert 20 <= neutral["n"] < neutral["most"] == 120 and (rate["high"] - rate["low"]) / 2 <= 0.15


def test_a_damaged_chunk_is_refused_until_it_is_sampled_again(whole):
    folder, report = whole
    victim = sorted(folder.glob("*.safetensors"))[0]
    victim.write_bytes(victim.read_bytes()[:200])
    run = drawn_audit(plan(**CORRECTED), [DRAWN])
    with pytest.raises(AuditError, match="1 parts of this audit are missing or damaged"):
        AuditStore(folder, run.settings).collect(run.plan, "model")
    assert report_of(run, folder) == report and run.host.evaluations <= 2 * 20
    settings = folder / "settings.json"
    kept = settings.read_text()
    settings.write_text(kept[:40])
    with pytest.raises(PairError, match="cut off or not JSON"):
        AuditStore(folder, run.settings)
    settings.write_text(kept)


def test_a_folder_of_another_audit_is_refused(whole):
    with pytest.raises(PairError, match="have another"):
        drawn_audit(plan(images=20)).run(whole[0])


def test_a_sweep_over_cfg_and_strength_has_its_own_rows(tmp_path):
    run = drawn_audit(plan(strengths=(1.0, 0.5), cfgs=(2.0, 3.0), images=4, explicit=4), [DRAWN])
    report = report_of(run, tmp_path)
    rows = {(r["cfg"], r["strength"]) for r in report["figures"] if r["figure"] == "stereotype rate"}
    assert rows == {(cfg, strength) for cfg in (2.0, 3.0) for strength in (0.0, 0.5, 1.0)}


def test_broken_pictures_are_counted_and_reported(tmp_path):
    def push(x, sigma):
        return torch.full_like(x, float("nan"))

    broken = replace(DRAWN, source=Push(push))
    report = report_of(drawn_audit(plan(images=6, explicit=2, strengths=(1.0,)), [broken]), tmp_path)
    assert report["findings"][0]["level"] == "failure"
    assert any(f["name"] == "broken pictures" for f in report["findings"])
    rate = [r["value"] for r in report["figures"] if r["figure"] == "stereotype rate" and r["strength"] == 1.0]
    assert set(rate) == {1.0}  # unreadable pictures count as the stereotype


def test_the_report_is_validated_against_its_schema(whole, tmp_path):
    path = tmp_path / "report.json"
    write_report(whole[1], path)
    assert load_report(path) == whole[1]
    with pytest.raises(AuditError, match="does not match its own schema"):
        write_report({**whole[1], "pictures": [{"group": 1}]}, path)


@pytest.mark.parametrize("value", (-0.2, 1.5))
def test_a_report_whose_rate_is_no_share_is_refused(whole, tmp_path, value):
    rates = [{**r, "value": value} if r["figure"] == "stereotype rate" else r for r in whole[1]["figures"]]
    write_report({**whole[1], "figures": rates}, tmp_path / "report.json")
    with pytest.raises(AuditError, match="it has no stereotype rate"):
        load_report(tmp_path / "report.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such report"),
        ('{"format": 1, "axis"', "incomplete, or not a report"),
        ("[]", "not a report of an audit"),
        ('{"format": 99}', "format 99 is later than this RS-Corrector can read"),
        ('{"format": 1}', "not a report of an audit"),
    ],
)
def test_an_unreadable_report_is_refused_with_a_message(text, words, tmp_path):
    path = tmp_path / "report.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(AuditError, match=words):
        load_report(path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (dict(images=0), "Pictures per group: 0"),
        (dict(images=1), "Pictures per group: 1"),
        (dict(explicit=0), "at least 1 explicit picture per side"),
        (dict(narrow=0.7), "below 0.5"),
        (dict(cfgs=(2.0, 2.0)), "given twice"),
        (dict(strengths=(0.0,)), "which is the plain model"),
    ],
)
def test_invalid_settings_are_refused_with_a_message(settings, words):
    with pytest.raises(AuditError, match=words):
        Plan(AXIS, **settings)


def test_a_correction_without_a_strength_and_an_audit_without_a_judge_are_refused():
    with pytest.raises(AuditError, match="both a preference and a strength"):
        drawn_audit(plan(), [DRAWN])
    with pytest.raises(AuditError, match="has no judge"):
        Audit(DrawnHost(), plan(), [])
    with pytest.raises(AuditError, match="Shard 3 of 2"):
        drawn_audit(plan()).run("unused", shard=(2, 2))


def test_prompts_and_seeds_do_not_depend_on_strengths_or_cfg_scales():
    first, second = plan(images=40), plan(images=40, strengths=(1.0,), cfgs=(2.0, 5.0))
    assert [c.seeds for c in first.cells[0, "neutral", 2.0]] == [c.seeds for c in second.cells[0, "neutral", 5.0]]
    assert all("village" not in prompt for c in first.cells[0, "neutral", 2.0] for prompt in c.prompts)


def test_a_picture_of_which_the_model_is_unsure_is_unreadable():
    latents = torch.stack([PATTERN, 0 * PATTERN, -PATTERN])
    judge = ModelJudge(GaussianHost(), AXIS)
    assert judge.look(latents, torch.zeros(3, 3, 16, 16), "Tavelu") == (["counter", "unreadable", "stereotype"], None)
