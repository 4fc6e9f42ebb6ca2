"""The flow miniature and its few-step twin on the command line: demo, learn, calibrate, audit and read."""

import json
from argparse import Namespace
from functools import partial

import pytest

from corrector.cli import commands as cli
from corrector.cli.options import open_host
from corrector.hosts.loading import CheckpointError
from corrector.latents.host import cfg_of
from corrector.learning import learn as learning
from corrector.miniature.flow_host import FlowMiniature, twin
from corrector.preference.file import load_preference

TWIN = "flow-miniature-turbo"

pytestmark = pytest.mark.usefixtures("one_thread", "no_network")


def options(**given):
    defaults = dict(checkpoint=None, config=None, lora=None, bf16=False, steps=None, cfg=None, size=None)
    return Namespace(**{**defaults, **given})


@pytest.mark.parametrize(("name", "steps", "cfg"), [("flow-miniature", 16, 2.0), (TWIN, 4, 1.0), (None, 16, 2.0)])
def test_each_miniature_is_drawn_with_its_own_steps_and_cfg_unless_others_are_given(name, steps, cfg):
    args = options(checkpoint=name)
    host = open_host(args)
    assert (host.steps, args.steps, args.cfg) == (steps, steps, cfg) and cfg_of(host) == cfg
    others = options(checkpoint=name, steps=3, cfg=5.0)
    assert open_host(others).steps == others.steps == 3 and others.cfg == 5.0


def test_the_names_are_those_of_two_models():
    hosts = [open_host(options(checkpoint=name)) for name in ("flow-miniature", TWIN)]
    assert [host.identity for host in hosts] == [FlowMiniature().identity, twin().identity]
    assert hosts[0].identity["checkpoint"] != hosts[1].identity["checkpoint"]


@pytest.mark.parametrize("option", [{"size": (256, 256)}, {"lora": "a.safetensors"}, {"config": "folder"}])
def test_what_the_flow_miniatures_do_not_take_is_refused(option):
    with pytest.raises(CheckpointError, match=r"draws pictures of 128x128 and takes no LoRA; leave out --size"):
        open_host(options(checkpoint=TWIN, **option))


def test_the_demo_corrects_the_twin(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("corrector.hosts.given.cache_folder", lambda name: tmp_path / name)
    file = tmp_path / "demo.json"
    cli.main(["demo", "--model", "flow-turbo", "--images", "2", "--out", str(tmp_path), "--json", str(file)])
    said, rows = capsys.readouterr().out, json.loads(file.read_text())
    assert said.count("a village: 2 -> 0 of 2") == 2 and said.count("bit for bit") == 2
    for row in rows:
        assert (row["model"], row["cfg"], row["steps"], row["group_kept"]) == ("flow-turbo", 1, 4, 1)
    assert [(row["plain"], row["corrected"]) for row in rows[:2]] == [(1, 0)] * 2
    assert "few-step twin, a small one" in (tmp_path / "demo.html").read_text(encoding="utf-8")


def test_the_twin_is_learned_calibrated_audited_and_read(axis, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(learning, "learn", partial(learning.learn, steps=2))
    monkeypatch.setattr(learning, "train_gate", partial(learning.train_gate, count=80))
    axis_file, file = tmp_path / "axis.json", tmp_path / "own.safetensors"
    axis_file.write_text(json.dumps(axis.to_dict()))
    host = ["--checkpoint", TWIN]
    sizes = ["--pairs", "4", "--points", "40", "--calibration", "0", "--pairs-folder", str(tmp_path / "pairs")]
    cli.main(["learn", str(axis_file), *host, *sizes, "--out", str(file)])
    learned = load_preference(file)
    assert learned.space == "flow-miniature"
    assert (learned.training["cfg"], learned.training["host"]["steps"]) == (1.0, 4)
    pictures = ["--images", "2", "--pictures-folder", str(tmp_path / "pictures")]
    cli.main(["calibrate", str(file), *host, *pictures])
    assert {(c.group, c.cfg) for c in load_preference(file).calibrations} == {
        (g, c) for g in axis.groups for c in (1, 7)
    }
    audit = ["--preference", str(file), "--images", "2", "--explicit", "1", "--out", str(tmp_path)]
    cli.main(["audit", str(axis_file), *host, *audit])
    report = json.loads((tmp_path / axis.id / "report.json").read_text(encoding="utf-8"))
    assert (report["settings"]["cfgs"], report["settings"]["steps"]) == ([1.0], 4)
    capsys.readouterr()
    cli.main(["read", str(file), "a portrait of a Tavelu person", *host])
    assert '"a portrait of a Tavelu person"' in capsys.readouterr().out
