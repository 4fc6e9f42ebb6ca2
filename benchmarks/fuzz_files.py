"""Files that are fuzzed: for each kind, sound examples, and a use of whatever loads.

A use raises RSCorrectorError for what it refuses. It returns whether all numbers that came out are finite.
"""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load, save

from benchmarks.fuzz_mutations import damaged_bytes, damaged_json, damaged_tensors, text_of
from benchmarks.fuzz_webui import of_webui
from corrector.axis.axis import load_axis, save_axis
from corrector.correction.decision import decide, notes
from corrector.correction.update import Settings, correct
from corrector.files.folders import AXES
from corrector.files.tensor_files import checksum, header_of
from corrector.gate.prompt_gate import PromptGate, PromptReading
from corrector.preference.calibration import Calibration
from corrector.preference.file import CHECKSUM, KEY, load_preferences, save_preferences
from corrector.preference.judge import Judge
from corrector.preference.networks import Distilled
from corrector.preference.preference import Preference

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # whose worlds and tiny checkpoints are the sound examples


class Preferences:
    """Preference files: of one, of two, and of one without a gate."""

    def __init__(self, folder):
        self.path, axis = folder / "tried.safetensors", load_axis(AXES / "miniature-backdrop.json")
        self.x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        torch.manual_seed(0)
        size = dict(space="miniature", groups=3, width=16, blocks=1)
        gate = PromptGate(12, 3, 5)
        known = Calibration(
            "Orvane", 2.0, 0.05, 400, 0.99, 400, tone=-2.5, base_interval=(0.03, 0.08), full_interval=(0.97, 1.0),
            lean_slope=2.0, lean_offset=0.6, lean_mean=-2.0, lean_spread=0.9, lean_sigma=14.6, lean_guidance=1.5,
            distance=0.05, spread=0.98, extremes=1.0, error=1.1, agreement=0.97, checkpoint="0123456789abcdef",
        )  # fmt: skip
        calibrations = known, replace(known, cfg=7.0, base_rate=0.02), replace(known, group="Tavelu")
        training = {
            "pairs_a_side_and_group": 128, "cfg": 2.0, "seed": 0, "push_r2": 0.8, "update_r2": 0.7, "weak": "few pairs",
            "belief_r2_by_sigma": {"0.15 to 2": -0.9, "2 to 4": 0.7}, "judge_cross_fitted_accuracy": 1.0,
            "gate_held_out_accuracy": {"group": 0.85, "explicit": None, "by_hand": {"named": 1.0}},
            "tone_slopes": {"Orvane": -1.2}, "validated_on": "miniature", "host": {"steps": 16},
        }  # fmt: skip
        source = Distilled(**size, rise=0.7)
        one = Preference(axis, "miniature", source, gate, calibrations, training, "one", judge=Judge(4, 8))
        two = Preference(replace(axis, id="two"), "miniature", Distilled(**size), None, (), {}, "two")
        self.examples = []
        for preferences in ([one], [one, two], [two]):
            save_preferences(preferences, self.path)
            self.examples.append(self.path.read_bytes())

    def damaged(self, rng):
        damaged = damaged_tensors(rng, rng.choice(self.examples), KEY)
        return _with_checksum(damaged) if rng.random() < 0.9 else damaged

    def use(self, rng, data):
        self.path.write_bytes(data)
        finite, sigma, group = True, torch.tensor([14.6, 0.05]), torch.tensor([0, 1])
        preferences = load_preferences(self.path)
        for preference in preferences:
            preference.caveats()
            preference.check_space("miniature")
            known = [preference.calibration(name, 3.0) for name in preference.axis.groups]
            lean = torch.tensor([-2.0, 1.0])
            finite &= all(bool(torch.as_tensor(one.chance(lean)).isfinite().all()) for one in known if one)
            _ = [(one.reach(0.9), one.harm) for one in preference.calibrations]
            if preference.gate:
                preference.gate.read([torch.randn(1, 7, preference.gate.width)])
            if preference.judge:
                preference.judge.agreement(self.x)
            readings = [PromptReading(0, "neither")] * 2
            decision, reasons = decide(preference, readings, torch.tensor([0.3, 0.7]), 0.5, 3.0, lean)
            notes(preference, reasons, [0, 0], 3.0)
            decision = replace(decision, active=torch.ones(2, dtype=torch.bool), group=group)
            done = correct(self.x, self.x, sigma, [preference], [decision], Settings(), 2.0, self.x)
            finite &= bool(done.isfinite().all())
            _card_and_report(preference)
        save_preferences(preferences, self.path)
        load_preferences(self.path)
        return finite


