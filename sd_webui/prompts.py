"""The host's conditioning of a batch -> the token vectors that the prompt gate reads for each picture.

Both hosts keep prompts as `MulticondLearnedConditioning`: a picture has parts (AND), a part has schedules ([a:b:0.5]).
"""


def regions_of(conditioning, count):
    """-> for each of `count` pictures the token vectors of its prompt's parts, each [1, T, width].

    All schedules of a part are read, also those of later steps. Parts with a weight of 0 or less are skipped.
    """
    rows = [
        [_tokens(schedule.cond) for part in parts if part.weight > 0 for schedule in part.schedules]
        for parts in conditioning.batch
    ]
    return [rows[index % len(rows)] for index in range(count)]


def _tokens(cond):
    tokens = cond["crossattn"] if isinstance(cond, dict) else cond  # SDXL also has a pooled vector
    return tokens.detach()[None]
