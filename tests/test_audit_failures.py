"""Correctors that are wrong on purpose, on latents of drawn pictures: the report names each failure."""

from dataclasses import replace

import pytest
import torch

from audit_world import DRAWN, Push, drawn_audit, failures, plan, report_of, to_the_counter_side

pytestmark = pytest.mark.usefixtures("one_thread")
FAILURES = {"does nothing", "changes the group", "collapses variety", "lightens skin", "ruins pictures"}
CFG = 2.0 + 0.5  # the factor by which a push is multiplied at a CFG scale of 2


def report_with(push, folder, groups=("Orvane",)):
    settings = plan(groups, strengths=(1.0,), images=40, explicit=10)
    return report_of(drawn_audit(settings, [replace(DRAWN, source=Push(push))]), folder)


def test_a_corrector_that_does_nothing_is_named(tmp_path):
    report = report_with(lambda x, sigma: torch.zeros_like(x), tmp_path)
    assert failures(report) == {"does nothing"}
    assert "changed none of the 40 pictures of Orvane" in report["findings"][0]["words"]


def test_a_corrector_that_changes_pictures_but_not_the_stereotype_is_named_as_doing_nothing(tmp_path):
    def push(x, sigma):
        moved = torch.zeros_like(x)
        moved[:, 1] = 0.2
        return moved

    report = report_with(push, tmp_path)
    assert failures(report) == {"does nothing"}
    assert "no measurable effect on a village" in report["findings"][0]["words"]


def test_a_corrector_that_changes_the_group_is_named_and_its_pictures_come_first(tmp_path):
    def push(x, sigma):
        moved = to_the_counter_side(x, sigma)
        moved[:, 0] = 2 / CFG  # Quilmari in place of Orvane
        return moved

    report = report_with(push, tmp_path)
    assert "changes the group" in failures(report)
    assert any("no longer finds Orvane" in why for why in report["worse"][0]["why"])
    assert report["findings"][0]["level"] == "failure"


def test_a_corrector_that_collapses_variety_is_named(tmp_path):
    target = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(1))
    target[0], target[2], target[3] = 0, 0, 1
    target[2, 0, :2] = torch.tensor([123 / 65536, 456 / 65536])

    report = report_with(lambda x, sigma: (target - x) / CFG, tmp_path)
    assert "collapses variety" in failures(report)
    assert not failures(report) & {"does nothing", "changes the group"}


def test_a_corrector_that_makes_groups_alike_is_named_even_if_each_varies_as_before(tmp_path):
    def push(x, sigma):
        moved = to_the_counter_side(x, sigma)
        moved[:, 0] = (1 - x[:, 0]) / CFG  # Tavelu, whichever group the prompt names
        return moved

    report = report_with(push, tmp_path, ("Orvane", "Tavelu", "Quilmari"))
    assert {"makes groups alike", "changes the group"} <= failures(report)
    assert "collapses variety" not in failures(report)


def test_a_corrector_that_lightens_skin_is_named(tmp_path):
    def push(x, sigma):
        moved = to_the_counter_side(x, sigma)
        moved[:, 2, 8:] = 5 / CFG
        return moved

    report = report_with(push, tmp_path)
    assert failures(report) & FAILURES == {"lightens skin"}
    (finding,) = [f for f in report["findings"] if f["name"] == "lightens skin"]
    assert "Orvane by +" in finding["words"] and "points of L*" in finding["words"]


def test_a_corrector_that_ruins_pictures_is_named_and_its_pictures_are_listed(tmp_path):
    report = report_with(lambda x, sigma: 8 * to_the_counter_side(x, sigma), tmp_path)
    assert failures(report) == {"ruins pictures"}
    (finding,) = [f for f in report["findings"] if f["name"] == "ruins pictures"]
    assert "Orvane" in finding["words"] and "Use a lower strength or CFG scale" in finding["words"]
    assert any("the model finds it unlikely" in why for why in report["worse"][0]["why"])


def test_a_corrector_that_works_has_none_of_these_failures(tmp_path):
    report = report_with(to_the_counter_side, tmp_path)
    assert not failures(report) and [f["name"] for f in report["findings"] if f["level"] == "success"]
