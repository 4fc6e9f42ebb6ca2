import pytest
import torch
from host import encode, folder_paths, node, small_sd15
from rs_pack.corrector.miniature.model import WEIGHTS
from rs_pack.corrector.miniature.reader import load_reader


@pytest.fixture(autouse=True)
def inference_mode():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session", autouse=True)
def user_folder(tmp_path_factory):
    """Another user folder than the host's, in which gates are kept."""
    folder = tmp_path_factory.mktemp("user")
    folder_paths.set_user_directory(str(folder))
    return folder


@pytest.fixture(scope="session")
def miniature():
    """MODEL, CLIP, VAE of the shipped miniature."""
    with torch.inference_mode():
        return node("RSCorrectorMiniature")


@pytest.fixture(scope="session")
def model(miniature):
    return miniature[0]


@pytest.fixture(scope="session")
def clip(miniature):
    return miniature[1]


@pytest.fixture(scope="session")
def vae(miniature):
    return miniature[2]


@pytest.fixture(scope="session")
def reader():
    return load_reader(WEIGHTS)


@pytest.fixture(scope="session")
def backdrop():
    return node("RSCorrectorLoadPreference", "miniature-backdrop.safetensors")


@pytest.fixture(scope="session")
def attire():
    return node("RSCorrectorLoadPreference", "miniature-attire.safetensors")


@pytest.fixture(scope="session")
def prompts(clip):
    """Conditionings: in scope of both axes, asking for the stereotype, out of scope, and empty."""
    texts = {
        "person": "a portrait of a Tavelu person",
        "village": "a portrait of a Tavelu person in a village",
        "cat": "a cat",
        "empty": "",
    }
    with torch.inference_mode():
        return {name: encode(clip, text) for name, text in texts.items()}


@pytest.fixture(scope="session")
def sd15():
    """A small SD1.5 model and two conditionings."""
    generator = torch.Generator().manual_seed(1)
    conds = [[[torch.randn(1, 77, 16, generator=generator), {}]] for _ in range(2)]
    return small_sd15(), *conds
