"""Arguments that are fuzzed: text boxes of nodes, of the WebUI and its API, and of Python's functions."""

import math

from benchmarks.fuzz_mutations import VALUES
from benchmarks.fuzz_webui import of_webui
from corrector.axis.axis import AxisError, aliases_from_text, axis_from_texts, load_axis, save_axis
from corrector.correction.update import Settings
from corrector.files.errors import RSCorrectorError
from corrector.files.folders import AXES


def tried_text(rng):
    return rng.choice(
        [value for value in VALUES if isinstance(value, str)] + ["a village", "Orvane", "a {group}", "1, 2"]
    )


class Arguments:
    """Text boxes of nodes, and arguments of Python's functions."""

    def __init__(self, folder):
        self.folder = folder

    def damaged(self, rng):
        which = rng.choice(("axis", "axis", "aliases", "numbers", "plan", "settings", "name", "webui", "webui"))
        texts = ["Backdrop", "Orvane, Tavelu", "a {group} person", "in a village", "in a city", "", "", "", "", ""]
        for _ in range(rng.choice((1, 2, 5))):
            texts[rng.randrange(len(texts))] = "\n".join(tried_text(rng) for _ in range(rng.choice((1, 1, 3, 300))))
        numbers = [rng.choice([v for v in VALUES if isinstance(v, int | float)]) for _ in range(8)]
        return which, texts, numbers

    def use(self, rng, arguments):
        from corrector.auditing.plan import Plan, numbers

        which, texts, values = arguments
        if which == "axis":
            axis = axis_from_texts(*texts)
            assert load_axis(save_axis(axis, self.folder)).hash == axis.hash
        elif which == "webui":
            given = [rng.choice(VALUES) if rng.random() < 0.5 else None for _ in range(rng.randrange(12))]
            try:
                choice = of_webui("choice").choose([True, *given])
            except ValueError as error:  # of the same name, of another copy of the package
                if "RSCorrectorError" not in {kind.__name__ for kind in type(error).__mro__}:
                    raise
                raise RSCorrectorError(str(error)) from None
            return all(map(math.isfinite, (choice.strength, choice.target, choice.start, choice.end, choice.cap)))
        elif which == "aliases":
            aliases_from_text(texts[7], ["Orvane", "Tavelu"])
        elif which == "numbers":
            return all(map(math.isfinite, numbers(texts[1])))
        elif which == "plan":
            axis = load_axis(AXES / "worn-places.json")
            images, explicit = (min(abs(int(v)), 50) if math.isfinite(v) else 3 for v in values[:2])
            plan = Plan(axis, images, explicit, 0, (values[2],), (values[3],), values[4], 4, values[5])
            assert plan.settings and plan.chunks
        elif which == "settings":
            Settings(values[0], values[1], (values[2], values[3]), None, rng.choice((None, values[4])))
        else:
            axis = load_axis(AXES / "worn-places.json")
            name = rng.choice(texts)
            try:
                save_axis(axis, self.folder, name)
            except AxisError as error:
                assert len(str(error)) <= 1000
                raise
        return True
