"""What a run has read in its prompts, in sentences: known before it corrects anything."""

from .run import Run


def readings_of_run(run: Run) -> dict[str, str]:
    """{what was read in the prompts, each once: the same with how sure that is, for reports of errors}."""
    texts = {}
    for preference, readings in zip(run.preferences, run.readings, strict=True):
        name = f"{preference.name}: " if len(run.preferences) > 1 else ""
        for reading in filter(None, readings):
            sentence = name + reading.sentence(preference.axis)
            sure = f" ({preference.gate.certainty(reading, preference.axis)})" if preference.gate else ""
            texts.setdefault(sentence, sentence + sure)
    return texts
