"""Write the workflows that open from ComfyUI's Templates, and the subgraph blueprint of its node library.

    python docs/templates

`tests/hosts/thumbnails.py` makes the pictures.
"""

from blueprint import corrected_sampler
from each import TEMPLATES

for template in TEMPLATES:
    template().write()
corrected_sampler()
