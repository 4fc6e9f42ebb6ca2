"""ComfyUI's models by the names that people know, and which of them RS-Corrector does not correct."""

from collections.abc import Sequence

from comfy.model_patcher import ModelPatcher

from ..corrector.correction.update import CorrectionError
from ..corrector.preference.preference import Preference
from .sampling import predicts_flow

SPACES = {  # in LATENT_SPACES, by latent format and by whether the model predicts flow
    ("SD15", False): "sd15",
    ("SDXL", False): "sdxl",
    ("SDXL", True): "auraflow",
    ("SDXL_Playground_2_5", False): "playground",
    ("SC_Prior", False): "stable-cascade",
    ("SD3", True): "sd3",
    ("Flux", True): "flux",
    ("Flux2", True): "flux2",
    ("Wan21", True): "qwen-image",
    ("Wan21", False): "cosmos-predict2",
    ("HunyuanImage21", True): "hunyuan-image",
    ("Miniature", False): "miniature",
    ("FlowMiniature", True): "flow-miniature",
}

# By class in comfy.supported_models, which the classes of further versions inherit from, or by latent format.
PICTURES = {  # also those that make videos, if they are asked for more than one frame
    "Anima": "Anima",
    "AuraFlow": "AuraFlow",
    "Boogu": "Boogu",
    "Chroma": "Chroma",
    "ChromaRadiance": "Chroma Radiance",
    "CogVideoX_T2V": "CogVideoX",
    "CosmosT2IPredict2": "Cosmos-Predict2",
    "CosmosT2V": "Cosmos",
    "ErnieImage": "ERNIE-Image",
    "Flux2": "Flux.2",
    "GenmoMochi": "Mochi",
    "HiDream": "HiDream",
    "HiDreamO1": "HiDream-O1",
    "HunyuanDiT": "Hunyuan-DiT",
    "HunyuanImage21": "HunyuanImage 2.1",
    "HunyuanImage21Refiner": "The refiner of HunyuanImage 2.1",
    "HunyuanVideo": "HunyuanVideo",
    "Ideogram4": "Ideogram 4",
    "JoyImage": "JoyImage",
    "Kandinsky5": "Kandinsky 5",
    "Krea2": "Krea 2",
    "Lens": "Lens",
    "LTXV": "LTX-Video",
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
    "WAN21_T2V": "Wan",
    "ZImage": "Z-Image",
    "ZImagePixelSpace": "Z-Image in pixel space",
}
VIDEOS = {
    "LTXAV": "LTX-2",
    "MiniMaxH3": "MiniMax H3",
    "SeedVR2": "SeedVR2",
    "SV3D_u": "Stable Video 3D",
    "SVD_img2vid": "Stable Video Diffusion",
}
OTHERS = {
    "ACEStep": "ACE-Step",
    "ACEStep15": "ACE-Step 1.5",
    "Hunyuan3Dv2": "Hunyuan3D",
    "MiniMaxMusic3": "MiniMax Music 3",
    "StableAudio": "Stable Audio",
    "Trellis2": "TRELLIS.2",
    "TripoSplat": "TripoSplat",
}
NAMES = PICTURES | VIDEOS | OTHERS


def name_of(model: ModelPatcher, otherwise: str = "The model") -> str:
    """A model's name; `otherwise` for SD1.5, SD2.x, SDXL, SD3 and Flux.1, and for models that are not known."""
    return NAMES.get(_known_class(model), otherwise)


def space_of(model: ModelPatcher) -> str:
    """The name in LATENT_SPACES of what a model denoises; "" for kinds of which no preference is learned."""
    kind = type(model.get_model_object("latent_format")).__name__
    return SPACES.get((kind, predicts_flow(model)), "")


def check_supported(model: ModelPatcher) -> None:
    """Raises CorrectionError if a model makes no pictures."""
    known, dimensions = _known_class(model), model.get_model_object("latent_format").latent_dimensions
    makes = "videos" if known in VIDEOS else "no pictures" if known in OTHERS or dimensions == 1 else None
    if makes:
        raise CorrectionError(
            f"{name_of(model)} makes {makes}, and RS-Corrector only corrects pictures. Remove the RS-Corrector node "
            "from this graph."
        )


def _known_class(model):
    """The key in NAMES of a model, or ""."""
    classes = (*type(model.model.model_config).__mro__, type(model.get_model_object("latent_format")))
    return next((kind.__name__ for kind in classes if kind.__name__ in NAMES), "")


def check_model(model: ModelPatcher, preferences: Sequence[Preference]) -> None:
    """Raises RSCorrectorError if the model makes no pictures or a preference was made for another kind of model."""
    check_supported(model)
    advice = "use a preference made for this model, or RS-Corrector (any checkpoint)"
    for preference in preferences:
        preference.check_space(space_of(model), name_of(model, "the model"), advice)
