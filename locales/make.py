"""Make the translations of the ComfyUI nodes from the table texts.tsv.

    python locales/make.py                              # after a change of the table
    COMFYUI_PATH=FOLDER python locales/make.py --nodes  # after a change of a node: also reads its texts again

texts.tsv has a line for each text and a column for each language; the first column is the English text as the node has
it, and the last one a plain English label for the id of an input. Ids are permanent, and ComfyUI 0.3.64 shows no
`display_name` of an input, so the English labels are a translation too. sentences.tsv has what nodes say about a run.
nodes.json has the texts of each node, so that only `--nodes` needs a ComfyUI, with its packages in its `.venv`. A
tooltip of several lines, which lists the files of one user, is in neither, and stays as it is.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLE, NODES = HERE / "texts.tsv", HERE / "nodes.json"
SENTENCES, SPOKEN = HERE / "sentences.tsv", HERE.parent / "web" / "sentences.js"
LANGUAGES = ("zh", "ja", "fr", "es", "pt-BR")
INSIDE = HERE.parent / "tests" / "hosts" / "inside"  # its host.py loads the nodes as ComfyUI does
READ = """
import json, sys
from host import NODES
def socket(name, tooltip):
    lists = "\\n" in (tooltip or "")  # the files of one user, which the page shows if there is no translation
    return {"name": name} if lists else {"name": name, "tooltip": tooltip or ""}
nodes = {}
for name, node in sorted(NODES.items()):
    schema = node.GET_SCHEMA()
    nodes[name] = {
        "display_name": schema.display_name, "description": schema.description, "category": schema.category,
        "inputs": {input.id: socket(input.id, input.tooltip) for input in schema.inputs},
        "outputs": {
            str(index): socket(output.display_name or output.io_type, output.tooltip)
            for index, output in enumerate(schema.outputs)
        },
    }
print(json.dumps(nodes), file=sys.__stdout__)
"""


def table() -> dict[str, dict[str, str]]:
    """{English text: {language: translation, "label": English label or ""}}."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, restval="")
        return {row.pop("en"): row for row in rows}


def sentences() -> dict[str, dict[str, str]]:
    """{what a node says about a run: {language: translation}}; {#} is a number and {} any text, in order {0}, {1}."""
    with SENTENCES.open(encoding="utf-8", newline="") as file:
        return {row.pop("en"): row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}


def spoken() -> str:
    """The sentences as a module of the page, which reads no other files."""
    tables = {language: {text: row[language] for text, row in sentences().items()} for language in LANGUAGES}
    return (
        f"// Made by locales/make.py from locales/sentences.tsv.\n\nexport const SENTENCES = {as_json(tables)[:-1]};\n"
    )


def read_nodes(comfyui: Path) -> dict:
    """The texts of all nodes, from the nodes themselves in a ComfyUI checkout."""
    python = next(path for path in (comfyui / ".venv/bin/python", comfyui / "venv/bin/python") if path.is_file())
    environment = {**os.environ, "COMFYUI_PATH": str(comfyui)}
    done = subprocess.run([python, "-c", READ], cwd=INSIDE, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def categories_of(nodes: dict) -> list[str]:
    """The parts of the nodes' categories: "RS-Corrector/learn" has two."""
    return sorted({part for node in nodes.values() for part in node["category"].split("/")})


def texts_of(nodes: dict) -> list[str]:
    """Every text that needs a translation, once."""
    texts = [node[field] for node in nodes.values() for field in ("display_name", "description")]
    sockets = [socket for node in nodes.values() for part in ("inputs", "outputs") for socket in node[part].values()]
    texts += [text for socket in sockets for text in socket.values()]
    return [text for text in dict.fromkeys(texts + categories_of(nodes)) if text]


def translated(texts, translations: dict[str, str]):
    """A text, or a dict of texts at any depth, translated; texts without a translation stay English."""
    if isinstance(texts, dict):
        return {key: translated(value, translations) for key, value in texts.items()}
    return translations.get(texts) or texts


def labels_of(nodes: dict) -> dict:
    """The plain labels of inputs, as the English nodeDefs.json has them."""
    labels = {text: row["label"] for text, row in table().items() if row["label"]}
    inputs = {name: {id: {"name": labels[id]} for id in node["inputs"] if id in labels} for name, node in nodes.items()}
    return {name: {"inputs": labelled} for name, labelled in inputs.items() if labelled}


def files() -> dict[Path, str]:
    """{path: contents} of all files that are made from the table."""
    nodes = json.loads(NODES.read_text(encoding="utf-8"))
    categories = {part: part for part in categories_of(nodes)}
    for node in nodes.values():
        del node["category"]
    contents = {SPOKEN: spoken(), HERE / "en" / "nodeDefs.json": as_json(labels_of(nodes))}
    for language in LANGUAGES:
        translations = {text: row[language] for text, row in table().items()}
        contents[HERE / language / "nodeDefs.json"] = as_json(translated(nodes, translations))
        contents[HERE / language / "main.json"] = as_json({"nodeCategories": translated(categories, translations)})
    return contents


def as_json(contents: dict) -> str:
    return json.dumps(contents, ensure_ascii=False, indent=1) + "\n"


def main():
    if "--nodes" in sys.argv[1:]:
        comfyui = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "ComfyUI").resolve()
        NODES.write_text(as_json(read_nodes(comfyui)), encoding="utf-8")
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    translations = table()
    texts = texts_of(json.loads(NODES.read_text(encoding="utf-8")))
    for text in texts:
        if not all(translations.get(text, {}).get(language) for language in LANGUAGES):
            print(f"texts.tsv lacks a translation of: {text}")
    for text in translations.keys() - set(texts):
        print(f"No node has this text; delete its line from texts.tsv: {text}")


if __name__ == "__main__":
    main()
