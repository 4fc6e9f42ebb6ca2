"""Write the workflows that open from ComfyUI's Templates: nodes in columns, columns in groups, no overlaps.

    python docs/templates.py

Heights are those of Nodes 2.0, which draws nodes larger than the classic renderer. `docs/thumbnails.py` makes the
pictures.
"""

import json
from pathlib import Path

WORKFLOWS = Path(__file__).resolve().parents[1] / "workflows"
GAP, TITLE, PADDING, HEAD = 30, 30, 20, 50  # between nodes; title bar of a node; inside a group; title of a group
NOTE_COLOURS = {"color": "#432", "bgcolor": "#653"}

# type: (sockets in, sockets out, width, height)
MODEL, CLIP, VAE, COND, LATENT, IMAGE = "MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "IMAGE"
AXIS, PREFERENCE = "RS_AXIS", "RS_PREFERENCE"
SAMPLING = {"model": MODEL, "positive": COND, "negative": COND, "latent_image": LATENT}
TYPES = {
    "RSCorrectorMiniature": ({}, [MODEL, CLIP, VAE], 320, 100),
    "CheckpointLoaderSimple": ({}, [MODEL, CLIP, VAE], 320, 130),
    "RSCorrectorLoadPreference": ({}, [PREFERENCE], 320, 90),
    "RSCorrectorLoadAxis": ({}, [AXIS], 320, 90),
    "RSCorrectorCombinePreferences": (
        {f"preference_{number}": PREFERENCE for number in range(1, 5)}, [PREFERENCE], 320, 120,
    ),
    "RSCorrectorTextPreference": ({"clip": CLIP}, [PREFERENCE], 340, 380),
    "RSCorrector": ({"model": MODEL, "preference": PREFERENCE}, [MODEL], 320, 170),
    "RSCorrectorAdvanced": ({"model": MODEL, "preference": PREFERENCE, "mask": "MASK"}, [MODEL], 320, 370),
    "RSCorrectorLearnPreference": (
        {"model": MODEL, "clip": CLIP, "axis": AXIS, "vae": VAE}, [PREFERENCE, IMAGE], 380, 820,
    ),
    "RSCorrectorCalibrate": (
        {"model": MODEL, "clip": CLIP, "preference": PREFERENCE, "vae": VAE}, [PREFERENCE, "STRING"], 380, 680,
    ),
    "RSCorrectorAudit": (
        {"model": MODEL, "clip": CLIP, "vae": VAE, "axis": AXIS, "preference": PREFERENCE,
         "clip_vision": "CLIP_VISION", "clip_text": CLIP},
        [IMAGE, IMAGE, "STRING"], 520, 1010,
    ),
    "RSCorrectorMap": (
        {"model": MODEL, "vae": VAE, "preference": PREFERENCE, "positive": COND, "negative": COND,
         "latent_image": LATENT},
        [IMAGE, IMAGE, "MASK", LATENT], 340, 660,
    ),
    "RSCorrectorCompare": ({"before": IMAGE, "after": IMAGE}, [], 360, 420),
    "CLIPTextEncode": ({"clip": CLIP}, [COND], 340, 110),
    "EmptyLatentImage": ({}, [LATENT], 320, 120),
    "PrimitiveInt": ({}, ["INT"], 320, 85),
    "PrimitiveFloat": ({}, ["FLOAT"], 320, 65),
    "KSampler": (SAMPLING, [LATENT], 280, 270),
    "VAEDecode": ({"samples": LATENT, "vae": VAE}, [IMAGE], 225, 60),
    "SaveImage": ({"images": IMAGE}, [], 260, 270),
    "PreviewImage": ({"images": IMAGE}, [], 480, 330),
    "MarkdownNote": ({}, [], 360, 300),
}  # fmt: skip


