"""Names of groups in other languages than English, where the text of a prompt is known."""

from collections.abc import Iterator, Mapping, Sequence

from ..axis.axis import Axis
from .data import Language, languages
from .plain_words import Words, found, plain_words


class OtherLanguages:
    """Reads names of an axis' groups in other languages, beside words for people, or for places, of the same language.

    Args:
        axis: Axis.
        about_people: whether it is about people; else it is about places.
    """

    def __init__(self, axis: Axis, about_people: bool):
        named = {name: i for i, group in enumerate(axis.groups) for name in (*axis.aliases.get(group, ()), group)}
        self.languages = [_Names(language, named, about_people) for language in languages().values()]

    def groups(self, words: Words) -> list[int]:
        """The words of a prompt -> indices of the groups that it names."""
        return [group for language in self.languages for group in language.groups(words)]


class _Names:
    """The names in one language."""

    def __init__(self, language: Language, named: Mapping[str, int], about_people: bool):
        def groups_of(names: Mapping[str, Sequence[str]]) -> dict[Words, int]:
            return {plain_words(text): named[name] for name, texts in names.items() if name in named for text in texts}

        joints = [*language.get("joint", ()), *([] if about_people else language.get("within", ()))]
        self.names = groups_of(language["names"])
        self.people = groups_of(language.get("people", {})) if about_people else {}
        self.nouns = {plain_words(text): 0 for text in language["person" if about_people else "place"]}
        self.joints = {word for text in joints for word in plain_words(text)}

    def groups(self, words: Words) -> Iterator[int]:
        if not self.names:
            return
        nouns = list(found(words, self.nouns))
        starts, ends = {start for start, _ in nouns}, {end for _, end in nouns}
        for start, end in found(words, self.people):
            yield self.people[words[start:end]]
        for start, end in found(words, self.names):
            name = self.names[words[start:end]]
            while start and words[start - 1] in self.joints:
                start -= 1
            while words[end : end + 1] and words[end] in self.joints:
                end += 1
            if start in ends or end in starts:
                yield name
