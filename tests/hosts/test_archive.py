"""The archive of the Comfy registry, unpacked as a custom node of a real ComfyUI."""

import urllib.request
import zipfile

import pytest

from hosts.conftest import running
from hosts.workflow import WORKFLOW_NAMES, load_workflow, succeeded, to_graph
from registry_archive import pack


@pytest.fixture(scope="module")
def server(comfyui, host_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    with zipfile.ZipFile(pack(folder / "node.zip")) as archive:
        archive.extractall(folder / "pack")
    with running(comfyui, host_python, tmp_path_factory.mktemp("comfyui"), packs=(folder / "pack",)) as server:
        yield server


def test_the_archive_loads_and_its_first_template_runs(server, object_info):
    assert "IMPORT FAILED" not in server.log
    assert sorted(server.get("/workflow_templates")["rs-corrector"]) == sorted(WORKFLOW_NAMES)
    assert "RSCorrector" in server.get("/i18n")["ja"]["nodeDefs"]
    succeeded(server.run(to_graph(load_workflow("1-see-a-stereotype-corrected.json"), object_info)))
    assert "corrected 4 of 4" in server.log


def test_every_node_of_the_archive_has_its_help_page(server, object_info):
    names = [name for name in object_info if name.startswith("RSCorrector")]
    assert len(names) == 15
    for name in names:
        with urllib.request.urlopen(f"{server.address}/extensions/rs-corrector/docs/{name}.md") as page:
            assert page.read().startswith(b"# RS-Corrector")
