"""What several tests build on: one axis, a preference exact in a world of two Gaussians, and tiny checkpoints."""

import shutil
import socket
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from corrector.axis.axis import Axis, Side
from corrector.correction import update
from corrector.correction.run import MEMORY
from corrector.gate.train import QUICK
from corrector.preference.preference import Preference
from gaussian_world import GaussianWorld


@pytest.fixture(scope="module")
def one_thread():
    """Small networks train no faster on several threads, and far slower where other work holds the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def axis():
    return Axis(
        id="test",
        title="Village backdrop",
        groups=("Orvane", "Tavelu"),
        neutral=("a portrait of a {group} person", "a photo of a {group} man", "{group} woman, close-up"),
        stereotype=Side("a village", ("in a village", "next to some huts")),
        counter=Side("a city", ("in a city", "near office towers")),
        author="tests",
    )


@pytest.fixture
def preference(axis):
    from preference_files import small_preference

    return small_preference(axis)


@pytest.fixture
def saved(preference, tmp_path):
    """The file of `preference`."""
    from corrector.preference.file import save_preference

    save_preference(preference, tmp_path / "village.safetensors")
    return tmp_path / "village.safetensors"


@pytest.fixture
def exact(axis, monkeypatch):
    """-> a function that makes a Preference whose source is the exact one of a GaussianWorld.

    Its first step counts as the others do: there is no stereotype that words leave.
    """
    monkeypatch.setattr(update, "LEAST_WEIGHT", 1.0)

    def make(world=None, shape=(4, 6, 10), space="miniature", **more):
        world = world or GaussianWorld(means=(0.3, -0.3), spreads=(0.8, 0.9), shape=shape)
        return Preference(axis=axis, space=space, source=world, name="exact", **more)

    return make


@pytest.fixture(scope="module")
def no_network():
    def refuse(*_, **__):
        raise AssertionError("something reached for the network")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("socket", "create_connection", "getaddrinfo"):
            patch.setattr(socket, name, refuse)
        yield


@pytest.fixture
def no_earlier_pictures():
    """No run of another test is taken for an earlier stage."""
    MEMORY.pictures.clear()


@pytest.fixture(scope="module")
def gates_in_a_folder(tmp_path_factory):
    """Gates for axes are trained from few texts, as the miniature has few words, and kept in a folder of the module."""
    kept = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("corrector.hosts.given.cache_folder", lambda name: kept / name)
        for name, few in {"count": 256, "steps": 60}.items():
            patch.setitem(QUICK, name, few)
        yield


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """{kind: a tiny checkpoint folder of it}, read only."""
    from tiny_checkpoints import KINDS, build

    return {kind: build(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture
def checkpoint_copy(checkpoints, tmp_path):
    """-> a function: a copy of one of the checkpoints, to be damaged."""
    return lambda kind="sd15": Path(shutil.copytree(checkpoints[kind], tmp_path / "checkpoint"))


@pytest.fixture
def full_disk():
    """-> a context in which the kernel refuses to write a file beyond a number of bytes."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def limited(most=200):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
