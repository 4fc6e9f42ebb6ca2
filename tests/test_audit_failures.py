"""Correctors that are wrong on purpose, on latents of drawn pictures: the report names each failure."""

from dataclasses import replace

import pytest
import torch

from audit_world import DRAWN, Push, drawn_audit, failures, plan, report_of, to_the_counter_side

pytestmark = pytest.mark.usefixtures("one_thread")
FAILURES = {"does nothing", "changes the group", "collapses variety", "lightens skin", "ruins pictures"}
CFG = 2.0  # the factor by which a push is multiplied at a CFG scale of 2


def report_with(push, folder, groups=("Orvane",)):
    settings = plan(groups, strengths=(1.0,), images=40, explicit=10)
    return report_of(drawn_audit(settings, [replace(DRAWN, source=Push(push))]), folder)


def moved(channel, values, x, sigma, counter=True):
    """A push to the counter side, if wanted, and by `values` in one channel."""
    push = to_the_counter_side(x, sigma) if counter else torch.zeros_like(x)
    push[:, channel] = values
    return push


def to_one_picture(x, sigma):
    target = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(1))
    target[0], target[2], target[3] = 0, 0, 1
    target[2, 0, :2] = torch.tensor([123 / 65536, 456 / 65536])
    return (target - x) / CFG


def lighter(x, sigma):
    push = to_the_counter_side(x, sigma)
    push[:, 2, 8:] = 5 / CFG
    return push


@pytest.mark.parametrize(
    ("push", "name", "further", "words"),
    [
        (lambda x, sigma: torch.zeros_like(x), "does nothing", set(), "changed none of the 40 pictures of Orvane"),
        (lambda x, sigma: moved(1, 0.2, x, sigma, counter=False), "does nothing", set(), "no measurable effect on a"),
        (lambda x, sigma: moved(0, 2 / CFG, x, sigma), "changes the group", FAILURES - {"does nothing"},
         "The prompt names Orvane"),  # Quilmari in place of Orvane
        (to_one_picture, "collapses variety", {"lightens skin", "ruins pictures"}, "Orvane are alike"),
        (lighter, "lightens skin", set(), "Orvane by +"),
        (lambda x, sigma: 10 * to_the_counter_side(x, sigma), "ruins pictures", set(), "a lower strength or CFG scale"),
    ],
    ids=["pushes nowhere", "pushes elsewhere", "another group", "one picture", "lighter", "too far"],
)  # fmt: skip
def test_a_failure_is_named_and_no_other_one_that_is_not_there(push, name, further, words, tmp_path):
    report = report_with(push, tmp_path)
    assert name in failures(report) and failures(report) & FAILURES <= {name} | further
    (finding,) = [f for f in report["findings"] if f["name"] == name]
    assert words in finding["words"] and report["findings"][0]["level"] == "failure"
    reasons = {"changes the group": "no longer finds Orvane", "ruins pictures": "the model finds it unlikely"}
    assert name not in reasons or any(reasons[name] in why for why in report["worse"][0]["why"])


def test_a_corrector_that_makes_groups_alike_is_named_even_if_each_varies_as_before(tmp_path):
    groups = "Orvane", "Tavelu", "Quilmari"
    report = report_with(lambda x, sigma: moved(0, (1 - x[:, 0]) / CFG, x, sigma), tmp_path, groups)  # all Tavelu
    assert {"makes groups alike", "changes the group"} <= failures(report)
    assert "collapses variety" not in failures(report)


def test_a_corrector_that_works_has_none_of_these_failures(tmp_path):
    report = report_with(to_the_counter_side, tmp_path)
    assert not failures(report) and [f["name"] for f in report["findings"] if f["level"] == "success"]
