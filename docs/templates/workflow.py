"""A workflow in the format of ComfyUI's page: nodes in columns, columns in groups, without overlaps.

Heights are those of Nodes 2.0, which draws nodes larger than the classic renderer, with room for results.
"""

import json
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]
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
        """Write the file; what is in `extra` makes web/graph.js open it readably."""
        workflow = {
            "last_node_id": len(self.nodes), "last_link_id": len(self.links), "nodes": self.nodes,
            "links": self.links, "groups": self.groups, "config": {}, "extra": {"rs_corrector_template": True},
            "version": 0.4,
        }  # fmt: skip
        text = json.dumps(workflow, indent=1, ensure_ascii=False) + "\n"
        (HOME / "workflows" / f"{self.name}.json").write_text(text, encoding="utf-8")

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
