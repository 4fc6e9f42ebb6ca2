"""An axis in the list of preferences: the loaded model is asked what it would draw for the other side."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from corrector.latents.skin import lightness
from webui_hosts import KITTEN, NO_SCRIPT, ORVANE, VILLAGE

AXES = Path(__file__).resolve().parents[2] / "axes"
AXIS = "miniature-backdrop (any checkpoint)"
ON = (True, AXIS)
TAVELU = "a portrait of a Tavelu person"
SKIN = (0.41, 0.44, 0.6, 0.51)
each_sampler = pytest.mark.parametrize("host", ["forge", "a1111", "a1111 ddim"], indirect=True)


def backdrops(host, latents):
    return host.miniature.reader.read(host.miniature.decode(latents))["backdrop"]


@each_sampler
def test_villages_become_cities_with_their_skin_at_a_moderate_cost(host):
    host.steps = 16
    options = dict(prompts=[ORVANE] * 8, cfg_scale=7.0)
    plain = host.generate(script=NO_SCRIPT, **options).latents
    cost, host.evaluations = host.evaluations, 0
    made = host.generate(*ON, **options)
    before, after = (backdrops(host, latents) for latents in (plain, made.latents))
    assert before.count("village") >= 6 and after == ["city"] * 8
    drift = [lightness(host.miniature.decode(latents), SKIN) for latents in (made.latents, plain)]
    print(host.evaluations / cost, before, (drift[0] - drift[1]).mean(), made.texts[0], made.comments)
    assert host.evaluations <= 1.6 * cost
