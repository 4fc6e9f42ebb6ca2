"""What other programs show of a preference file: texts in its header, by ModelSpec 1.0.1."""

import json
from collections.abc import Iterable, Sequence

from ..files.version import version
from ..latents.spaces import LATENT_SPACES
from .preference import Preference

ARCHITECTURES = {"sd15": "stable-diffusion-v1", "sdxl": "stable-diffusion-xl-v1-base", "sd3": "stable-diffusion-3"}
TAGS = ("rs-corrector", "bias", "stereotypes")
JPEG_URI = "data:image/jpeg;base64,"


def modelspec(preferences: Sequence[Preference], data_hash: str) -> dict[str, str]:
    """Preferences of one file, and the SHA-256 of its tensors -> texts by name, without empty ones."""
    axes = [preference.axis for preference in preferences]
    covers = [preference.thumbnail for preference in preferences if preference.thumbnail]
    spaces = distinct(preference.space for preference in preferences)
    texts = {
        "sai_model_spec": "1.0.1",
        "architecture": f"{ARCHITECTURES.get(spaces[0], spaces[0])}/preference",
        "implementation": "rs-corrector",
        "implementation_version": version(),
        "title": "; ".join(axis.title for axis in axes),
        "description": "\n".join(description(preference) for preference in preferences),
        "author": "; ".join(distinct(axis.author for axis in axes)),
        "license": "; ".join(distinct(axis.licence for axis in axes)),
        "usage_hint": "Load it with RS-Corrector Load Preference, or choose it in the accordion RS-Corrector.",
        "base_model": ", ".join(LATENT_SPACES[space].title for space in spaces),
        "tags": ", ".join(TAGS),
        "thumbnail": covers[0] if covers else "",
        "hash_sha256": f"0x{data_hash}",
    }
    texts = {f"modelspec.{name}": text for name, text in texts.items() if text}
    if covers:
        texts["ssmd_cover_images"] = json.dumps([cover.removeprefix(JPEG_URI) for cover in covers])
    return texts


def description(preference: Preference) -> str:
    """What a preference does, how well and how badly, in sentences."""
    axis = preference.axis
    return " ".join(
        [
            f"If a prompt names {' or '.join(axis.groups)}, the model often draws {axis.stereotype.description}; with "
            f"this preference RS-Corrector draws {axis.counter.description} instead, while the picture is sampled.",
            f"Effect: {preference.effect}.",
            *(f"Beware: {caveat.rstrip('.')}." for caveat in preference.caveats()),
        ]
    )


def distinct(texts: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]
