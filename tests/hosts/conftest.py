"""A real ComfyUI in COMFYUI_PATH or ~/ComfyUI, with its own Python in .venv; without it, these tests are skipped."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from hosts.comfy_page import loaded
from hosts.served import answers, chromium, free_port, served
from hosts.workflow import WORKFLOW_NAMES, load_workflow

collect_ignore = ["inside", "inside_forge", "inside_a1111"]  # these run under the hosts' own Pythons

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def comfyui():
    """The host's folder."""
    folder = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "ComfyUI")
    if not (folder / "main.py").is_file():
        pytest.skip(f"There is no ComfyUI in {folder}: set COMFYUI_PATH to a checkout of it.")
    return folder


def python_of(comfyui):
    """The Python of its virtual environment, or None."""
    found = [comfyui / ".venv/bin/python", comfyui / "venv/bin/python", comfyui / ".venv/Scripts/python.exe"]
    return next((python for python in found if python.is_file()), None)


@pytest.fixture(scope="session")
def host_python(comfyui):
    if python := python_of(comfyui):
        install_requirements(python)
        return python
    pytest.skip(f"{comfyui} has no virtual environment: create .venv there from its requirements.txt.")


def install_requirements(python):
    """ComfyUI-Manager installs a pack's requirements.txt into the host's environment."""
    if subprocess.run([python, "-c", "import matplotlib, skimage"], capture_output=True).returncode:
        command = [python, "-m", "pip", "install", "--quiet", "-r", REPOSITORY / "requirements.txt"]
        if subprocess.run(command).returncode:
            pytest.skip(f"The pack's requirements.txt could not be installed into the environment of {python}.")


class Server:
    """A running ComfyUI and its API."""

    def __init__(self, address, folder, log):
        self.address, self.folder, self._log = address, folder, log

    @property
    def log(self):
        return self._log.read_text(encoding="utf-8", errors="replace")

    def get(self, path):
        with urllib.request.urlopen(self.address + path, timeout=60) as answer:
            return json.load(answer)

    def post(self, path, data):
        request = urllib.request.Request(self.address + path, json.dumps(data).encode())
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            return json.loads(error.read())

    def run(self, prompt, **extra):
        """Run a graph in API format -> its history, or the response if it is refused."""
        queued = self.post("/prompt", {"prompt": prompt, "extra_data": {"extra_pnginfo": extra}})
        return queued if queued.get("node_errors") else self.wait(queued["prompt_id"])

    def wait(self, prompt_id, limit=900):
        for _ in range(limit * 4):
            if prompt_id in (history := self.get(f"/history/{prompt_id}")):
                return history[prompt_id]
            time.sleep(0.25)
        raise TimeoutError(f"The prompt was not done in {limit} s.\n{self.log[-3000:]}")

    def pictures(self, history):
        """Paths of the pictures in a history, by node id."""
        return {
            node: [self.folder / image["type"] / image["subfolder"] / image["filename"] for image in output["images"]]
            for node, output in history["outputs"].items()
            if "images" in output
        }


@pytest.fixture(scope="module")
def server(comfyui, host_python, tmp_path_factory):
    """A new ComfyUI for each test module."""
    with running(comfyui, host_python, tmp_path_factory.mktemp("comfyui")) as server:
        yield server


@contextmanager
def running(comfyui, host_python, folder, *options, log="log.txt", packs=(REPOSITORY,)):
    """A ComfyUI with a folder for its data and this repository as its only custom node -> Server.

    Args:
        options: of ComfyUI's main.py.
        log: the log's name in the folder; several that share one need different ones.
        packs: custom nodes; () for the host alone.
    """
    (folder / "custom_nodes").mkdir(exist_ok=True)
    for pack in packs:
        if not (folder / "custom_nodes" / "rs-corrector").exists():
            (folder / "custom_nodes" / "rs-corrector").symlink_to(pack)
    (folder / "extra.yaml").write_text(f"somewhere:\n  base_path: {folder}/elsewhere\n  rs_corrector: preferences\n")
    port = free_port()
    command = [host_python, "main.py", "--cpu", "--port", str(port), "--base-directory", folder, *options]
    command += ["--extra-model-paths-config", folder / "extra.yaml"]
    if front_end := os.environ.get("RS_FRONT_END"):  # the folder `static` of another comfyui-frontend-package
        command += ["--front-end-root", front_end]
    server = Server(f"http://127.0.0.1:{port}", folder, folder / log)
    with served([*command, "--disable-auto-launch"], folder / log, answers(f"{server.address}/queue"), cwd=comfyui):
        yield server


# The prompts, and parts of prompts, in the checks inside A1111 and Forge.
WEBUI_PROMPTS = (
    "", "a portrait of an Orvane person", "a kitten", "a portrait of an Orvane person in a village",
)  # fmt: skip


@pytest.fixture(scope="session")
def webui_reference(tmp_path_factory):
    """A folder with encoded prompts, the traced miniature, and a preference of it for SD1.5's latent space."""
    from safetensors.torch import save_file

    from corrector.miniature.host import Miniature
    from webui_miniature import save_miniature
    from webui_modules import relabelled

    folder = tmp_path_factory.mktemp("webui")
    save_miniature(folder)
    tokens = Miniature().encode(list(WEBUI_PROMPTS))
    save_file(dict(zip(WEBUI_PROMPTS, tokens.clone(), strict=True)), folder / "conditionings.safetensors")
    relabelled(REPOSITORY / "weights" / "miniature-backdrop.safetensors", folder / "backdrop.safetensors")
    return folder


@pytest.fixture(scope="module")
def object_info(server):
    return server.get("/object_info")


LOADED_FROM = {
    "CheckpointLoaderSimple": "checkpoints", "UNETLoader": "diffusion_models", "CLIPLoader": "text_encoders",
    "VAELoader": "vae",
}  # fmt: skip


@pytest.fixture(scope="module")
def page(server):
    """ComfyUI's page in Chromium."""
    for name in WORKFLOW_NAMES:  # newer pages mark loaders whose file is missing
        for node in load_workflow(f"{name}.json")["nodes"]:
            if folder := LOADED_FROM.get(node["type"]):
                (server.folder / "models" / folder).mkdir(parents=True, exist_ok=True)
                (server.folder / "models" / folder / node["widgets_values"][0]).touch()
    server.post("/settings/Comfy.TutorialCompleted", True)  # otherwise the first visit opens the templates
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1720, "height": 1010})
        page.goto(server.address)
        loaded(page)
        yield page


@pytest.fixture(params=("classic", "Nodes 2.0"))
def renderer(request, page):
    """The page in one of its renderers, and afterwards in the classic one."""
    switch = "modern => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', modern)"
    modern = request.param == "Nodes 2.0"
    page.evaluate(switch, modern)
    page.wait_for_timeout(1000)
    missing = modern and page.locator("[data-node-id]").count() == 0
    if not missing:
        yield request.param
    page.evaluate(switch, False)
    if missing:
        pytest.skip("This front end has no Nodes 2.0.")
