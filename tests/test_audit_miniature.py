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
    """The miniature, which samples the same plain pictures only once."""
    host, plain = Miniature(bf16=True), {}
    sample = host.sample

    def sample_once(conditioning, seeds, cfg=2.0, steps=None, hook=None, **options):
        key = tuple(seeds), cfg, steps
        if hook is not None or key not in plain:
            latents = sample(conditioning, seeds, cfg, steps, hook, **options)
            return latents if hook else plain.setdefault(key, latents)
        return plain[key]

    host.sample = sample_once
    return host


def report_with(host, preference, folder, groups=("Orvane",), cfg=2.0, images=12, steps=4):
    settings = plan(groups, strengths=(1.0,), images=images, explicit=2, steps=steps, cfgs=(cfg,))
    return report_of(audit_of(host, settings, [preference]), folder)


@pytest.mark.parametrize("name", [name for name in FAILURES if name != "ruins pictures"])
def test_a_planted_failure_is_named(host, name, tmp_path):
    report = report_with(host, planted(host, AXIS, name), tmp_path)
    assert name in failures(report)
    (finding,) = [f for f in report["findings"] if f["name"] == name]
    assert finding["group"] == "Orvane" in finding["words"]
    if name in ("does nothing", "lightens skin"):  # the others have further failures
        assert not failures(report) & (set(FAILURES) - {name, "does nothing"})
    if name == "changes the group":
        assert any("no longer finds Orvane" in why for why in report["worse"][0]["why"])


@pytest.mark.parametrize(("cfg", "groups"), [(2.0, ("Orvane",)), (7.0, ("Orvane", "Tavelu"))])
def test_ruined_pictures_are_named_in_each_group(host, cfg, groups, tmp_path):
    report = report_with(host, planted(host, AXIS, "ruins pictures"), tmp_path, groups, cfg, images=4, steps=6)
    assert {f["group"] for f in report["findings"] if f["name"] == "ruins pictures"} == set(groups)


@pytest.mark.parametrize("cfg", [2.0, 7.0])
def test_the_shipped_corrector_has_none_of_these_failures(host, cfg, tmp_path):
    report = report_with(host, load_preference(SHIPPED), tmp_path, cfg=cfg, steps=6)
    assert not failures(report) & set(FAILURES)
