"""The version of RS-Corrector."""

from pathlib import Path


def version() -> str:
    """Of the installed package, or in pyproject.toml of the repository."""
    if __name__.partition(".")[0] == "rs_corrector":
        from importlib import metadata

        return metadata.version("rs-corrector")
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    return project.read_text(encoding="utf-8").partition('\nversion = "')[2].partition('"')[0]