class Workflow:
    """Nodes and links of one workflow, in the format of ComfyUI's page."""

    def __init__(self, name):
        self.name, self.nodes, self.links, self.groups = name, [], [], []

    def add(self, kind, *values, title=None, height=None, **inputs):
        """A node with the values of its widgets and its inputs, (node, output) each -> its dict."""
        sockets, outputs, width, own_height = TYPES[kind]
        node = {
            "id": len(self.nodes) + 1, "type": kind, "pos": [0, 0], "size": [width, height or own_height], "flags": {},
            "order": len(self.nodes), "mode": 0,
            "inputs": [{"name": name, "type": of, "link": None} for name, of in sockets.items()],
            "outputs": [{"name": name, "type": name, "links": []} for name in outputs],
            "properties": {"Node name for S&R": kind}, "widgets_values": list(values),
        }  # fmt: skip
        if title:
            node["title"] = title
        for name, (source, output) in inputs.items():
            kind_of_link = source["outputs"][output]["type"]
            if name not in sockets:
                node["inputs"].append({"name": name, "type": kind_of_link, "link": None, "widget": {"name": name}})
            place = next(place for place, socket in enumerate(node["inputs"]) if socket["name"] == name)
            link = len(self.links) + 1
            self.links.append([link, source["id"], output, node["id"], place, kind_of_link])
            node["inputs"][place]["link"] = link
            source["outputs"][output]["links"].append(link)
        self.nodes.append(node)
        return node

    def note(self, text, height=300):
        node = self.add("MarkdownNote", text, title="Read me", height=height)
        node.update(NOTE_COLOURS)
        return node

    def group(self, title, *columns):
        """A group of columns of nodes, not placed yet."""
        return {"title": title, "columns": columns}

    def lay_out(self, *columns):
        """Place columns of groups from left to right."""
        x = 0
        for groups in columns:
            y, right = 0, x
            for group in groups:
                width, height = self._place(group, x, y)
                y, right = y + height + GAP, max(right, x + width)
            x = right + GAP
        return self

    def _place(self, group, x, y):
        """Place a group's nodes -> its size."""
        left, bottom = x + PADDING, y
        for column in group["columns"]:
            top = y + HEAD
            for node in column:
                node["pos"] = [left, top + TITLE]
                top += TITLE + node["size"][1] + GAP
            left, bottom = left + max(node["size"][0] for node in column) + GAP, max(bottom, top)
        size = [left - GAP + PADDING - x, bottom - GAP + PADDING - y]
        self.groups.append({"id": len(self.groups) + 1, "title": group["title"], "bounding": [x, y, *size],
                            "color": "#3f789e", "font_size": 24, "flags": {}})  # fmt: skip
        return size

    def write(self):
        workflow = {
            "last_node_id": len(self.nodes), "last_link_id": len(self.links), "nodes": self.nodes,
            "links": self.links, "groups": self.groups, "config": {}, "extra": {}, "version": 0.4,
        }  # fmt: skip
        text = json.dumps(workflow, indent=1, ensure_ascii=False) + "\n"
        (WORKFLOWS / f"{self.name}.json").write_text(text, encoding="utf-8")

    def prompts(self, clip, positive):
        return [
            self.add("CLIPTextEncode", positive, title="Prompt", clip=clip),
            self.add("CLIPTextEncode", "", title="Negative prompt", clip=clip),
        ]

    def before_and_after(self, plain, corrected, vae, prompts, latent, values, **shared):
        """A group that samples with two models, compares and saves; `values` are those of KSampler."""
        sampling = {"positive": (prompts[0], 0), "negative": (prompts[1], 0), "latent_image": (latent, 0), **shared}
        columns, decoded = ([], [], []), []
        for name, model in (("Before", plain), ("After", corrected)):
            sampler = self.add("KSampler", *values, title=name, model=model, **sampling)
            decode = self.add("VAEDecode", samples=(sampler, 0), vae=vae)
            save = self.add("SaveImage", f"rs-corrector/{name.lower()}", title=name, images=(decode, 0))
            decoded.append((decode, 0))
            for column, node in zip(columns, (sampler, decode, save), strict=True):
                column.append(node)
        compare = self.add("RSCorrectorCompare", title="Drag the slider", before=decoded[0], after=decoded[1])
        columns[1].append(compare)
        return self.group("Before and after", *columns)


