"""What a node shows when it is done, as its `ui`; web/results.js draws it, fresh and from ComfyUI's cache."""

from comfy_api.latest import io, ui
from torch import Tensor


def shown(
    *lines: tuple[str, str], text: str | None = None, picture: Tensor | None = None, report: str | None = None,
    cls: type[io.ComfyNode] | None = None,
) -> dict:  # fmt: skip
    """The `ui` of a node.

    Args:
        lines: (kind, sentence) each. Kinds are "success", "failure", "note", and "said" for plain text.
        text: for programs that read the history; by default the lines.
        picture: IMAGE that ComfyUI shows, or None.
        report: the id of a page from `reports.publish`, or None.
        cls: the node's class, for the metadata of the picture.
    """
    result: dict = {"rs_lines": [{"kind": kind, "text": sentence} for kind, sentence in lines]}
    result["text"] = ("\n".join(sentence for _, sentence in lines) if text is None else text,)
    if picture is not None:
        result |= ui.PreviewImage(picture, cls=cls).as_dict()
    if report is not None:
        result["rs_report"] = (report,)
    return result
