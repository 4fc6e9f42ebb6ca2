"""Make the translations of the ComfyUI nodes from the table texts.tsv.

    python locales/make.py                              # after a change of the table
    COMFYUI_PATH=FOLDER python locales/make.py --nodes  # after a change of a node: also reads its texts again

The table has one line a text and one column a language; the first column is the English text as the node has it. The
texts of each node are kept in nodes.json, so that only `--nodes` needs a ComfyUI, with its packages in its `.venv`.
"""

import argparse
import csv
import json
import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLE, NODES = HERE / "texts.tsv", HERE / "nodes.json"
LANGUAGES = ("zh", "ja", "fr", "es", "pt-BR")
INSIDE = HERE.parent / "tests" / "hosts" / "inside"  # its host.py loads the nodes as ComfyUI does
READ = """
import json, sys
from host import NODES
def input_texts(one):
    return {"name": one.id, "tooltip": one.tooltip or ""}
def output_texts(one):
    return {"name": one.display_name or one.io_type, "tooltip": one.tooltip or ""}
nodes = {}
for name, node in sorted(NODES.items()):
    schema = node.GET_SCHEMA()
    nodes[name] = {
        "display_name": schema.display_name, "description": schema.description, "category": schema.category,
        "inputs": {one.id: input_texts(one) for one in schema.inputs},
        "outputs": {str(index): output_texts(one) for index, one in enumerate(schema.outputs)},
    }
print(json.dumps(nodes), file=sys.__stdout__)
"""


def table():
    """{English text: {language: translation}}."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row.pop("en"): row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}


def read_nodes(comfyui):
    """The texts of all nodes, from the nodes themselves in a ComfyUI checkout."""
    python = next(path for path in (comfyui / ".venv/bin/python", comfyui / "venv/bin/python") if path.is_file())
    environment = {**os.environ, "COMFYUI_PATH": str(comfyui)}
    done = subprocess.run([python, "-c", READ], cwd=INSIDE, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def categories_of(nodes):
    """The parts of the nodes' categories: "RS-Corrector/learn" has two."""
    return sorted({part for node in nodes.values() for part in node["category"].split("/")})


def texts_of(nodes):
    """Every text that needs a translation, once."""
    texts = [text for node in nodes.values() for text in (node["display_name"], node["description"])]
    for node in nodes.values():
        for one in (*node["inputs"].values(), *node["outputs"].values()):
            texts += [one["name"], one["tooltip"]]
    return list(dict.fromkeys(text for text in [*texts, *categories_of(nodes)] if text))


def translated(nodes, translations, language):
    """-> the contents of nodeDefs.json and main.json in a language; texts without a translation stay English."""

    def own(text):
        return translations.get(text, {}).get(language) or text

    def all_of(ones):
        return {key: {kind: own(text) for kind, text in one.items()} for key, one in ones.items()}

    definitions = {
        name: {
            "display_name": own(node["display_name"]),
            "description": own(node["description"]),
            "inputs": all_of(node["inputs"]),
            "outputs": all_of(node["outputs"]),
        }
        for name, node in nodes.items()
    }
    return definitions, {"nodeCategories": {part: own(part) for part in categories_of(nodes)}}


def files():
    """{path: contents} of all files that are made from the table."""
    nodes, translations = json.loads(NODES.read_text(encoding="utf-8")), table()
    made = {}
    for language in LANGUAGES:
        for name, contents in zip(("nodeDefs", "main"), translated(nodes, translations, language), strict=True):
            made[HERE / language / f"{name}.json"] = as_json(contents)
    return made


def as_json(contents):
    return json.dumps(contents, ensure_ascii=False, indent=1) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--nodes", action="store_true", help="read the nodes' texts again, in the ComfyUI of COMFYUI_PATH"
    )
    if parser.parse_args().nodes:
        comfyui = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "ComfyUI").resolve()
        NODES.write_text(as_json(read_nodes(comfyui)), encoding="utf-8")
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    known, texts = table(), texts_of(json.loads(NODES.read_text(encoding="utf-8")))
    for text in [text for text in texts if not all(known.get(text, {}).get(language) for language in LANGUAGES)]:
        print(f"texts.tsv lacks a translation of: {text}")
    for text in [text for text in known if text not in texts]:
        print(f"No node has this text any more; delete its line from texts.tsv: {text}")


if __name__ == "__main__":
    main()
