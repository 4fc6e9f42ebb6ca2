"""Caches are kept where the system has them."""

import pytest

from corrector.files import folders


@pytest.mark.parametrize(
    ("platform", "variable", "default"),
    [
        ("linux", "XDG_CACHE_HOME", (".cache",)),
        ("win32", "LOCALAPPDATA", ("AppData", "Local")),
        ("darwin", None, ("Library", "Caches")),
    ],
)
def test_caches_are_where_the_system_has_them(monkeypatch, tmp_path, platform, variable, default):
    monkeypatch.setattr(folders.sys, "platform", platform)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    assert folders.cache_folder("gates") == tmp_path.joinpath(*default, "rs-corrector", "gates")
    if variable:
        monkeypatch.setenv(variable, "relative")
        assert folders.cache_folder("gates") == tmp_path.joinpath(*default, "rs-corrector", "gates")
        monkeypatch.setenv(variable, str(tmp_path / "mine"))
        assert folders.cache_folder("gates") == tmp_path / "mine" / "rs-corrector" / "gates"


def test_a_user_without_a_home_folder_has_no_cache(monkeypatch):
    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(folders.Path, "home", unknown)
    assert folders.cache_folder("gates") is None
