"""What a node shows when it is done, as its `ui`; web/results.js draws it, fresh and from ComfyUI's cache."""

from comfy_api.latest import ui


def shown(*lines, text=None, picture=None, report=None, cls=None):
    """The `ui` of a node.

    Args:
        lines: (kind, sentence) each. Kinds are "success", "failure", "note", and "said" for plain text.
        text: for programs that read the history; by default the lines.
        picture: IMAGE that ComfyUI shows, or None.
        report: the id of a page from `reports.publish`, or None.
        cls: the node's class, for the metadata of the picture.
    """
    result = {"rs_lines": [{"kind": kind, "text": sentence} for kind, sentence in lines]}
    result["text"] = ("\n".join(sentence for _, sentence in lines) if text is None else text,)
    if picture is not None:
        result |= ui.PreviewImage(picture, cls=cls).as_dict()
    if report is not None:
        result["rs_report"] = (report,)
    return result