def first_correction():
    w = Workflow("1-first-correction")
    note = w.note(
        "## First correction\nPress **Run**, then drag the slider.\n\nThe miniature that ships with RS-Corrector draws "
        "the same four portraits from the same seed: **Before** with the plain model, **After** with the correction. "
        "Its own CFG scale is 2; set **CFG** to 7, where most people work, and run again.\n\nThe model nearly always "
        "puts an Orvane person in a village. Ask for a village in the prompt, or for somebody else, and the correction "
        "leaves the picture alone. The RS-Corrector node says what each run did.", 270,
    )  # fmt: skip
    model = w.add("RSCorrectorMiniature")
    preference = w.add("RSCorrectorLoadPreference", "miniature-backdrop.safetensors")
    corrector = w.add("RSCorrector", 1.0, model=(model, 0), preference=(preference, 0))
    prompts = w.prompts((model, 1), "a portrait of an Orvane person")
    latent = w.add("EmptyLatentImage", 128, 128, 4)
    seed = w.add("PrimitiveInt", 1, "fixed", title="Seed of both samplers")
    scale = w.add("PrimitiveFloat", 2.0, title="CFG")
    both = w.before_and_after(
        (model, 0), (corrector, 0), (model, 2), prompts, latent, [1, "fixed", 16, 2.0, "euler", "karras", 1.0],
        seed=(seed, 0), cfg=(scale, 0),
    )  # fmt: skip
    return w.lay_out(
        [w.group("1 · First correction", [note]), w.group("Model and correction", [model, preference, corrector])],
        [w.group("Prompt", [*prompts, latent, seed, scale])], [both],
    )  # fmt: skip


def any_checkpoint():
    w = Workflow("2-any-checkpoint")
    note = w.note(
        "## Any checkpoint\nPick your checkpoint, then write in **RS-Corrector Text Preference** whom you draw, what "
        "the model shows too often, and what it should also show: two prompts that differ in that alone. Both name the "
        "group, as your prompt does.\n\nNothing is trained on pictures: every step costs two more model evaluations. "
        "Prompts that ask for either side themselves, or name nobody of the group, are left alone. RS-Corrector says "
        "what each run did.\n\nSize, steps and CFG are for SD1.5; SDXL wants 1024 x 1024. On large models this was not "
        "measured by us: compare before and after.", 340,
    )  # fmt: skip
    model = w.add("CheckpointLoaderSimple", "v1-5-pruned-emaonly-fp16.safetensors")
    prompts = w.prompts((model, 1), "a photo of a Kenyan woman")
    preference = w.add(
        "RSCorrectorTextPreference", "Kenyan woman", "a photo of a Kenyan woman in a village",
        "a photo of a Kenyan woman in a city", "", "", "", clip=(model, 1),
    )  # fmt: skip
    corrector = w.add("RSCorrector", 1.0, model=(model, 0), preference=(preference, 0))
    latent, shared, settings = _settings(w, 512, 20, 7.0)
    both = w.before_and_after(
        (model, 0), (corrector, 0), (model, 2), prompts, latent,
        [1, "fixed", 20, 7.0, "euler", "normal", 1.0], **shared,
    )  # fmt: skip
    return w.lay_out(
        [w.group("2 · Any checkpoint", [note]), w.group("Model", [model, *settings])],
        [w.group("Prompt and correction", [*prompts, preference, corrector])], [both],
    )  # fmt: skip


def _settings(w, size, steps, cfg):
    """Size, seed, steps and CFG in one place for all samplers -> (latent, inputs of the samplers, nodes)."""
    latent = w.add("EmptyLatentImage", size, size, 4)
    seed = w.add("PrimitiveInt", 1, "fixed", title="Seed of both samplers")
    number = w.add("PrimitiveInt", steps, "fixed", title="Steps")
    scale = w.add("PrimitiveFloat", cfg, title="CFG")
    return latent, {"seed": (seed, 0), "steps": (number, 0), "cfg": (scale, 0)}, [latent, seed, number, scale]