def _with_checksum(data):
    """A preference file with the checksum of what is in it, as another program could write it; else unchanged."""
    try:
        metadata, tensors = json.loads(header_of(data, len(data)).metadata[KEY]), load(data)
        del metadata[CHECKSUM]
        metadata[CHECKSUM] = checksum(json.dumps(metadata), tensors)
        return save(tensors, {KEY: json.dumps(metadata)})
    except Exception:  # it is no safetensors file any more
        return data


def _card_and_report(preference):
    from corrector.learning.report import summary

    summary(preference)
    of_webui("card").accuracy(preference.training)


class Axes:
    """Axis files."""

    def __init__(self, folder):
        self.folder = folder
        self.examples = [path.read_bytes() for path in sorted(AXES.glob("*.json")) if "schema" not in path.name]

    def damaged(self, rng):
        data = rng.choice(self.examples)
        if rng.random() < 0.3:
            return damaged_bytes(rng, data)
        return text_of(damaged_json(rng, json.loads(data))).encode("utf-8", "surrogatepass")

    def use(self, rng, data):
        (self.folder / "tried.json").write_bytes(data)
        axis = load_axis(self.folder / "tried.json")
        axis.prompts(axis.groups[0], "counter")
        assert len(axis.hash) == len(axis.hash_of_pictures) == 10
        assert load_axis(save_axis(axis, self.folder)).hash == axis.hash
        return True


class Loras:
    """LoRA files, merged into a tiny checkpoint."""

    def __init__(self, folder):
        from corrector.hosts.loading import load_pipeline
        from tiny_checkpoints import build

        self.path, self.pipe = folder / "tried.safetensors", load_pipeline(build("sd15", folder / "sd15"))
        self.pipe.unet.eval()
        self.weights = {name: tensor.clone() for name, tensor in self.pipe.unet.state_dict().items()}
        self.examples = [_lora(self.pipe, kind) for kind in ("kohya", "diffusers")]

    def damaged(self, rng):
        return damaged_tensors(rng, rng.choice(self.examples))

    def use(self, rng, data):
        from corrector.hosts.loading import CheckpointError, merge_lora

        self.path.write_bytes(data)
        try:
            merge_lora(self.pipe, self.path)
            width = self.pipe.unet.config.cross_attention_dim
            with torch.no_grad():
                shown = self.pipe.unet(torch.ones(1, 4, 8, 8), 500, torch.ones(1, 7, width)).sample
            return bool(shown.isfinite().all())
        except CheckpointError:
            self.pipe.unload_lora_weights()
            raise
        finally:
            self.pipe.unet.load_state_dict(self.weights)


def _lora(pipe, kind):
    from safetensors.torch import save

    tensors, generator = {}, torch.Generator().manual_seed(0)
    for name, module in pipe.unet.named_modules():
        if name.endswith(("to_q", "to_v")) and "attn1" in name:
            down, up = (torch.randn(shape, generator=generator) * 0.1
                        for shape in ((2, module.in_features), (module.out_features, 2)))  # fmt: skip
            if kind == "kohya":
                base = f"lora_unet_{name.replace('.', '_')}"
                tensors |= {f"{base}.lora_down.weight": down, f"{base}.lora_up.weight": up}
                tensors[f"{base}.alpha"] = torch.tensor(2.0)
            else:
                tensors |= {f"unet.{name}.lora_A.weight": down, f"unet.{name}.lora_B.weight": up}
    return save(tensors)


