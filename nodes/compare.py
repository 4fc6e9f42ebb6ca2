"""A node that lays pictures before and after the correction under one slider, through web/compare.js.

ComfyUI has such a node since 0.15.1; ours is there in every version, so that the templates open in each.
"""

from comfy_api.latest import io, ui
from torch import Tensor

from .search import MEASURE, found_by


class RSCorrectorCompare(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RSCorrectorCompare",
            display_name="RS-Corrector Compare",
            category=MEASURE,
            description="Lays two batches of pictures over each other under one slider: drag it to see what the "
            "correction changed. Saves nothing.",
            inputs=[
                io.Image.Input("before", tooltip="Pictures of the plain model."),
                io.Image.Input("after", tooltip="Pictures from the same seeds with the correction."),
            ],
            is_output_node=True,
            **found_by("before and after", "slider", "difference", "side by side"),
        )

    @classmethod
    def execute(cls, before: Tensor, after: Tensor) -> io.NodeOutput:
        pictures = {"rs_before": before, "rs_after": after}
        shown = {name: ui.PreviewImage(batch, cls=cls).values for name, batch in pictures.items()}
        return io.NodeOutput(ui={**shown, "rs_first": [most_changed(before, after)]})


def most_changed(before: Tensor, after: Tensor) -> int:
    """The place of the picture that changed most, of two IMAGE batches; 0 if their sizes differ."""
    if before.shape[1:] != after.shape[1:]:
        return 0
    changes = [float((one - other).abs().mean()) for one, other in zip(before, after, strict=False)]
    return changes.index(max(changes))
