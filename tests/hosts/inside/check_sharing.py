"""ComfyUI's model library shows a preference: what its own functions read from the file."""

import base64
import io
import json
import os

import comfy.utils
import pytest
from app.model_manager import ModelFileManager
from host import node
from PIL import Image
from rs_pack.corrector.files.folders import WEIGHTS
from rs_pack.corrector.preference.file import load_preference, save_preference


@pytest.fixture(scope="module")
def thumbnail():
    picture = io.BytesIO()
    Image.effect_noise((530, 262), 25).convert("RGB").save(picture, "JPEG", quality=60)
    return f"data:image/jpeg;base64,{base64.b64encode(picture.getvalue()).decode()}"


@pytest.fixture(scope="module")
def path(thumbnail, tmp_path_factory):
    preference = load_preference(WEIGHTS / "miniature-backdrop.safetensors")
    preference.thumbnail = thumbnail
    save_preference(preference, path := tmp_path_factory.mktemp("models") / "mine.safetensors")
    return path


def test_the_page_gets_title_picture_architecture_and_author(path, thumbnail):
    assert 30_000 < len(thumbnail) < 64_000, "as large as they come"
    texts = json.loads(comfy.utils.safetensors_header(str(path), max_size=1024 * 1024))["__metadata__"]
    assert texts["modelspec.title"] == "Village backdrop (miniature)" and texts["modelspec.thumbnail"] == thumbnail
    assert texts["modelspec.architecture"] == "miniature/preference"
    assert texts["modelspec.author"] == "RS-Corrector contributors"
    assert "a city in 100% of pictures" in texts["modelspec.description"]


def test_a_preview_is_the_thumbnail(path, thumbnail):
    asked = os.path.splitext(path)[0] + ".webp"  # as the page asks
    (preview,) = ModelFileManager().get_model_previews(asked)
    assert preview.getvalue() == base64.b64decode(thumbnail.partition(",")[2])
    assert Image.open(preview).size == (530, 262)


def test_the_scan_of_assets_finds_the_base_model(path):
    metadata_extract = pytest.importorskip("app.assets.services.metadata_extract")
    metadata = metadata_extract.extract_file_metadata(str(path))
    assert metadata.base_model == "the miniature" and metadata.has_preview_images


def test_the_file_of_the_node_has_them_too(path, tmp_path, monkeypatch):
    monkeypatch.setattr("rs_pack.nodes.preferences.preference_file", lambda name: tmp_path / f"{name}.safetensors")
    node("RSCorrectorSavePreference", (load_preference(path),), "again")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
