"""ComfyUI's door to RS-Corrector. Everything else is imported when ComfyUI asks for the nodes."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    from .nodes import RSCorrectorExtension

    return RSCorrectorExtension()
