"""The extension, loaded by fakes of both hosts, with a real preference file."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

from webui_hosts import HOSTS
from webui_modules import FakeModules, relabelled

REPOSITORY = Path(__file__).resolve().parents[2]
REAL = REPOSITORY / "weights" / "miniature-backdrop.safetensors"
PACKAGE = "rs_corrector_extension"


@pytest.fixture(scope="session")
def miniature():
    from corrector.miniature.host import Miniature

    return Miniature()


@pytest.fixture(scope="session")
def backdrop_file(tmp_path_factory):
    return relabelled(REAL, tmp_path_factory.mktemp("preferences") / "backdrop.safetensors")


@pytest.fixture
def models_path(tmp_path, backdrop_file):
    """The host's folder of models, with one preference."""
    folder = tmp_path / "models" / "rs_corrector"
    folder.mkdir(parents=True)
    shutil.copy(backdrop_file, folder)
    return folder.parent


@pytest.fixture
def fakes(monkeypatch, models_path):
    yield FakeModules(monkeypatch, models_path)
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.fixture
def script(fakes):
    made = fakes.load(REPOSITORY / "scripts" / "rs_corrector.py")
    made.is_img2img = False
    return made


@pytest.fixture
def part(script):
    """-> a function: a module of the loaded extension, by its name inside `sd_webui` or the extension."""
    return lambda name: sys.modules[f"{PACKAGE}.{name if '.' in name else f'sd_webui.{name}'}"]


@pytest.fixture(params=list(HOSTS))
def host(request, miniature, fakes, script):
    """Each host."""
    return HOSTS[request.param](miniature, fakes)


@pytest.fixture
def forge(miniature, fakes, script):
    return HOSTS["forge"](miniature, fakes)


@pytest.fixture
def a1111(miniature, fakes, script):
    return HOSTS["a1111"](miniature, fakes)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