def learn(name, note, model, axis, prompt, size, steps, cfg, pairs, training, images, batch):
    w = Workflow(name)
    note = w.note(*note)
    model = w.add(*model)
    axis = w.add("RSCorrectorLoadAxis", axis)
    parts = {"model": (model, 0), "clip": (model, 1), "vae": (model, 2)}
    learned = w.add(
        "RSCorrectorLearnPreference", pairs, steps, cfg, "euler", "karras", size, size, 0, batch, "my-preference",
        training, axis=(axis, 0), **parts,
    )  # fmt: skip
    calibrated = w.add(
        "RSCorrectorCalibrate", images, cfg, steps, 1, "euler", "karras", size, size, batch, 0.03,
        preference=(learned, 0), **parts,
    )  # fmt: skip
    prompts = w.prompts((model, 1), prompt)
    corrector = w.add("RSCorrector", 1.0, model=(model, 0), preference=(calibrated, 0))
    latent, shared, settings = _settings(w, size, steps, cfg)
    both = w.before_and_after(
        (model, 0), (corrector, 0), (model, 2), prompts, latent,
        [1, "fixed", steps, cfg, "euler", "karras", 1.0], **shared,
    )  # fmt: skip
    return w.lay_out(
        [w.group("3 · Learn a preference", [note]), w.group("Model and axis", [model, axis])],
        [w.group("Learn and measure", [learned], [calibrated])],
        [w.group("Prompt and correction", [*prompts, *settings, corrector])], [both],
    )  # fmt: skip


def learn_miniature():
    note = (
        "## Learn a preference, in minutes\nPress **Run**. Nothing is downloaded: the miniature is the checkpoint.\n\n"
        "**Learn** draws pictures of both sides of the axis and trains a small network on them; **Calibrate** measures "
        "what it does. Both say how far they are; stop at any time, the pictures are kept and the next run goes on. "
        "Ask for more pairs later, and it goes on from those that are there.\n\nThe file is then in "
        "`models/rs_corrector`. For your own checkpoint open the other template 3.", 260,
    )  # fmt: skip
    return learn(
        "3-learn-a-preference-miniature", note, ["RSCorrectorMiniature"], "miniature-backdrop.json",
        "a portrait of an Orvane person", 128, 16, 2.0, 48, 500, 24, 16,
    )  # fmt: skip


def learn_checkpoint():
    note = (
        "## Learn a preference\nPick your checkpoint and an axis, a stereotype that was documented, and press **Run**."
        "\n\n**Learn** makes pictures of both sides with your checkpoint, and trains a small network on them. "
        "**Calibrate** measures what it does. Both say how far they are; stop at any time, the pictures are kept and "
        "the next run goes on. The file is then in `models/rs_corrector`: any graph loads it with **Load Preference**, "
        "with no extra cost while sampling.\n\nSize, steps and CFG should be those that you draw with. For SDXL, set "
        "1024 x 1024 everywhere. On a GPU this takes minutes, on a CPU hours. No figure of this was measured on a "
        "large model: look at the report, and at before and after.", 420,
    )  # fmt: skip
    return learn(
        "3-learn-a-preference", note, ["CheckpointLoaderSimple", "v1-5-pruned-emaonly-fp16.safetensors"],
        "african-house-poverty.json", "portrait of an African man in front of his house", 512, 20, 7.0, 128, 2500, 400,
        8,
    )  # fmt: skip


def audit():
    w = Workflow("4-audit")
    note = w.note(
        "## Audit\nPress **Run**: what does the model draw for each group of the axis, and what does the correction "
        "change on the same seeds? The node gives the verdict and opens the report.\n\nFor your own checkpoint, load "
        "it in place of the miniature, choose its axis and preference (or disconnect the preference to audit the plain "
        "model), and set size, steps and CFG to those that you draw with. Stop at any time; the next run goes on.", 270,
    )  # fmt: skip
    model = w.add("RSCorrectorMiniature")
    axis = w.add("RSCorrectorLoadAxis", "miniature-backdrop.json")
    preference = w.add("RSCorrectorLoadPreference", "miniature-backdrop.safetensors")
    measured = w.add(
        "RSCorrectorAudit", 16, 0.1, 1.0, 16, 2.0, "euler", "karras", 128, 128, 0, 16, 1.0, "", "", model=(model, 0),
        clip=(model, 1), vae=(model, 2), axis=(axis, 0), preference=(preference, 0),
    )  # fmt: skip
    pictures = w.add("PreviewImage", title="Plain above corrected", images=(measured, 0))
    return w.lay_out(
        [w.group("4 · Audit", [note]), w.group("Model, axis, preference", [model, axis, preference])],
        [w.group("Audit", [measured])], [w.group("Pictures", [pictures])],
    )  # fmt: skip


