"""The extension, loaded by fakes of both hosts, with a real preference file."""

import shutil
import sys
from pathlib import Path

import pytest

from webui_a1111 import A1111
from webui_forge import FlowForge, Forge
from webui_modules import FakeModules, relabelled

HOSTS = {"forge": Forge, "flow": FlowForge, "a1111": A1111}
REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "rs_corrector.py"
REAL = REPOSITORY / "weights" / "miniature-backdrop.safetensors"
PACKAGE = "rs_corrector_extension"


@pytest.fixture(scope="session")
def miniature():
    from corrector.miniature.host import Miniature

    return Miniature()


@pytest.fixture(scope="session")
def backdrop_file(tmp_path_factory):
    return relabelled(REAL, tmp_path_factory.mktemp("preferences") / "backdrop.safetensors")


@pytest.fixture(scope="module")
def fakes(tmp_path_factory):
    """A host's modules; loading the extension takes long, so that all tests of a file share it."""
    with pytest.MonkeyPatch.context() as patch:
        yield FakeModules(patch, tmp_path_factory.mktemp("models"))
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def loaded(fakes):
    script = fakes.load(SCRIPT)
    # The miniature has few words, which a gate learns from few texts.
    sys.modules[f"{PACKAGE}.corrector.preference.asking"].QUICK.update(count=256, steps=60)
    return script


@pytest.fixture
def folder(fakes, backdrop_file):
    """The folder of preferences, with one of them; each test has it to itself."""
    folder = fakes.models_path / "rs_corrector"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy2(backdrop_file, folder)
    return folder


@pytest.fixture
def script(fakes, loaded, folder):
    """The extension's script, with no job and no model."""
    loaded.is_img2img = False
    fakes.model_data.sd_model = None
    fakes.swallowed.clear()
    fakes.scripts.scripts_data.clear()
    sys.modules[f"{PACKAGE}.sd_webui.script"].JOBS.running.clear()
    return loaded


@pytest.fixture
def part(script):
    """-> a function: a module of the loaded extension, by its name inside `sd_webui` or the extension."""
    return lambda name: sys.modules[f"{PACKAGE}.{name if '.' in name else f'sd_webui.{name}'}"]


@pytest.fixture(params=["forge", "a1111"])
def host(request, miniature, fakes, script):
    """Each host, or those of `indirect` parameters, as "a1111 ddim"."""
    name, _, sampler = request.param.partition(" ")
    made = HOSTS[name](miniature, fakes, script)
    made.sampler = sampler or "euler"
    return made


@pytest.fixture
def forge(miniature, fakes, script):
    return Forge(miniature, fakes, script)


@pytest.fixture
def a1111(miniature, fakes, script):
    return A1111(miniature, fakes, script)


@pytest.fixture(autouse=True)
def single_thread(one_thread):
    """Small networks are slower on several threads."""
