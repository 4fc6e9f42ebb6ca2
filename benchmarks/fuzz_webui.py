"""The modules of the WebUI extension, for fuzzing them without a WebUI."""

import importlib
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def of_webui(module):
    """A module of sd_webui, which is imported as a part of the extension's package."""
    for name, path in (("rs_fuzz", ROOT), ("rs_fuzz.sd_webui", ROOT / "sd_webui")):
        if name not in sys.modules:
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__path__ = [str(path)]
    return importlib.import_module(f"rs_fuzz.sd_webui.{module}")
