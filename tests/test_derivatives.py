"""The miniature's two derivatives: another style, other rates, and the shipped preferences on them; small numbers."""

from functools import cache
from pathlib import Path

import pytest
import torch

from corrector.correction.sampled import sample_corrected
from corrector.correction.update import Settings
from corrector.miniature import prompts
from corrector.miniature.host import Miniature
from corrector.preference.file import load_preference

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
FOLDER = WEIGHTS / "miniature-derivatives"
COUNT, SEED = 24, 930_000


@pytest.fixture(scope="module")
def hosts():
    """The base and its derivatives by name; they sample in few steps."""
    files = {"base": None} | {name: FOLDER / f"miniature-{name}.safetensors" for name in ("print", "rates")}
    found = {name: Miniature(bf16=True, lora=file) for name, file in files.items()}
    for host in found.values():
        host.steps = 8
    return found


def some(group):
    return [prompts.held_out(prompts.HELD_OUT_NEUTRAL, group, index) for index in range(COUNT)], list(
        range(SEED, SEED + COUNT)
    )


@cache
def plain(host, group):
    wordings, seeds = some(group)
    return host.decode(host.sample(host.encode(wordings), seeds))


def share(labels, side):
    return sum(label in (side, "unreadable") for label in labels) / len(labels)


def test_the_files_are_small():
    assert all((FOLDER / f"miniature-{name}.safetensors").stat().st_size <= 1.5 * 2**20 for name in ("print", "rates"))


def test_the_print_derivative_draws_the_same_people_in_another_style(hosts):
    base, printed = plain(hosts["base"], "Tavelu"), plain(hosts["print"], "Tavelu")
    warmth = [float((pictures[:, 0] - pictures[:, 2]).mean()) for pictures in (base, printed)]
    assert warmth[1] > warmth[0] + 0.05
    read = hosts["base"].reader.read(printed)
    assert share([label == "Tavelu" for label in read["group"]], True) >= 0.9


@pytest.mark.parametrize("name", ["print", "rates"])
def test_a_preference_learned_on_the_base_corrects_a_derivative(hosts, name):
    preference = load_preference(WEIGHTS / "miniature-backdrop.safetensors")
    latents, (reasons,) = sample_corrected(hosts[name], *some("Tavelu"), [preference], Settings())
    read = hosts["base"].reader.read(hosts[name].decode(latents))
    stereotypes = hosts["base"].reader.read(plain(hosts[name], "Tavelu"))
    before = share(stereotypes["backdrop"], "village")
    if name == "rates":  # its stereotypes are others
        base = hosts["base"].reader.read(plain(hosts["base"], "Tavelu"))
        assert share(stereotypes["attire"], "traditional") > share(base["attire"], "traditional") + 0.15
    assert reasons.count("") >= 0.9 * COUNT
    assert before >= 0.5 and share(read["backdrop"], "village") <= 0.2
    assert torch.isfinite(latents).all()
