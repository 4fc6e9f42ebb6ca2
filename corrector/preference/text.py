"""The Text source: the host's own model is asked what it predicts for the two sides, without training.

    D* = D + w (D_c - D_cond)

is what the model predicts at the CFG scale w for the user's prompt with a phrase of the counter side (METHOD.md, third
form). `correction.asked` does it in a run; here is only what the preference itself knows.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ..latents.skin import Pictures


class Text:
    """Asks the host's model.

    Args:
        encode: `encode(prompts)` -> their conditionings, a list as the host's runs take them; None where a host encodes
            by itself.
        pictures: how a VAE shows latents, here in VAE space; None where a host decodes by itself, or has approximate
            colours only.
    """

    has_weights = False

    def __init__(
        self,
        encode: Callable[[Sequence[str]], list[Any]] | None = None,
        pictures: Pictures | None = None,
    ):
        self.encode = encode
        self.pictures = pictures
