"""The family of nodes in ComfyUI's menu and search: where each one stands, and by which words it is found."""

from dataclasses import fields

from comfy_api.latest import io

CORRECT = "RS-Corrector"
PREFERENCE_CATEGORY = "RS-Corrector/preferences"
LEARN = "RS-Corrector/learn"
MEASURE = "RS-Corrector/measure"
SEARCH_WORDS = ("stereotype", "bias", "debias", "fairness", "diversity", "representation")


def found_by(*words: str) -> dict[str, list[str]]:
    """{search_aliases: words}, or {} in versions of ComfyUI whose Schema lacks the field, which would lose the pack."""
    has_field = any(field.name == "search_aliases" for field in fields(io.Schema))
    return {"search_aliases": list(words)} if has_field else {}
