"""Correctors that are wrong on purpose, sampled with the miniature: the report names each; the shipped one has none.

With few pictures and steps; benchmarks/audit.py has more of both.
"""

import pytest

from audit_world import AXIS, SHIPPED, audit_of, failures, plan, report_of
from benchmarks.planted import FAILURES, planted
from corrector.miniature.host import Miniature
from corrector.preference.file import load_preference

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def host():
    return Miniature(bf16=True)


def report_with(host, preference, folder, steps, groups=("Orvane",), cfg=2.0, images=16):
    settings = plan(groups, strengths=(1.0,), images=images, explicit=4, steps=steps, cfgs=(cfg,))
    return report_of(audit_of(host, settings, [preference]), folder)


@pytest.mark.parametrize("name", FAILURES)
def test_a_planted_failure_is_named(host, name, tmp_path):
    report = report_with(host, planted(host, plan().axis, name), tmp_path, steps=6)
    assert name in failures(report)
    (finding,) = [f for f in report["findings"] if f["name"] == name]
    assert finding["group"] == "Orvane" in finding["words"]
    if name in ("does nothing", "lightens skin"):  # the others have further failures
        assert not failures(report) & (set(FAILURES) - {name, "does nothing"})
    if name == "changes the group":
        assert any("no longer finds Orvane" in why for why in report["worse"][0]["why"])


@pytest.mark.parametrize("cfg", [2.0, 7.0])
def test_ruined_pictures_are_named_in_every_group(host, cfg, tmp_path):
    report = report_with(host, planted(host, AXIS, "ruins pictures"), tmp_path, 6, AXIS.groups, cfg, 6)
    ruined = {finding["group"] for finding in report["findings"] if finding["name"] == "ruins pictures"}
    assert ruined == set(AXIS.groups)


@pytest.mark.parametrize("cfg", [2.0, 7.0])
def test_the_shipped_corrector_has_none_of_these_failures(host, cfg, tmp_path):
    report = report_with(host, load_preference(SHIPPED), tmp_path, 8, ("Orvane", "Tavelu"), cfg)
    assert not failures(report) & set(FAILURES)
