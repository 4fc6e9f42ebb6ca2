"""What a gate reads badly, in a sentence for its users: from its errors on held-out and on hand-written prompts."""

from collections.abc import Mapping

from .data import checks

SOUND_ERRORS = 0.1  # share of prompts of a kind that a sound gate reads wrongly
ERRORS = {
    "overridden": "corrects {} of held-out prompts that ask for a side",
    "false activation": "acts on {} of held-out prompts that name nobody of the groups",
    "left out": "sees nobody in {} of held-out prompts that name a group",
    "wrong group": "takes one group for another in {} of held-out prompts",
}
MORE_PARAPHRASES = "list more paraphrases in the axis"
MORE_ALIASES = "list more aliases in the axis"
SWITCHED_OFF = "switch it off for such prompts"
REMEDIES = {
    MORE_PARAPHRASES: {"overridden", "stereotype asked for", "counter asked for", "denied"},
    MORE_ALIASES: {"left out", "wrong group", "named", "long"},
    SWITCHED_OFF: {"false activation", "thing", "somebody else", "nobody"},
}


def gate_weakness(figures: Mapping) -> str:
    """What a gate reads badly according to its figures, as `train_gate` returns them, and what to do, or ""."""
    errors = ERRORS | {category: check["error"] for category, check in checks().items()}
    shares = {**figures, **{name: 1 - share for name, share in figures.get("by_hand", {}).items()}}
    weak = [name for name in shares if name in errors and shares[name] is not None and shares[name] > SOUND_ERRORS]
    if not weak:
        return ""
    said = ", ".join(errors[name].format(f"{shares[name]:.0%}") for name in weak)
    remedies = [remedy for remedy, names in REMEDIES.items() if not names.isdisjoint(weak)]
    return f"its gate on the prompt {said} (at most {SOUND_ERRORS:.0%} is sound): {', '.join(remedies)}"
