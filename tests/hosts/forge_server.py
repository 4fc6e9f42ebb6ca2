"""Starts Forge on the CPU, in a separate data folder, with this extension and a full-size SD1.5 of random weights."""

import base64
import io
import json
import os
import shutil
import subprocess
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hosts.served import free_port, served

REPOSITORY = Path(__file__).resolve().parents[2]
FETCHED = ("huggingface_guess", "BLIP", "stable-diffusion-webui-assets")  # cloned by Forge's launcher
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False", "no_proxy": "127.0.0.1,localhost"}
ENVIRONMENT |= {"PYTHONUNBUFFERED": "1"}  # to see in the log when the server is ready
FLAGS = ("--skip-prepare-environment", "--skip-version-check", "--always-cpu", "--api", "--no-prompt-history")


class ForgeServer:
    """A running Forge and its API."""

    def __init__(self, address, folder):
        self.address, self.folder = address, folder

    @property
    def log(self):
        return (self.folder / "log.txt").read_text(encoding="utf-8", errors="replace")

    @property
    def starts(self):
        """How often the page has started; before its end the API lacks the scripts' defaults."""
        return self.log.count("Startup time")

    def call(self, path, data=None):
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self.address + path, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)

    def generate(self, *args, **settings):
        """-> (picture [H, W, 3], infotext). `args` are our script's; without any, the request does not name it."""
        asked = {"steps": 2, "width": 64, "height": 64, "cfg_scale": 7, "seed": 5, "sampler_name": "Euler", **settings}
        if args:
            asked["alwayson_scripts"] = {"RS-Corrector": {"args": list(args)}}
        answer = self.call("/sdapi/v1/txt2img", asked)
        picture = Image.open(io.BytesIO(base64.b64decode(answer["images"][0])))
        return np.asarray(picture), json.loads(answer["info"])["infotexts"][0]

    def saved(self):
        """The last picture that the page made [H, W, 3]."""
        newest = max(self.folder.glob("output*/txt2img-images/*/*.png"), key=lambda path: path.stat().st_mtime)
        return np.asarray(Image.open(newest))[..., :3]  # Forge hides the infotext in an alpha channel


def need(forge):
    missing = [name for name in FETCHED if not (forge / "repositories" / name).is_dir()]
    if missing:
        pytest.skip(f"{forge}/repositories lacks {', '.join(missing)}: start Forge once to fetch them.")


def make_folder(forge, python, folder):
    """Make the data folder: extension, a checkpoint and a slightly different one, and a folder for preferences."""
    for part in ("extensions", "models/Stable-diffusion", "models/rs_corrector"):
        (folder / part).mkdir(parents=True)
    (folder / "extensions" / "rs-corrector").symlink_to(REPOSITORY)
    checkpoint = folder / "models" / "Stable-diffusion" / "random.safetensors"
    maker = Path(__file__).with_name("sd15_checkpoint.py")
    done = subprocess.run([python, maker, forge, checkpoint], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"No checkpoint could be made with {python}: {done.stderr.strip().splitlines()[-1]}")
    shutil.copy(checkpoint, other := checkpoint.with_name("other.safetensors"))
    with open(other, "r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"\0\0")  # changes the last weight, and so the hash
    chosen = {"sd_model_checkpoint": checkpoint.name}
    (folder / "config.json").write_text(json.dumps(chosen))


def random_preference(path, seed=1):
    """A preference for SD1.5 with a random network and no gate, which changes every picture."""
    import torch

    from corrector.axis.axis import load_axis
    from corrector.preference.file import save_preference
    from corrector.preference.networks import Distilled
    from corrector.preference.preference import Preference

    torch.manual_seed(seed)
    axis = load_axis(REPOSITORY / "axes" / "african-house-poverty.json")
    source = Distilled("sd15", len(axis.groups), width=16, blocks=1)
    save_preference(Preference(axis=axis, space="sd15", source=source, name="random"), path)


@contextmanager
def running(forge, python, folder):
    port = free_port()
    # With a separate data folder, Gradio must be allowed to read Forge's own scripts.
    command = [python, "launch.py", *FLAGS, "--data-dir", folder, "--gradio-allowed-path", forge, "--port", port]
    server = ForgeServer(f"http://127.0.0.1:{port}", folder)
    with served(command, folder / "log.txt", lambda: server.starts == 1, cwd=forge, env={**os.environ, **ENVIRONMENT}):
        yield server
