"""Automatic1111's and Forge's door to RS-Corrector.

Every extension's folder lies on sys.path here, so a plain `import corrector` could get another extension's module or
become its own. This folder is loaded by its path under a name that nobody else has; inside, imports are relative.
"""

import importlib.util
import sys
from pathlib import Path

PACKAGE = "rs_corrector_extension"


def load_package():
    """This repository as the package `rs_corrector_extension`, whatever its folder is called; loaded anew each time."""
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]  # "Reload UI" after an update must not mix old modules with new ones
    root = Path(__file__).resolve().parents[1]
    spec = importlib.util.spec_from_file_location(PACKAGE, root / "__init__.py", submodule_search_locations=[str(root)])
    sys.modules[PACKAGE] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return importlib.import_module(f"{PACKAGE}.sd_webui.script")


RSCorrectorScript = load_package().RSCorrectorScript
