"""The run of an audit on the miniature: what it samples, keeps, splits and says; and what it refuses."""

import json
import random

import numpy as np
import pytest

from audit_world import AXIS, SHIPPED, audit_of, plan
from corrector import audit
from corrector.audit_plan import AuditError, Plan
from corrector.audit_report import build, load_report, write_report
from corrector.audit_run import Audit
from corrector.files import load_preference
from corrector.miniature.host import Miniature

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def host():
    return Miniature(bf16=True)


@pytest.fixture(scope="module")
def shipped():
    return load_preference(SHIPPED)


@pytest.fixture(scope="module")
def whole(host, shipped, tmp_path_factory):
    """An audit in one go -> (its folder, its report)."""
    folder = tmp_path_factory.mktemp("audit")
    run = audit_of(host, plan(strengths=(1.0,), images=40), [shipped])
    return folder, report_of(run, folder)


def report_of(run, folder, **options):
    store = run.run(folder, **options)
    records, features, _ = store.collect(run.plan, run.judges[0].name)
    return build(run, records, features)


def again(host, shipped, folder, **options):
    before = host.evaluations
    report = report_of(audit_of(host, plan(strengths=(1.0,), images=40), [shipped]), folder, **options)
    return report, host.evaluations - before


def test_it_says_what_the_model_draws_and_what_the_correction_does(whole):
    _, report = whole
    rates = {
        (row["judge"], row["strength"]): row["value"] for row in report["figures"] if row["figure"] == "stereotype rate"
    }
    assert rates["reader", 0.0] > 0.7 and rates["latent", 0.0] > 0.7  # planted with 0.95
    assert rates["reader", 1.0] < 0.2 and rates["latent", 1.0] < 0.2
    assert [f["name"] for f in report["findings"] if f["group"] == "Orvane" and f["level"] == "success"]
    assert not any(f["name"] in ("does nothing", "changes the group") for f in report["findings"])


def test_each_judge_states_its_accuracy_and_how_far_it_is_off_the_reader(whole):
    latent, reader = whole[1]["judges"]
    assert latent["cross_fitted_accuracy"] > 0.9 and latent["agrees_with_explicit_prompts"]["n"] == 40
    assert set(latent["rate_minus_the_readers"]) == {"plain", "corrected"}
    assert reader["agrees_with_explicit_prompts"]["value"] > 0.8


def test_prompts_that_ask_for_a_side_are_left_alone_and_not_sampled_twice(whole):
    asked = [p for p in whole[1]["pictures"] if p["kind"] == "stereotype" and p["strength"] == 1.0]
    alone = [p for p in asked if p["left_alone"]]
    assert len(alone) > 15 and all(p["change"] == 0 for p in alone)


def test_run_again_it_samples_nothing_and_gives_the_same_report(host, shipped, whole):
    report, evaluations = again(host, shipped, whole[0])
    assert report == whole[1] and evaluations == 0


def test_stopped_after_any_chunk_it_goes_on_and_gives_the_same_report(host, shipped, whole, tmp_path):
    evaluations, stop = host.evaluations, random.Random(4).randrange(1, 4)
    calls = []

    def progress(done, total, latents):
        calls.append(done)
        if len(calls) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(host, shipped, tmp_path, progress=progress)
    report, _ = again(host, shipped, tmp_path)
    used = host.evaluations - evaluations
    assert report == whole[1]
    evaluations = host.evaluations
    (tmp_path / "again").mkdir()
    again(host, shipped, tmp_path / "again")
    assert used == host.evaluations - evaluations  # nothing was sampled twice


def test_split_in_shards_and_joined_it_gives_the_same_report(host, shipped, whole, tmp_path):
    run = audit_of(host, plan(strengths=(1.0,), images=40), [shipped])
    first = run.run(tmp_path, shard=(0, 2))
    with pytest.raises(AuditError, match="parts of this audit are missing"):
        first.collect(run.plan, "latent")
    assert report_of(run, tmp_path, shard=(1, 2)) == whole[1]


