"""The prompts of a sampling pass as texts: parts (AND) with weights, without what only loads networks (LoRA tags)."""

from .host import Processing


def prompts_of(p: Processing) -> list[str]:
    """The prompts of the pictures of the current pass."""
    hires = getattr(p, "hr_prompts", None) if getattr(p, "is_hr_pass", False) else None
    return hires or p.prompts or []


def parts_of(prompt: str) -> list[tuple[str, str | None]]:
    """The parts (AND) of a prompt -> [(text, its weight as it is written, or None)]."""
    from modules import prompt_parser

    parts = [prompt_parser.re_weight.search(part).groups() for part in prompt_parser.re_AND.split(prompt)]
    return [(text.strip(), weight) for text, weight in parts]


def is_unwanted(weight: str | None) -> bool:
    """Whether a part has a weight of 0 or less."""
    return weight is not None and float(weight) <= 0


def texts_of(p: Processing, count: int) -> list[str]:
    """For each of `count` pictures the parts of its prompt that are wanted, a line each; [] if no prompt is known."""
    texts = ["\n".join(text for text, weight in parts_of(each) if not is_unwanted(weight)) for each in prompts_of(p)]
    return [texts[index % len(texts)] for index in range(count)] if texts else []


def with_phrase(prompt: str, phrase: str) -> str:
    """A prompt with a phrase after each part (AND) of positive weight; weights and schedules stay."""
    parts = []
    for text, weight in parts_of(prompt):
        after = f" :{weight}" if weight else ""
        parts.append(f"{text}{after}" if is_unwanted(weight) else f"{text}, {phrase}{after}")
    return " AND ".join(parts)