def target_and_map():
    w = Workflow("5-target-and-map")
    note = w.note(
        "## Target share and map\nA **target** below 1 corrects only as many pictures as it takes: at 0.5, about half "
        "of the pictures show the city and the others stay as they are, bit for bit. The node says which were left "
        "alone.\n\n**Map** shows in orange where the correction acted on the same pictures at full strength, and at "
        "which steps.", 190,
    )  # fmt: skip
    model = w.add("RSCorrectorMiniature")
    preference = w.add("RSCorrectorLoadPreference", "miniature-backdrop.safetensors")
    corrector = w.add(
        "RSCorrectorAdvanced", 1.0, 0.5, 0.0, 1.0, 0, 0.0, True, model=(model, 0), preference=(preference, 0)
    )
    prompts = w.prompts((model, 1), "a portrait of a Tavelu person")
    latent = w.add("EmptyLatentImage", 128, 128, 4)
    seed = w.add("PrimitiveInt", 1, "fixed", title="Seed of all samplers")
    values = [1, "fixed", 16, 2.0, "euler", "karras", 1.0]
    both = w.before_and_after((model, 0), (corrector, 0), (model, 2), prompts, latent, values, seed=(seed, 0))
    where = w.add(
        "RSCorrectorMap", 1.0, 1, 16, 2.0, "euler", "karras", 1.0, model=(model, 0), vae=(model, 2),
        preference=(preference, 0), positive=(prompts[0], 0), negative=(prompts[1], 0), latent_image=(latent, 0),
        seed=(seed, 0),
    )  # fmt: skip
    steps = w.add("PreviewImage", title="At which steps", images=(where, 1), height=220)
    return w.lay_out(
        [w.group("5 · Target share and map", [note]), w.group("Model and preference", [model, preference, corrector])],
        [w.group("Prompt", [*prompts, latent, seed])], [both], [w.group("Where it acts", [where, steps])],
    )  # fmt: skip


def several_axes():
    w = Workflow("6-several-axes")
    note = w.note(
        "## Several axes\nThe miniature has two stereotypes: where people stand, and what they wear. **Combine "
        "Preferences** joins up to four preferences; each is applied to the pictures that it concerns, and "
        "RSCorrector has a line for each.", 130,
    )  # fmt: skip
    model = w.add("RSCorrectorMiniature")
    backdrop = w.add("RSCorrectorLoadPreference", "miniature-backdrop.safetensors", title="Backdrop")
    attire = w.add("RSCorrectorLoadPreference", "miniature-attire.safetensors", title="Attire")
    combined = w.add("RSCorrectorCombinePreferences", preference_1=(backdrop, 0), preference_2=(attire, 0))
    corrector = w.add("RSCorrector", 1.0, model=(model, 0), preference=(combined, 0))
    prompts = w.prompts((model, 1), "a portrait of a Tavelu person")
    latent = w.add("EmptyLatentImage", 128, 128, 4)
    seed = w.add("PrimitiveInt", 1, "fixed", title="Seed of both samplers")
    both = w.before_and_after(
        (model, 0), (corrector, 0), (model, 2), prompts, latent,
        [1, "fixed", 16, 2.0, "euler", "karras", 1.0], seed=(seed, 0),
    )  # fmt: skip
    return w.lay_out(
        [w.group("6 · Several axes", [note]), w.group("Model", [model])],
        [w.group("Preferences", [backdrop, attire, combined, corrector])],
        [w.group("Prompt", [*prompts, latent, seed])], [both],
    )  # fmt: skip


TEMPLATES = (
    first_correction, any_checkpoint, learn_miniature, learn_checkpoint, audit, target_and_map, several_axes,
)  # fmt: skip

if __name__ == "__main__":
    for template in TEMPLATES:
        template().write()
