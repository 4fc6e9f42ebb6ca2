"""The entry point for Automatic1111 and Forge.

The folders of all extensions are on sys.path here, so that `import corrector` could import another extension's module
or shadow it. Therefore this repository is loaded by its path, under a unique name, and its imports are relative.
"""

import importlib.util
import sys
from pathlib import Path

PACKAGE = "rs_corrector_extension"


def load_package():
    """Load this repository, again if it is loaded, as the package `rs_corrector_extension` -> its script module."""
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]  # "Reload UI" after an update must not mix old and new modules
    root = Path(__file__).resolve().parents[1]
    spec = importlib.util.spec_from_file_location(PACKAGE, root / "__init__.py", submodule_search_locations=[str(root)])
    sys.modules[PACKAGE] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return importlib.import_module(f"{PACKAGE}.sd_webui.script")


RSCorrectorScript = load_package().RSCorrectorScript
