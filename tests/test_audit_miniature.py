"""Four correctors that fail on purpose, each of them found and named in the report; and one that does not."""

from dataclasses import replace

import pytest
import torch

from audit_world import AXIS, SHIPPED, audit_of, plan, planted
from corrector.audit_plan import AuditStore
from corrector.audit_report import build
from corrector.files import load_preference
from corrector.miniature.host import Miniature

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def host():
    return Miniature(bf16=True)


def predictions(host, prompts):
    conditioning = host.encode(prompts)
    return lambda x, sigma: [
        host.denoise(x, sigma.flatten(), conditioning[i : i + 1].expand(len(x), -1, -1)) for i in range(len(prompts))
    ]


def audited(host, push, name, tmp_path, groups=("Orvane",)):
    axis = plan(groups).axis
    run = audit_of(host, plan(groups, strengths=(1.0,), images=20, explicit=6, steps=6), [planted(push, axis, name)])
    store = run.run(tmp_path)
    records, features, _ = store.collect(run.plan, "latent")
    return build(run, records, features)


def failures(report):
    return {finding["name"] for finding in report["findings"] if finding["level"] == "failure"}


def test_a_corrector_that_does_nothing_is_named(host, tmp_path):
    report = audited(host, lambda x, sigma: torch.zeros_like(x), "nothing", tmp_path)
    assert "does nothing" in failures(report)
    (finding,) = [f for f in report["findings"] if f["name"] == "does nothing"]
    assert "Orvane" in finding["words"] and "McNemar" in finding["words"]
    assert not failures(report) & {"lightens skin", "changes the group", "collapses variety"}


def test_a_corrector_that_changes_the_group_is_named_and_its_pictures_come_first(host, tmp_path):
    both = predictions(host, ["a portrait of a Orvane person in a village", "a portrait of a Zendoli person in a city"])

    def push(x, sigma):
        here, there = both(x, sigma)
        return 2 * (there - here)

    report = audited(host, push, "another group", tmp_path)
    assert "changes the group" in failures(report)
    assert report["worse"] and any("no longer finds Orvane" in why for why in report["worse"][0]["why"])


def test_a_corrector_that_collapses_variety_is_named(host, tmp_path):
    (target,) = host.sample(host.encode(["a portrait of a Orvane person in a city"]), [5], cfg=2.0, steps=6)

    def push(x, sigma):
        return torch.where(sigma > 0.5, 0.5, 0.3) * (target - x / (1 + sigma.square()))

    assert "collapses variety" in failures(audited(host, push, "one picture", tmp_path))


def test_a_corrector_that_lightens_skin_is_named(host, tmp_path):
    shipped = load_preference(SHIPPED)

    def push(x, sigma):
        tone = shipped.source(x, sigma.flatten(), torch.zeros(len(x), dtype=torch.long)).tone
        return 2.0 * tone

    report = audited(host, push, "lighter", tmp_path)
    assert "lightens skin" in failures(report)
    (finding,) = [f for f in report["findings"] if f["name"] == "lightens skin"]
    assert "points of L*" in finding["words"] and finding["group"] == "Orvane"


def test_the_shipped_corrector_has_none_of_the_four_failures(host, tmp_path):
    run = audit_of(host, plan(strengths=(1.0,), images=20, explicit=6, steps=16), [load_preference(SHIPPED)])
    store = run.run(tmp_path)
    assert isinstance(store, AuditStore) and replace(run.plan.axis, groups=AXIS.groups) == AXIS
    records, features, _ = store.collect(run.plan, "latent")
    assert not failures(build(run, records, features)) & {
        "does nothing", "changes the group", "collapses variety", "lightens skin"
    }  # fmt: skip