def test_a_truncated_store_is_refused_until_what_is_missing_was_sampled_again(host, shipped, whole):
    folder, report = whole
    victim = sorted(folder.glob("*.safetensors"))[0]
    victim.write_bytes(victim.read_bytes()[:200])
    run = audit_of(host, plan(strengths=(1.0,), images=40), [shipped])
    from corrector.audit_plan import open_store

    with pytest.raises(AuditError, match="1 parts of this audit are missing or cut off"):
        open_store(folder, run.settings).collect(run.plan, "latent")
    assert report_of(run, folder) == report


def test_a_folder_of_another_audit_is_refused(host, whole):
    run = audit_of(host, plan(images=20))
    with pytest.raises(AuditError, match="have another"):
        run.run(whole[0])


def test_it_stops_early_where_every_interval_is_narrow_and_says_so(host, tmp_path):
    run = audit_of(host, plan(images=60, explicit=20, narrow=0.2), reader=False)
    report = report_of(run, tmp_path)
    (neutral,) = [cell for cell in report["sampled"] if cell["kind"] == "neutral"]
    assert neutral["n"] < neutral["most"] == 60
    rate = next(row for row in report["figures"] if row["figure"] == "stereotype rate")
    assert (rate["high"] - rate["low"]) / 2 <= 0.2


def test_a_sweep_over_cfg_and_strength_has_its_own_rows(host, shipped, tmp_path):
    run = audit_of(host, plan(strengths=(1.0, 0.5), cfgs=(2.0, 3.0), images=4, explicit=4, steps=4), [shipped], False)
    report = report_of(run, tmp_path)
    rows = {(r["cfg"], r["strength"]) for r in report["figures"] if r["figure"] == "stereotype rate"}
    assert rows == {(cfg, strength) for cfg in (2.0, 3.0) for strength in (0.0, 0.5, 1.0)}


def test_the_report_is_held_to_its_schema(whole, tmp_path):
    path = tmp_path / "report.json"
    write_report(whole[1], path)
    assert load_report(path) == whole[1]
    with pytest.raises(AuditError, match="breaks its own schema"):
        write_report({**whole[1], "pictures": [{"group": 1}]}, path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such report"),
        ('{"format": 1, "axis"', "cut off, or not a report"),
        ("[]", "not a report of an audit"),
        ('{"format": 99}', "format 99 is later than this RS-Corrector knows"),
        ('{"format": 1}', "not a report of an audit"),
    ],
)
def test_a_report_that_cannot_be_read_is_refused_in_a_sentence(text, words, tmp_path):
    path = tmp_path / "report.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(AuditError, match=words):
        load_report(path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (dict(images=0), "0 pictures a group"),
        (dict(images=1), "1 picture a group"),
        (dict(explicit=0), "At least one picture a side"),
        (dict(narrow=0.7), "below 0.5"),
        (dict(cfgs=(2.0, 2.0)), "given twice"),
        (dict(strengths=(0.0,)), "which is the plain model"),
    ],
)
def test_settings_that_make_no_audit_are_refused_in_a_sentence(settings, words):
    with pytest.raises(AuditError, match=words):
        Plan(AXIS, **settings)


def test_a_correction_without_a_strength_and_an_audit_without_a_judge_are_refused(host, shipped):
    with pytest.raises(AuditError, match="both a preference and a strength"):
        audit_of(host, plan(), [shipped])
    with pytest.raises(AuditError, match="Nobody judges"):
        Audit(host, plan(), [])
    with pytest.raises(AuditError, match="Shard 3 of 2"):
        audit_of(host, plan()).run("unused", shard=(2, 2))


def test_the_plan_draws_the_same_prompts_and_seeds_whatever_is_corrected():
    first, second = plan(images=40), plan(images=40, strengths=(1.0,), cfgs=(2.0, 5.0))
    assert [c.seeds for c in first.cells[0, "neutral", 2.0]] == [c.seeds for c in second.cells[0, "neutral", 5.0]]
    assert all("village" not in prompt for c in first.cells[0, "neutral", 2.0] for prompt in c.prompts)


def test_a_report_is_json_without_nan(whole):
    json.dumps(whole[1], allow_nan=False)
    assert np.isfinite(audit.rate(0, 1)).all()