class Pairs:
    """Folders of pairs: a shard or the settings are damaged, or two shards are exchanged."""

    def __init__(self, folder):
        from test_pairs import Host, make

        axis = load_axis(AXES / "worn-places.json")
        self.axis = replace(axis, groups=axis.groups[:1], aliases={})
        self.folder, self.host, self.make = folder / "pairs", Host, make
        self.whole = make(Host(), self.axis, self.folder, count=3)
        self.files = {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def damaged(self, rng):
        files, names = dict(self.files), sorted(self.files)
        name, other = rng.choice(names), rng.choice(names)
        if rng.random() < 0.2:
            files[name], files[other] = files[other], files[name]
        elif name == "settings.json":
            files[name] = text_of(damaged_json(rng, json.loads(files[name]))).encode("utf-8", "surrogatepass")
        else:
            files[name] = damaged_tensors(rng, files[name])
        return files

    def use(self, rng, files):
        from test_pairs import same

        for name, data in files.items():
            (self.folder / name).write_bytes(data)
        assert same(self.make(self.host(), self.axis, self.folder, count=3), self.whole), "other pairs"
        return True


class Audits:
    """Folders, reports, blind pages and answers of a short audit."""

    def __init__(self, folder):
        from audit_world import DRAWN, drawn_audit, plan
        from corrector.auditing.page import publish

        self.folder = folder / "audit"
        run = drawn_audit(plan(("Orvane", "Tavelu"), images=4, explicit=2, strengths=(1.0,)), [DRAWN])
        publish(run, run.run(self.folder / "pictures"), self.folder)
        self.chunks = sorted((self.folder / "pictures").glob("*.safetensors"))
        self.report, self.key = (json.loads((self.folder / f"{n}.json").read_text()) for n in ("report", "blind-key"))
        answers = {name: {"side": "counter", "fits": "yes"} for name in self.key["pictures"]}
        self.answers = {"page": self.key["page"], "rater": "Ada", "answers": answers}


class Chunks(Audits):
    """Chunks of an audit's pictures."""

    def damaged(self, rng):
        chunk = rng.choice(self.chunks)
        return chunk, damaged_tensors(rng, chunk.read_bytes(), "records")

    def use(self, rng, damaged):
        from corrector.auditing.plan import AuditStore, Plan
        from corrector.axis.axis import axis_from_dict

        (path, data), folder = damaged, self.folder / "pictures"
        before = path.read_bytes()
        path.write_bytes(data)
        settings = {n: tuple(v) if isinstance(v, list) else v for n, v in self.report["settings"].items()}
        plan = Plan(axis_from_dict(self.report["axis"]), **settings)
        try:
            store = AuditStore(folder, json.loads((folder / "settings.json").read_text()))
            _, features, _ = store.collect(plan, "latent")
            return bool(np.isfinite(features).all())
        finally:
            path.write_bytes(before)


class Reports(Audits):
    """Reports of audits: compared, tabled, and now and then drawn."""

    def damaged(self, rng):
        if rng.random() < 0.15:
            return damaged_bytes(rng, json.dumps(self.report).encode())
        return text_of(damaged_json(rng, self.report)).encode("utf-8", "surrogatepass")

    def use(self, rng, data):
        from corrector.auditing.chart import report_table
        from corrector.auditing.compare import compare, compare_table, write_compare_page
        from corrector.auditing.page import write_audit_page
        from corrector.auditing.report_file import load_report, title_of

        path = self.folder / "tried.json"
        path.write_bytes(data)
        report = load_report(path)
        report_table(report)
        rows = compare([report, report], ["a", "b"])
        compare_table(rows, ["a", "b"])
        write_compare_page(rows, ["a", "b"], title_of(report), self.folder / "tried.html")
        if rng.random() < 0.05:
            from corrector.auditing.run import thumbnail_of

            thumbnails = [thumbnail_of(np.zeros((8, 8, 3), np.uint8))] * len(report["pictures"])
            write_audit_page(report, thumbnails, self.folder / "tried.html")
        return True


class Answers(Audits):
    """Answers of raters, and the key of a blind page."""

    def damaged(self, rng):
        both = {"blind-key": self.key, "answers": self.answers}
        name = rng.choice(sorted(both))
        texts = {n: json.dumps(value).encode() for n, value in both.items()}
        texts[name] = damaged_bytes(rng, texts[name])
        if rng.random() < 0.8:
            texts[name] = text_of(damaged_json(rng, both[name])).encode("utf-8", "surrogatepass")
        return texts

    def use(self, rng, texts):
        from corrector.auditing.blind import read_answers
        from corrector.auditing.raters import evaluate

        for name, data in texts.items():
            (self.folder / f"{name}.json").write_bytes(data)
        people = evaluate(self.report, *read_answers(self.folder, [self.folder / "answers.json"]))
        return all(math.isfinite(row["value"]) for row in people["rates"])


FILES = {
    "preference": Preferences, "axis": Axes, "lora": Loras, "pairs": Pairs, "audit": Chunks, "report": Reports,
    "answers": Answers,
}  # fmt: skip
