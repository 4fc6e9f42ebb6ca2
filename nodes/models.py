"""ComfyUI's models by the names that people know, and which of them RS-Corrector does not correct."""

from collections.abc import Sequence

import comfy.model_sampling
from comfy.model_patcher import ModelPatcher

from ..corrector.correction.update import CorrectionError
from ..corrector.latents.spaces import LATENT_SPACES
from ..corrector.preference.preference import Preference

SPACES = {"SD15": "sd15", "SDXL": "sdxl", "SD3": "sd3", "Flux": "flux", "Miniature": "miniature"}  # by latent format

# By class in comfy.supported_models, which the classes of further versions inherit from, or by latent format.
PICTURES = {
    "Anima": "Anima",
    "AuraFlow": "AuraFlow",
    "Boogu": "Boogu",
    "Chroma": "Chroma",
    "ChromaRadiance": "Chroma Radiance",
    "CosmosT2IPredict2": "Cosmos-Predict2",
    "ErnieImage": "ERNIE-Image",
    "Flux2": "Flux.2",
    "HiDream": "HiDream",
    "HiDreamO1": "HiDream-O1",
    "HunyuanDiT": "Hunyuan-DiT",
    "HunyuanImage21": "HunyuanImage 2.1",
    "HunyuanImage21Refiner": "The refiner of HunyuanImage 2.1",
    "Ideogram4": "Ideogram 4",
    "JoyImage": "JoyImage",
    "Kandinsky5Image": "Kandinsky 5",
    "Krea2": "Krea 2",
    "Lens": "Lens",
    "LongCatImage": "LongCat-Image",
    "Lumina2": "Lumina 2",
    "MageFlow": "MageFlow",
    "Omnigen2": "OmniGen2",
    "PixArtAlpha": "PixArt-α",
    "PixArtSigma": "PixArt-Σ",
    "PixelDiTT2I": "PixelDiT",
    "QwenImage": "Qwen-Image",
    "SDXL_Playground_2_5": "Playground 2.5",
    "SD_X4Upscaler": "The SD x4 upscaler",
    "Stable_Cascade_C": "Stable Cascade",
    "ZImage": "Z-Image",
    "ZImagePixelSpace": "Z-Image in pixel space",
}
VIDEOS = {
    "CogVideoX_T2V": "CogVideoX",
    "CosmosI2VPredict2": "Cosmos-Predict2 for videos",
    "CosmosT2V": "Cosmos",
    "GenmoMochi": "Mochi",
    "HunyuanVideo": "HunyuanVideo",
    "Kandinsky5": "Kandinsky 5 for videos",
    "LTXV": "LTX-Video",
    "LTXAV": "LTX-2",
    "MiniMaxH3": "MiniMax H3",
    "SeedVR2": "SeedVR2",
    "SV3D_u": "Stable Video 3D",
    "SVD_img2vid": "Stable Video Diffusion",
    "WAN21_T2V": "Wan",
}
OTHERS = {
    "ACEStep": "ACE-Step",
    "ACEStep15": "ACE-Step 1.5",
    "Hunyuan3Dv2": "Hunyuan3D",
    "StableAudio": "Stable Audio",
}
NAMES = PICTURES | VIDEOS | OTHERS


def name_of(model: ModelPatcher, otherwise: str = "The model") -> str:
    """A model's name; `otherwise` for SD1.5, SD2.x, SDXL, SD3 and Flux.1, and for models that are not known."""
    return NAMES.get(_known_class(model), otherwise)


def predicts_flow(model: ModelPatcher) -> bool:
    """Whether a model is sampled as a flow model (rectified flow), whatever its latents."""
    return isinstance(model.get_model_object("model_sampling"), comfy.model_sampling.CONST)


def check_supported(model: ModelPatcher) -> None:
    """Raises CorrectionError if a model makes no pictures, or if its latents are not supported."""
    name, known, latent_format = name_of(model), _known_class(model), model.get_model_object("latent_format")
    kind, dimensions = type(latent_format).__name__, latent_format.latent_dimensions
    makes = "videos" if known in VIDEOS else "no pictures" if known in OTHERS or dimensions == 1 else None
    if makes:
        raise CorrectionError(
            f"{name} makes {makes}, and RS-Corrector only corrects pictures. Remove the RS-Corrector node from this "
            "graph."
        )
    if kind in SPACES:
        return
    frames = " (with frames, as videos have)" if dimensions == 3 else ""
    found = "is not supported yet" if known else f"has {kind} latents{frames}, and is not supported"
    *titles, last = [LATENT_SPACES[space].title for space in SPACES.values()]
    raise CorrectionError(
        f"{name} {found}. RS-Corrector runs with models that have the latents of {', '.join(titles)} or {last}: use "
        "one of these, or remove the RS-Corrector node from this graph."
    )


def _known_class(model):
    """The key in NAMES of a model, or ""."""
    classes = (*type(model.model.model_config).__mro__, type(model.get_model_object("latent_format")))
    return next((kind.__name__ for kind in classes if kind.__name__ in NAMES), "")


def check_model(model: ModelPatcher, preferences: Sequence[Preference]) -> None:
    """Raises RSCorrectorError if the model is not supported or a preference was made for another kind of model."""
    check_supported(model)
    space, flow = SPACES[type(model.get_model_object("latent_format")).__name__], predicts_flow(model)
    advice = "use a preference made for this model, or RS-Corrector (any checkpoint)"
    for preference in preferences:
        preference.check_space(space, name_of(model, "the model"), advice)
        if preference.space != "any" and flow != LATENT_SPACES[space].flow:
            raise CorrectionError(
                f"{name_of(model)} is {'' if flow else 'not '}sampled as a flow model, and the preference "
                f'"{preference.name}" was made for one that is{" not" if flow else ""}; {advice}.'
            )
